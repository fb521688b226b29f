// A body becomes a job's arguments: JSON text that Postgres can store (J1 of core/json.ts).
//   A1. A JSON object goes on as the bytes it came as: checked, never printed again. Any other JSON is wrapped in `{"body": …}`.
//   A2. What fails, fails with its place: `$.a.b`, line and column of broken JSON, the element of a batch.
// HOT. Per body: one JSON.parse; a look for depth only where the text is long enough to be deep.
import { EngineError } from '../core/errors.ts'
import { assertStorable, type JsonText } from '../core/json.ts'
import { indexOfFault } from './json_fault.ts'

export interface Checked {
  text: JsonText
  value: unknown
}

const suspicious = /\\u(?:0000|[dD][89a-fA-F])/

/** @throws EngineError E_JSON */
export function checkJson(text: string, at: string, depthMax: number): Checked {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw notJson(text, at)
  }
  // Nesting to depth d takes 2d characters.
  if ((text.includes('\\u') && suspicious.test(text)) || (text.length > 2 * depthMax && deeperThan(value, depthMax))) {
    assertStorable(value, at, depthMax)
  }
  return { text, value }
}

function deeperThan(value: unknown, depth: number): boolean {
  if (value === null || typeof value !== 'object') return false
  if (depth === 0) return true
  if (Array.isArray(value)) {
    for (const inner of value) if (deeperThan(inner, depth - 1)) return true
    return false
  }
  for (const key in value) if (deeperThan((value as Record<string, unknown>)[key], depth - 1)) return true
  return false
}

function notJson(text: string, at: string): EngineError {
  const fault = indexOfFault(text)
  const before = text.slice(0, fault).split('\n')
  const place = `line ${before.length}, column ${before.at(-1)!.length + 1}`
  const what = fault === text.length ? 'it ends too early' : `${JSON.stringify(text[fault])} cannot be there`
  return new EngineError('E_JSON', `${at === '$' ? 'the body' : at} is not JSON: ${what} (${place})`, { at: `${at} ${place}` })
}

const isObject = (value: unknown): boolean => value !== null && typeof value === 'object' && !Array.isArray(value)

/** Arguments from one JSON document. */
export function argsOfJson(text: string, at: string, depthMax: number): JsonText {
  if (text === '') return '{}'
  const { value } = checkJson(text, at, depthMax)
  return isObject(value) ? text : `{"body":${text}}`
}

/** Arguments from a body of this content type. @throws EngineError E_JSON, E_UNSUPPORTED_TYPE */
export function argsOfBody(body: string, contentType: string | undefined, depthMax: number): JsonText {
  if (body === '') return '{}'
  if (contentType === undefined || contentType === 'application/json') return argsOfJson(body, '$', depthMax)
  const type = contentType.split(';')[0]!.trim().toLowerCase()
  if (type === 'application/json' || type.endsWith('+json')) return argsOfJson(body, '$', depthMax)
  if (type === 'application/x-www-form-urlencoded') return argsOfForm(body)
  if (type.startsWith('text/')) return checkJson(JSON.stringify({ body }), '$', depthMax).text
  throw new EngineError('E_UNSUPPORTED_TYPE', `a body of type ${type.slice(0, 80)} cannot become arguments`, {
    at: 'content-type',
    allowed: ['application/json', 'application/x-www-form-urlencoded', 'text/plain'],
  })
}

/** A name given twice becomes a list. */
function argsOfForm(body: string): JsonText {
  const fields = new Map<string, string | string[]>()
  for (const [name, value] of new URLSearchParams(body)) {
    const earlier = fields.get(name)
    fields.set(name, earlier === undefined ? value : [earlier, value].flat())
  }
  const value = Object.fromEntries(fields)
  assertStorable(value, '$', 2)
  return JSON.stringify(value)
}

/** Adds members to arguments, as text. Where a name is there twice, readers of JSON take the last. */
export function withMembers(args: JsonText, members: Record<string, unknown>): JsonText {
  const added = JSON.stringify(members)
  if (added === '{}') return args
  const inner = args.trim().slice(1, -1).trim()
  return inner === '' ? added : `{${inner},${added.slice(1)}`
}

/** The JSON of `payload=`: url-safe base64. */
export function payloadText(payload: string): string {
  return Buffer.from(payload, 'base64url').toString('utf8')
}

/** One document of arguments per line; empty lines are left out. @throws EngineError E_JSON naming the line */
export function argsOfLines(body: string, depthMax: number): JsonText[] {
  const batch: JsonText[] = []
  let line = 0
  for (let from = 0; from < body.length;) {
    let to = body.indexOf('\n', from)
    if (to === -1) to = body.length
    line += 1
    const text = body.slice(from, to).trim()
    if (text !== '') batch.push(argsOfJson(text, `line ${line}`, depthMax))
    from = to + 1
  }
  return batch
}

/** One document of arguments per element of a JSON array. @throws EngineError E_JSON naming the element */
export function argsOfArray(body: string, depthMax: number): JsonText[] {
  const batch: JsonText[] = []
  let at = skipSpace(body, 0)
  if (body[at] !== '[')
    throw new EngineError('E_JSON', 'the body is not a JSON array; send [{…}, …], or lines as application/x-ndjson', { at: '$' })
  at = skipSpace(body, at + 1)
  if (body[at] === ']') at += 1
  else {
    for (let separator = ','; separator === ','; at += 1) {
      const from = at
      at = endOfElement(body, at)
      const place = `$[${batch.length}]`
      const text = body.slice(from, at).trim()
      if (text === '')
        throw new EngineError('E_JSON', `${place} is missing: the array ends or goes on where an element should be`, {
          at: place,
        })
      batch.push(argsOfJson(text, place, depthMax))
      separator = body[at] ?? ''
      if (separator === '') throw new EngineError('E_JSON', `the body ends inside the array, after ${place}`, { at: place })
    }
  }
  if (skipSpace(body, at) < body.length) throw new EngineError('E_JSON', 'there is something after the array', { at: '$' })
  return batch
}

function skipSpace(text: string, at: number): number {
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++
  return at
}

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c

/** Where the element that begins at `from` ends: at a comma or bracket of the array itself, or the text's end. */
function endOfElement(text: string, from: number): number {
  let depth = 0
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) {
      at = endOfString(text, at)
    } else if (code === comma) {
      if (depth === 0) return at
    } else if (code === 0x7b || code === 0x5b) {
      depth += 1
    } else if (code === 0x7d || code === 0x5d) {
      if (depth > 0) depth -= 1
      else if (code === 0x5d) return at // a brace with nothing to close stays in the element: it is no JSON then
    }
  }
  return text.length
}

/** Index of the quote that closes the string opened at `from`. */
function endOfString(text: string, from: number): number {
  for (let at = text.indexOf('"', from + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let slashes = 0
    while (text.charCodeAt(at - 1 - slashes) === backslash) slashes += 1
    if (slashes % 2 === 0) return at
  }
  return text.length
}
