// Server and worker with nothing but a transaction pooler (a real pgbouncer) between them and the database: poll mode.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { testDatabase } from '../support/database.ts'
import { startPooler } from '../support/pgbouncer.ts'
import { startProgram, type Program } from '../support/processes.ts'

const home = mkdtempSync(join(tmpdir(), 'millrace-pooler-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
const token = 'a token for this test'
const events = 60

async function says(program: Program, pattern: RegExp): Promise<RegExpExecArray> {
  for (;;) {
    const found = pattern.exec(program.errors())
    if (found) return found
    if (program.child.exitCode !== null) throw new Error(`it ended:\n${program.errors()}`)
    await Promise.race([once(program.child.stderr!, 'data'), program.ended])
  }
}

test('through a transaction pooler events run by polling, and a killed worker’s jobs go on when its lease is over', async () => {
  const direct = await testDatabase()
  const pooler = await startPooler(direct.url, { mode: 'transaction' })
  const env = { DATABASE_URL: pooler.url, MILLRACE_HOME: home, MILLRACE_ADMIN_TOKEN: token, MILLRACE_LEASE_MS: '2000' }
  const millrace = (...args: string[]): Program => startProgram([process.execPath, 'dist/cli/main.js', ...args], { env })

  const server = millrace('server', '--port', '0')
  await says(server, /Poll mode/)
  const [, url] = await says(server, /"url":"([^"]+)"/)
  const client = new Client({ url: url!, token })
  const content = 'export const main = (n: number, ms: number) => new Promise((done) => setTimeout(() => done(n + 1), ms))'
  const input_transforms = Object.fromEntries(
    ['n', 'ms'].map((name) => [name, { type: 'javascript', expr: `flow_input.${name}` }]),
  )
  const modules = [{ id: 'a', value: { type: 'rawscript', language: 'bun', content, input_transforms } }]
  await client.deploy('f/slow', { summary: 'waits', dedicated_worker: true, value: { modules } })
  const first = millrace('worker', '--dedicated', 'main:flow/f/slow')
  await says(first, /worker ready/)
  const results = await Promise.all(Array.from({ length: events }, (_, n) => client.runWait('f/slow', { n, ms: 1 })))
  expect(results).toEqual(Array.from({ length: events }, (_, n) => n + 1))

  const { rows } = await direct.pool.query(`select hint_lock from worker where state = 'alive'`)
  expect(rows).toEqual([{ hint_lock: false }])
  const left = await direct.pool.query(
    `select query from pg_stat_activity where datname = current_database() and query ilike 'listen%'
     union all select locktype from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`,
  )
  expect(left.rows).toEqual([])

  const id = await client.run('f/slow', { n: 1, ms: 3_000 })
  while ((await direct.pool.query(`select from job where id = $1 and state = 'running'`, [id])).rows.length === 0) continue
  first.kill('SIGKILL')
  const second = millrace('worker', '--dedicated', 'main:flow/f/slow')
  expect(await client.result(id)).toBe(2)
  const done = await direct.pool.query(`select lost from job_done where id = $1`, [id])
  expect(done.rows).toEqual([{ lost: 1 }])
  for (const program of [server, second]) program.kill('SIGTERM')
  expect(await Promise.all([server.ended, second.ended])).toEqual([0, 0])
}, 90_000)
