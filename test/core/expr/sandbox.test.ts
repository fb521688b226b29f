import { beforeAll, describe, expect, test } from 'vitest'
import type { Sandbox } from '../../../src/core/expr/expression.ts'
import { createSandbox, SandboxError } from '../../../src/core/expr/sandbox.ts'

// Two sandboxes, so that what shows a limit on time never waits long, and all else is never cut short on a busy machine.
let sandbox: Sandbox
let hasty: Sandbox
beforeAll(async () => {
  sandbox = await createSandbox({ timeMs: 60_000, memoryBytes: 16 << 20 })
  hasty = await createSandbox({ timeMs: 100, memoryBytes: 16 << 20 })
})

const run = (body: string): unknown => JSON.parse(sandbox.evaluate(body, [], []))

function failureOf(body: string, where = sandbox): { name: string; message: string } {
  try {
    where.evaluate(body, [], [])
  } catch (error) {
    if (error instanceof SandboxError) return { name: error.name, message: error.message }
    throw error
  }
  throw new Error(`no failure: ${body}`)
}

test('values enter and leave as JSON', () => {
  expect(sandbox.evaluate('return {sum: a + b.c, text}', ['a', 'b', 'text'], ['1', '{"c":2}', '"ü\\n\\u0001💡"'])).toBe(
    '{"sum":3,"text":"ü\\n\\u0001💡"}',
  )
})

test.each([
  ['return undefined', null],
  ['return', null],
  ['return () => 1', null],
  ['return Symbol()', null],
  ['return NaN', null],
  ['return new Map([[1, 2]])', {}],
  ['return {toJSON: () => 7}', 7],
  ['return Promise.resolve(4)', 4],
  ['return (async () => await Promise.resolve({a: 1}))()', { a: 1 }],
])('%s gives JSON', (body, value) => {
  expect(run(body)).toEqual(value)
})

test.each([
  ['throw new TypeError("no")', 'TypeError', 'no'],
  ['class Mine extends Error { constructor(m) { super(m); this.name = "Mine" } } throw new Mine("own")', 'Mine', 'own'],
  ['throw "text"', 'Error', 'text'],
  ['throw {code: 3}', 'Error', '{"code":3}'],
  ['throw null', 'Error', 'null'],
  ['throw undefined', 'Error', 'undefined'],
  ['throw {toJSON() { throw 1 }, toString() { throw 2 }}', 'Error', 'a value without a readable message was thrown'],
  [
    'throw Object.defineProperty(new Error(), "message", {get() { throw 1 }})',
    'Error',
    'a value without a readable message was thrown',
  ],
  ['return null.x', 'TypeError', "cannot read property 'x' of null"],
  ['return 1n', 'TypeError', 'BigInt'],
  ['const a = {}; a.a = a; return a', 'TypeError', 'circular reference'],
  ['return {toJSON() { throw new RangeError("mine") }}', 'RangeError', 'mine'],
  ['return (async () => { throw new Error("late") })()', 'Error', 'late'],
  ['return new Promise(() => {})', 'Error', 'waits for a promise that nothing settles'],
  ['return ][', 'SyntaxError', ''],
])('%s is an error of the user', (body, name, message) => {
  expect(failureOf(body)).toEqual({ name, message: expect.stringContaining(message) })
  expect(run('return 1')).toBe(1)
})

describe('limits', () => {
  test.each([
    ['while (true);'],
    ['try { while (true); } finally { return 1 }'],
    ['try { while (true); } catch { return 1 }'],
    ['return {toJSON() { while (true); }}'],
    ['throw {toString() { while (true); }, toJSON() { while (true); }}'],
    ['return /^(a+)+$/.test("a".repeat(40) + "b")'],
    ['return (async () => { while (true) await 0 })()'],
    ['const again = () => Promise.resolve().then(again); again(); return again()'],
  ])('%s is interrupted', (body) => {
    expect(failureOf(body, hasty)).toEqual({ name: 'TimeoutError', message: 'the expression ran longer than 100 ms' })
    expect(hasty.evaluate('return 1 + 1', [], [])).toBe('2')
  })

  test.each([
    ['return "x".repeat(1e9)', 'RangeError', 'more than 16 MiB of memory'],
    ['return new Array(1e8).fill(0)', 'RangeError', 'more than 16 MiB of memory'],
    ['let s = "x"; while (true) s += s', 'RangeError', 'too long'],
    ['const down = () => down() + 1; return down()', 'RangeError', 'recursed too deeply'],
    ['let deep = []; for (let i = 0; i < 1e5; i++) deep = [deep]; return deep', 'RangeError', ''],
    ['return JSON.parse("[".repeat(1e5) + "]".repeat(1e5))', 'RangeError', ''],
  ])('%s ends', (body, name, message) => {
    expect(failureOf(body)).toEqual({ name, message: expect.stringContaining(message) })
    expect(run('return [1].map(x => x + 1)')).toEqual([2])
  })

  test('work left over by one evaluation does not run in the next', () => {
    const endless = 'const again = () => Promise.resolve().then(again); again(); return 5'
    expect(hasty.evaluate(endless, [], [])).toBe('5')
    expect(hasty.evaluate('return 6', [], [])).toBe('6')
  })

  test('a sandbox that trapped again and again still works', async () => {
    for (let i = 0; i < 5; i++) {
      failureOf('return JSON.parse("[".repeat(1e5) + "]".repeat(1e5))')
      expect(run(`return ${i}`)).toBe(i)
      await new Promise((done) => setImmediate(done))
    }
  })

  test('thousands of different sources stay within memory', () => {
    for (let i = 0; i < 3_000; i++) expect(run(`return ${i} + 1`)).toBe(i + 1)
  })
})

describe('an evaluation leaves no trace', () => {
  test.each([
    'globalThis.leak = 1',
    'Object.prototype.leak = 1',
    'Object.prototype.toString = () => "leak"',
    'Array.prototype.map = () => "leak"',
    'JSON.stringify = () => "leak"',
    'Promise.prototype.then = () => "leak"',
    'Error.prototype.message = "leak"',
    'TypeError.prototype.name = "leak"',
    'delete Array.prototype.map; if (![].map) throw 1',
    'Object.defineProperty(Object.prototype, "leak", {value: 1})',
    'Object.setPrototypeOf(Array.prototype, null)',
    'JSON.parse("{}").__proto__.leak = 1',
    '[][Symbol.iterator]().__proto__.next = 1',
    '(function* () {})().__proto__.__proto__.leak = 1',
    '(async () => {}).__proto__.leak = 1',
    'Math.leak = 1',
    '(() => {}).constructor("\'use strict\'; globalThis.leak = 1")()',
    '(() => {}).constructor("this.leak = 1")(); throw 1',
    'leak = 1',
  ])('%s throws', (body) => {
    failureOf(body)
    expect(run('return [({}).leak, globalThis.leak, [1].map(x => x).length, String({}), typeof JSON.stringify]')).toEqual([
      null,
      null,
      1,
      '[object Object]',
      'function',
    ])
  })

  test('everything reachable is frozen', () => {
    const body = `
      const starts = [globalThis, [], {}, () => {}, async () => {}, function* () {}, async function* () {}, /a/, new Map(), new Set(), 'a', 1, 1n,
        Symbol(), true, [].values(), new Map().values(), new Set().values(), 'a'[Symbol.iterator](), 'a'.matchAll(/a/g), Object.getPrototypeOf((function* () {})()),
        Object.getPrototypeOf((async function* () {})()), Promise.resolve(), new Proxy({}, {}), new Uint8Array(1), new DataView(new ArrayBuffer(1)), new Error(), new Date(),
        new WeakMap(), new WeakSet(), new WeakRef({}), [].entries(), class {}, Object.getOwnPropertyDescriptor(Object.prototype, '__proto__')]
      const loose = [], seen = new Set()
      const visit = (object, path) => {
        if (object === null || !['object', 'function'].includes(typeof object) || seen.has(object)) return
        seen.add(object)
        if (!Object.isFrozen(object)) loose.push(path)
        visit(Object.getPrototypeOf(object), path + '.__proto__')
        for (const key of Reflect.ownKeys(object)) {
          const property = Object.getOwnPropertyDescriptor(object, key)
          for (const part of ['value', 'get', 'set']) visit(property[part], path + '.' + String(key))
        }
      }
      visit(globalThis, 'globalThis')
      starts.forEach((start, i) => visit(Object.getPrototypeOf(start), String(i)))
      return [seen.size > 500, loose]`
    expect(run(body)).toEqual([true, []])
  })

  test('but objects of its own take any key', () => {
    expect(
      run('const o = {}; o.toString = () => "mine"; o.constructor = 2; o.valueOf = 3; return [String(o), Object.keys(o)]'),
    ).toEqual(['mine', ['toString', 'constructor', 'valueOf']])
    expect(run('const e = new TypeError("a"); e.message = "b"; e.name = "c"; return String(e)')).toBe('c: b')
    expect(run('return Object.assign({}, {toString: 1, hasOwnProperty: 2})')).toEqual({ toString: 1, hasOwnProperty: 2 })
  })
})

test('nothing of the host is reachable', () => {
  const names = [
    'process',
    'require',
    'module',
    'console',
    'fetch',
    'setTimeout',
    'std',
    'os',
    'print',
    'WebAssembly',
    'performance',
    'Deno',
  ]
  expect(run(`return [${names.map((name) => `typeof ${name}`).join()}].filter((type) => type !== 'undefined')`)).toEqual([])
  expect(failureOf('return import("fs")').message).toContain('could not load module')
  expect(run('return (() => {}).constructor("return typeof process")()')).toBe('undefined')
})
