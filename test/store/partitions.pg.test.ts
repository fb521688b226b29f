import { expect, test } from 'vitest'
import { createJobIds, firstIdAt, stepIdOf } from '../../src/core/job/ids.ts'
import { keepPartitions } from '../../src/store/partitions.ts'
import type { Database } from '../../src/store/db.ts'
import { testDatabase } from '../support/database.ts'

const databases = await Promise.all(Array.from({ length: 7 }, () => testDatabase()))
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
  expect(results.filter((result) => result.made.length > 0)).toHaveLength(1)
  expect(await partitionsOf(db)).toEqual(expected)
})

test('commits go on while a long transaction keeps the partitions from being made', async () => {
  const db = freshDatabase()
  const reader = await db.connect({ name: 'long reader' })
  await reader.query('begin; select count(*) from job_done')
  let made = false
  const keeping = keepPartitions(db, { nowMs, retentionDays: 30, aheadDays: 0 }).then(() => (made = true))
  const blockedUs = `select count(*)::int as n from pg_stat_activity where application_name = 'millrace partitions' and wait_event_type = 'Lock'`
  while ((await db.pool.query<{ n: number }>(blockedUs)).rows[0]!.n === 0) await finish(db, [{ id: idAt(nowMs) }])
  for (let n = 0; n < 20; n++) await finish(db, [{ id: idAt(nowMs) }])
  expect(made).toBe(false)
  await reader.query('commit')
  await reader.end()
  await keeping
  expect(await partitionsOf(db)).toContain('job_done_20261122')
  const { rows } = await db.pool.query('select count(*)::int as n from job_done_rest')
  expect(rows).toEqual([{ n: 0 }])
})
