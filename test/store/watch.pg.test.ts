// What metrics and `top` read: right, and as cheap with a long queue as with a short one.
import { beforeEach, expect, test } from 'vitest'
import { readFileSync } from 'node:fs'
import { newJobId } from '../../src/store/jobs.ts'
import { databaseHealth, listWorkers, queueAges } from '../../src/store/watch.ts'
import { testDatabase } from '../support/database.ts'

const db = await testDatabase()
const other = await testDatabase({ empty: true })

beforeEach(async () => {
  await db.pool.query('truncate job, worker restart identity')
})

interface Row {
  tag: string
  ageS: number
  priority?: number
  state?: string
  /** Seconds ago that it was due. */
  dueS?: number
}

async function insert(...rows: Row[]): Promise<void> {
  const now = Date.now()
  const jobs = rows.map((row) => ({
    id: newJobId(now - row.ageS * 1_000),
    tag: row.tag,
    priority: row.priority ?? 0,
    state: row.state ?? 'ready',
    run_at: row.dueS === undefined ? null : new Date(now - row.dueS * 1_000),
  }))
  await db.pool.query(
    `insert into job (id, workspace_id, version_id, tag, priority, state, run_at, args, created_by)
     select id, 'main', 1, tag, priority, state::job_state, run_at, '{}', 'me'
       from json_to_recordset($1) as x (id uuid, tag text, priority smallint, state text, run_at timestamptz)`,
    [JSON.stringify(jobs)],
  )
}

// Ids of one process grow, so each of these is made in order of age: the oldest first.
test('the age of a tag is that of its oldest ready job, whatever its priority; of one that was parked, since it was due', async () => {
  await insert(
    { tag: 'late', ageS: 7_000, dueS: 30 },
    { tag: 'running', ageS: 6_000, state: 'running' },
    { tag: 'mixed', ageS: 5_000, state: 'parked', dueS: -100 },
    { tag: 'mixed', ageS: 4_000, priority: -3 },
    { tag: 'mixed', ageS: 200, priority: 5 },
    { tag: 'mixed', ageS: 100 },
    { tag: 'new', ageS: 0 },
  )
  const ages = new Map((await queueAges(db.pool)).map((row) => [row.tag, row.oldestReadyS]))
  expect([...ages.keys()].sort()).toEqual(['late', 'mixed', 'new'])
  // To a minute: what is asked takes its time.
  expect(Math.round((ages.get('mixed')! - 4_000) / 60)).toBe(0)
  expect(Math.round((ages.get('late')! - 30) / 60)).toBe(0)
  expect(Math.round(ages.get('new')! / 60)).toBe(0)
  expect(await queueAges(db.pool)).toHaveLength(3)
})

test('an empty queue has no ages', async () => {
  expect(await queueAges(db.pool)).toEqual([])
})

test('ages are found through the index, not by reading the jobs', async () => {
  await db.pool.query(
    `insert into job (id, workspace_id, version_id, tag, args, created_by)
     select ('019ac0de-7000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'main', 1, 'tag ' || n % 3, '{}', 'me'
       from generate_series(1, 20000) n`,
  )
  await db.pool.query('analyze job')
  const { rows } = await db.pool.query<{ 'QUERY PLAN': string }>(
    `explain (analyze, timing off) ${readFileSync('src/store/sql/queue_ages.sql', 'utf8')}`,
  )
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
  expect(plan).toContain('job_ready')
  expect(plan).not.toMatch(/Seq Scan on job/)
  const counts = [...plan.matchAll(/job_ready on job.*actual rows=([\d.]+) loops=(\d+)/g)].map(
    ([, rows_, loops]) => Number(rows_) * Number(loops),
  )
  expect(counts.length).toBeGreaterThan(0)
  expect(Math.max(...counts)).toBeLessThanOrEqual(4)
})

test('workers come with what they counted; one that ended is seen for so long and no longer', async () => {
  const counts = { failed: 1, steps: 6, flows: { 'main:flow/a': [2, 1, 6] } }
  await db.pool.query(
    `insert into worker (name, tags, host, pid, version, lease_ms, jobs_held, jobs_done, counts) values ('w', '{t}', 'h', 1, '1', 1000, 3, 2, $1)`,
    [JSON.stringify(counts)],
  )
  await db.pool.query(
    `insert into worker (name, tags, host, pid, version, lease_ms, state, stopped_at)
     select 'gone ' || ago, '{}', 'h', 1, '1', 1000, 'stopped', clock_timestamp() - ago * interval '1 s' from unnest(array[30, 300]) ago`,
  )
  const workers = await listWorkers(db.pool, { endedS: 60 })
  expect(workers.map((worker) => worker.name)).toEqual(['w', 'gone 30'])
  expect(workers[0]).toMatchObject({ state: 'alive', jobsHeld: 3, jobsDone: 2, counts })
})

test('whoever holds a transaction open is named, and so is the oldest snapshot', async () => {
  const stranger = await other.connect({ name: 'of another database' })
  await stranger.query('begin isolation level repeatable read')
  await stranger.query('select 1')
  await db.pool.query('create table older (n integer)') // uses a transaction id, as the one below
  const holder = await db.connect({ name: 'a forgotten session' })
  const { rows } = await holder.query<{ pid: number }>('select pg_backend_pid() as pid')
  const pid = rows[0]!.pid
  await holder.query('begin isolation level repeatable read')
  await holder.query('select 1')
  await db.pool.query('create table churn (n integer)') // a transaction id is used, so that there is something to be behind
  await insert({ tag: 't', ageS: 100, state: 'parked', dueS: 60 })
  const health = await databaseHealth(db.pool)
  for (const session of [holder, stranger]) {
    await session.query('rollback')
    await session.end()
  }
  expect(health).toMatchObject({ oldestPid: String(pid), oldestWho: 'a forgotten session' })
  expect(health.notifyQueueRatio).toBeLessThan(0.01) // all tests share it
  expect(health.horizonHolder).toBe(`pid ${pid}`)
  expect(health.horizonAge).toBeGreaterThan(0)
  expect(health.oldestTransactionS).toBeGreaterThanOrEqual(0)
  expect(health.xidAge).toBeGreaterThan(0)
  expect(health.parkedOverdueS).toBeGreaterThanOrEqual(59)
})
