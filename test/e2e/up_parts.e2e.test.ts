// The parts of `up` on their own, in shells of their own, on one state folder.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { command, processesOf, stateFolder, start } from './up_support.ts'

test(
  '`server` in one shell and `worker` in another share one Postgres, which ends with the last of them',
  { timeout: 120_000 },
  async () => {
    const home = stateFolder()
    expect(command(home, ['migrate'])).toMatchObject({
      exitCode: 0,
      out: expect.stringMatching(/^applied 0001_init\.sql/) as string,
    })
    expect(command(home, ['migrate', '--json']).out).toBe('{"applied":[]}\n')

    const server = start(home, ['server'])
    await server.says(/"server is ready"/)
    const code = 'def main(name: str):\n    return f"Hello, {name}"\n'
    const input = { name: { type: 'javascript', expr: 'flow_input.name' } }
    const step = { id: 'a', value: { type: 'rawscript', language: 'python3', content: code, input_transforms: input } }
    const file = join(home, 'hello.json')
    writeFileSync(file, JSON.stringify({ summary: 'Hello', dedicated_worker: true, value: { modules: [step] } }))
    expect(command(home, ['flow', 'push', file, 'hello']).exitCode).toBe(0)
    const id = command(home, ['flow', 'run', 'hello', '-d', '{"name": "Ada"}']).out.trim()

    // Stored before there is a worker, run when there is one.
    const worker = start(home, ['worker', '--dedicated', 'main:flow/hello', '--replicas', 'a=2', '--concurrency', '10'])
    await worker.says(/"worker ready"/)
    await expect.poll(() => command(home, ['job', 'show', id]).out, { timeout: 20_000 }).toMatch(/"Hello, Ada"/)

    // Whoever started Postgres may leave it to the others.
    server.child.kill('SIGTERM')
    expect(await server.ended).toBe(0)
    const next = start(home, ['server'])
    await next.says(/"server is ready"/)
    expect(command(home, ['flow', 'run', 'hello', '-d', '{"name": "Bo"}', '--wait']).out).toBe('"Hello, Bo"\n')

    worker.child.kill('SIGTERM')
    expect(await worker.ended).toBe(0)
    next.child.kill('SIGTERM')
    expect(await next.ended).toBe(0)
    await expect.poll(() => processesOf(home), { timeout: 20_000 }).toEqual([])
  },
)
