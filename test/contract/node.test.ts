import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RunnerSpec } from '../../src/runner/pool_types.ts'
import { createHarness, type Harness } from './harness.ts'
import { javascript } from './javascript.ts'
import { runtimeContract } from './runtime.ts'

runtimeContract({
  runtime: 'node',
  program: javascript,
  broken: { program: 'export function main() {\n  retrun 1\n}', error: /Unexpected/ },
  can: { anyText: true, die: true, memory: true, unprintable: 'cyclic', kill: true, overlap: true },
})

describe.each(['node', 'node-thread'] as const)('JavaScript in a %s', (runtime) => {
  let harness: Harness
  let spec: RunnerSpec

  beforeAll(async () => {
    harness = createHarness(runtime)
    spec = harness.spec(javascript)
    await harness.pool.warm(spec, 1)
  })
  afterAll(() => harness.close())

  const run = (what: string, value: unknown = null, options = {}) => harness.call(spec, { what, value }, options)

  test('calls of an async main overlap', async () => {
    const calls = [run('meet', 1), run('meet', 2)]
    const answers = await Promise.all(calls.map((call) => call.answer))
    expect(answers.map((answer) => answer.value)).toEqual([2, 2])
  })

  test('an error thrown in a timer, or a promise nobody handles, fails the call it came from', async () => {
    const neighbour = run('meet', 1)
    const [stray, rejected] = await Promise.all([run('stray').answer, run('rejected').answer])
    expect(stray.error).toMatchObject({ name: 'Error', message: 'stray' })
    expect(rejected.error).toMatchObject({ name: 'Error', message: 'nobody cared' })
    await run('meet', 2).answer
    expect(await neighbour.answer).toMatchObject({ value: 2 })
  })

  test('values that JSON has no word for become the nearest it has', async () => {
    const { value } = await run('odd').answer
    expect(value).toEqual({ n: null, i: null, b: '12345678901234567890', d: '1970-01-01T00:00:00.000Z' })
    expect((await run('nothing').answer).value).toBe(null)
  })

  test.each([
    ['throws when it is awaited', '({ get then() { throw new Error("then") } })', 'then'],
    ['throws when it is printed', '({ toJSON() { throw new Error("toJSON") } })', 'toJSON'],
    ['rejects with nothing', 'Promise.reject()', 'thrown: null'],
    ['rejects with what cannot be read', 'Promise.reject({ get message() { throw 1 } })', 'cannot be read'],
  ])('a result that %s fails its step and no other', async (_name, expression, message) => {
    const own = harness.spec(`export const main = () => ${expression}`)
    const calls = [harness.call(own, {}), run('echo', 1)]
    const [bad, good] = await Promise.all(calls.map((call) => call.answer))
    expect(bad!.error!.message).toContain(message)
    expect(good).toMatchObject({ value: 1 })
  })

  test('code that replaces JSON.stringify cannot spoil results', async () => {
    const own = harness.spec('JSON.stringify = () => "{"\nexport const main = () => ({ a: 1 })')
    expect(await harness.call(own, {}).answer).toMatchObject({ ok: true, value: { a: 1 } })
  })

  test('progress is told', async () => {
    const call = run('progress')
    await call.answer
    expect(call.percents).toEqual([42])
  })

  test('what a call writes to its environment is gone with it', async () => {
    const scope = { COLOR: 'red' }
    expect((await run('keeps', null, { scope }).answer).value).toBe('green')
    expect((await run('environment', null, { scope }).answer).value).toMatchObject({ color: 'red' })
  })

  test('a main that never yields is ended at its time-out, and only it fails', async () => {
    const calls = [
      run('echo', 1),
      run('hang', 'busy', { timeoutMs: 300 }),
      ...Array.from({ length: 20 }, (_, n) => run('echo', n)),
    ]
    const [before, hang, ...after] = await Promise.all(calls.map((call) => call.answer))
    expect(before).toMatchObject({ value: 1 })
    expect(hang).toMatchObject({ ok: false, error: { name: 'TimeoutError' } })
    expect(after.map((answer) => answer.value)).toEqual(Array.from({ length: 20 }, (_, n) => n))
  })

  test('a token read while the code loads is that of the call when it is sent', async () => {
    const server = createServer((request, response) => response.end(JSON.stringify(request.headers.authorization)))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const code = `
      import http from 'node:http'
      const headers = { Authorization: 'Bearer ' + process.env.WM_TOKEN }
      const text = async (stream) => { let all = ''; for await (const piece of stream) all += piece; return JSON.parse(all) }
      export async function main(url) {
        const fetched = await (await fetch(url, { headers })).json()
        const requested = await new Promise((resolve) => http.get(url, { headers }, (answer) => resolve(text(answer))))
        return [fetched, requested]
      }`
    const own = harness.spec(code, { params: ['url'] })
    const answers = await Promise.all(['one', 'two'].map((token) => harness.call(own, { url }, { token }).answer))
    expect(answers.map((answer) => answer.value)).toEqual([
      ['Bearer one', 'Bearer one'],
      ['Bearer two', 'Bearer two'],
    ])
    server.close()
    server.closeAllConnections()
  })
})
