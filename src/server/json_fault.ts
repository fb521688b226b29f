// Where a text stops being JSON. Engines word this differently, and most leave the place out.
//   J1. Only for texts that JSON.parse refused: what it gives is the first token that cannot be there.

const token =
  // oxlint-disable-next-line no-control-regex -- a string of JSON may not hold them
  /[\t\n\r ]*(?:([{}[\],:])|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null))/y

/** What may come next: a value, the first key or its bracket, a key, a colon, a comma or a bracket, nothing. */
type Expected = 'value' | 'value or ]' | 'key or }' | 'key' | 'colon' | 'more' | 'nothing'

/** Index of the first character that cannot be there; the text's length if it only ends too early. */
export function indexOfFault(text: string): number {
  const open: ('{' | '[')[] = []
  let expected: Expected = 'value'
  let at = 0
  for (;;) {
    token.lastIndex = at
    const match = token.exec(text)
    const from = skipSpace(text, at)
    if (!match) return from
    const next = follow(expected, match[1] ?? (match[2] === undefined ? 'v' : 's'), open)
    if (next === null) return from
    expected = next
    at = token.lastIndex
  }
}

function skipSpace(text: string, at: number): number {
  while (at < text.length && '\t\n\r '.includes(text[at]!)) at++
  return at
}

/** `kind`: a mark, s for a string, v for another value. null: it cannot be there. */
function follow(expected: Expected, kind: string, open: ('{' | '[')[]): Expected | null {
  const after = (): Expected => (open.length === 0 ? 'nothing' : 'more')
  switch (expected) {
    case 'value or ]':
    case 'value':
      if (kind === ']' && expected === 'value or ]') {
        open.pop()
        return after()
      }
      if (kind === '{' || kind === '[') {
        open.push(kind)
        return kind === '{' ? 'key or }' : 'value or ]'
      }
      return kind === 's' || kind === 'v' ? after() : null
    case 'key or }':
    case 'key':
      if (kind === '}' && expected === 'key or }') {
        open.pop()
        return after()
      }
      return kind === 's' ? 'colon' : null
    case 'colon':
      return kind === ':' ? 'value' : null
    case 'more': {
      const inside = open.at(-1)
      if (kind === ',') return inside === '{' ? 'key' : 'value'
      if (kind !== (inside === '{' ? '}' : ']')) return null
      open.pop()
      return after()
    }
    default:
      return null // nothing may come
  }
}
