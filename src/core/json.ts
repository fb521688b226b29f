// JSON as text: results and arguments travel as the bytes they were printed as.
//   J1. A `JsonText` is a complete, valid JSON document that Postgres can store and read back:
//       no NUL, no lone surrogate, not deeper than limits.jsonDepthMax.
//   J2. Made once at the border (parseStorable, storable); never checked again inside.
import { EngineError } from './errors.ts'

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
/** A JSON document as text. See J1. */
export type JsonText = string

const loneSurrogate = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g

/** Text that Postgres accepts: NUL and lone surrogates become U+FFFD. */
export function storableText(text: string): string {
  const clean = text.includes('\0') ? text.replaceAll('\0', '\uFFFD') : text
  return clean.isWellFormed() ? clean : clean.replace(loneSurrogate, '\uFFFD')
}

/**
 * A printed JSON document made storable. The usual document has no `\u` escape at all and costs one search.
 * Only for text known to be valid JSON (printed by a runtime's own encoder).
 */
export function storable(text: JsonText): JsonText {
  if (text.includes('\\u') && /\\u(0000|[dD][89a-fA-F])/.test(text)) {
    return JSON.stringify(JSON.parse(text, (_key, value: unknown) => cleaned(value)))
  }
  return text.isWellFormed() ? text : storableText(text)
}

function cleaned(value: unknown): unknown {
  if (typeof value === 'string') return storableText(value)
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value
  for (const key of Object.keys(value)) {
    const clean = storableText(key)
    if (clean === key) continue
    const object = value as Record<string, unknown>
    object[clean] = object[key]
    delete object[key]
  }
  return value
}

/**
 * Checks what came from outside, already parsed.
 * @throws EngineError E_JSON with the JSON path of a NUL, a lone surrogate or nesting past `depthMax`.
 */
export function assertStorable(value: unknown, at: string, depthMax: number): void {
  if (typeof value === 'string') {
    if (value.includes('\0')) {
      throw new EngineError('E_JSON', `${at}: text holds a NUL character, which cannot be stored; remove it`, { at })
    }
    if (!value.isWellFormed()) {
      throw new EngineError('E_JSON', `${at}: text holds half of a surrogate pair, which is not Unicode; remove it`, { at })
    }
    return
  }
  if (value === null || typeof value !== 'object') return
  if (depthMax === 0) {
    throw new EngineError('E_JSON', `${at.slice(0, 200)}: nested too deeply; flatten the document`, { at: at.slice(0, 200) })
  }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) assertStorable(value[i], `${at}[${i}]`, depthMax - 1)
    return
  }
  for (const [key, inner] of Object.entries(value)) {
    if (key.includes('\0') || !key.isWellFormed()) assertStorable(key, `${at}[key ${JSON.stringify(key)}]`, 0)
    assertStorable(inner, pathOf(at, key), depthMax - 1)
  }
}

/** `$.a.b`, or `$.a["b c"]` where the key is not a name. */
export function pathOf(at: string, key: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `${at}.${key}` : `${at}[${JSON.stringify(key)}]`
}

/** The elements of a JSON array, each as the text it was printed as. */
export function elementTexts(array: JsonText): JsonText[] {
  const texts: JsonText[] = []
  const inside = array.trim().slice(1, -1)
  let depth = 0
  let from = 0
  for (let i = 0; i < inside.length; i++) {
    switch (inside[i]) {
      case '"':
        i = endOfString(inside, i)
        break
      case '{':
      case '[':
        depth += 1
        break
      case '}':
      case ']':
        depth -= 1
        break
      case ',':
        if (depth > 0) break
        texts.push(inside.slice(from, i).trim())
        from = i + 1
        break
    }
  }
  const last = inside.slice(from).trim()
  if (last !== '') texts.push(last)
  return texts
}

/** The fields of a JSON object, each as the text it was printed as. */
export function fieldTexts(object: JsonText): Map<string, JsonText> {
  const texts = new Map<string, JsonText>()
  // What is between the commas of an object is split as that of an array is.
  for (const field of elementTexts(object)) {
    const [opening, key] = /^"((?:[^"\\]|\\.)*)"\s*:\s*/.exec(field)!
    texts.set(JSON.parse(`"${key}"`) as string, field.slice(opening.length))
  }
  return texts
}

/** Where the string that begins at `from` has its closing quote. */
function endOfString(text: JsonText, from: number): number {
  for (let end = text.indexOf('"', from + 1); ; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text[end - 1 - backslashes] === '\\') backslashes += 1
    if (backslashes % 2 === 0) return end
  }
}
