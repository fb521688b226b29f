// What is done after the end of jobs, by any worker: what delete_after_secs takes is deleted.
//   A1. What is to be done was written down in the transaction that ended the job; where nothing was, one look finds nothing.
//   A2. Any number of workers do it; the statements see to it that each thing is done once.
import type { Clock } from '../store/clock.ts'
import { isOutage, type Database } from '../store/db.ts'
import { deleteDue } from '../store/deletions.ts'
import type { WorkerLog } from './report.ts'

// Of one statement: a job may be as large as its results are.
const jobsMax = 50
// After which others are let on, if there is more.
const lookMs = 5_000

/** One look, to be called every afterwardsMs. */
export function createAfterwards(parts: { db: Database; clock: Clock; log: WorkerLog }): () => Promise<void> {
  const { db, clock, log } = parts

  async function whileFull(work: () => Promise<number>): Promise<void> {
    const beganMs = clock.monotonicMs()
    while ((await work()) === jobsMax && clock.monotonicMs() - beganMs < lookMs);
  }

  return async () => {
    try {
      await whileFull(() => deleteDue(db.pool, { jobsMax }))
    } catch (error) {
      if (!isOutage(error)) log.error({ err: error }, 'what was to be done after the end of jobs was not')
    }
  }
}
