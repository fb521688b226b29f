// What can be seen of queue, workers and database, for metrics and `millrace top`. Every read here costs the same whether a
// thousand or a million jobs wait.
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'

export interface QueueAge {
  tag: string
  /** Seconds that its oldest ready job has been waiting. */
  oldestReadyS: number
}

export function queueAges(on: Queryable): Promise<QueueAge[]> {
  return run<QueueAge>(on, 'queue_ages', [])
}

/** A worker's counts since its process began; by flow: jobs finished, jobs failed, steps finished. */
export interface WorkerCounts {
  failed?: number
  steps?: number
  refused?: number
  poisoned?: number
  flows?: Record<string, [jobs: number, failed: number, steps: number]>
}

export interface WorkerRow {
  id: number
  name: string
  tags: string[]
  host: string
  pid: number
  version: string
  state: 'alive' | 'dead' | 'reaped' | 'stopped'
  startedAt: Date
  stoppedAt: Date | null
  heartbeatAt: Date
  /** Seconds since its last heartbeat. */
  silentS: number
  jobsHeld: number
  jobsDone: number
  counts: WorkerCounts
}

/** Those that live, and those that ended in the last `endedS` seconds. */
export async function listWorkers(on: Queryable, { endedS }: { endedS: number }): Promise<WorkerRow[]> {
  type Row = Omit<WorkerRow, 'jobsDone' | 'counts'> & { jobsDone: string; counts: JsonText }
  const rows = await run<Row>(on, 'list_workers', [endedS])
  return rows.map((row) => ({ ...row, jobsDone: Number(row.jobsDone), counts: JSON.parse(row.counts) as WorkerCounts }))
}

export interface DatabaseHealth {
  /** How full the queue of notifications is, 0 to 1. Full, every commit that notifies fails. */
  notifyQueueRatio: number
  /** Transactions since the oldest one not yet frozen, over all databases of the server. */
  xidAge: number
  oldestPid: string | null
  oldestWho: string | null
  oldestTransactionS: number | null
  /** Who needs the oldest snapshot, and how many transactions ago it was taken. */
  horizonHolder: string | null
  horizonAge: number | null
  /** Seconds by which the first parked job is overdue; null if none is parked. */
  parkedOverdueS: number | null
}

export async function databaseHealth(on: Queryable): Promise<DatabaseHealth> {
  const [row] = await run<DatabaseHealth>(on, 'database_health', [])
  return row!
}
