// What any worker does for all: dead workers' jobs go back, jobs and turns whose time has come
// become ready.
//   U1. Any number of workers do it; the statements see to it that each thing is done once.
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../store/clock.ts'
import { isOutage, type Database } from '../store/db.ts'
import { reapWorkers, wakeDueJobs, type Reaped } from '../store/jobs.ts'
import { someOf, type WorkerCounters, type WorkerLog } from './report.ts'

const duePerTick = 1_000
// For others to find the database again, before the loss of their locks is taken for their death (as declare_dead does after
// a restart of the server).
const hintGraceMs = 5_000

/** One round of it, to be called every reapMs. */
export function createUpkeep(parts: {
  db: Database
  clock: Clock
  limits: Limits
  counters: WorkerCounters
  wakeOthers: (tags: readonly string[]) => Promise<void>
  /** Jobs were given back: some of them may be suspects. */
  takenOver: () => void
  log: WorkerLog
}): () => Promise<void> {
  const { db, clock, limits, counters, wakeOthers, log } = parts
  /** When the database was last found away. */
  let outageAtMs = -Infinity

  async function upkeep(): Promise<void> {
    try {
      // After an outage nobody's heartbeat is fresh, and a standby that was promoted holds nobody's lock: only leases count.
      const steady = clock.monotonicMs() - outageAtMs > hintGraceMs
      const hintAfterMs = steady ? limits.hintAfterMs : limits.leaseMs
      const reaped = await reapWorkers(db.pool, { hintAfterMs, lostMax: limits.lostMax })
      if (reaped.workers) {
        tellOfTakeOver(reaped)
        parts.takenOver()
      }
      const due = await wakeDueJobs(db.pool, { jobsMax: duePerTick })
      await wakeOthers([...new Set([...(reaped.tags ?? []), ...due])])
    } catch (error) {
      if (isOutage(error)) outageAtMs = clock.monotonicMs()
      else log.error({ err: error }, 'upkeep failed')
    }
  }

  function tellOfTakeOver(reaped: Reaped): void {
    const { workers, jobs_back: back, jobs_poisoned: poisoned } = reaped
    counters.workersTakenOver += workers?.length ?? 0
    counters.jobsTakenOver += back
    counters.jobsPoisoned += poisoned
    log.warn({ workers, back, jobs: someOf(reaped.back_ids ?? []) }, 'dead workers: their jobs are ready again')
    if (poisoned > 0) {
      log.error(
        { poisoned, jobs: someOf(reaped.poison_ids ?? []) },
        'poison: workers that ran these jobs died too often; they failed',
      )
    }
  }

  return upkeep
}
