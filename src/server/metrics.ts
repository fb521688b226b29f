// Counters and gauges of the server, in Prometheus' text form. Counted per batch or request, read when scraped.
//   M1. A scrape is answered whatever the database does: what comes from it is left out while it is away, and
//       millrace_database_up is 0.
import { collectDefaultMetrics, Registry } from 'prom-client'
import { exposeIn, exposeStages, type Exposed } from '../core/prometheus.ts'
import type { Stage } from '../core/stages.ts'
import type { Database } from '../store/db.ts'
import type { Enqueuer } from '../store/enqueuer.ts'
import { databaseHealth, listWorkers, type DatabaseHealth, type WorkerRow } from '../store/watch.ts'
import type { QueueWatch, TagCounts } from './watch.ts'

export interface Metrics {
  accepted(jobs: number): void
  refused(code: string): void
  text(): Promise<string>
  readonly contentType: string
}

// Prometheus gives up after 10 s; a database that does not answer within this is not up.
const databaseMs = 2_000

interface Seen {
  queue: { tags: TagCounts[]; countedS: number } | null
  workers: WorkerRow[]
  health: DatabaseHealth
}

export function createMetrics(parts: {
  db: Database
  enqueuer: Enqueuer
  watch: QueueWatch
  waiting: () => number
  /** What fills up, and where it stops. */
  stages: () => Stage[]
}): Metrics {
  const { db, enqueuer, watch } = parts
  const registry = new Registry()
  const expose = exposeIn(registry)
  collectDefaultMetrics({ register: registry })
  let acceptedJobs = 0
  const refusals = new Map<string, number>()
  let seen: Seen | null = null
  let looking: Promise<void> | null = null

  async function look(): Promise<void> {
    // Reading the queue may be refused where too many read already: that says nothing about the database.
    const queue = watch.read().catch(() => null)
    try {
      const [workers, health] = await Promise.all([listWorkers(db.pool, { endedS: 0 }), databaseHealth(db.pool)])
      seen = { queue: await queue, workers, health }
    } catch {
      seen = null
    }
  }

  /** Never two at a time: a database that hangs is asked once. */
  async function lookInTime(): Promise<void> {
    looking ??= look().finally(() => {
      looking = null
    })
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, databaseMs, 'late')
    })
    if ((await Promise.race([looking, late])) === 'late') seen = null
    clearTimeout(timer)
  }

  exposeAccept(expose, { enqueuer, waiting: parts.waiting, accepted: () => acceptedJobs, refusals })
  exposeQueue(expose, () => seen)
  exposeStages(expose, parts.stages)
  exposeDatabase(expose, db, () => seen)
  return {
    accepted(jobs) {
      acceptedJobs += jobs
    },
    refused(code) {
      refusals.set(code, (refusals.get(code) ?? 0) + 1)
    },
    async text() {
      await lookInTime()
      return registry.metrics()
    },
    contentType: registry.contentType,
  }
}

function exposeAccept(
  expose: Exposed,
  from: { enqueuer: Enqueuer; waiting: () => number; accepted: () => number; refusals: Map<string, number> },
): void {
  const { enqueuer } = from
  expose.counter({ name: 'millrace_accept_jobs_total', help: 'Jobs stored by this server' }, from.accepted)
  expose.counter({ name: 'millrace_accept_refusals_total', help: 'Requests answered with an error, by its code' }, () =>
    [...from.refusals].map(([code, value]) => ({ labels: { code }, value })),
  )
  expose.histogram(
    { name: 'millrace_accept_insert_seconds', help: 'Time to store a batch of jobs: one statement and its commit' },
    enqueuer.inserts.seconds,
  )
  expose.histogram({ name: 'millrace_accept_insert_jobs', help: 'Jobs stored by one statement' }, enqueuer.inserts.jobs)
  expose.gauge({ name: 'millrace_accept_pending_jobs', help: 'Jobs that requests brought and no commit holds yet' }, () =>
    enqueuer.pending(),
  )
  expose.gauge({ name: 'millrace_accept_pending_bytes', help: 'Size of those jobs' }, () => enqueuer.pendingBytes())
  expose.gauge({ name: 'millrace_answer_waiting_callers', help: 'Callers of this server that wait for a result' }, from.waiting)
}

function exposeQueue(expose: Exposed, seen: () => Seen | null): void {
  expose.gauge({ name: 'millrace_queue_jobs', help: 'Active jobs, by tag and state (ready, running, parked, waiting)' }, () => {
    const queue = seen()?.queue?.tags ?? []
    return queue.flatMap(({ tag, counts }) => Object.entries(counts).map(([state, value]) => ({ labels: { tag, state }, value })))
  })
  expose.gauge({ name: 'millrace_queue_counted_age_seconds', help: 'How old the numbers of millrace_queue_jobs are' }, () => {
    return seen()?.queue?.countedS ?? null
  })
  expose.gauge({ name: 'millrace_queue_oldest_ready_seconds', help: 'How long the oldest ready job of a tag has waited' }, () => {
    const queue = seen()?.queue?.tags ?? []
    return queue.map(({ tag, oldestReadyS }) => ({ labels: { tag }, value: oldestReadyS ?? 0 }))
  })
  expose.gauge(
    { name: 'millrace_queue_parked_overdue_seconds', help: 'By how much the first parked job is past its time' },
    () => {
      const now = seen()
      return now && (now.health.parkedOverdueS ?? 0)
    },
  )
  const alive = (now: Seen): WorkerRow[] => now.workers.filter((worker) => worker.state === 'alive')
  expose.gauge({ name: 'millrace_workers_alive', help: 'Workers that hold a lease' }, () => {
    const now = seen()
    return now && alive(now).length
  })
  expose.gauge({ name: 'millrace_workers_held_jobs', help: 'Jobs that workers hold, as of their last heartbeats' }, () => {
    const now = seen()
    return now && alive(now).reduce((sum, worker) => sum + worker.jobsHeld, 0)
  })
  expose.gauge(
    { name: 'millrace_workers_silent_seconds', help: 'Time since the last heartbeat of the living worker least heard of' },
    () => {
      const now = seen()
      return now && alive(now).reduce((most, worker) => Math.max(most, worker.silentS), 0)
    },
  )
}

function exposeDatabase(expose: Exposed, db: Database, seen: () => Seen | null): void {
  expose.gauge({ name: 'millrace_database_up', help: 'Did the database answer this scrape?' }, () => (seen() ? 1 : 0))
  expose.gauge({ name: 'millrace_database_pool_connections', help: "Connections of this server's pool, by state" }, () => [
    { labels: { state: 'used' }, value: db.pool.totalCount - db.pool.idleCount },
    { labels: { state: 'idle' }, value: db.pool.idleCount },
  ])
  expose.gauge(
    { name: 'millrace_database_pool_waiting_queries', help: 'Queries of this server that wait for a connection' },
    () => {
      return db.pool.waitingCount
    },
  )
  expose.gauge({ name: 'millrace_database_notify_queue_ratio', help: 'How full the queue of notifications is, 0 to 1' }, () => {
    return seen()?.health.notifyQueueRatio ?? null
  })
  expose.gauge(
    { name: 'millrace_database_xid_age_transactions', help: 'Age of the oldest transaction id that is not frozen' },
    () => seen()?.health.xidAge ?? null,
  )
  expose.gauge(
    { name: 'millrace_database_oldest_transaction_seconds', help: 'Age of the oldest open transaction, by its pid' },
    () => {
      const health = seen()?.health
      if (health?.oldestPid == null) return []
      return [{ labels: { pid: health.oldestPid, who: health.oldestWho ?? '' }, value: health.oldestTransactionS ?? 0 }]
    },
  )
  expose.gauge(
    {
      name: 'millrace_database_horizon_age_transactions',
      help: 'Transactions since the oldest snapshot still needed, by who holds it: dead rows younger than that stay',
    },
    () => {
      const health = seen()?.health
      return health?.horizonHolder == null ? [] : [{ labels: { holder: health.horizonHolder }, value: health.horizonAge ?? 0 }]
    },
  )
}
