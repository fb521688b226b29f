// The contract of a runtime (docs/runtime-protocol.md, "Contract suite"): whoever adds a language runs this against it.
// The language gives one program, `main(what, value)`, that does what it is asked; see test/contract/node.test.ts for all of it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RuntimeName } from '../../src/core/flow/definition.ts'
import { encodeFrame } from '../../src/core/wire/frames.ts'
import type { RunnerSpec } from '../../src/runner/pool_types.ts'
import { runtimes } from '../../src/runner/runtimes.ts'
import { isOver } from '../support/processes.ts'
import { createHarness, lineOf, type Harness } from './harness.ts'

export interface Subject {
  runtime: RuntimeName
  /**
   * `main(what, value)`. What it must do:
   *   echo        return value
   *   fail        fail with the message 'it broke', in the line marked FAILS HERE
   *   forge       print lines, bytes and frames that look like the protocol's, on every channel it has; return 'honest'
   *   log         print `line <value>`
   *   environment return { job, flow, root, token, color, trace } from WM_JOB_ID, WM_FLOW_JOB_ID, WM_ROOT_JOB_ID, WM_TOKEN, COLOR,
   *               and `<TRACEPARENT> <TRACESTATE>`
   *   exit        end the process in the usual way, with code 3
   *   die         end the process at once, so that nothing can be done about it
   *   hang        print `hanging`, then never return
   *   memory      allocate without end
   *   nul         return a string with a NUL character and half of a surrogate pair, where the language can
   *   big         return a string of value characters
   *   pieces      stream 'one ' and 'two'
   *   flood       stream and print (with line ends) value characters each, and fail with a message as long
   *   detach      start a process that sleeps for long and does not end by itself, return its pid
   */
  program: string
  /** A program that cannot be loaded, and what its error says. */
  broken: { program: string; error: RegExp }
  /** What the language leaves open. */
  can: {
    /** Return any text, the empty one and one that ends in a line break included. */
    anyText: boolean
    /** End the process of the runtime (`die`). */
    die: boolean
    /** Be killed by its pid. */
    kill: boolean
    /** Run out of memory (`memory`). */
    memory: boolean
    /** Answer other calls while one hangs. */
    overlap: boolean
    /** What to ask for to get a value that JSON cannot carry. */
    unprintable: string | null
  }
}

/** A test of what not every language can do. */
const testIf = (able: boolean) => (able ? test : () => {})

export function runtimeContract({ runtime, program, broken, can }: Subject): void {
  describe(`the ${runtime} runtime`, () => {
    const isProcess = runtimes[runtime].transport === 'process'
    let harness: Harness
    let spec: RunnerSpec

    beforeAll(async () => {
      harness = createHarness(runtime, { limits: { resultBytesMax: 100_000, logBytesMax: 10_000, runnerMemoryMib: 128 } })
      spec = harness.spec(program)
      await harness.pool.warm(spec, 1)
    })
    afterAll(() => harness.close())

    const run = (what: string, value: unknown = null, options = {}) => harness.call(spec, { what, value }, options)

    test('every value comes back as it was sent, under its own id', async () => {
      const texts = can.anyText ? ['', 'two\nlines\n'] : []
      const values = [...texts, 0, -1.5, 'text', 'Zoë 🦀 \u2028 " \\', true, [1, [2]], { a: { b: 'c' } }, 2 ** 53 - 1]
      const answers = await Promise.all(values.map((value) => run('echo', value).answer))
      expect(answers.map((answer) => answer.value)).toEqual(values)
    })

    test('many calls of one turn of the event loop are all answered, each with its own value', async () => {
      const count = runtime === 'bash' ? 20 : 1_000
      const calls = Array.from({ length: count }, (_, n) => run('echo', { n }))
      const answers = await Promise.all(calls.map((call) => call.answer))
      expect(answers.map((answer) => answer.value)).toEqual(calls.map((_, n) => ({ n })))
    })

    test('a failure carries name, message and the line of the user', async () => {
      const { ok, error } = await run('fail').answer
      expect(ok).toBe(false)
      expect(error!.name).toMatch(/\w/)
      expect(error!.message).toContain('it broke')
      const text = `${error!.message}\n${error!.stack}`
      expect(text).toMatch(new RegExp(`contract/step.{1,12}\\b${lineOf(program, 'FAILS HERE')}\\b`))
      expect(text).not.toContain('/runtimes/')
      expect(text).not.toContain(harness.home)
    })

    test('what user code prints is its log and never a frame', async () => {
      const call = run('forge')
      const neighbours = [run('echo', 1), run('echo', 2)]
      expect(await call.answer).toMatchObject({ ok: true, value: 'honest' })
      expect(await Promise.all(neighbours.map((one) => one.answer))).toMatchObject([{ value: 1 }, { value: 2 }])
      expect(call.log).toContain('["ok"')
      expect(call.answers).toBe(1)
    })

    test('each call has its own log', async () => {
      const calls = [1, 2, 3, 4].map((n) => run('log', n))
      await Promise.all(calls.map((call) => call.answer))
      expect(calls.map((call) => call.log.trim())).toEqual(['line 1', 'line 2', 'line 3', 'line 4'])
    })

    test('a long log is cut, and says so', async () => {
      const call = run('log', 'x'.repeat(20_000))
      await call.answer
      expect(call.log).toContain('the log was cut here')
      expect(call.log.length).toBeLessThan(10_200)
    })

    test('each call has its own environment', async () => {
      const red = { COLOR: 'red' }
      const blue = { COLOR: 'blue' }
      const trace = { traceparent: '00-a-b-01', tracestate: 'x=1' }
      const calls = [
        run('environment', null, { scope: red, jobId: 'j1', stepJobId: 's1', token: 't1' }),
        run('environment', null, { scope: blue, jobId: 'j2', stepJobId: 's2', token: 't2', trace }),
        run('environment', null, { scope: red, jobId: 'j3', stepJobId: 'j3', token: '' }),
      ]
      const answers = await Promise.all(calls.map((call) => call.answer))
      expect(answers.map((answer) => answer.value)).toEqual([
        { job: 's1', flow: 'j1', root: 'j1', token: 't1', color: 'red', trace: ' ' },
        { job: 's2', flow: 'j2', root: 'j2', token: 't2', color: 'blue', trace: '00-a-b-01 x=1' },
        { job: 'j3', flow: '', root: 'j3', token: '', color: 'red', trace: ' ' },
      ])
    })

    test('pieces of a stream arrive in order', async () => {
      const call = run('pieces')
      await call.answer
      expect(call.stream).toBe('one two')
    })

    test('a flood of output, stream and error is cut, each at its limit, and the next call is as fast as ever', async () => {
      const flood = run('flood', 3_000_000)
      const { error } = await flood.answer
      expect(error!.message.length).toBeLessThan(100_000)
      expect(flood.stream.length).toBeLessThan(101_000)
      expect(flood.log).toContain('the log was cut here')
      expect(flood.log.length).toBeLessThan(10_300)
      expect(await run('echo', 1).answer).toMatchObject({ value: 1 })
    })

    test('a call that exits fails, and its neighbours do not notice', async () => {
      const calls = [run('echo', 1), run('exit'), run('echo', 2)]
      const [before, exit, after] = await Promise.all(calls.map((call) => call.answer))
      expect(exit!.ok).toBe(false)
      expect(exit!.error!.message).toMatch(/exit/)
      expect([before!.value, after!.value]).toEqual([1, 2])
    })

    test('a hanging call ends at its time-out; the rest goes on', async () => {
      const hang = run('hang', null, { timeoutMs: 2_000 }) // a program of its own may take a while to begin
      const others = [run('echo', 1), run('echo', 2)]
      expect(await hang.answer).toMatchObject({ ok: false, error: { name: 'TimeoutError' } })
      expect(hang.log).toContain('hanging')
      expect(await Promise.all(others.map((call) => call.answer))).toMatchObject([{ value: 1 }, { value: 2 }])
      expect(hang.answers).toBe(1)
    })

    test('a call can be cancelled while it runs, and before it does', async () => {
      const running = run('hang')
      const waiting = Array.from({ length: 6 }, () => run('hang'))
      await running.logs('hanging')
      for (const call of waiting) harness.pool.cancel(call, 'no longer needed')
      harness.pool.cancel(running, 'no longer needed')
      const answers = await Promise.all([running, ...waiting].map((call) => call.answer))
      for (const answer of answers) expect(answer.error).toEqual({ name: 'Canceled', message: 'no longer needed' })
      expect(await run('echo', 'still here').answer).toMatchObject({ value: 'still here' })
    })

    testIf(can.die)('a call that ends the process fails with how it ended; the others are answered', async () => {
      const calls = [run('echo', 1), run('die'), ...Array.from({ length: 50 }, (_, n) => run('echo', n))]
      const [before, dead, ...after] = await Promise.all(calls.map((call) => call.answer))
      expect(dead).toMatchObject({ ok: false, error: { name: 'RunnerExit' } })
      expect(before!.value).toBe(1)
      expect(after.map((answer) => answer.value)).toEqual(Array.from({ length: 50 }, (_, n) => n))
      expect(calls.map((call) => call.answers)).toEqual(calls.map(() => 1))
    })

    testIf(can.kill)('kill -9 in mid-stream costs at most the call in doubt, and the runner is warm again', async () => {
      const hang = run('hang')
      const calls = Array.from({ length: 40 }, (_, n) => run('echo', n))
      await hang.logs('hanging')
      const ready = harness.next('ready')
      process.kill(harness.pids(spec)[0]!, 'SIGKILL')
      await ready
      const answers = await Promise.all(calls.map((call) => call.answer))
      const failed = answers.filter((answer) => !answer.ok)
      expect(failed.length).toBeLessThanOrEqual(1)
      if (can.overlap) harness.pool.cancel(hang, 'done')
      else expect(await hang.answer).toMatchObject({ ok: false, error: { name: 'RunnerExit', signal: 'SIGKILL' } })
      expect([...calls, hang].every((call) => call.answers <= 1)).toBe(true)
      expect(harness.pool.stats()[0]!.runners).toBe(1)
    })

    testIf(can.memory)('a call that floods memory fails alone', async () => {
      const calls = [run('echo', 1), run('memory', null, { timeoutMs: 20_000 }), run('echo', 2)]
      const [before, flood, after] = await Promise.all(calls.map((call) => call.answer))
      expect(flood).toMatchObject({ ok: false, error: { name: 'OutOfMemory' } })
      expect([before!.value, after!.value]).toEqual([1, 2])
    })

    test('what Postgres cannot store is replaced', async () => {
      const { ok, value } = await run('nul').answer
      expect(ok).toBe(true)
      expect(String(value)).not.toContain('\0')
      expect(String(value).isWellFormed()).toBe(true)
      expect(String(value)).toMatch(/^a.*b/)
    })

    test('a result beyond the limit fails the step', async () => {
      const { error } = await run('big', 200_000).answer
      expect(error).toMatchObject({ name: 'ResultTooLarge' })
      expect(error!.message).toMatch(/contract\/step.* \d{6} bytes.* 100000 \(MILLRACE_RESULT_BYTES_MAX\)/)
      expect(String((await run('big', 90_000).answer).value)).toHaveLength(90_000)
    })

    testIf(can.unprintable !== null)('a result that JSON cannot carry fails the step with the reason', async () => {
      const { error } = await run(can.unprintable!).answer
      expect(error).toMatchObject({ name: 'ResultError' })
    })

    test('code that cannot be loaded says why, to whoever warms it and to its calls', async () => {
      const bad = harness.spec(broken.program, { name: 'contract/broken' })
      await expect(harness.pool.warm(bad, 1)).rejects.toMatchObject({
        code: 'E_CODE_INVALID',
        message: expect.stringMatching(broken.error),
      })
      const { error } = await harness.call(bad, {}).answer
      expect(error!.message).toMatch(broken.error)
      expect(`${error!.message} ${error!.stack}`).not.toContain(harness.home)
    })

    testIf(isProcess)('processes that user code left behind end with the runner', async () => {
      const own = harness.spec(`${program}\n`)
      const { value } = await harness.call(own, { what: 'detach', value: null }).answer
      expect(value).toBeGreaterThan(1)
      await harness.pool.release(own.key)
      await expect.poll(() => isOver(Number(value))).toBe(true)
    })

    testIf(isProcess)('the runtime ends when its input does', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'millrace-eof-'))
      writeFileSync(join(folder, 'cell'), Buffer.alloc(16))
      const code = join(folder, runtimes[runtime].codeFile)
      writeFileSync(code, program)
      const [command, ...args] = runtimes[runtime].command(128)
      const env = {
        PATH: process.env.PATH,
        MILLRACE_CODE: code,
        MILLRACE_CELL: join(folder, 'cell'),
        MILLRACE_PARAMS: '["what","value"]',
      }
      const child = spawn(command!, args, { stdio: ['pipe', 'pipe', 'inherit'], env })
      await once(child.stdout, 'data')
      const scope = ['scope', 1, {}]
      child.stdin.write(encodeFrame(runtimes[runtime].codec, [scope, ['call', 1, 1, '{"what":"echo","value":1}', 'j', 's', '']]))
      await once(child.stdout, 'data')
      child.stdin.end()
      const [exitCode] = await once(child, 'exit')
      expect(exitCode).toBe(0)
      rmSync(folder, { recursive: true })
    })
  })
}
