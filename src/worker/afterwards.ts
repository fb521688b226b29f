// What is done after the end of jobs, by any worker: error handlers are started for those that failed, and what delete_after_secs
// takes is deleted.
//   A1. What is to be done was written down in the transaction that ended the job; where nothing was, one look finds nothing.
//   A2. Any number of workers do it; the statements see to it that each thing is done once.
import type { Clock } from '../store/clock.ts'
import { isOutage, type Database } from '../store/db.ts'
import { afterwardsDue, deleteDue } from '../store/deletions.ts'
import { startErrorHandlers } from '../store/failures.ts'
import type { TurnMakers } from '../store/turns.ts'
import type { WorkerLog } from './report.ts'

// Of one statement: a job may be as large as its results are.
const jobsMax = 50
// After which others are let on, if there is more.
const lookMs = 5_000

/** One look, to be called every afterwardsMs. */
export function createAfterwards(parts: {
  db: Database
  clock: Clock
  turnMakers: TurnMakers
  wakeOthers: (tags: readonly string[]) => Promise<void>
  log: WorkerLog
}): () => Promise<void> {
  const { db, clock, turnMakers, wakeOthers, log } = parts

  /** One that fails holds up no other. */
  async function attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!isOutage(error)) log.error({ err: error }, 'what was to be done after the end of jobs was not')
    }
  }

  async function whileFull(work: () => Promise<number>): Promise<void> {
    const beganMs = clock.monotonicMs()
    while ((await work()) === jobsMax && clock.monotonicMs() - beganMs < lookMs);
  }

  async function startHandlers(): Promise<number> {
    const { looked, tags, missing } = await startErrorHandlers(db, { failuresMax: jobsMax, turnMakers })
    for (const [handler, failures] of missing) {
      log.error({ handler, failures }, 'the error handler of this workspace is not deployed; failed jobs wait for it')
    }
    await wakeOthers(tags)
    return looked
  }

  return () =>
    attempt(async () => {
      const due = await afterwardsDue(db.pool)
      if (due.failures) await attempt(() => whileFull(startHandlers))
      if (due.deletions) await whileFull(() => deleteDue(db.pool, { jobsMax }))
    })
}
