// Fail-over under load, with a synchronous standby: the primary is killed, the standby promoted, later the old primary comes back.
// No event that was answered is lost, none is recorded twice, no process ends. Prints the counts.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { Client } from '../../src/client/client.ts'
import { startProgram, type Program } from '../support/processes.ts'
import { startPair } from '../support/standby.ts'

const home = mkdtempSync(join(tmpdir(), 'millrace-failover-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
const token = 'a token for this test'
const publishers = 8
const eventsEach = 150 // before, across and after the fail-over

const document = {
  summary: 'two steps',
  dedicated_worker: true,
  value: {
    modules: [
      step('a', 'export const main = (n: number) => n + 1', 'flow_input.n'),
      step('b', 'export const main = (n: number) => ({ sum: n })', 'results.a'),
    ],
  },
}

function step(id: string, content: string, expr: string) {
  return { id, value: { type: 'rawscript', language: 'bun', content, input_transforms: { n: { type: 'javascript', expr } } } }
}

function millrace(url: string, args: string[]): Program {
  return startProgram([process.execPath, 'dist/cli/main.js', ...args], {
    env: { DATABASE_URL: url, MILLRACE_HOME: home, MILLRACE_LOG_LEVEL: 'info', MILLRACE_ADMIN_TOKEN: token },
  })
}

async function says(program: Program, pattern: RegExp): Promise<RegExpExecArray> {
  for (;;) {
    const found = pattern.exec(program.errors())
    if (found) return found
    if (program.child.exitCode !== null) throw new Error(`it ended:\n${program.errors()}`)
    await Promise.race([once(program.child.stderr!, 'data'), program.ended])
  }
}

test('the primary is killed and its synchronous standby promoted: nothing answered is lost; the old primary that comes back is refused', async () => {
  const pair = await startPair({ synchronous: true })
  const server = millrace(pair.url, ['server', '--port', '0'])
  const [, url] = await says(server, /"url":"([^"]+)"/)
  const client = new Client({ url: url!, token })
  await client.deploy('f/two', document)
  const worker = millrace(pair.url, ['worker', '--dedicated', 'main:flow/f/two'])
  await says(worker, /worker ready/)

  const idOf = new Map<number, string>()
  let refused = 0
  let goOn: (() => void) | null = null
  const middle = new Promise<void>((resolve) => {
    goOn = resolve
  })
  const publish = async (from: number): Promise<void> => {
    for (let n = from; n < from + eventsEach; n++) {
      // Until it is answered 2xx: an answer that was lost leaves the outcome open, and the same key never starts a second job.
      for (;;) {
        try {
          idOf.set(n, await client.run('f/two', { n }, { key: `event ${n}` }))
          break
        } catch {
          refused += 1
          await pause(20)
        }
      }
      if (idOf.size === (publishers * eventsEach) / 4) goOn!()
    }
  }
  const published = Promise.all(Array.from({ length: publishers }, (_, i) => publish(i * eventsEach)))

  await middle
  await pair.primary.kill()
  const killedMs = performance.now()
  const answeredBefore = idOf.size
  await pair.promote()
  const promotedMs = performance.now()
  while (idOf.size === answeredBefore) await pause(5)
  const againMs = performance.now()
  await published

  const { db } = pair.standby
  const left = async () => Number(((await db.pool.query('select count(*) as n from job')).rows[0] as { n: string }).n)
  while ((await left()) > 0) await pause(20)
  const { rows } = await db.pool.query(`select id, status, result, lost from job_done`)
  const done = rows as { id: string; status: string; result: string; lost: number }[]
  const byId = new Map(done.map((row) => [row.id, row]))
  const entries = [...idOf]
  const counts = {
    answered: idOf.size,
    answeredBeforeTheKill: answeredBefore,
    requestsRefusedMeanwhile: refused,
    lost: entries.filter(([, id]) => !byId.has(id)).length,
    recorded: done.length,
    recordedTwice: done.length - byId.size,
    wrong: entries.filter(([n, id]) => byId.get(id) && byId.get(id)!.result !== `{"sum":${n + 1}}`).length,
    takenOver: done.filter((row) => row.lost > 0).length,
    promotionMs: Math.round(promotedMs - killedMs),
    answeredAgainMsAfterPromotion: Math.round(againMs - promotedMs),
  }
  console.log(counts)
  expect(counts).toMatchObject({ answered: publishers * eventsEach, lost: 0, recorded: idOf.size, recordedTwice: 0, wrong: 0 })
  await says(server, /the primary is 127\.0\.0\.1:\d+ now, at timeline 2/)

  // The old primary comes back, takes writes, and is the first in the list.
  await pair.primary.start()
  const { rows: before } = await pair.primary.db.pool.query('select count(*) as n from job_done')
  await db.pool.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and application_name like 'millrace%'`,
  )
  for (let n = 0; n < 30; n++) {
    const id = await retried(() => client.run('f/two', { n }, { key: `later ${n}` }))
    expect(await retried(() => client.result(id))).toEqual({ sum: n + 1 })
  }
  const late = millrace(pair.url, ['worker', '--dedicated', 'main:flow/f/two', '--name', 'late'])
  await says(late, /worker ready/)
  expect((await pair.primary.db.pool.query('select count(*) as n from job_done')).rows).toEqual(before)
  expect((await pair.primary.db.pool.query(`select from worker where name = 'late'`)).rows).toEqual([])
  expect((await db.pool.query(`select from worker where name = 'late'`)).rows).toHaveLength(1)

  for (const program of [server, worker, late]) {
    expect(program.child.exitCode).toBeNull() // none ended
    program.kill('SIGTERM')
  }
  expect(await Promise.all([server.ended, worker.ended, late.ended])).toEqual([0, 0, 0])
}, 120_000)

async function retried<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work()
    } catch {
      await pause(20)
    }
  }
}
