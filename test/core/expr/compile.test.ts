import * as fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { compileExpression, compileTransform } from '../../../src/core/expr/compile.ts'
import type { Sandbox } from '../../../src/core/expr/expression.ts'
import { parseExpression, type Parsed } from '../../../src/core/expr/parse.ts'
import { createSandbox, SandboxError } from '../../../src/core/expr/sandbox.ts'
import { EngineError } from '../../../src/core/errors.ts'
import type { Place } from '../../../src/core/expr/names.ts'
import type { Json } from '../../../src/core/json.ts'
import { scopeOf } from './scope.ts'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await createSandbox({ timeMs: 1_000, memoryBytes: 16 << 20 })
})

const scope = scopeOf({
  flow_input: { x: 1, items: [1, { b: 'hey' }], nothing: null, 'a key': { y: true } },
  results: { a: { z: 4, list: [5, 6] }, 'my-step': 'text', none: null },
  previous_result: { error: { message: 'it broke' } },
  flow_env: { REGION: { name: 'eu' } },
  looked_up: { 'variable f/a/key': 'k', 'resource f/db': { host: 'h', key: '$var:f/a/key' }, 'variable f/none': null },
})

const cases: [source: string, tier: Parsed['tier'], value: Json][] = [
  // constants
  ['"a"', 'constant', 'a'],
  ["'a'", 'constant', 'a'],
  ['`a`', 'constant', 'a'],
  ['12.5', 'constant', 12.5],
  ['-1', 'constant', -1],
  ['true', 'constant', true],
  ['null', 'constant', null],
  ['undefined', 'constant', null],
  ['1e999', 'constant', null],
  ['[1, "b", {c: null}]', 'constant', [1, 'b', { c: null }]],
  ['{a: 1, "b c": [true]}', 'constant', { a: 1, 'b c': [true] }],
  ['({a: 1})', 'constant', { a: 1 }],
  ['{}', 'constant', {}],
  ['return 3', 'constant', 3],
  ['/* why */ 3 // that many', 'constant', 3],
  // paths
  ['flow_input', 'path', { x: 1, items: [1, { b: 'hey' }], nothing: null, 'a key': { y: true } }],
  ['flow_input.x', 'path', 1],
  [' flow_input.x ; ', 'path', 1],
  ['return flow_input.x', 'path', 1],
  ['(flow_input).x', 'path', 1],
  ['flow_input["x"]', 'path', 1],
  ['flow_input["a key"].y', 'path', true],
  ['flow_input.items[1].b', 'path', 'hey'],
  ['flow_input.items["1"].b', 'path', 'hey'],
  ['flow_input.items.length', 'path', 2],
  ['flow_input.items[1].b.length', 'path', 3],
  ['flow_input.items[1].b[0]', 'path', 'h'],
  ['results.a', 'path', { z: 4, list: [5, 6] }],
  ['results.a.z', 'path', 4],
  ['results.a.default', 'path', null],
  ['results["a"].list[1]', 'path', 6],
  ['results?.a?.z', 'path', 4],
  ['results?.["my-step"]', 'path', 'text'],
  ['results', 'path', { a: { z: 4, list: [5, 6] }, 'my-step': 'text', none: null }],
  ['previous_result.error', 'path', { message: 'it broke' }],
  ['error.message', 'path', 'it broke'],
  ['flow_env.REGION.name', 'path', 'eu'],
  ['flow_env', 'path', { REGION: { name: 'eu' } }],
  ['params', 'path', {}],
  ['resume', 'path', null],
  ['resumes', 'path', []],
  ['flow_input.iter.value', 'path', null],
  // lookups
  ["variable('f/a/key')", 'lookup', 'k'],
  ['await variable("f/a/key")', 'lookup', 'k'],
  ['(await resource(`f/db`)).host', 'lookup', 'h'],
  ['resource("f/db")["key"].length', 'lookup', 1],
  ['resource("f/db")', 'lookup', { host: 'h', key: 'k' }],
  ['variable("f/a/key") + "!"', 'code', 'k!'],
  ['`${resource("f/db").host}:${await variable("f/a/key")}:${flow_input.x}`', 'code', 'h:k:1'],
  ['flow_input.x ? variable("f/a/key") : variable("f/none")', 'code', 'k'],
  ['try { return variable("f/none") } catch (fault) { return fault.message }', 'code', 'variable f/none: there is none'],
  ['const variable = (x) => x; return variable(1)', 'code', 1],
  ['{variable: flow_input.variable ?? 2}', 'code', { variable: 2 }],
  // paths over what is not there
  ['flow_input.y', 'path', null],
  ['flow_input.y.z[3].q', 'path', null],
  ['flow_input.nothing.z', 'path', null],
  ['flow_input.x.y', 'path', null],
  ['flow_input.items[9].b', 'path', null],
  ['flow_input.constructor', 'path', null],
  ['flow_input.__proto__', 'path', null],
  ['flow_input.items.map', 'path', null],
  ['results.zzz', 'path', null],
  ['results.zzz.y', 'path', null],
  ['results.toString', 'path', null],
  // code
  ['flow_input.x + 1', 'code', 2],
  ['results.a.z * results["a"].list[0]', 'code', 20],
  ['results.zzz', 'path', null],
  ['results.zzz === null', 'code', true],
  ['Object.keys(results)', 'code', ['a', 'my-step', 'none']],
  ['flow_input.items.map(item => item.b ?? null)', 'code', [null, 'hey']],
  ['`${flow_env.REGION.name}-1`', 'code', 'eu-1'],
  ['{sum: flow_input.x + 1, a: results.a.z}', 'code', { sum: 2, a: 4 }],
  ['const x = flow_input.x;\nreturn x + 1', 'code', 2],
  ['const result = 1; return result', 'code', 1],
  ['const { x, ...rest } = flow_input\nreturn Object.keys(rest).length', 'code', 3],
  ['if (flow_input.x > 0) { return "yes" } else { return "no" }', 'code', 'yes'],
  ['for (const item of flow_input.items) { if (item.b) return item.b }', 'code', 'hey'],
  ['try { return flow_input.q.z } catch (fault) { return fault.name }', 'code', 'TypeError'],
  ['await results.a.z', 'code', 4],
  ['const a = await results.a; return a.z', 'code', 4],
  ['(() => { return flow_input.x })()', 'code', 1],
  ['flow_input.items[flow_input.x].b', 'code', 'hey'],
  ['{a: undefined, b: 1}', 'code', { b: 1 }],
  ['x => x', 'code', null],
  ['new Date(0)', 'code', '1970-01-01T00:00:00.000Z'],
  ['(1, 2)', 'code', 2],
  ['flow_input.x // + 1', 'path', 1],
  ['"\\ud800"', 'constant', '\uFFFD'],
  ['"\\0"+flow_input.x', 'code', '\uFFFD1'],
]

test.each(cases)('%s is a %s', (source, tier, value) => {
  expect(parseExpression(source, 'before', '$.e').tier).toBe(tier)
  const expression = compileExpression(source, sandbox, 'before', '$.e')
  expect(expression.value(scope)).toEqual(value)
  expect(expression.text(scope)).toBe(JSON.stringify(expression.value(scope)))
})

const faults: [source: string, message: string][] = [
  ['', 'the expression is empty'],
  [' ; ', 'the expression is empty'],
  ['// only a comment', 'statements give no value'],
  ['a +', 'Unexpected token (line 1, column 4)'],
  ['flow_input.x +\n  * 2', 'Unexpected token (line 2, column 3)'],
  ['{a: 1', 'Unexpected token (line 1, column 6)'],
  ['1) + (2', 'Unexpected token (line 1, column 2)'],
  ['const x = 1', 'end them with `return value`'],
  ['const x = 1;\nreturn x +', 'Unexpected token (line 2, column 11)'],
  ['const x = 1; const x = 2; return x', "Identifier 'x' has already been declared (line 1, column 20)"],
  ['foo.bar', "unknown name 'foo'; known here: flow_input, results, previous_result"],
  ['[1].map(y => z)', "unknown name 'z'"],
  ['process.env', "unknown name 'process'"],
  ['typeof require', "unknown name 'require'"],
  ['variable', "as variable('f/folder/name'); where it is computed, give a step the text '$var:' + path"],
  ['resource("f/" + flow_input.x)', 'resource is called with a path that is written out'],
  ['[1].map(variable)', 'is called with a path that is written out'],
  ['variable("f/a", 2)', 'is called with a path that is written out'],
  ['variable("../a")', '"../a" is no path of a variable'],
  ['flow_job_id', 'the code of a step has it as WM_FLOW_JOB_ID'],
  ['[error.message, started_at]', 'the error handler of the workspace is given it'],
  ['resource("").host', '"" is no path of a resource'],
  ['result.x', 'result exists only in stop_after_if'],
  ['import("fs")', 'import and export are not available'],
  ['import fs from "fs"; return 1', 'import and export are not available'],
  ['import.meta.url', 'import and export are not available'],
  ['with (flow_input) { return x }', "'with' in strict mode"],
  ['('.repeat(100_000), 'stack space'],
]

test.each(faults)('%s is refused', (source, message) => {
  expect(() => parseExpression(source, 'before', '$.value.skip_if.expr')).toThrow(
    expect.objectContaining({
      code: 'E_FLOW_INVALID',
      message: expect.stringContaining(message),
      details: expect.objectContaining({ at: '$.value.skip_if.expr' }),
    }),
  )
})

function namesAt(place: Place): readonly string[] {
  try {
    parseExpression('zzz', place, '$')
  } catch (fault) {
    return (fault as EngineError).details.allowed ?? []
  }
  return []
}

test('a name that is unknown is told together with those that are known', () => {
  expect(namesAt('before')).toEqual(expect.arrayContaining(['flow_input', 'results', 'previous_result', 'flow_env', 'error']))
  expect(namesAt('before')).not.toContain('result')
  expect(namesAt('after')).toContain('result')
})

test('result and previous_result are one value where the step has run', () => {
  for (const source of ['result.error.message', 'previous_result.error.message', 'result.error.message + ""']) {
    expect(compileExpression(source, sandbox, 'after', '$').value(scope)).toBe('it broke')
  }
})

test('error is the one at hand, before that of the previous result', () => {
  const failing = scopeOf({ previous_result: { error: { message: 'old' } }, error: { message: 'new' } })
  expect(compileExpression('error.message', sandbox, 'before', '$').value(failing)).toBe('new')
  expect(compileExpression('error', sandbox, 'before', '$').value(scopeOf({ previous_result: 3 }))).toBe(null)
})

test('a value passed through whole keeps the text it has', () => {
  const text = '{ "b":1.0, "a":12345678901234567890 }'
  const printed = { ...scope, flowInputText: () => text, resultText: () => text, previousText: () => text }
  for (const source of ['flow_input', 'results.a', 'previous_result', 'return flow_input;']) {
    expect(compileExpression(source, sandbox, 'before', '$').text(printed)).toBe(text)
  }
})

test('an evaluation is given the roots and results it mentions, and no others', () => {
  const seen: unknown[] = []
  const spy: Sandbox = { evaluate: (_source, names, values) => (seen.push([names, values]), 'null') }
  compileExpression('results.a.z + results["none"]', spy, 'before', '$').text(scope)
  compileExpression('flow_input.results + flow_env.x', spy, 'before', '$').text(scope)
  expect(seen).toEqual([
    [['results'], ['{"a":{"z":4,"list":[5,6]},"none":null}']],
    [
      ['flow_input', 'flow_env'],
      [scope.flowInputText(), scope.flowEnvText()],
    ],
  ])
})

test('transforms are static values or JavaScript', () => {
  expect(compileTransform({ type: 'static', value: { a: 'flow_input.x' } }, sandbox, 'before', '$').text(scope)).toBe(
    '{"a":"flow_input.x"}',
  )
  expect(compileTransform({ type: 'static' }, sandbox, 'before', '$').value(scope)).toBe(null)
  expect(compileTransform({ type: 'javascript', expr: 'flow_input.x' }, sandbox, 'before', '$').value(scope)).toBe(1)
  expect(() => compileTransform({ type: 'javascript', expr: ')' }, sandbox, 'before', '$.x')).toThrow('$.x.expr: ')
})

test('a constant is a new value each time', () => {
  const expression = compileExpression('[1]', sandbox, 'before', '$')
  ;(expression.value(scope) as number[]).push(2)
  expect(expression.value(scope)).toEqual([1])
})

describe('closures and the sandbox agree', () => {
  // Values arrive as JSON text, in which -0 is 0.
  const printed = (value: unknown): Json => JSON.parse(JSON.stringify(value)) as Json
  /** A JSON value, and a path of keys that lead to a value in it. */
  const valueWithPath = fc
    .jsonValue({ maxDepth: 4 })
    .map(printed)
    .chain((value) => {
      const paths: (string | number)[][] = [[]]
      const visit = (at: unknown, path: (string | number)[]): void => {
        if (at === null || typeof at !== 'object') return
        for (const key of Object.keys(at)) {
          const inner = [...path, Array.isArray(at) ? Number(key) : key]
          paths.push(inner)
          visit((at as Record<string, unknown>)[key], inner)
        }
      }
      visit(value, [])
      return fc.tuple(fc.constant(value), fc.constantFrom(...paths))
    })

  test('on every value that exists', () => {
    fc.assert(
      fc.property(
        valueWithPath,
        fc.constantFrom('flow_input', 'results.a', 'previous_result', 'flow_env'),
        ([value, path], root) => {
          const values = scopeOf({ flow_input: value, results: { a: value }, previous_result: value, flow_env: value })
          const source = root + path.map((key) => `[${JSON.stringify(key)}]`).join('')
          const asPath = compileExpression(source, sandbox, 'before', '$')
          const asCode = compileExpression(`(0, ${source})`, sandbox, 'before', '$')
          expect(parseExpression(source, 'before', '$').tier).toBe('path')
          expect(parseExpression(`(0, ${source})`, 'before', '$').tier).toBe('code')
          expect(asPath.value(values)).toEqual(asCode.value(values))
        },
      ),
      { numRuns: 300 },
    )
  })

  test('on every constant', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const source = JSON.stringify(value)
        const constant = compileExpression(source, sandbox, 'before', '$')
        expect(constant.value(scope)).toEqual(compileExpression(`(0, ${source})`, sandbox, 'before', '$').value(scope))
      }),
      { numRuns: 200 },
    )
  })
})

test("any text is an expression that runs, or fails as the user's, or is refused", () => {
  const pieces = [
    'flow_input',
    'results',
    '.a',
    '["x"]',
    '?.',
    '(',
    ')',
    '{',
    '}',
    '[',
    ']',
    ',',
    ';',
    '\n',
    ' ',
    '+',
    '=>',
    '`',
    '${',
    '"',
    "'",
    '/',
    '//',
    '/*',
    '*/',
  ]
  const words = [
    'return ',
    'const x = ',
    'x',
    '1',
    '-',
    '!',
    '<!--',
    '-->',
    'await ',
    'async ',
    'function ',
    'class ',
    'this',
    'new ',
    'arguments',
    '\u2028',
    '#',
    '\\',
  ]
  const source = fc.array(fc.oneof(fc.constantFrom(...pieces, ...words), fc.string({ maxLength: 3 })), { maxLength: 12 })
  fc.assert(
    fc.property(source, (parts) => {
      let fault: unknown = null
      try {
        JSON.parse(compileExpression(parts.join(''), sandbox, 'before', '$').text(scope))
      } catch (thrown) {
        fault = thrown
      }
      expect(fault === null || fault instanceof EngineError || fault instanceof SandboxError).toBe(true)
    }),
    { numRuns: 3_000 },
  )
})

describe('what is looked up', () => {
  const compile = (source: string) => compileExpression(source, sandbox, 'before', '$')

  test('is asked for all at once, and not again once it is there', () => {
    const text = 'variable("f/x") + resource("f/y") + variable("f/x")'
    const asked = { kind: 'variable', path: 'f/x' }
    expect(() => compile(text).text(scope)).toThrow(
      expect.objectContaining({ lookups: [asked, { kind: 'resource', path: 'f/y' }] }),
    )
    const there = scopeOf({ looked_up: { 'variable f/x': 'x', 'resource f/y': 'y' } })
    expect(compile(text).value(there)).toBe('xyx')
  })

  test('makes an expression impure, and fails it if there is none', () => {
    for (const source of ['variable("f/none")', 'variable("f/none") + 1']) {
      expect(compile(source).pure).toBe(false)
      expect(() => compile(source).value(scope)).toThrow('variable f/none: there is none')
    }
  })

  test('may be left to whoever resolves it later, where it is a whole value', () => {
    expect(compile('await variable("f/a/key")').unresolved).toBe('"$var:f/a/key"')
    expect(compile('resource("f/db").host').unresolved).toBe(null)
    const fixed = compileTransform({ type: 'static', value: { a: ['$res:f/db'] } }, sandbox, 'before', '$')
    expect(fixed).toMatchObject({ pure: false, unresolved: '{"a":["$res:f/db"]}' })
    expect(fixed.value(scope)).toEqual({ a: [{ host: 'h', key: 'k' }] })
  })

  test('is found by the way through a flow_env that names it', () => {
    const env = { plain: [1], db: '$res:f/db', deep: { key: '$var:f/a/key' } }
    const into = (source: string) => compileExpression(source, sandbox, 'before', '$', env)
    expect(into('flow_env.plain[0]')).toMatchObject({ pure: true, unresolved: null })
    expect(into('flow_env.db')).toMatchObject({ pure: false, unresolved: '"$res:f/db"' })
    expect(into('flow_env.deep').value(scope)).toEqual({ key: 'k' })
    expect(into('flow_env.db.host').value(scope)).toBe('h')
    expect(into('flow_env.db.host.none').value(scope)).toBe(null)
    expect(into('flow_env.none.host').value(scope)).toBe(null)
  })
})
