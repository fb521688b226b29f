// Releases: jobs on their way back to the queue, parked for a retry or left behind by a stopping worker; some per statement.
//   G1. A job that is given back was journaled before, and stays with its run until the database has it.
//   G2. Never rejects: what the database does not take ends its own job, not this worker.
import { messageOf } from '../core/errors.ts'
import type { Clock } from '../store/clock.ts'
import { blamesRows, type Database } from '../store/db.ts'
import { recordRefusals, releaseJobs, type Release, type ReleasedWait } from '../store/jobs.ts'
import type { WorkerCounters, WorkerLog } from './report.ts'
import type { Retrying } from './retrying.ts'
import type { Run, Wait } from './run.ts'
import type { Runs } from './runs.ts'

export interface Releases {
  /** Gives a run back as its parkUntilMs says. Its records are in the journal. */
  push(run: Run): void
  /** Resolves once what was pushed has been given back, or has ended. */
  flushed(): Promise<void>
}

export function createReleases(parts: {
  db: Database
  clock: Clock
  workerId: number
  runs: Runs
  counters: WorkerCounters
  retrying: Retrying
  wakeOthers: (tags: readonly string[]) => Promise<void>
  log: WorkerLog
}): Releases {
  const { db, clock, workerId, runs, counters, retrying, wakeOthers, log } = parts
  let waiting: Run[] = []
  let busy: Promise<void> | null = null
  const parkedOf = (run: Run): Release => {
    const { id, epoch, parkUntilMs, wanted, state } = run
    const nowMs = clock.monotonicMs()
    const parkMs = parkUntilMs === null ? null : parkUntilMs - nowMs
    const waits = run.waits ? [...run.waits.values()] : []
    // Of a single sleep the job's own time says it all.
    const kept =
      waits.length > 1 || wanted > 0 || parkMs === null || waits.some((wait) => wait.kept)
        ? waits.flatMap((wait) => (wait.untilMs === Infinity ? [] : releasedWait(wait, nowMs))) // parts have no time
        : []
    return { id, epoch, parkMs, wanted, seen: state?.signals ?? 0, waits: kept.length > 0 ? kept : null }
  }

  async function send(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      await release(batch)
    }
    busy = null
  }

  async function release(batch: Run[]): Promise<void> {
    try {
      let sent = 0
      const { tags: readyTags, strangers } = await retrying(() => {
        sent += 1
        return releaseJobs(db.pool, workerId, batch.map(parkedOf))
      }, blamesRows)
      if (strangers.length > 0) refused(batch, strangers, sent > 1)
      for (const run of batch) runs.drop(run)
      // Those not told find it when they poll.
      if (readyTags.length > 0) await wakeOthers(readyTags).catch(() => {})
    } catch (error) {
      log.error({ err: error, jobs: batch.map(({ id }) => id) }, 'the database refused to take jobs back')
      if (batch.length > 1) for (const run of batch) await release([run])
      else runs.refuse(batch[0]!.job, messageOf(error), batch[0]!.records)
    }
  }

  function refused(batch: Run[], strangers: string[], resent: boolean): void {
    counters.refused += strangers.length
    const jobs = batch.filter((run) => strangers.includes(run.id))
    recordRefusals(db.pool, { workerId, what: 'release', jobs, resent }).catch((error: unknown) => {
      log.warn({ err: error, jobs: jobs.length }, 'refused releases were not recorded for the audit')
    })
  }

  return {
    push(run: Run): void {
      waiting.push(run)
      busy ??= Promise.resolve().then(send)
    },
    async flushed(): Promise<void> {
      await busy
    },
  }
}

/** As the database keeps it. */
export function releasedWait({ key, untilMs, wanted, cursor }: Wait, nowMs: number): ReleasedWait {
  const ms = untilMs - nowMs
  if (wanted === 0) return { key, ms }
  const { id: module, suspend } = cursor.step!
  const { n: step, groups } = cursor
  return { key, ms, step, wanted, by: suspend!.by, groups, module, version: cursor.frame.plan.versionId }
}
