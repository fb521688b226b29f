// What a worker tells about itself: changes are logged, work is counted (never logged per job).
import type { Logger } from 'pino'
import { Histogram, rowsBounds, secondsBounds } from '../core/histogram.ts'
import { createMeters, type Meters } from './meters.ts'

export interface WorkerCounters {
  jobsClaimed: number
  jobsFinished: number
  jobsFailed: number
  /** Of what finished jobs came to. */
  bytesFinished: number
  stepsFinished: number
  /** Writes refused because the job had been given to another worker. */
  refused: number
  claims: number
  /** Claims that found nothing. */
  claimsEmpty: number
  /** How long claims took, and how many jobs they took. */
  readonly claimSeconds: Histogram
  readonly claimJobs: Histogram
  readonly finish: LaneCounters
  readonly journal: LaneCounters
  leasesLost: number
  /** What this worker did for dead ones. */
  workersTakenOver: number
  jobsTakenOver: number
  jobsPoisoned: number
  readonly meters: Meters
}

/** Of one kind of commit: of finished jobs, or of records. */
export interface LaneCounters {
  commits: number
  /** Commits that were sent again after an outage. */
  retries: number
  readonly seconds: Histogram
  readonly rows: Histogram
}

function createLaneCounters(): LaneCounters {
  return { commits: 0, retries: 0, seconds: new Histogram(secondsBounds), rows: new Histogram(rowsBounds) }
}

export function createCounters(): WorkerCounters {
  return {
    jobsClaimed: 0,
    jobsFinished: 0,
    jobsFailed: 0,
    bytesFinished: 0,
    stepsFinished: 0,
    refused: 0,
    claims: 0,
    claimsEmpty: 0,
    claimSeconds: new Histogram(secondsBounds),
    claimJobs: new Histogram(rowsBounds),
    finish: createLaneCounters(),
    journal: createLaneCounters(),
    leasesLost: 0,
    workersTakenOver: 0,
    jobsTakenOver: 0,
    jobsPoisoned: 0,
    meters: createMeters(),
  }
}

// A line of the log names so many jobs; their number stands beside them.
const idsTold = 20

/** Ids for a line of the log. */
export function someOf(ids: Iterable<string>): string[] {
  const some: string[] = []
  for (const id of ids) if (some.push(id) === idsTold) break
  return some
}

// Fields of the log: job, jobs (ids), worker, tag, version. A job is named where something happened to it, never on its way.
export type WorkerLog = Pick<Logger, 'info' | 'warn' | 'error' | 'debug'>
