// What a worker tells about itself: changes are logged, work is counted (never logged per job).
import type { Logger } from 'pino'

export interface WorkerCounters {
  jobsClaimed: number
  jobsFinished: number
  jobsFailed: number
  stepsFinished: number
  /** Writes refused because the job had been given to another worker. */
  refused: number
  commits: number
  claims: number
}

export function createCounters(): WorkerCounters {
  return { jobsClaimed: 0, jobsFinished: 0, jobsFailed: 0, stepsFinished: 0, refused: 0, commits: 0, claims: 0 }
}

export type WorkerLog = Pick<Logger, 'info' | 'warn' | 'error' | 'debug'>
