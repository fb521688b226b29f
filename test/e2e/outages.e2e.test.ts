// A server and a worker whose database is not there when they start, goes away, and goes silent: neither ends, neither storms it.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { testDatabase } from '../support/database.ts'
import { startProgram, type Program } from '../support/processes.ts'
import { startProxy } from '../support/proxy.ts'

const home = mkdtempSync(join(tmpdir(), 'millrace-outages-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
const token = 'a token for this test'
const outageMs = 5_000

async function says(program: Program, pattern: RegExp): Promise<RegExpExecArray> {
  for (;;) {
    const found = pattern.exec(program.errors())
    if (found) return found
    if (program.child.exitCode !== null) throw new Error(`it ended:\n${program.errors()}`)
    await Promise.race([once(program.child.stderr!, 'data'), program.ended])
  }
}

test('processes started before their database wait for it, and outlive its absence and its silence', async () => {
  const direct = await testDatabase()
  const proxy = await startProxy(direct.url)
  afterAll(() => proxy.close())
  proxy.refuse()
  const env = { DATABASE_URL: proxy.url, MILLRACE_HOME: home, MILLRACE_ADMIN_TOKEN: token, MILLRACE_DATABASE_ANSWER_MS: '3000' }
  const millrace = (...args: string[]): Program => startProgram([process.execPath, 'dist/cli/main.js', ...args], { env })
  const server = millrace('server', '--port', '0')
  const worker = millrace('worker', '--tags', 'flow,bun')
  const unwanted = millrace('worker')
  await Promise.all([server, worker, unwanted].map((program) => says(program, /waiting for the database/)))
  unwanted.kill('SIGTERM')
  expect(await unwanted.ended).toBe(0)
  const once503 = millrace('migrate')
  expect(await once503.ended).toBe(1) // somebody watches this one
  expect(once503.errors()).toContain('check DATABASE_URL')

  proxy.admit()
  const [, url] = await says(server, /"url":"([^"]+)"/)
  await says(worker, /worker ready/)
  const client = new Client({ url: url!, token })
  const content = 'export const main = (n: number) => n + 1'
  const value = {
    type: 'rawscript',
    language: 'bun',
    content,
    input_transforms: { n: { type: 'javascript', expr: 'flow_input.n' } },
  }
  await client.deploy('f/next', { summary: 'next', value: { modules: [{ id: 'a', value }] } })
  expect(await client.runWait('f/next', { n: 1 })).toBe(2)
  const again = async (n: number): Promise<unknown> => {
    for (;;) {
      try {
        const id = await client.run('f/next', { n }, { key: `event ${n}` })
        return await client.result(id)
      } catch {
        await pause(50)
      }
    }
  }

  proxy.refuse()
  proxy.cut()
  await expect(client.run('f/next', { n: 2 })).rejects.toMatchObject({ status: 503, code: 'E_DATABASE' })
  const [attempts, fromMs] = [proxy.attempts(), performance.now()]
  await pause(outageMs)
  const perSecond = (proxy.attempts() - attempts) / ((performance.now() - fromMs) / 1_000)
  console.log({ attemptsPerSecond: perSecond })
  expect(perSecond).toBeGreaterThan(0.5)
  expect(perSecond).toBeLessThanOrEqual(5) // of both together
  proxy.admit()
  expect(await again(3)).toBe(4)

  proxy.freeze() // never thawed: what was frozen is given up
  expect(await again(4)).toBe(5)
  for (const program of [server, worker]) {
    expect(program.child.exitCode).toBeNull()
    program.kill('SIGTERM')
  }
  expect(await Promise.all([server.ended, worker.ended])).toEqual([0, 0])
}, 120_000)
