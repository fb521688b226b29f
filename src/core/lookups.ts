// Lookups: what is named in a document or an expression and kept in the workspace, a variable or a resource.
//   L1. A text that is `$var:<path>` or `$res:<path>` as a whole stands for that value, however deep in a document. A key does not.
//   L2. A variable's value is a text. A resource's is JSON, and may name others in turn.
//   L3. Nothing waits here. What is not at hand is thrown as NotAtHand; whoever catches it gets it, and does the whole again.
import type { Json, JsonText } from './json.ts'
import { isPath, pathRule } from './path.ts'

export const lookupKinds = ['variable', 'resource'] as const
export type LookupKind = (typeof lookupKinds)[number]

export interface Lookup {
  readonly kind: LookupKind
  readonly path: string
}

/** The values as they are kept, in the order asked for; null: there is none. @throws NotAtHand */
export type Look = (lookups: readonly Lookup[]) => (JsonText | null)[]

export class NotAtHand extends Error {
  readonly lookups: readonly Lookup[]

  constructor(lookups: readonly Lookup[]) {
    super(`not looked up yet: ${lookups.map(({ kind, path }) => `${kind} ${path}`).join(', ')}`)
    this.lookups = lookups
  }
}

/** There is no such value. `lookup`: where the way to it began. */
export class LookupFault extends Error {
  readonly lookup: Lookup

  constructor(lookup: Lookup, message: string) {
    super(message)
    this.lookup = lookup
  }
}

const prefixes: Record<LookupKind, string> = { variable: '$var:', resource: '$res:' }

/** What stands for the value in a document. */
export function textOf({ kind, path }: Lookup): string {
  return prefixes[kind] + path
}

/** HOT. False: it names nothing. */
export function mayName(text: JsonText): boolean {
  return text.includes('$') && (text.includes('"$var:') || text.includes('"$res:'))
}

// A quote inside of a text is escaped, so `"$` is where a text begins. One before a colon is a key.
const named = /(?<!\\)"\$(?:var|res):(?:[^"\\]|\\.)*"(?!\s*:)/g

/** What a text of a document names, if it does. */
export function lookupIn(text: string): Lookup | null {
  for (const kind of lookupKinds) if (text.startsWith(prefixes[kind])) return { kind, path: text.slice(prefixes[kind].length) }
  return null
}

/** All that a document names. */
export function lookupsIn(text: JsonText): Lookup[] {
  return (text.match(named) ?? []).map((printed) => lookupIn(JSON.parse(printed) as string)!)
}

/** What is wrong with the path of a lookup; null: nothing. */
export function lookupFault({ kind, path }: Lookup): string | null {
  return isPath(path) ? null : `"${path.slice(0, 80)}" is no path of a ${kind}: use ${pathRule} (such as "f/shop/database")`
}

/** Resources that name resources. */
const depthMax = 20
/** What a document with all values in place may come to: as the arguments of a step. */
const charsMax = 16 << 20

/** The document with the values in place of what it names. The rest stays as it was printed. @throws NotAtHand, LookupFault */
export function resolved(text: JsonText, look: Look): JsonText {
  return mayName(text) ? resolvedInside(text, look, []) : text
}

/** `around`: the resources whose value this is. */
function resolvedInside(text: JsonText, look: Look, around: readonly Lookup[]): JsonText {
  const lookups = lookupsIn(text)
  if (lookups.length === 0) return text
  for (const lookup of lookups) {
    const fault = lookupFault(lookup)
    if (fault !== null) throw faultOf(lookup, around, fault)
  }
  const values = look(lookups)
  let at = 0
  let chars = text.length
  return text.replace(named, () => {
    const lookup = lookups[at]!
    const value = valueInside(lookup, values[at++]!, look, around)
    chars += value.length
    if (chars > charsMax) throw faultOf(lookup, around, `with all that is named, the value is over ${charsMax} characters`)
    return value
  })
}

function valueInside(lookup: Lookup, value: JsonText | null, look: Look, around: readonly Lookup[]): JsonText {
  if (value === null) throw faultOf(lookup, around, 'there is none')
  if (lookup.kind === 'variable' || !mayName(value)) return value
  if (around.some(({ path }) => path === lookup.path)) throw faultOf(lookup, around, 'it names itself')
  if (around.length === depthMax) throw faultOf(lookup, around, `it is named inside of ${depthMax} resources`)
  return resolvedInside(value, look, [...around, lookup])
}

/** Tells the way: `resource f/a → variable f/b: there is none`. */
function faultOf(lookup: Lookup, around: readonly Lookup[], what: string): LookupFault {
  const way = [...around, lookup].map(({ kind, path }) => `${kind} ${path.slice(0, 80)}`)
  return new LookupFault(around[0] ?? lookup, `${way.join(' → ')}: ${what}`)
}

/** The field of an object whose value names this. */
export function fieldNaming(object: Json, lookup: Lookup): string {
  const text = JSON.stringify(textOf(lookup))
  return Object.entries(object ?? {}).find(([, value]) => JSON.stringify(value).includes(text))?.[0] ?? ''
}
