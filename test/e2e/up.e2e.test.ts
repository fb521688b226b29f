// `millrace up` as a user has it: started, used from another shell, stopped, killed.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { command, follow, processesOf, stateFolder, start, type Running } from './up_support.ts'

async function nothingLeft(home: string): Promise<void> {
  // A process is gone when the kernel says so, a moment after its parent saw it end.
  await expect.poll(() => processesOf(home), { timeout: 20_000 }).toEqual([])
}

test(
  'the sample streams soon after the start, stops with 0 on one Ctrl-C, and leaves nothing behind',
  { timeout: 120_000 },
  async () => {
    const home = stateFolder()
    const up = start(home, ['up', '--sample', '--rate', '50'])
    await up.says(/Millrace is up {2}http:\/\/127\.0\.0\.1:\d+/)
    await up.says(/^[1-9][\d,]* steps\/s · queue depth [\d,]+ · p99 end to end [\d,]+ ms · [\d,]+ events fed$/m)
    up.child.kill('SIGINT')
    expect(await up.ended).toBe(0)
    await nothingLeft(home)
  },
)

test('`npm start` is the sample, and all of it ends when npm is asked to', { timeout: 120_000 }, async () => {
  const home = stateFolder()
  const npm = follow(home, ['npm', 'start', '--', '--rate', '20'])
  await npm.says(/feeding the sample/)
  npm.child.kill('SIGTERM')
  await npm.ended
  await expect.poll(() => processesOf(home), { timeout: 20_000 }).toEqual([])
})

describe('beside a running `up`', () => {
  const home = stateFolder()
  const files = mkdtempSync(join(tmpdir(), 'millrace-files-'))
  let up: Running

  beforeAll(async () => {
    up = start(home, ['up'])
    await up.says(/Millrace is up/)
  }, 60_000)

  afterAll(() => rmSync(files, { recursive: true, force: true }))

  function flow(options: { dedicated?: boolean; code: string }): string {
    const file = join(files, 'flow.yaml')
    writeFileSync(join(files, 'a.ts'), options.code)
    writeFileSync(
      file,
      `summary: Doubles
${options.dedicated ? 'dedicated_worker: true\n' : ''}value:
  modules:
    - id: a
      value:
        type: rawscript
        language: bun
        content: '!inline a.ts'
        input_transforms:
          x: { type: javascript, expr: flow_input.x }
`,
    )
    return file
  }

  const double = 'export function main(x: number) {\n  console.log(`doubling ${x}`)\n  return { doubled: x * 2 }\n}\n'

  test('a flow is pushed, listed, shown and run, and its job is listed, shown and its log read', { timeout: 120_000 }, () => {
    expect(command(home, ['flow', 'push', flow({ code: double }), 'f/double'])).toEqual({
      exitCode: 0,
      out: 'created main/f/double\n',
      err: '',
    })
    expect(command(home, ['flow', 'push', flow({ code: double }), 'f/double']).out).toBe('updated main/f/double\n')
    expect(command(home, ['flow', 'list']).out).toMatch(/^f\/double +Doubles +shared/m)
    expect(command(home, ['flow', 'show', 'f/double']).out).toContain('export function main(x: number)')
    expect(JSON.parse(command(home, ['flow', 'show', 'f/double', '--json']).out)).toMatchObject({
      path: 'f/double',
      summary: 'Doubles',
    })

    const ran = command(home, ['flow', 'run', 'f/double', '-d', '{"x": 21}', '--wait'])
    expect(ran).toMatchObject({ exitCode: 0, out: '{"doubled":42}\n' })
    const id = ran.err.trim()
    expect(command(home, ['job', 'list', '--path', 'f/double']).out).toMatch(new RegExp(`^${id} +f/double +success`, 'm'))
    const shown = command(home, ['job', 'show', id]).out
    expect(shown).toMatch(/^state +success$/m)
    expect(shown).toMatch(/^a +Success +\d+ ms +[0-9a-f-]{36}$/m)
    expect(command(home, ['job', 'logs', id]).out).toContain('doubling 21')
  })

  test('arguments come from stdin too, and a key never starts a run twice', () => {
    const first = command(home, ['flow', 'run', 'f/double', '-d', '-', '--key', 'once', '--json'], { input: '{"x": 1}' })
    const again = command(home, ['flow', 'run', 'f/double', '-d', '{"x": 1}', '--key', 'once', '--json'])
    expect(JSON.parse(first.out)).toEqual(JSON.parse(again.out))
  })

  test('a run that fails says which step, and why, with exit code 1', () => {
    const code = "export function main() {\n  throw new RangeError('no such thing')\n}\n"
    command(home, ['flow', 'push', flow({ code }), 'f/fails'])
    const { exitCode, out, err } = command(home, ['flow', 'run', 'f/fails', '--wait'])
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: '' })
    expect(err).toMatch(/error: RangeError: no such thing\n {2}at step a$/m)
  })

  test('a document with a fault is refused at its file and line', () => {
    const file = join(files, 'faulty.yaml')
    writeFileSync(file, 'summary: x\nvalue:\n  modules:\n    - id: a\n      value: { type: nonsense }\n')
    const { exitCode, err } = command(home, ['flow', 'push', file, 'f/faulty'])
    expect(exitCode).toBe(1)
    expect(err).toContain(`${file}:5:`)
  })

  test('code that does not compile is refused at its own file and line', () => {
    const { exitCode, err } = command(home, [
      'flow',
      'push',
      flow({ code: 'export function main() {\n  return (\n}\n' }),
      'f/broken',
    ])
    expect(exitCode).toBe(1)
    expect(err).toMatch(new RegExp(`error: ${join(files, 'a.ts')}:3:\\d+: `))
  })

  test('a running job is followed and canceled', { timeout: 60_000 }, async () => {
    const code =
      "export async function main() {\n  console.log('begun')\n  await new Promise((done) => setTimeout(done, 600_000))\n}\n"
    command(home, ['flow', 'push', flow({ code }), 'f/long'])
    const id = command(home, ['flow', 'run', 'f/long']).out.trim()
    const logs = start(home, ['job', 'logs', '-f', id])
    await logs.says(/begun/)
    expect(command(home, ['job', 'list', '--running', '--path', 'f/long']).out).toContain(id)
    expect(command(home, ['job', 'cancel', id, '--reason', 'enough'])).toMatchObject({
      exitCode: 0,
      out: `asked job ${id} to stop\n`,
    })
    expect(await logs.ended).toBe(0)
    expect(JSON.parse(command(home, ['job', 'show', id, '--json']).out)).toMatchObject({
      type: 'CompletedJob',
      success: false,
      canceled: true,
    })
  })

  test('a path or a job that is not there is told', () => {
    expect(command(home, ['flow', 'run', 'f/none', '--wait'])).toMatchObject({ exitCode: 1, out: '' })
    expect(command(home, ['flow', 'show', 'f/none']).err).toMatch(/f\/none/)
    expect(command(home, ['job', 'show', '0199c2c8-0000-7000-8000-000000000000']).exitCode).toBe(1)
    expect(command(home, ['flow', 'list', '--token', 'wrong']).err).toMatch(/--token or MILLRACE_TOKEN/)
  })

  test('a flow that wants a worker of its own gets it, and lets it go', { timeout: 90_000 }, async () => {
    command(home, ['flow', 'push', flow({ code: double, dedicated: true }), 'f/own'])
    await up.says(/"tag":"main:flow\/f\/own","msg":"starting its dedicated worker"/)
    expect(command(home, ['flow', 'list']).out).toMatch(/^f\/own +Doubles +dedicated/m)
    expect(command(home, ['flow', 'run', 'f/own', '-d', '{"x": 4}', '--wait']).out).toBe('{"doubled":8}\n')
    command(home, ['flow', 'push', flow({ code: double }), 'f/own'])
    await up.says(/"part":"worker main:flow\/f\/own","msg":"drained"/)
    expect(command(home, ['flow', 'run', 'f/own', '-d', '{"x": 5}', '--wait']).out).toBe('{"doubled":10}\n')
  })

  test(
    'a second `up` shares the database, listens on a port of its own, and leaves the first as it was',
    { timeout: 90_000 },
    async () => {
      const [, first] = await up.says(/Millrace is up {2}(\S+)/)
      const second = start(home, ['up'])
      const [, other] = await second.says(/Millrace is up {2}(\S+)/)
      expect(other).not.toBe(first)
      expect(command(home, ['flow', 'run', 'f/double', '-d', '{"x": 3}', '--wait', '--url', other!]).out).toBe('{"doubled":6}\n')
      second.child.kill('SIGTERM')
      expect(await second.ended).toBe(0)
      expect(command(home, ['flow', 'run', 'f/double', '-d', '{"x": 7}', '--wait']).out).toBe('{"doubled":14}\n')
    },
  )

  test('a port that was asked for and is taken is refused', async () => {
    const [, port] = await up.says(/Millrace is up {2}http:\/\/127\.0\.0\.1:(\d+)/)
    const { exitCode, err } = command(home, ['server', '--port', port!])
    expect(exitCode).toBe(1)
    expect(err).toMatch(new RegExp(`port ${port} is taken by another program; set MILLRACE_PORT`))
  })

  test('it stops with 0 on SIGTERM and leaves nothing behind', async () => {
    up.child.kill('SIGTERM')
    expect(await up.ended).toBe(0)
    await nothingLeft(home)
  })
})

test('a second Ctrl-C does not wait for what runs', { timeout: 90_000 }, async () => {
  const home = stateFolder()
  const up = start(home, ['up'])
  await up.says(/"worker ready"/)
  const file = join(mkdtempSync(join(home, 'files-')), 'long.yaml')
  const code = "export async function main() { console.log('begun'); await new Promise((done) => setTimeout(done, 600_000)) }"
  const value = { modules: [{ id: 'a', value: { type: 'rawscript', language: 'bun', content: code, input_transforms: {} } }] }
  writeFileSync(file, JSON.stringify({ summary: 'Long', value }))
  command(home, ['flow', 'push', file, 'f/long'])
  const id = command(home, ['flow', 'run', 'f/long']).out.trim()
  await start(home, ['job', 'logs', '-f', id]).says(/begun/)
  up.child.kill('SIGINT')
  await up.says(/draining; Ctrl-C again stops at once/)
  const again = setInterval(() => up.child.kill('SIGINT'), 200)
  await up.says(/stopping at once/)
  clearInterval(again) // a process that is exiting has no handler any more: one more signal would be how it ends
  expect(await up.ended).toBe(1)
  await nothingLeft(home)
})

test('workers of an `up` that was killed drain by themselves', { timeout: 90_000 }, async () => {
  const home = stateFolder()
  const up = start(home, ['up'])
  await up.says(/Millrace is up/)
  up.child.kill('SIGKILL')
  expect(await up.ended).toBe('SIGKILL')
  await nothingLeft(home)
})
