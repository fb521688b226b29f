// The lease: this worker's row says it lives. One incarnation per row; one that missed its lease never comes back.
//   E1. `lost` is called once, when the database says that this worker was declared dead (its jobs are others' by then).
//   E2. While connected the worker holds a session advisory lock; when it is gone and a heartbeat was missed, others need
//       not wait for the lease to end (a killed worker's jobs run elsewhere within a second).
//       Through a pooler no lock can be held: there leases alone decide.
//   E3. The database's clock decides; a database that is away proves nothing, so an outage is no loss.
//   E4. Heartbeats have a connection of their own, which no queue of requests holds up; one that is silent is given up
//       (heartbeatAnswerMs) while there is time for another within the lease.
import type pg from 'pg'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../store/clock.ts'
import { run, type Database } from '../store/db.ts'
import { workerLockClass } from '../store/jobs.ts'
import { printCounts } from './meters.ts'
import type { WorkerCounters, WorkerLog } from './report.ts'

export interface Lease {
  readonly workerId: number
  /** Ms since the database last heard of this worker. */
  silentMs(): number
  /** Leaves in order: the row says stopped. Everything must have been given back. */
  stop(): Promise<void>
  /** Stops heartbeats without a word (the row is dead already). */
  abandon(): Promise<void>
}

interface Locked {
  hint_lock: boolean
}

export async function takeLease(parts: {
  db: Database
  clock: Clock
  limits: Limits
  name: string
  host: string
  version: string
  tags: readonly string[]
  counters: WorkerCounters
  held: () => number
  lost: () => void
  log: WorkerLog
}): Promise<Lease> {
  const { db, clock, limits, counters, log } = parts
  const [row] = await run<{ id: number }>(db.pool, 'register_worker', [
    parts.name,
    parts.tags,
    parts.host,
    process.pid,
    parts.version,
    limits.leaseMs,
  ])
  const workerId = row!.id
  let over = false
  let client: pg.Client | null = null
  let locked = false
  let beating: Promise<void> | null = null
  let heardAtMs = clock.monotonicMs()

  async function connect(): Promise<pg.Client> {
    const made = await db.connect({ name: `millrace worker ${workerId}`, answerMs: limits.heartbeatAnswerMs })
    made.once('end', () => {
      if (client === made) client = null // made again by the next heartbeat
    })
    client = made
    locked = false
    return made
  }

  async function beat(): Promise<void> {
    try {
      const on = client ?? (await connect())
      // Not to be had while the server has not noticed that the connection before this one is dead: asked for again.
      if (!locked && !db.pooled)
        locked = (await run<Locked>(on, 'worker_locked', [workerId, workerLockClass]))[0]?.hint_lock ?? false
      const rows = await run(on, 'heartbeat', [workerId, parts.held(), counters.jobsFinished, printCounts(counters)])
      if (rows.length > 0) heardAtMs = clock.monotonicMs()
      else if (!over) {
        over = true
        counters.leasesLost += 1
        timer.cancel()
        parts.lost()
      }
    } catch (error) {
      log.warn({ err: error, worker: workerId }, 'heartbeat failed')
    }
  }

  /** One at a time, the first one too: a second one beside it would connect for itself, and one of the two would never end. */
  function pulse(): Promise<void> {
    beating ??= beat().finally(() => {
      beating = null
    })
    return beating
  }

  const timer = clock.every(limits.heartbeatMs, () => void pulse())
  await pulse()

  async function end(): Promise<void> {
    over = true
    timer.cancel()
    await beating
    await client?.end().catch(() => {})
  }

  return {
    workerId,
    silentMs: () => clock.monotonicMs() - heardAtMs,
    async stop() {
      over = true
      await run(db.pool, 'stop_worker', [workerId]).catch((error: unknown) =>
        log.warn({ err: error, worker: workerId }, 'could not sign off'),
      )
      await end()
    },
    abandon: end,
  }
}
