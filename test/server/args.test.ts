// Bodies become arguments: the same bytes where they can be, a fault with its place where they cannot.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EngineError } from '../../src/core/errors.ts'
import { argsOfArray, argsOfBody, argsOfLines, withMembers } from '../../src/server/args.ts'
import { indexOfFault } from '../../src/server/json_fault.ts'

const depth = 8
const json = 'application/json'

function faultOf(work: () => unknown): { code: string; at: string | undefined } {
  try {
    work()
  } catch (error) {
    const { code, details } = error as EngineError
    return { code, at: details.at }
  }
  throw new Error('it was taken')
}

/** How many elements the array has; null if it is none. */
function lengthOf(text: string, read: (text: string) => unknown): number | null {
  try {
    const value = read(text)
    return Array.isArray(value) ? value.length : null
  } catch {
    return null
  }
}

describe('one body', () => {
  test.each([
    [
      'an object stays as it was written',
      '{"b": 1.50,  "a":12345678901234567890}',
      json,
      '{"b": 1.50,  "a":12345678901234567890}',
    ],
    ['an array is wrapped', '[1, 2]', json, '{"body":[1, 2]}'],
    ['a text is wrapped', '"x"', json, '{"body":"x"}'],
    ['null is wrapped', 'null', json, '{"body":null}'],
    ['nothing is no arguments', '', json, '{}'],
    ['a charset does not matter', '{"a":1}', 'application/json; charset=utf-8', '{"a":1}'],
    ['a kind of JSON is JSON', '{"a":1}', 'application/cloudevents+json', '{"a":1}'],
    [
      'a form gives texts, and lists where a name comes twice',
      'a=1&b=x%20y&a=2',
      'application/x-www-form-urlencoded',
      '{"a":["1","2"],"b":"x y"}',
    ],
    ['plain text is wrapped', 'hello', 'text/plain', '{"body":"hello"}'],
    ['escapes that can be stored are fine', '{"a":"\\ud83d\\ude00"}', json, '{"a":"\\ud83d\\ude00"}'],
  ])('%s', (_name, body, type, args) => {
    expect(argsOfBody(body, type, depth)).toBe(args)
  })

  test.each([
    ['broken JSON', '{"a":1,}', '$ line 1, column 8'],
    ['JSON that ends too early', '{"a":\n1', '$ line 2, column 2'],
    ['a NUL', '{"a":{"b c":"x\\u0000"}}', '$.a["b c"]'],
    ['half a surrogate pair', '{"a":["\\ud800"]}', '$.a[0]'],
    ['nesting that is too deep', '{"a":[[[[[[[[[]]]]]]]]]}', '$.a[0][0][0][0][0][0][0]'],
  ])('%s is refused with its place', (_name, body, at) => {
    expect(faultOf(() => argsOfBody(body, json, depth))).toEqual({ code: 'E_JSON', at })
  })

  test('another type is refused', () => {
    expect(faultOf(() => argsOfBody('x', 'image/png', depth))).toEqual({ code: 'E_UNSUPPORTED_TYPE', at: 'content-type' })
  })

  test('members are added without printing the rest again', () => {
    expect(withMembers('{"n":1.0}', { host: 'h' })).toBe('{"n":1.0,"host":"h"}')
    expect(withMembers('{ }', { host: 'h' })).toBe('{"host":"h"}')
    expect(withMembers('{"n":1.0}', {})).toBe('{"n":1.0}')
  })
})

describe('a batch', () => {
  test('as an array: each element as it was written', () => {
    expect(argsOfArray(' [ {"a": "],[\\"{"} , [1,{"b":2}],3 ] ', depth)).toEqual([
      '{"a": "],[\\"{"}',
      '{"body":[1,{"b":2}]}',
      '{"body":3}',
    ])
    expect(argsOfArray('[]', depth)).toEqual([])
  })

  test('as lines: empty ones are left out', () => {
    expect(argsOfLines('{"a":1}\n\n  {"a":2}\r\n3', depth)).toEqual(['{"a":1}', '{"a":2}', '{"body":3}'])
  })

  test.each([
    ['[{"a":1},{"a":}]', '$[1] line 1, column 6'],
    ['[{"a":1},]', '$[1]'],
    ['[,1]', '$[0]'],
    ['[1 2]', '$[0] line 1, column 3'],
    ['[1', '$[0]'],
    ['[{"a":"\\u0000"}]', '$[0].a'],
    ['{"a":1}', '$'],
    ['[1] 2', '$'],
    ['[1]]', '$'],
    ['["a', '$[0] line 1, column 1'],
  ])('%s is refused with its place', (body, at) => {
    expect(faultOf(() => argsOfArray(body, depth))).toEqual({ code: 'E_JSON', at })
  })

  test('a line that is not JSON is named', () => {
    expect(faultOf(() => argsOfLines('{"a":1}\n\nnope', depth)).at).toMatch(/^line 3/)
  })

  test('any array of JSON is taken apart as JSON.parse would', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue({ maxDepth: 5 })), fc.constantFrom(undefined, 1, '\t'), (values, indent) => {
        const batch = argsOfArray(JSON.stringify(values, null, indent), 64)
        const back = batch.map((args, i) => {
          const value = JSON.parse(args) as { body?: unknown }
          const source = values[i]
          return source !== null && typeof source === 'object' && !Array.isArray(source) ? value : value.body
        })
        expect(JSON.stringify(back)).toBe(JSON.stringify(values))
      }),
    )
  })

  test('the place of a fault is where the text stops being the beginning of some JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.nat(), fc.constantFrom('\u0001', '?', '='), (value, n, bad) => {
        const text = JSON.stringify(value)
        const cut = n % (text.length + 1)
        expect(indexOfFault(text.slice(0, cut) + bad)).toBeLessThanOrEqual(cut)
        expect(indexOfFault(`[${text}${bad}`)).toBe(text.length + 1)
        expect(indexOfFault(`[${text}`)).toBe(text.length + 1)
      }),
    )
  })

  test('what is not an array of JSON is never taken', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('[', ']', '{', '}', '"', ',', ':', '1', '\\', ' ', 'a') }), (text) => {
        expect(lengthOf(text, (given) => argsOfArray(given, 64))).toBe(lengthOf(text, JSON.parse))
      }),
      { numRuns: 2_000 },
    )
  })
})
