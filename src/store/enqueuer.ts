// The way in: jobs of requests that arrive together share one insert, one commit and one wake-up.
//   Q1. enqueue() resolves after the commit that holds the job, or rejects. After an outage in the middle of a commit its
//       outcome is unknown: it rejects with E_DATABASE, and only a key makes asking again safe.
//   Q2. Self-clocking: while an insert is under way the next one gathers; no timer, so a lone job waits for nobody.
//   Q3. A tag with new jobs is notified, at most once every wakeGapMs: by the commit itself, or if the last time was just now,
//       after it. Never forgotten.
//   Q4. Jobs that wait for a turn are stored in the order they came, one batch after another.
// HOT. Per job: one string. Per batch: one statement.
import { EngineError } from '../core/errors.ts'
import { Histogram, rowsBounds, secondsBounds } from '../core/histogram.ts'
import type { Limits } from '../core/limits.ts'
import type { JsonText } from '../core/json.ts'
import { systemClock, type Clock, type Timer } from './clock.ts'
import { asEngineError, run, type Database } from './db.ts'
import { insertJobs, insertKeyedJobs, insertTurnJobs, notify, printNewJob, workChannel, type NewJob } from './jobs.ts'

export interface Enqueuer {
  /**
   * Stores jobs, all or none, and gives their ids in order (a key that is taken gives the id of its first job).
   * @throws EngineError E_QUEUE_FULL, E_DATABASE
   */
  enqueue(jobs: readonly NewJob[]): Promise<string[]>
  /** Jobs that the queue of a tag still takes. */
  room(tag: string): number
  /** @throws EngineError E_QUEUE_FULL if so many jobs of the tag would be too many, or too much waits to be stored */
  assertRoom(tag: string, jobs: number): void
  /** Jobs that went to the queue by another way. */
  added(tag: string, jobs: number): void
  /** Jobs accepted and not yet stored, and their bytes. */
  pending(): number
  pendingBytes(): number
  /** How long inserts took, and how many jobs they stored. */
  readonly inserts: { seconds: Histogram; jobs: Histogram }
  close(): Promise<void>
}

// A worker that was just woken claims all there is; waking it again so soon costs it more than it gains.
const wakeGapMs = 1

interface Waiting {
  jobs: readonly NewJob[]
  text: JsonText
  resolve(ids: string[]): void
  reject(error: unknown): void
}

export function createEnqueuer(parts: { db: Database; limits: Limits; clock?: Clock }): Enqueuer {
  const { db, limits, clock = systemClock } = parts
  let gathered: Waiting[] = []
  let pendingBytes = 0
  let pendingJobs = 0
  let lanesBusy = 0
  let scheduled = false
  let closed = false
  const idle: (() => void)[] = []
  const inserts = { seconds: new Histogram(secondsBounds), jobs: new Histogram(rowsBounds) }
  const wakes = createWakes(db, clock)
  const depths = createDepths(db, clock)

  function pump(): void {
    scheduled = false
    while (gathered.length > 0 && lanesBusy < limits.insertsInFlightMax) {
      const batch = takeBatch()
      lanesBusy += 1
      void store(batch).finally(() => {
        lanesBusy -= 1
        pump()
      })
    }
    if (lanesBusy === 0 && gathered.length === 0) for (const resolve of idle.splice(0)) resolve()
  }

  function takeBatch(): Waiting[] {
    let bytes = 0
    let count = 0
    while (count < gathered.length && (count === 0 || bytes + gathered[count]!.text.length <= limits.insertBytesMax)) {
      bytes += gathered[count]!.text.length
      count += 1
    }
    if (count === gathered.length) {
      const all = gathered
      gathered = []
      return all
    }
    return gathered.splice(0, count)
  }

  async function store(batch: Waiting[]): Promise<void> {
    try {
      const tags = readyTags(batch)
      const woken = tags.filter((tag) => wakes.claim(tag))
      const beganMs = clock.monotonicMs()
      await insertJobs(db.pool, `[${batch.map((waiting) => waiting.text).join(',')}]`, woken)
      count(
        batch.reduce((sum, waiting) => sum + waiting.jobs.length, 0),
        beganMs,
      )
      for (const tag of tags) if (!woken.includes(tag)) wakes.wake(tag)
      for (const waiting of batch) settle(waiting)
    } catch (error) {
      const outage = asEngineError(error)
      if (batch.length > 1 && !(outage instanceof EngineError)) {
        // One request's fault (an id used twice, say) must not fail its neighbours: each alone.
        for (const waiting of batch) await store([waiting])
        return
      }
      for (const waiting of batch) fail(waiting, outage)
    }
  }

  function count(jobs: number, beganMs: number): void {
    inserts.jobs.add(jobs)
    inserts.seconds.add((clock.monotonicMs() - beganMs) / 1_000)
  }

  function settle(waiting: Waiting): void {
    forget(waiting, true)
    waiting.resolve(waiting.jobs.map((job) => job.id))
  }

  function fail(waiting: Waiting, error: unknown): void {
    forget(waiting, false)
    waiting.reject(error)
  }

  function forget(waiting: Waiting, stored: boolean): void {
    pendingBytes -= waiting.text.length
    pendingJobs -= waiting.jobs.length
    for (const job of waiting.jobs) depths.over(job.tag, stored)
  }

  async function enqueueNamed(
    jobs: readonly NewJob[],
    insert: (jobs: readonly NewJob[]) => Promise<{ idOf: Map<string, string>; tags: Iterable<string> }>,
  ): Promise<string[]> {
    // These need the answer of the database, so they do not share the insert of the others.
    const first = new Map<string, NewJob>()
    for (const job of jobs) if (!first.has(nameOf(job))) first.set(nameOf(job), job)
    let stored = new Map<string, string>()
    let bytes = 0
    for (const job of jobs) bytes += job.args.length
    pendingBytes += bytes
    pendingJobs += jobs.length
    try {
      const beganMs = clock.monotonicMs()
      const { idOf, tags } = await insert([...first.values()])
      stored = idOf
      count(first.size, beganMs)
      for (const tag of tags) wakes.wake(tag)
      return jobs.map((job) => idOf.get(first.get(nameOf(job))!.id)!)
    } catch (error) {
      throw asEngineError(error)
    } finally {
      pendingBytes -= bytes
      pendingJobs -= jobs.length
      for (const job of jobs) depths.over(job.tag, stored.get(job.id) === job.id)
    }
  }

  async function insertKeyed(jobs: readonly NewJob[]): Promise<{ idOf: Map<string, string>; tags: Set<string> }> {
    const idOf = await insertKeyedJobs(db.pool, jobs)
    return { idOf, tags: new Set(jobs.filter((job) => idOf.get(job.id) === job.id).map((job) => job.tag)) }
  }

  let lastTurns: Promise<unknown> = Promise.resolve()

  /** One after another: what is sent together may be stored in any order. */
  function insertInTurn(jobs: readonly NewJob[]): ReturnType<typeof insertTurnJobs> {
    const inserted = lastTurns.then(() => insertTurnJobs(db.pool, jobs))
    lastTurns = inserted.catch(() => {})
    return inserted
  }

  const room = (tag: string): number => Math.max(0, limits.queueJobsMax - depths.of(tag))

  function assertRoom(tag: string, jobs: number): void {
    const full = jobs > room(tag)
    if (!full && pendingBytes <= limits.pendingBytesMax) return
    const what = full ? `tag ${tag} has ${limits.queueJobsMax} jobs waiting` : 'too many jobs wait to be stored'
    throw new EngineError('E_QUEUE_FULL', `the queue is full: ${what}; try again later`, { retryAfterS: full ? 5 : 1 })
  }

  return {
    enqueue(jobs) {
      if (closed) return Promise.reject(new EngineError('E_BUSY', 'the server is stopping', { retryAfterS: 1 }))
      if (jobs.length === 0) return Promise.resolve([])
      try {
        for (const job of jobs) assertRoom(job.tag, jobs.length)
      } catch (error) {
        return Promise.reject(error)
      }
      const named = jobs.filter((job) => job.key !== undefined)
      if (named.length > 0 && named.length < jobs.length) {
        return Promise.reject(new EngineError('E_INVALID', 'either all jobs of a request carry a key, or none'))
      }
      for (const job of jobs) depths.accepted(job.tag)
      if (jobs.some(hasTurn)) return enqueueNamed(jobs, insertInTurn)
      if (named.length > 0) return enqueueNamed(jobs, insertKeyed)
      return new Promise((resolve, reject) => {
        const waiting: Waiting = { jobs, text: jobs.map(printNewJob).join(','), resolve, reject }
        gathered.push(waiting)
        pendingBytes += waiting.text.length
        pendingJobs += jobs.length
        if (!scheduled) {
          scheduled = true
          clock.nextTurn(pump) // whatever else arrived in this turn of the event loop comes along
        }
      })
    },
    room,
    assertRoom,
    added: (tag, jobs) => depths.added(tag, jobs),
    pending: () => pendingJobs,
    pendingBytes: () => pendingBytes,
    inserts,
    async close() {
      closed = true
      if (lanesBusy > 0 || gathered.length > 0) await new Promise<void>((resolve) => idle.push(resolve))
      await lastTurns
      await wakes.close()
      depths.close()
    },
  }
}

function readyTags(batch: readonly Waiting[]): string[] {
  const tags = new Set<string>()
  for (const { jobs } of batch) for (const job of jobs) if (job.runAtMs === undefined) tags.add(job.tag)
  return [...tags]
}

function nameOf(job: NewJob): string {
  return job.key === undefined ? job.id : `${job.workspaceId} ${job.key}`
}

function hasTurn(job: NewJob): boolean {
  return job.turn !== undefined
}

/** Wake-ups: each tag at most once every wakeGapMs, the last one never left out. */
function createWakes(db: Database, clock: Clock) {
  const dirty = new Set<string>()
  const toldAtMs = new Map<string, number>()
  let running: Promise<void> | null = null
  let closed = false

  async function send(): Promise<void> {
    while (dirty.size > 0) {
      if (!closed) await clock.pause(wakeGapMs)
      const tags = [...dirty]
      dirty.clear()
      for (const tag of tags) toldAtMs.set(tag, clock.monotonicMs())
      // Lost with the connection: workers poll.
      await Promise.all(tags.map((tag) => notify(db.pool, workChannel, tag))).catch(() => {})
    }
    running = null
  }

  return {
    /** May this tag's workers be woken by the statement about to be sent? */
    claim(tag: string): boolean {
      const nowMs = clock.monotonicMs()
      if (nowMs - (toldAtMs.get(tag) ?? -Infinity) < wakeGapMs) return false
      toldAtMs.set(tag, nowMs)
      return true
    },
    /** Has jobs already stored. */
    wake(tag: string): void {
      dirty.add(tag)
      running ??= send()
    },
    async close(): Promise<void> {
      closed = true
      await running
    },
  }
}

/**
 * How many active jobs a tag has, roughly: counted now and then, plus what was stored since that count began, plus what is
 * on its way. Never too few of our own; what workers finished meanwhile is seen by the next count.
 */
function createDepths(db: Database, clock: Clock) {
  let counted = new Map<string, number>()
  let since = new Map<string, number>()
  const pending = new Map<string, number>()
  let timer: Timer | undefined
  let closed = false

  async function recount(): Promise<void> {
    const began = clock.monotonicMs()
    const before = since
    since = new Map()
    try {
      const rows = await run<{ tag: string; jobs: number }>(db.pool, 'queue_depths', [])
      counted = new Map(rows.map((row) => [row.tag, row.jobs]))
    } catch {
      for (const [tag, jobs] of before) add(since, tag, jobs)
    }
    schedule(Math.max(2_000, (clock.monotonicMs() - began) * 50))
  }

  function schedule(inMs: number): void {
    if (closed) return
    timer = clock.after(inMs, () => void recount())
    timer.unref()
  }

  schedule(0)
  return {
    of: (tag: string): number => (counted.get(tag) ?? 0) + (since.get(tag) ?? 0) + (pending.get(tag) ?? 0),
    accepted(tag: string): void {
      add(pending, tag, 1)
    },
    added(tag: string, jobs: number): void {
      add(since, tag, jobs)
    },
    /** The job is stored, or refused after all. */
    over(tag: string, stored: boolean): void {
      add(pending, tag, -1)
      if (stored) add(since, tag, 1)
    },
    close(): void {
      closed = true
      timer?.cancel()
    },
  }
}

function add(to: Map<string, number>, tag: string, jobs: number): void {
  to.set(tag, (to.get(tag) ?? 0) + jobs)
}
