import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RuntimeName } from '../../src/core/flow/definition.ts'
import { createHarness, type Harness } from '../contract/harness.ts'
import { isOver, startProgram } from '../support/processes.ts'

const echo = 'export const main = async (value) => value'
const params = ['value']
let harness: Harness
const open = (...args: Parameters<typeof createHarness>) => (harness = createHarness(...args))

beforeEach(() => void (harness = undefined as never))
afterEach(() => harness?.close())

describe('the runner pool', () => {
  test('a call starts a runner where none is warm', async () => {
    const { spec, call, pool } = open('node')
    const own = spec(echo, { params })
    expect(await call(own, { value: 7 }).answer).toMatchObject({ value: 7 })
    expect(pool.stats()).toMatchObject([{ key: own.key, runners: 1, inFlight: 0, queued: 0, restarts: 0 }])
  })

  test('calls are spread over the replicas of a step', async () => {
    const { spec, call, pool, pids } = open('node')
    const own = spec('export const main = async () => process.pid')
    await pool.warm(own, 3)
    const answers = await Promise.all(Array.from({ length: 300 }, () => call(own, {}).answer))
    expect(new Set(answers.map((answer) => answer.value))).toEqual(new Set(pids(own)))
  })

  test('more calls than fit in flight wait in order, and all are answered', async () => {
    const { spec, call, pool } = open('node')
    const own = spec('let n = 0\nexport const main = () => n++')
    const calls = Array.from({ length: 5_000 }, () => call(own, {}))
    expect(pool.stats()[0]).toMatchObject({ queued: 5_000 })
    const answers = await Promise.all(calls.map((one) => one.answer))
    expect(answers.map((answer) => answer.value)).toEqual(calls.map((_, n) => n))
  })

  test('a runner that writes what is no frame is replaced; the call in doubt fails, the others are answered', async () => {
    const { spec, call, pool } = open('node')
    const own = spec(
      `import fs from 'node:fs'
      export async function main(value) {
        if (value === 'break') fs.writeSync(4, Buffer.from([255, 255, 255, 255]))
        return value
      }`,
      { params },
    )
    const calls = [1, 'break', 2, 3].map((value) => call(own, { value }))
    const answers = await Promise.all(calls.map((one) => one.answer))
    expect(answers.filter((answer) => !answer.ok)).toMatchObject([{ error: { name: 'ProtocolError' } }])
    expect(await call(own, { value: 'again' }).answer).toMatchObject({ value: 'again' })
    expect(pool.stats()[0]!.restarts).toBeGreaterThan(0)
  })

  test('a runtime that sends far more than a result may be is cut off before the engine has read it', async () => {
    const { spec, call } = open('node')
    const own = spec(
      `import fs from 'node:fs'
      export async function main(value) {
        if (value !== 'flood') return value
        const body = Buffer.alloc(200 << 20, 'x')
        const head = Buffer.alloc(4)
        head.writeUInt32LE(body.length)
        fs.writeSync(4, head)
        for (let at = 0; at < body.length;) at += fs.writeSync(4, body, at)
      }`,
      { params },
    )
    await call(own, { value: 1 }).answer
    const before = process.memoryUsage().rss
    const { error } = await call(own, { value: 'flood' }).answer
    const grownMib = (process.memoryUsage().rss - before) / 2 ** 20
    expect(error).toMatchObject({ name: 'ProtocolError' })
    expect(error!.message).toContain('frame of 209715200 bytes')
    expect(grownMib).toBeLessThan(32)
    expect(await call(own, { value: 2 }).answer).toMatchObject({ value: 2 })
  })

  test('a result of 100 MB fails its step in the runner, and nothing of it reaches the engine', async () => {
    const { spec, call } = open('node')
    const own = spec('export const main = (value) => "x".repeat(value)', { params })
    await call(own, { value: 1 }).answer
    const before = process.memoryUsage().rss
    const { error } = await call(own, { value: 100_000_000 }).answer
    const grownMib = (process.memoryUsage().rss - before) / 2 ** 20
    expect(error).toMatchObject({ name: 'ResultTooLarge' })
    expect(error!.message).toContain('100000002 bytes of JSON; the limit is 16777216 (MILLRACE_RESULT_BYTES_MAX)')
    expect(grownMib).toBeLessThan(32)
    expect(await call(own, { value: 3 }).answer).toMatchObject({ value: 'xxx' })
  })

  test.each(['node', 'python'] as const)('a result of just the largest size is taken (%s)', async (runtime) => {
    const { spec, call } = open(runtime)
    const own = spec(
      runtime === 'node' ? 'export const main = (value) => "\\"".repeat(value)' : 'def main(value):\n    return "\\"" * value',
      { params },
    )
    const { value } = await call(own, { value: (8 << 20) - 1 }).answer
    expect(String(value)).toHaveLength((8 << 20) - 1)
    expect((await call(own, { value: 8 << 20 }).answer).error).toMatchObject({ name: 'ResultTooLarge' })
  })

  test('code that goes on for ever after its answer does not keep the calls behind it waiting for ever', async () => {
    const { spec, call, pool } = open('node', { limits: { runnerStuckMs: 2_000 } })
    const own = spec(
      `export function main(value) {
        if (value === 'stay') setImmediate(() => { for (;;); })
        return value
      }`,
      { params },
    )
    expect(await call(own, { value: 'stay' }).answer).toMatchObject({ value: 'stay' })
    const behind = [1, 2, 3].map((value) => call(own, { value }))
    const answers = await Promise.all(behind.map((one) => one.answer))
    expect(answers.map((answer) => answer.value)).toEqual([1, 2, 3])
    expect(pool.stats()[0]!.restarts).toBe(1)
  })

  test('a result for a call that is not under way is refused as a whole', async () => {
    const { spec, call } = open('python')
    const own = spec(
      `import sys\ndef main(value):\n    if value == 'forge':\n        runtime = sys.modules['__main__']\n        runtime.out.append(['ok', 999, '"forged"', 0])\n    return value`,
      { params },
    )
    expect(await call(own, { value: 'forge' }).answer).toMatchObject({ ok: false, error: { name: 'ProtocolError' } })
    expect(await call(own, { value: 1 }).answer).toMatchObject({ value: 1 })
  })

  test('calls that keep crashing fail one by one, and never take the others with them', async () => {
    const { spec, call } = open('node')
    const own = spec('export function main(value) { if (value === 13) process.abort(); return value }', { params })
    const values = [1, 13, 2, 13, 3, 13, 4, 13, 5]
    const answers = await Promise.all(values.map((value) => call(own, { value }).answer))
    expect(answers.map((answer) => (answer.ok ? answer.value : answer.error!.name))).toEqual(
      values.map((value) => (value === 13 ? 'RunnerExit' : value)),
    )
  })

  test('a crash among calls that overlap is laid to the guilty one, never to its neighbours', async () => {
    const { spec, call, pool } = open('node')
    const own = spec(
      `export async function main(value) {
        await new Promise((resolve) => setTimeout(resolve, 20))
        if (value === 13) process.abort()
        await new Promise((resolve) => setTimeout(resolve, 20))
        return value
      }`,
      { params },
    )
    const values = [1, 2, 13, 3, 4, 13, 5]
    const answers = await Promise.all(values.map((value) => call(own, { value }).answer))
    expect(answers.map((answer) => (answer.ok ? answer.value : answer.error!.name))).toEqual(
      values.map((value) => (value === 13 ? 'RunnerExit' : value)),
    )
    await expect.poll(() => pool.stats()[0]!.pids).toHaveLength(1)
  })

  test('a call made while a death is told to another one is answered', async () => {
    const { spec, call } = open('node')
    const own = spec('export const main = (value) => (value === "die" ? process.kill(process.pid, "SIGKILL") : value)', {
      params,
    })
    await call(own, { value: 1 }).answer
    const dies = call(own, { value: 'die' })
    const again = new Promise((resolve) => {
      dies.onFailed = () => resolve(call(own, { value: 'again' }).answer) // a retry that does not wait
    })
    expect(await again).toMatchObject({ value: 'again' })
  })

  test('a death tells which steps ran', async () => {
    const { spec, call, next } = open('node')
    const own = spec('export function main(value) { if (value === 13) process.abort(); return value }', { params })
    const died = next('died')
    await call(own, { value: 13 }, { stepJobId: 'step of the guilty one' }).answer
    expect(await died).toMatchObject({ inDoubt: ['step of the guilty one'], source: own.sourceName })
  })

  test('a runner that is never ready fails its calls within the time it has to start', async () => {
    const { spec, call, pool } = open('node', { limits: { runnerStartMs: 300 } })
    const own = spec('await new Promise(() => setInterval(() => {}, 1000))\nexport const main = () => 1')
    const { error } = await call(own, {}).answer
    expect(error!.message).toContain('not ready within 0.3 s')
    await expect(pool.warm(own, 1)).rejects.toMatchObject({ code: 'E_CODE_INVALID' })
  })

  test('release lets calls under way end, then stops the runners', async () => {
    const { spec, call, pool, pids } = open('node')
    const own = spec(
      `export async function main(value) {
        await new Promise((resolve) => setTimeout(resolve, 50))
        return value
      }`,
      { params },
    )
    await pool.warm(own, 1)
    const [pid] = pids(own)
    const calls = Array.from({ length: 600 }, (_, value) => call(own, { value }))
    await pool.release(own.key)
    expect(calls.every((one) => one.answers === 1)).toBe(true)
    expect(pool.stats()).toEqual([])
    await expect.poll(() => isOver(pid!)).toBe(true)
  })

  test('a key may be used again while its old runners leave', async () => {
    const { spec, call, pool } = open('node')
    const own = spec('export const main = (value) => new Promise((resolve) => setTimeout(resolve, 20, value))', { params })
    const old = call(own, { value: 'old' })
    const released = pool.release(own.key)
    const fresh = call(own, { value: 'new' })
    expect((await Promise.all([old.answer, fresh.answer])).map((answer) => answer.value)).toEqual(['old', 'new'])
    await released
  })

  test('a shared pool lets the least recently used idle runner go', async () => {
    const { spec, call, pool } = open('node', { policy: 'shared', limits: { sharedRunnersMax: 2 } })
    const specs = ['a', 'b', 'c'].map((name) => spec(`${echo} // ${name}`, { params }))
    const [a, b, c] = specs as [(typeof specs)[0], (typeof specs)[0], (typeof specs)[0]]
    await call(a, { value: 1 }).answer
    await call(b, { value: 1 }).answer
    await call(a, { value: 1 }).answer
    await call(c, { value: 1 }).answer
    const keys = () => pool.stats().map((stats) => stats.key)
    await expect.poll(keys).toHaveLength(2)
    expect(new Set(keys())).toEqual(new Set([a.key, c.key]))
    expect(await call(b, { value: 2 }).answer).toMatchObject({ value: 2 })
  })

  test('the environment of the engine does not reach user code', async () => {
    process.env.SECRET_OF_THE_ENGINE = 'yes'
    const { spec, call } = open('node', { environment: { BASE_INTERNAL_URL: 'http://here' } })
    const own = spec('const base = process.env.BASE_INTERNAL_URL\nexport const main = () => ({ ...process.env, base })')
    const { value } = (await call(own, {}).answer) as { value: Record<string, string> }
    delete process.env.SECRET_OF_THE_ENGINE
    expect(value.base).toBe('http://here')
    expect(value).not.toHaveProperty('SECRET_OF_THE_ENGINE')
    expect(Object.keys(value).filter((name) => name.startsWith('MILLRACE_'))).toEqual(['MILLRACE_RUNNER'])
  })

  test('names and lines of a bundle come from its source map', async () => {
    const { spec, call } = open('node')
    const { buildSync } = await import('esbuild')
    const source = 'type A = { a: number }\n\n\nexport async function main(): Promise<A> {\n  throw new TypeError("typed")\n}\n'
    const built = buildSync({
      stdin: { contents: source, sourcefile: 'f/demo/step.ts', loader: 'ts' },
      bundle: true,
      minify: true,
      format: 'esm',
      platform: 'node',
      sourcemap: 'inline',
      write: false,
    })
    const { error } = await call(spec(built.outputFiles[0]!.text), {}).answer
    expect(error).toMatchObject({ name: 'TypeError', message: 'typed' })
    expect(error!.stack).toContain('f/demo/step.ts:5:9')
    expect(error!.stack).not.toContain(harness.home)
  })

  test.each<[RuntimeName, string]>([
    ['node', 'export function main() { let v = []; for (let i = 0; i < 500; i++) v = [v]; return v }'],
    ['python', 'def main():\n    v = []\n    for _ in range(500):\n        v = [v]\n    return v'],
  ])('a result nested without measure fails the step (%s)', async (runtime, code) => {
    const { spec, call } = open(runtime)
    expect(await call(spec(code), {}).answer).toMatchObject({ ok: false, error: { name: 'ResultError' } })
  })

  test('closing the pool ends every process and answers nobody', async () => {
    const { spec, call, pool, pids } = open('node')
    const own = spec('export const main = () => new Promise(() => {})')
    await pool.warm(own, 2)
    const waiting = call(own, {})
    const [first, second] = pids(own)
    await pool.close()
    await expect.poll(() => isOver(first!) && isOver(second!)).toBe(true)
    expect(waiting.answers).toBe(0)
  })
})

test('a killed engine leaves no process and no file behind', async () => {
  const program = `
    import { createRunnerPool } from ${JSON.stringify(new URL('../../src/runner/pool.ts', import.meta.url).href)}
    import { defaultLimits as limits } from ${JSON.stringify(new URL('../../src/core/limits.ts', import.meta.url).href)}
    const code = {
      node: 'export const main = () => { for (;;); }',
      python: 'def main():\\n    while True: pass',
      bash: 'sleep 1000',
    }
    const artifacts = { load: async (key) => ({ key, language: '', content: code[key], lock: null }) }
    const pool = createRunnerPool({ limits, home: process.argv[1], artifacts, policy: 'pinned' })
    const call = { scope: {}, args: '{}', jobId: '', stepJobId: '', token: '', timeoutMs: 1e6 }
    for (const runtime of ['node', 'python', 'bash']) {
      const spec = { key: runtime, runtime, language: '', artifactKey: runtime, params: [], sourceName: 'x' }
      await pool.warm(spec, 1)
      pool.call(spec, call)
    }
    setTimeout(() => console.log(JSON.stringify(pool.stats().flatMap((stats) => stats.pids))), 300)`
  const home = mkdtempSync(join(tmpdir(), 'millrace-test-'))
  const engine = startProgram([process.execPath, '--import', 'tsx', '--input-type=module', '-e', program, home])
  const pids = JSON.parse(await engine.nextLine()) as number[]
  expect(pids).toHaveLength(3)
  const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`millrace-runner-${engine.pid}-`))
  expect(folders()).toHaveLength(3)
  engine.kill('SIGKILL')
  await engine.ended
  await expect.poll(() => pids.every(isOver)).toBe(true)
  open('node')
  expect(folders()).toEqual([])
  rmSync(home, { recursive: true })
})

describe('requirements of a Python step', () => {
  /** A wheel of one module, made by hand: the tests reach no package index. */
  function makeWheel(folder: string): string {
    const wheel = join(folder, 'greeter-1.0-py3-none-any.whl')
    mkdirSync(folder, { recursive: true })
    const script = `import zipfile
with zipfile.ZipFile(${JSON.stringify(wheel)}, 'w') as wheel:
    wheel.writestr('greeter.py', 'def greet(name):\\n    return "hello " + name\\n')
    info = 'greeter-1.0.dist-info/'
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: greeter\\nVersion: 1.0\\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(info + 'RECORD', 'greeter.py,,\\n' + info + 'METADATA,,\\n' + info + 'WHEEL,,\\n' + info + 'RECORD,,\\n')
`
    execFileSync('python3', ['-c', script])
    return wheel
  }

  const code = 'import greeter\ndef main(name):\n    return greeter.greet(name)'

  test('are installed once and found by the code', async () => {
    const { spec, call, home } = open('python')
    const lock = `# made by hand\n${makeWheel(join(home, 'wheels'))}\n`
    const own = spec(code, { params: ['name'], lock })
    expect(await call(own, { name: 'Zoë' }).answer).toMatchObject({ value: 'hello Zoë' })
    const again = spec(`${code}\n`, { params: ['name'], lock })
    expect(await call(again, { name: 'again' }).answer).toMatchObject({ value: 'hello again' })
  })

  test('that cannot be installed are named in the error', async () => {
    const { spec, pool, home } = open('python')
    mkdirSync(join(home, 'wheels'))
    writeFileSync(join(home, 'wheels', 'nothing.txt'), '')
    const own = spec(code, { params: ['name'], lock: join(home, 'wheels', 'absent-1.0-py3-none-any.whl') })
    await expect(pool.warm(own, 1)).rejects.toMatchObject({
      code: 'E_CODE_INVALID',
      message: expect.stringMatching(/contract\/step: .*could not install.*absent/s),
    })
  })
})
