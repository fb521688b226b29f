// What a document names, and what becomes of it.
import { expect, test } from 'vitest'
import { lookupsIn, NotAtHand, resolved, type Look } from '../../src/core/lookups.ts'

/** Values by `variable f/a` or `resource f/a`, as JSON text. What is not here does not exist. */
function lookOver(values: Record<string, string>, known: ReadonlySet<string> | null = null): Look {
  return (lookups) => {
    const missing = known === null ? [] : lookups.filter(({ kind, path }) => !known.has(`${kind} ${path}`))
    if (missing.length > 0) throw new NotAtHand(missing)
    return lookups.map(({ kind, path }) => values[`${kind} ${path}`] ?? null)
  }
}

const look = lookOver({
  'variable f/a': '"a\\"$&"',
  'variable u/b': '"b"',
  'resource f/r': '{"n":12345678901234567890,"inside":["$var:f/a"]}',
  'resource f/outer': '"$res:f/r"',
  'resource f/plain': '"no names"',
  'variable f/looks': '"$var:f/a"',
})

test.each([
  ['"$var:f/a"', '"a\\"$&"'],
  ['{"x": "$var:u/b", "y" : 1.0}', '{"x": "b", "y" : 1.0}'],
  ['{"x":[{"y":"$res:f/plain"},"$var:u/b"]}', '{"x":[{"y":"no names"},"b"]}'],
  ['"$res:f/outer"', '{"n":12345678901234567890,"inside":["a\\"$&"]}'],
  // A path whose slashes are escaped, as PHP prints them.
  ['{"x":"$var:f\\/a"}', '{"x":"a\\"$&"}'],
  // A variable is a text: what it says is not looked at again.
  ['"$var:f/looks"', '"$var:f/a"'],
])('%s becomes %s', (text, expected) => {
  expect(resolved(text, look)).toBe(expected)
})

test.each([
  '{"$var:f/a":1,"$res:f/r" : 2}',
  '"it costs $var:f/a"',
  '"say \\"$var:f/a\\""',
  '"\\\\\\"$var:f/a"',
  '{"x":"$vars:f/a","y":"$","z":"$$var:f/a"}',
])('%s names nothing', (text) => {
  expect(lookupsIn(text)).toEqual([])
  expect(resolved(text, look)).toBe(text)
})

test.each([
  ['"$var:f/none"', 'variable f/none: there is none'],
  ['"$res:f/none"', 'resource f/none: there is none'],
  ['"$var:"', '"" is no path of a variable'],
  ['"$res:../x"', '"../x" is no path of a resource'],
])('%s fails: %s', (text, message) => {
  expect(() => resolved(text, look)).toThrow(message)
})

test('a fault inside of a resource tells the way to it', () => {
  const broken = lookOver({ 'resource f/a': '{"b":"$res:f/b"}', 'resource f/b': '["$var:f/c"]' })
  expect(() => resolved('"$res:f/a"', broken)).toThrow('resource f/a → resource f/b → variable f/c: there is none')
})

test('resources that name each other in a circle fail, and so does a way without an end', () => {
  const circle = lookOver({ 'resource f/a': '{"b":"$res:f/b"}', 'resource f/b': '["$res:f/a"]' })
  expect(() => resolved('"$res:f/a"', circle)).toThrow('resource f/a → resource f/b → resource f/a: it names itself')
  const endless: Look = (lookups) => lookups.map(({ path }) => `"$res:${path}x"`)
  expect(() => resolved('"$res:f/a"', endless)).toThrow('it is named inside of 20 resources')
})

test('resources that grow beyond measure fail', () => {
  const values: Record<string, string> = { 'resource f/0': JSON.stringify('x'.repeat(1 << 16)) }
  for (let depth = 1; depth < 15; depth++) values[`resource f/${depth}`] = `["$res:f/${depth - 1}","$res:f/${depth - 1}"]`
  expect(() => resolved('"$res:f/14"', lookOver(values))).toThrow('the value is over 16777216 characters')
})

test('what is not at hand is asked for all at once, and what it names in turn', () => {
  const values = { 'variable f/a': '1', 'resource f/r': '{"inside":"$var:f/b"}', 'variable f/b': '2' }
  const known = new Set<string>()
  const asked: string[][] = []
  for (;;) {
    try {
      expect(resolved('["$var:f/a","$res:f/r"]', lookOver(values, known))).toBe('[1,{"inside":2}]')
      break
    } catch (error) {
      if (!(error instanceof NotAtHand)) throw error
      asked.push(error.lookups.map(({ kind, path }) => `${kind} ${path}`))
      for (const name of asked.at(-1)!) known.add(name)
    }
  }
  expect(asked).toEqual([['variable f/a', 'resource f/r'], ['variable f/b']])
})
