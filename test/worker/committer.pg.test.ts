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

test('closing it in the middle of a commit leaves no connection behind', async () => {
  const [row] = await run<{ id: number }>(db.pool, 'register_worker', ['w', ['t'], 'host', 1, '0', 60_000])
  const workerId = row!.id
  const id = newJobId()
  const job = { id, workspaceId: 'main', versionId: '1', tag: 't', priority: 0, args: '{}', createdBy: 'me' }
  await insertJobs(db.pool, `[${printNewJob(job)}]`, [])
  const [claimed] = await claimJobs(db.pool, { workerId, tag: 't', jobsMax: 1 })
  const log = pino({ level: 'silent' })
  const counters = createCounters()
  const committer = createCommitter({
    db,
    clock: systemClock,
    limits: defaultLimits,
    workerId,
    counters,
    log,
    onRoom: () => {},
  })

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
