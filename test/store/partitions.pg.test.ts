import { expect, test } from 'vitest'
import { createJobIds, firstIdAt, stepIdOf } from '../../src/core/job/ids.ts'
import { keepPartitions } from '../../src/store/partitions.ts'
import type { Database } from '../../src/store/db.ts'
import { run } from '../../src/store/db.ts'
import { claimJobs, finishJobs } from '../../src/store/jobs.ts'
import { testDatabase } from '../support/database.ts'

const databases = await Promise.all(Array.from({ length: 10 }, () => testDatabase()))
const freshDatabase = (): Database => databases.pop()!

const nowMs = Date.UTC(2026, 10, 22, 13, 30)
const dayMs = 86_400_000
let random = 0
const idAt = (ms: number): string => createJobIds(() => ++random * 65_536)(ms)

async function partitionsOf(db: Database): Promise<string[]> {
  const { rows } = await db.pool.query<{ name: string }>(
    `select inhrelid::regclass::text as name from pg_inherits i join pg_class c on c.oid = i.inhparent
      where c.relname in ('job_done', 'job_log') and c.relkind = 'p' order by name`,
  )
  return rows.map((row) => row.name)
}

async function finish(db: Database, jobs: { id: string; completedMs?: number }[]): Promise<void> {
  for (const { id, completedMs = nowMs } of jobs) {
    await db.pool.query(
      `insert into job_done (id, workspace_id, version_id, tag, status, lost, args, result, steps, created_by, completed_at)
       values ($1, 'main', 1, 't', 'success', 0, '{}', '1', '[]', 'x', to_timestamp($2::float8 / 1000))`,
      [id, completedMs],
    )
  }
}

async function placeOf(db: Database, id: string, table = 'job_done'): Promise<string | undefined> {
  const { rows } = await db.pool.query<{ place: string }>(
    `select tableoid::regclass::text as place from ${table} where id = $1`,
    [id],
  )
  return rows[0]?.place
}

const days = ['20261121', '20261122', '20261123', '20261124']
const expected = ['job_done', 'job_log'].flatMap((parent) => [...days.map((day) => `${parent}_${day}`), `${parent}_rest`])

test('partitions are made for yesterday, today and the days ahead, and then there is nothing to do', async () => {
  const db = freshDatabase()
  const { made, dropped } = await keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 2 })
  expect(made).toEqual(expected.filter((name) => !name.endsWith('rest')))
  expect(dropped).toEqual([])
  expect(await partitionsOf(db)).toEqual(expected)
  expect(await keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 2 })).toEqual({ made: [], dropped: [] })
})

test('a finished job is in the partition of the day it was accepted, from its first to its last millisecond', async () => {
  const db = freshDatabase()
  await keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 2 })
  const midnight = Date.UTC(2026, 10, 22)
  const [last, first, next] = [firstIdAt(midnight - 1), firstIdAt(midnight), idAt(midnight + dayMs)]
  await finish(db, [{ id: last }, { id: first }, { id: next }])
  expect([await placeOf(db, last), await placeOf(db, first), await placeOf(db, next)]).toEqual([
    'job_done_20261121',
    'job_done_20261122',
    'job_done_20261123',
  ])
  const { rows } = await db.pool.query<{ 'QUERY PLAN': string }>(`explain select result from job_done where id = '${first}'`)
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
  expect(plan).toContain('job_done_20261122_pkey')
  expect(plan).not.toContain('job_done_rest')
})

test('jobs that finished before their day had a partition are moved into it', async () => {
  const db = freshDatabase()
  const id = idAt(nowMs)
  await finish(db, [{ id }])
  await db.pool.query(`insert into job_log (id, n, content) values ($1, 0, 'said')`, [stepIdOf(id, 1)])
  expect(await placeOf(db, id)).toBe('job_done_rest')
  await keepPartitions(db, { nowMs, retentionDays: 30 })
  expect(await placeOf(db, id)).toBe('job_done_20261122')
  expect(await placeOf(db, stepIdOf(id, 1), 'job_log')).toBe('job_log_20261122')
})

test('what is past retention goes, with its keys and its rows elsewhere', async () => {
  const db = freshDatabase()
  await keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 0 })
  const laterMs = nowMs + 31 * dayMs
  const old = idAt(nowMs)
  const oldInRest = idAt(nowMs - 40 * dayMs)
  const finishedLate = idAt(nowMs - 39 * dayMs)
  const waiting = idAt(nowMs - 38 * dayMs)
  await finish(db, [{ id: old }, { id: oldInRest }, { id: finishedLate, completedMs: laterMs - dayMs }])
  await db.pool.query(
    `insert into job (id, workspace_id, version_id, tag, state, args, created_by) values ($1, 'main', 1, 't', 'waiting', '{}', 'x')`,
    [waiting],
  )
  for (const id of [old, oldInRest, finishedLate, waiting]) {
    const at = nowMs / 1000
    await db.pool.query(
      `insert into job_key (workspace_id, key, job_id, created_at) values ('main', $1::text, $1::uuid, to_timestamp($2))`,
      [id, at],
    )
    await db.pool.query(`insert into job_log (id, n, content) values ($1, 0, 'said')`, [stepIdOf(id, 1)])
    await db.pool.query(`insert into job_progress (id, percent, at) values ($1, 50, to_timestamp($2))`, [stepIdOf(id, 1), at])
  }
  const { dropped } = await keepPartitions(db, { nowMs: laterMs, retentionDays: 30, aheadDays: 0 })
  expect(dropped).toEqual(['job_done_20261121', 'job_done_20261122', 'job_log_20261121', 'job_log_20261122'])
  const ids = async (statement: string): Promise<string[]> =>
    (await db.pool.query<{ id: string }>(statement)).rows.map((row) => row.id).sort()
  expect(await ids('select id from job_done')).toEqual([finishedLate])
  expect(await ids('select job_id as id from job_key')).toEqual([finishedLate, waiting].sort())
  expect(await ids('select id from job_log')).toEqual([finishedLate, waiting].map((id) => stepIdOf(id, 1)).sort())
  expect(await ids('select id from job_progress')).toEqual([])
})

test('a partition that was detached when a process died is dropped by the next', async () => {
  const db = freshDatabase()
  await keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 0 })
  await db.pool.query('alter table job_done detach partition job_done_20261121')
  const { dropped } = await keepPartitions(db, { nowMs: nowMs + 31 * dayMs, retentionDays: 30, aheadDays: 0 })
  expect(dropped).toContain('job_done_20261121')
  expect(await partitionsOf(db)).not.toContain('job_done_20261121')
})

test('many processes may do it at once', async () => {
  const db = freshDatabase()
  const results = await Promise.all(
    Array.from({ length: 4 }, () => keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 2 })),
  )
  expect(results.flatMap((result) => result.made).sort()).toEqual(expected.filter((name) => /\d$/.test(name)).sort()) // each by one of them
  expect(await partitionsOf(db)).toEqual(expected)
})

interface Churn {
  errors: string[]
  /** Samples in which a session of the queue waited behind the upkeep of partitions. */
  blocked: number
  stop(): Promise<void>
}

/** Claims and commits at full speed that give up on a lock after so long (0: never), and a look at who waits for whom. */
async function churn(db: Database, lockTimeoutMs = 50): Promise<Churn> {
  const workerId = (await run<{ id: number }>(db.pool, 'register_worker', ['w', ['t'], 'host', 1, '0', dayMs]))[0]!.id
  const client = await db.connect({ name: 'churn' })
  await client.query(`set lock_timeout = ${lockTimeoutMs}`)
  const seen: Churn = { errors: [], blocked: 0, stop: async () => {} }
  const stop = new AbortController()
  async function work(): Promise<void> {
    while (!stop.signal.aborted) {
      const id = idAt(nowMs)
      try {
        await client.query(
          `insert into job (id, workspace_id, version_id, tag, args, created_by) values ($1, 'main', 1, 't', '{}', 'x')`,
          [id],
        )
        const [job] = await claimJobs(client, { workerId, tag: 't', jobsMax: 1 })
        const batch = `[{"id":"${job!.id}","epoch":${job!.epoch},"status":"success","result":1,"steps":[]}]`
        if ((await finishJobs(client, workerId, batch)).length > 0) throw new Error('not finished')
      } catch (error) {
        seen.errors.push((error as Error).message)
        return
      }
    }
  }
  async function look(): Promise<void> {
    while (!stop.signal.aborted) {
      const { rows } = await db.pool.query<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity a
          where a.datname = current_database() and a.wait_event_type = 'Lock' and a.application_name <> 'millrace partitions'
            and exists (select from pg_stat_activity p where p.pid = any (pg_blocking_pids(a.pid)) and p.application_name = 'millrace partitions')`,
      )
      seen.blocked += rows[0]!.n
    }
  }
  const running = [work(), look()]
  seen.stop = async () => {
    stop.abort()
    await Promise.all(running)
    await client.end()
  }
  return seen
}

/** Until the upkeep has looked so often for who holds the tables. */
async function looked(db: Database, times: number): Promise<void> {
  const seen = new Set<string>()
  while (seen.size < times) {
    const { rows } = await db.pool.query<{ at: string }>(
      `select query_start::text as at from pg_stat_activity where application_name = 'millrace partitions'
          and datname = current_database() and query like '-- long_lock_holders%'`,
    )
    if (rows[0]) seen.add(rows[0].at)
  }
}

for (const [what, laterMs] of [
  ['making', nowMs],
  ['dropping', nowMs + 31 * dayMs],
] as const) {
  test(`${what} a partition that a long transaction reads keeps no claim and no commit waiting`, async () => {
    const db = freshDatabase()
    if (what === 'dropping') await keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 0 })
    const reader = await db.connect({ name: 'long reader' })
    await reader.query('begin; select count(*) from job_done; select count(*) from job_log')
    await reader.query('select pg_sleep(0.05)')
    const load = await churn(db)
    let kept = false
    const keeping = keepPartitions(db, { nowMs: laterMs, retentionDays: 30, aheadDays: 0 }).then((result) => {
      kept = true
      return result
    })
    await looked(db, 4)
    expect(kept).toBe(false)
    await load.stop()
    expect(load.errors).toEqual([])
    expect(load.blocked).toBe(0)
    await reader.query('commit')
    const { made, dropped } = await keeping
    expect([made.length > 0, dropped.length > 0]).toEqual([true, what === 'dropping'])
    await reader.end()
  })
}

test('upkeep that finds a table in use for too long gives up, and says who holds it', async () => {
  const db = freshDatabase()
  const reader = await db.connect({ name: 'long reader' })
  await reader.query('begin; select count(*) from job_done; select pg_sleep(0.05)')
  const [{ pid }] = (await reader.query<{ pid: number }>('select pg_backend_pid() as pid')).rows as [{ pid: number }]
  const refused = keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 0, patienceMs: 100 })
  await expect(refused).rejects.toThrow(`stayed locked; sessions in long transactions: ${pid}`)
  await reader.end()
  expect((await keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 0 })).made).toContain('job_done_20261122')
})

test('partitions come and go under load, and nothing that finishes meanwhile is lost', async () => {
  const db = freshDatabase()
  await keepPartitions(db, { nowMs: nowMs - 40 * dayMs, retentionDays: 30, aheadDays: 8 })
  const load = await churn(db, 0)
  await keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 0 })
  await load.stop()
  expect(load.errors).toEqual([])
  const { rows } = await db.pool.query(`select count(*)::int as n from job where state = 'running'`)
  expect(rows).toEqual([{ n: 0 }])
  expect(await placeOf(db, (await db.pool.query<{ id: string }>('select id from job_done limit 1')).rows[0]!.id)).toBe(
    'job_done_20261122',
  )
})
