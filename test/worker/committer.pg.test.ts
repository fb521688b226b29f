// The commit channel of a worker that loses its lease in the middle of a commit.
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { defaultLimits } from '../../src/core/limits.ts'
import { systemClock } from '../../src/store/clock.ts'
import { run } from '../../src/store/db.ts'
import { claimJobs, insertJobs, newJobId, printNewJob } from '../../src/store/jobs.ts'
import { createCommitter } from '../../src/worker/committer.ts'
import { createCounters } from '../../src/worker/report.ts'
import { testDatabase } from '../support/database.ts'

const db = await testDatabase()

async function sessions(state: string): Promise<number> {
  const { rows } = await db.pool.query(
    `select count(*)::integer as n from pg_stat_activity
      where datname = current_database() and application_name like 'millrace commit %' and ${state}`,
  )
  return (rows[0] as { n: number }).n
}

async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 10))
}

const silent = pino({ level: 'silent' })

async function registered(): Promise<number> {
  const [row] = await run<{ id: number }>(db.pool, 'register_worker', ['w', ['t'], 'host', 1, '0', 60_000])
  return row!.id
}

const committerOf = (workerId: number) =>
  createCommitter({
    db,
    clock: systemClock,
    limits: defaultLimits,
    workerId,
    counters: createCounters(),
    log: silent,
    onRoom: () => {},
  })

test('what a claim left behind is not sent with what the same worker’s next claim of the job came to', async () => {
  const workerId = await registered()
  const id = newJobId()
  const job = { id, workspaceId: 'main', versionId: '1', tag: 'again', priority: 0, args: '{}', createdBy: 'me' }
  await insertJobs(db.pool, `[${printNewJob(job)}]`, [])
  const claim = async () => (await claimJobs(db.pool, { workerId, tag: 'again', jobsMax: 1 }))[0]!
  const { epoch: before } = await claim()
  await run(db.pool, 'release_jobs', [workerId, JSON.stringify([{ id, epoch: before, wanted: 0, seen: 0 }])])
  const { epoch: now } = await claim()
  const committer = committerOf(workerId)
  const refused: Record<string, boolean> = {}
  const entry = (n: number, epoch: number, left: boolean) =>
    committer.journal({
      id,
      epoch,
      left,
      text: JSON.stringify({ id, epoch, n, record: { k: 'wake', s: `of ${epoch}` } }),
      unstorable: () => false,
      committed: (was) => (refused[`${epoch} ${n}`] = was),
    })
  entry(1, before, true)
  entry(1, now, false)
  entry(2, before, true)
  await committer.drained()
  await committer.close()
  expect(refused).toEqual({ [`${before} 1`]: true, [`${before} 2`]: true, [`${now} 1`]: false })
  const { rows } = await db.pool.query<{ record: string }>('select record from job_journal where job_id = $1', [id])
  expect(rows).toEqual([{ record: JSON.stringify({ k: 'wake', s: `of ${now}` }) }])
})

test('closing it in the middle of a commit leaves no connection behind', async () => {
  const workerId = await registered()
  const id = newJobId()
  const job = { id, workspaceId: 'main', versionId: '1', tag: 't', priority: 0, args: '{}', createdBy: 'me' }
  await insertJobs(db.pool, `[${printNewJob(job)}]`, [])
  const [claimed] = await claimJobs(db.pool, { workerId, tag: 't', jobsMax: 1 })
  const committer = committerOf(workerId)

  // Somebody holds the job's row, so the commit waits.
  const other = await db.pool.connect()
  await other.query('begin')
  await other.query('select from job where id = $1 for update', [id])
  const committed = new Promise<boolean>((resolve) => {
    const text = `{"id":"${id}","epoch":${claimed!.epoch},"status":"success","result":{},"steps":[]}`
    committer.finish({
      id,
      epoch: claimed!.epoch,
      text,
      awaited: false,
      waited: false,
      left: false,
      unstorable: () => false,
      committed: (refused) => resolve(refused),
    })
  })
  await until(async () => (await sessions(`wait_event_type = 'Lock'`)) === 1)
  await committer.close()
  await other.query('commit')
  other.release()
  expect(await committed).toBe(false)
  await until(async () => (await sessions('true')) === 0)
})
