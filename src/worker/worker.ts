// A worker: claims jobs of its tags and drives their runners. Dedicated (bound to flows: runners warm before the first claim,
// pinned) or shared (any flow of its tags: an LRU of warm runners). The difference is the pool's policy and the tags.
//   K1. A worker lives in incarnations: each has a worker id, a lease, its claims and its commit channel. One that lost its
//       lease drops everything it held (others have it) and starts again under a new id. Runners and plans stay.
//   K2. run(stop) resolves once what ran is finished and the rest is given back.
//   K3. A deploy is no restart: new jobs get the new plan and runners, running ones finish on theirs, then those stop.
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { Sandbox } from '../core/expr/expression.ts'
import type { Limits } from '../core/limits.ts'
import type { RunnerPool } from '../runner/pool_types.ts'
import { systemClock, type Clock, type Timer } from '../store/clock.ts'
import type { Database } from '../store/db.ts'
import { createListener } from '../store/listen.ts'
import {
  canceledJobs,
  controlChannel,
  notify,
  readJournal,
  readyAgain,
  workChannel,
  type ClaimedJob,
  type JournalRow,
} from '../store/jobs.ts'
import { rootJobOf } from '../store/job_reads.ts'
import { readSignals, readWaits, type JobPast, type SignalRow, type WaitRow } from '../store/signals.ts'
import { quitParts } from '../store/parts.ts'
import type { JobTokens } from '../store/job_tokens.ts'
import { createTurnMakers } from '../store/turns.ts'
import { createAfterwards } from './afterwards.ts'
import { createAnswers } from './answers.ts'
import { createBindings } from './bindings.ts'
import { createResultCache } from './cache.ts'
import { createClaims, type Claims } from './claims.ts'
import { createCommitter, type Committer } from './committer.ts'
import { takeLease, type Lease } from './lease.ts'
import { outageLog } from './outage_log.ts'
import { createLookups } from './lookups.ts'
import { createPlans } from './plans.ts'
import { createProgress } from './progress.ts'
import { createReferences } from './references.ts'
import { createReleases } from './releases.ts'
import { createCounters, type WorkerCounters, type WorkerLog } from './report.ts'
import { createRetrying } from './retrying.ts'
import type { Run } from './run.ts'
import { createRuns, type Runs } from './runs.ts'
import { createTracing } from './tracing.ts'
import { createUpkeep } from './upkeep.ts'

export interface WorkerParts {
  db: Database
  limits: Limits
  pool: RunnerPool
  sandbox: Sandbox
  tokens: JobTokens
  /** `<workspace>:flow/<path>` or `<workspace>:<path>`: what this worker is dedicated to. */
  bindings: readonly string[]
  /** Further tags it takes jobs of. */
  tags: readonly string[]
  /** Runners per step id, where more than one. */
  replicas?: Record<string, number>
  /** Jobs held at a time; default limits.workerJobsMax. */
  concurrency?: number
  /** Where user code reaches the API. */
  baseUrl: string
  name: string
  version: string
  log: WorkerLog
  /** Other time and other notifications than this machine's and Postgres' own: a simulation's. */
  clock?: Clock
  listen?: typeof createListener
}

/** How a worker is this moment. */
export interface WorkerState {
  /** It holds its lease, and what it is dedicated to is warm. */
  ready: boolean
  /** Null between two incarnations. */
  workerId: number | null
  held: number
  /** Jobs it may hold now. */
  window: number
  backlog: { jobs: number; records: number; bytes: number; logBytes: number }
  /** Announcements to servers under way. */
  answers: number
  /** Ms since the database last heard of it. */
  silentMs: number
}

export interface Worker {
  readonly counters: WorkerCounters
  state(): WorkerState
  /** Resolves once drained after `stop`. */
  run(stop: AbortSignal): Promise<void>
}

interface Incarnation {
  claims: Claims
  runs: Runs
  committer: Committer
  lease: Lease
  workerId: number
}

const drainTickMs = 20
// For giving back what is left, after the drain.
const giveBackMs = 5_000
// A job's token outlives its longest step.
const tokenExtraMs = 60_000

export function createWorker(parts: WorkerParts): Worker {
  const { db, limits, pool, clock = systemClock, listen = createListener } = parts
  const log = outageLog(parts.log, clock)
  const counters = createCounters()
  const retrying = createRetrying({ clock, log })
  const tags = [...parts.bindings, ...parts.tags]
  const lookups = createLookups({ db, clock, retrying })
  const plans = createPlans({
    db,
    sandbox: parts.sandbox,
    lookups,
    baseUrl: parts.baseUrl,
    dedicated: parts.bindings.length > 0,
    name: parts.name,
    meters: counters.meters,
  })
  const references = createReferences({ db, clock, limits, plans, retrying })
  const bindings = createBindings({ db, pool, plans, references, bindings: parts.bindings, replicas: parts.replicas ?? {}, log })
  const tracing = createTracing()
  const progress = createProgress({ db, log })
  const cache = createResultCache({ db, limits })
  const answers = createAnswers({ db, clock, limits })
  /** What the listener and the timers talk to: the incarnation that lives now. */
  let living: Incarnation | null = null

  async function run(stop: AbortSignal): Promise<void> {
    await retrying(() => (stop.aborted ? Promise.resolve() : bindings.refresh()))
    const listener = await listen({
      db,
      channels: {
        [workChannel]: (payload) => heardWork(payload),
        [controlChannel]: (payload) => heard(payload),
      },
      onConnect: () => living?.claims.wakeAll(),
      report: (event) => log.warn(event, 'listener'),
    })
    const takenOver = () => living?.claims.suspect()
    const upkeep = createUpkeep({ db, clock, limits, counters, wakeOthers, takenOver, log })
    const timers = [
      clock.every(limits.pollMs, () => living?.claims.wakeAll()),
      everyAlone(clock, limits.reapMs, upkeep),
      everyAlone(clock, limits.pollMs, pollControl),
      everyAlone(
        clock,
        limits.afterwardsMs,
        createAfterwards({ db, clock, turnMakers: createTurnMakers(limits), wakeOthers, log }),
      ),
    ]
    try {
      while (!stop.aborted) await incarnation(stop)
    } finally {
      for (const timer of timers) timer.cancel()
      await listener.close()
      await Promise.all([answers.close(), cache.close()])
    }
  }

  /** From a lease taken to its end: by `stop`, in order; or lost, at once. */
  async function incarnation(stop: AbortSignal): Promise<void> {
    let end!: (reason: 'lost' | 'stop') => void
    const ended = new Promise<'lost' | 'stop'>((resolve) => {
      end = resolve
    })
    const onStop = () => end('stop')
    stop.addEventListener('abort', onStop, { once: true })
    let runs: Runs | null = null
    const sign = () =>
      takeLease({
        db,
        clock,
        limits,
        name: parts.name,
        host: hostname(),
        version: parts.version,
        tags,
        counters,
        held: () => runs?.held() ?? 0,
        lost: () => end('lost'),
        log,
      })
    const lease = await retrying(() => (stop.aborted ? Promise.resolve(null) : sign()))
    if (lease === null) return // asked to stop before there was a database
    const { workerId } = lease
    const committer = createCommitter({ db, clock, limits, workerId, counters, log, onRoom: () => claims.pump() })
    runs = createRuns({
      clock,
      limits,
      pool,
      plans,
      references,
      lookups,
      committer,
      cache,
      counters,
      tracing,
      issueToken: ({ jobId, workspaceId, createdBy }) =>
        parts.tokens.issue({ jobId, workspaceId, email: createdBy, ttlMs: limits.stepTimeoutMs + tokenExtraMs }),
      rootOf: async (workspaceId, jobId) => (await retrying(() => rootJobOf(db.pool, workspaceId, jobId))) ?? jobId,
      setProgress: progress.set,
      onBegun: bindings.entered,
      onCommitted: (run, silent) => {
        left(run)
        if (!silent) answers.tell(run)
        claims.pump()
      },
      onEarly: (run) => answers.early(run),
      giveBack: (run) => releases.push(run),
      quitParts: (quits) =>
        retrying(() => quitParts(db.pool, workerId, quits)).catch((error: unknown) =>
          log.error({ err: error }, 'parts were not asked to stop'),
        ),
      onDropped: (run) => {
        left(run)
        claims.pump() // a job that was given back makes room
      },
      lingeringMax: () => claims.window(),
      onLinger: (run) => {
        claims.pump()
        if (!run.behind) return
        run.behind = false
        readSignalsOf([run.id]).catch((error: unknown) => log.warn({ err: error }, 'signals not yet seen'))
      },
      fault: (run, error) => {
        const id = randomUUID()
        log.error({ err: error, fault: id, job: run.id }, 'a bug met while running a job')
        return id
      },
    })
    const held = runs
    const starting = new Set<ClaimedJob>() // jobs claimed whose plan or journal is still being read
    const releases = createReleases({ db, clock, workerId, runs: held, counters, retrying, wakeOthers, log })
    const claims = createClaims({
      db,
      clock,
      limits,
      workerId,
      tags: () => tags,
      held: () => held.held() + starting.size,
      lingering: () => held.lingering(),
      known: () => [...starting, ...held.all()],
      capacity: () => pool.capacity(),
      full: () => committer.backlogBytes() > limits.commitBacklogBytesMax || committer.logBytes() > limits.logBacklogBytesMax / 2,
      take: (jobs) => take(jobs, workerId, held, starting),
      counters,
      log,
      ...(parts.concurrency === undefined ? {} : { concurrency: parts.concurrency }),
    })
    living = { claims, runs: held, committer, lease, workerId }
    log.info({ worker: workerId, tags }, 'worker ready')
    claims.wakeAll()
    if (stop.aborted) onStop()

    const reason = await ended
    stop.removeEventListener('abort', onStop)
    const sure = await claims.stop()
    if (reason === 'lost') {
      log.warn(
        { worker: workerId, held: held.held() },
        'this worker was declared dead; its jobs are with others, it starts again under a new id',
      )
      living = null
      for (const run of held.all()) held.drop(run)
      held.close()
      await Promise.all([committer.close(), lease.abandon()])
      return
    }
    const clean = await drain(held, starting)
    const waited = new AbortController()
    const tooLong = clock.pause(clean ? limits.drainMs : 0, waited.signal).catch(() => {}) // no longer waited for
    await Promise.race([Promise.all([committer.drained(), releases.flushed()]), tooLong])
    waited.abort()
    living = null
    held.close()
    // What could not be given back (the database is away) is taken over once the lease is found abandoned.
    await (clean && sure ? lease.stop() : lease.abandon())
    await committer.close()
    log.info({ worker: workerId, clean }, 'worker stopped')
  }

  /** HOT for jobs whose plan is loaded and which have no journal: at once. The others wait for one round trip. */
  function take(jobs: ClaimedJob[], workerId: number, runs: Runs, starting: Set<ClaimedJob>): void {
    let later: ClaimedJob[] | null = null
    let askedToStop = false
    for (const job of jobs) {
      bindings.entered(job.version_id)
      const plan = plans.loaded(job.version_id)
      if (plan && !(plan instanceof Error) && !job.journaled) {
        runs.start(job, plan, null)
        if (job.canceled_by !== null) askedToStop = true
      } else (later ??= []).push(job)
    }
    if (askedToStop) void pollControl()
    if (later) {
      for (const job of later) starting.add(job)
      void startLater(later, workerId, runs, starting)
    }
  }

  async function startLater(jobs: ClaimedJob[], workerId: number, runs: Runs, starting: Set<ClaimedJob>): Promise<void> {
    const versions = new Set(jobs.map((job) => job.version_id))
    const journaled = jobs.filter((job) => job.journaled)
    const pasts = await retrying(() => readPasts(workerId, journaled))
    for (const past of pasts.values()) for (const version of versionsIn(past)) versions.add(version)
    await Promise.all([...versions].map((version) => retrying(() => plans.load(version))))
    if (living?.runs !== runs) return // the lease was lost meanwhile
    for (const job of jobs) {
      starting.delete(job)
      const plan = plans.loaded(job.version_id)!
      const past = pasts.get(job.id) ?? null
      if (job.journaled && past === null) {
        bindings.left(job.version_id) // it is with another worker by now: to begin anew would be to do again what is recorded
        continue
      }
      if (plan instanceof Error) runs.refuse(job, plan.message, past ? past.journal.map((row) => row.record) : [])
      else runs.start(job, plan, past)
    }
    if (jobs.some((job) => job.canceled_by !== null)) void pollControl()
  }

  function left(run: Run): void {
    bindings.left(run.job.version_id)
    if (run.flows) for (const version of run.flows.keys()) bindings.left(version)
  }

  /** What jobs that were held before have had so far. */
  async function readPasts(workerId: number, jobs: readonly ClaimedJob[]): Promise<Map<string, JobPast>> {
    const pasts = new Map<string, JobPast & { journal: JournalRow[]; signals: SignalRow[]; waits: WaitRow[] }>()
    if (jobs.length === 0) return pasts
    const ids = jobs.map((job) => job.id)
    const signaled = jobs.filter((job) => job.signals > 0).map(({ id }) => ({ id, seq: 0 }))
    const [records, signals, waits] = await Promise.all([
      readJournal(db.pool, workerId, jobs),
      signaled.length > 0 ? readSignals(db.pool, signaled) : [],
      readWaits(db.pool, ids),
    ])
    for (const row of records) {
      let past = pasts.get(row.job_id)
      if (!past) pasts.set(row.job_id, (past = { journal: [], signals: [], waits: [] }))
      past.journal.push(row)
    }
    for (const row of signals) pasts.get(row.job_id)?.signals.push(row)
    for (const row of waits) pasts.get(row.job_id)?.waits.push(row)
    return pasts
  }

  /** Signals for a job held here. */
  async function readSignalsOf(jobIds: readonly string[]): Promise<void> {
    const here = living
    if (!here) return
    const held = jobIds.flatMap((id) => {
      const state = here.runs.get(id)?.state
      return state ? [{ id, seq: state.signals }] : []
    })
    if (held.length === 0) return
    const rows = await readSignals(db.pool, held)
    if (living === here) here.runs.signal(rows)
  }

  /** Finishes what runs and gives the rest back. False if some of it could not be brought to an end in time. */
  async function drain(runs: Runs, starting: Set<ClaimedJob>): Promise<boolean> {
    const began = clock.monotonicMs()
    if (runs.held() > 0) log.info({ held: runs.held() }, 'stopping: finishing what runs')
    while (runs.held() + starting.size > 0) {
      const spentMs = clock.monotonicMs() - began
      if (spentMs > limits.drainStepsMs) runs.closing()
      if (spentMs > limits.drainMs) for (const run of runs.all()) runs.giveBackNow(run)
      if (spentMs > 2 * limits.drainMs + giveBackMs) {
        log.error({ held: runs.held() + starting.size }, 'stopping without having given back these jobs')
        return false
      }
      await clock.pause(drainTickMs)
    }
    return true
  }

  function heardWork(payload: string): void {
    if (payload.startsWith(readyAgain)) living?.claims.wake(payload.slice(readyAgain.length), true)
    else living?.claims.wake(payload)
  }

  function heard(payload: string): void {
    const [what, ...rest] = payload.split(' ')
    if (what === 'signal') void readSignalsOf(rest).catch((error: unknown) => log.warn({ err: error }, 'signals not yet seen'))
    else if (what === 'deploy') references.forget()
    if (what === 'deploy') void bindings.refresh().catch((error: unknown) => log.warn({ err: error }, 'deploy not yet seen'))
    else if (what === 'cancel' && living?.runs.get(rest[0]!)) void pollControl()
  }

  async function pollControl(): Promise<void> {
    const here = living
    if (!here) return
    try {
      for (const job of await canceledJobs(db.pool, here.workerId)) {
        if (!here.runs.cancel(job.id, job.canceled_by, job.canceled_reason)) continue
        log.info({ job: job.id, worker: here.workerId, by: job.canceled_by }, 'canceled')
      }
      await readSignalsOf([...here.runs.all()].filter((run) => run.waits).map((run) => run.id))
      await bindings.refresh()
    } catch (error) {
      log.warn({ err: error }, 'the database could not be asked for news')
    }
  }

  function state(): WorkerState {
    if (!living)
      return {
        ready: false,
        workerId: null,
        held: 0,
        window: 0,
        backlog: { jobs: 0, records: 0, bytes: 0, logBytes: 0 },
        answers: answers.pending(),
        silentMs: 0,
      }
    const { claims, runs, committer, lease, workerId } = living
    const silentMs = lease.silentMs()
    return {
      ready: silentMs < limits.leaseMs && bindings.warm(),
      workerId,
      held: runs.held(),
      window: claims.window(),
      backlog: { ...committer.backlogRows(), bytes: committer.backlogBytes(), logBytes: committer.logBytes() },
      answers: answers.pending(),
      silentMs,
    }
  }

  async function wakeOthers(ready: readonly string[]): Promise<void> {
    for (const tag of ready) {
      living?.claims.wake(tag, true)
      await notify(db.pool, workChannel, readyAgain + tag)
    }
  }

  return { counters, state, run }
}

/** The versions of flows that a job has begun. */
function versionsIn({ journal }: JobPast): string[] {
  return journal.flatMap(({ record }) =>
    /^\{("d":\d+,)?"k":"call"/.test(record) ? [(JSON.parse(record) as { version: string }).version] : [],
  )
}

/** Calls `work` every `ms`, never twice at a time. */
function everyAlone(clock: Clock, ms: number, work: () => Promise<void>): Timer {
  let busy = false
  return clock.every(ms, () => {
    if (busy) return
    busy = true
    void work().finally(() => {
      busy = false
    })
  })
}
