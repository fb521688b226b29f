// Claims: takes ready jobs of the worker's tags in batches, whenever there may be some and there is room.
//   C1. One claim under way at a time, on a connection of its own. Held jobs never exceed the window, but for those that linger
//       (runs.ts): as many again, which may have work again.
//   C2. A tag is asked when it was notified, when its last claim came back full, or when the poll is due; so a lost
//       notification delays a job by pollMs at most, and an empty queue is not asked again and again.
//   C3. The window follows the work (Little's law): about windowMs of what the worker finishes, so that held jobs are young
//       when they end (no journal, little to take over) and other workers get their share; and never so few that runners
//       wait. It begins small, since nobody knows yet whether jobs are slow or large, and is no wider than what they weigh allows.
//   C4. Suspects (lost suspectAfter times) are claimed one at a time, when nothing else is held, and nothing is claimed beside
//       one for suspectMs: what kills its worker at once is found out alone. Their neighbours would be lost as often as they.
//   C5. A claim whose answer was lost may have taken jobs: before the next one, what this worker holds without knowing is
//       given back. Without that it would be held by a worker that lives and never runs it.
// HOT. Per batch: one statement.
import type pg from 'pg'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../store/clock.ts'
import { isOutage, type Database } from '../store/db.ts'
import { claimJobs, claimSuspect, settleClaims, suspectsWait, type ClaimedJob } from '../store/jobs.ts'
import { Cursor } from './cursor.ts'
import { someOf, type WorkerCounters, type WorkerLog } from './report.ts'

const windowMs = 120
// Of a worker that knows nothing of its work yet, and of one whose runners are idle.
const windowStart = 16
const windowMin = 4
// Held beyond what runners have in hand, so that they have something to go on with.
const windowSpare = 2
const growAfterMs = 10
const shrinkAfterMs = 50
// Below this share of the window a claim is not worth its round trip while jobs are held.
const roomShareMin = 0.25
const retryMs = 200

export interface Claims {
  /** This tag may have ready jobs; `again`: also some that were accepted earlier. */
  wake(tag: string, again?: boolean): void
  wakeAll(): void
  /** There may be room again. */
  pump(): void
  /** Jobs that were lost before may wait. */
  suspect(): void
  /** Jobs that may be held now. */
  window(): number
  /** Takes no more; resolves once no claim is under way. False: jobs may be held that nobody here knows of. */
  stop(): Promise<boolean>
}

export function createClaims(parts: {
  db: Database
  clock: Clock
  limits: Limits
  workerId: number
  tags: () => readonly string[]
  /** Jobs held now. */
  held: () => number
  /** Those of them that take no place. */
  lingering: () => number
  /** What they are: by this claim or another. */
  known: () => { id: string; epoch: number }[]
  /** Calls that the runners at work can have in hand at a time. */
  capacity: () => number
  /** Something downstream is full: claim nothing. */
  full: () => boolean
  take: (jobs: ClaimedJob[]) => void
  counters: WorkerCounters
  log: WorkerLog
  concurrency?: number
}): Claims {
  const { db, clock, limits, workerId, counters, log } = parts
  const heldMax = parts.concurrency ?? limits.workerJobsMax
  const wanted = new Set<string>()
  const cursors = new Map<string, Cursor>()
  let client: pg.Client | null = null
  let running: Promise<void> | null = null
  let stopped = false
  let turn = 0
  let round = 0
  /** The last one that the database was asked for: it may come to it late. */
  let askedRound = 0
  /** What became of the last claim is not known (C5). */
  let unsure = false

  // unknown: to be looked for; waits: there is one, and what is held ends first; alone: one runs.
  let suspect: 'unknown' | 'none' | 'waits' | 'alone' = 'unknown'
  let suspectSinceMs = 0
  // Lost once more than it may, a job is poison anyway.
  const suspectAfter = Math.max(1, Math.min(limits.suspectAfter, limits.lostMax))

  // The window and what it is made from.
  let window = Math.min(heldMax, windowStart)
  let measuredAtMs = clock.monotonicMs()
  let measuredJobs = counters.jobsFinished
  let measuredBytes = counters.bytesFinished
  let argsBytes = 0 // of one job, in the last claim
  let doneBytes = 0 // that one job came to

  function measure(): void {
    const nowMs = clock.monotonicMs()
    const spanMs = nowMs - measuredAtMs
    const jobs = counters.jobsFinished - measuredJobs
    const most = Math.min(heldMax, Math.max(1, Math.floor(limits.heldBytesMax / (argsBytes + doneBytes + 1))))
    const least = Math.min(most, Math.max(windowMin, parts.capacity() + windowSpare))
    window = Math.min(most, Math.max(window, argsBytes === 0 ? 0 : least))
    if (spanMs < growAfterMs) return
    const fits = Math.min(most, Math.max(least, (jobs / spanMs) * windowMs))
    // Up quickly (a window that is full hides the rate that was possible), down slowly (one quiet moment means nothing).
    if (fits > window * 0.75) window = Math.min(most, Math.max(fits, window * 1.5))
    else if (spanMs >= shrinkAfterMs) window = Math.max(fits, window * 0.9)
    else return
    if (jobs > 0) doneBytes = Math.max((counters.bytesFinished - measuredBytes) / jobs, doneBytes * 0.8)
    measuredAtMs = nowMs
    measuredJobs = counters.jobsFinished
    measuredBytes = counters.bytesFinished
  }

  function weigh(jobs: readonly ClaimedJob[]): void {
    let bytes = 0
    for (const job of jobs) bytes += job.args.length
    argsBytes = Math.max(bytes / jobs.length, argsBytes * 0.8)
  }

  function room(): number {
    return Math.floor(window) - busy()
  }

  function busy(): number {
    return parts.held() - parts.lingering()
  }

  function ready(): boolean {
    if (stopped || parts.full()) return false
    if (suspect !== 'none') return suspectTurn()
    if (wanted.size === 0) return false
    const free = room()
    return free > 0 && (free >= Math.min(window * roomShareMin, limits.claimJobsMax) || busy() === 0)
  }

  function pump(): void {
    if (running || !ready()) return
    running = claimWhileReady().finally(() => {
      running = null
      pump()
    })
  }

  async function claimWhileReady(): Promise<void> {
    while (ready()) {
      if (suspect !== 'none') {
        await attempt(null, lookForSuspect)
        continue
      }
      measure()
      const tag = nextTag()
      if (tag === undefined) return
      wanted.delete(tag) // before the claim: a notification that comes while it is under way counts
      const jobsMax = Math.min(limits.claimJobsMax, room())
      if (jobsMax <= 0) {
        wanted.add(tag)
        return
      }
      const cursor = cursorOf(tag)
      await attempt(tag, async (on) => {
        unsure = true
        const after = cursor.begin(clock.monotonicMs())
        const jobs = await claimJobs(on, { workerId, tag, jobsMax, round, suspectAfter, after })
        unsure = false
        if (cursor.found(jobs, jobs.length === jobsMax, clock.monotonicMs())) wanted.add(tag)
        return jobs
      })
    }
  }

  /** One round trip that may claim something. */
  async function attempt(tag: string | null, claim: (on: pg.Client) => Promise<ClaimedJob[]>): Promise<void> {
    try {
      client ??= await db.connect({ name: `millrace claim ${workerId}` })
      if (unsure) await settle(client)
      const askedMs = clock.monotonicMs()
      const jobs = await claim(client)
      if (tag !== null) count(jobs.length, clock.monotonicMs() - askedMs)
      if (jobs.length === 0) return
      weigh(jobs)
      parts.take(jobs)
    } catch (error) {
      if (tag !== null) want(tag, true)
      client?.end().catch(() => {})
      client = null
      log[isOutage(error) ? 'warn' : 'error']({ err: error }, 'claim failed; trying again')
      await clock.pause(retryMs)
    }
  }

  async function lookForSuspect(on: pg.Client): Promise<ClaimedJob[]> {
    const tags = parts.tags()
    if (suspect !== 'waits') {
      const waits = await suspectsWait(on, tags, suspectAfter)
      stand(waits ? 'waits' : 'none')
      if (!waits || parts.held() > 0) return []
    }
    unsure = true
    const jobs = await claimSuspect(on, { workerId, tags, round, suspectAfter })
    unsure = false
    stand(jobs.length > 0 ? 'alone' : 'none')
    if (jobs.length > 0)
      log.warn({ worker: workerId, job: jobs[0]!.id, lost: jobs[0]!.lost }, 'a job that was lost before is run alone')
    return jobs
  }

  /** Is it time to look for a suspect, or to claim one? */
  function suspectTurn(): boolean {
    if (suspect === 'unknown' || parts.held() === 0) return true
    if (clock.monotonicMs() - suspectSinceMs < limits.suspectMs) return false
    if (suspect === 'waits') return true // beside what has run for so long already
    suspect = 'none' // one that takes long is no reason to keep the others waiting: they have their turn until the next poll
    clock.soon(pump)
    return false
  }

  function stand(now: typeof suspect): void {
    suspect = now
    if (now === 'none') return
    suspectSinceMs = clock.monotonicMs()
    clock.after(limits.suspectMs, pump).unref()
  }

  async function settle(on: pg.Client): Promise<void> {
    askedRound += 1
    const back = await settleClaims(on, { workerId, round: askedRound, known: parts.known() })
    unsure = false
    if (!back) return // declared dead: the lease tells
    round = askedRound
    if (back.length === 0) return
    const jobs = someOf(back.map((job) => job.id))
    log.warn({ worker: workerId, back: back.length, jobs }, 'gave back jobs of a claim whose answer was lost')
    for (const { tag } of back) want(tag, true)
  }

  function count(jobs: number, ms: number): void {
    counters.claims += 1
    counters.jobsClaimed += jobs
    counters.claimSeconds.add(ms / 1_000)
    if (jobs === 0) counters.claimsEmpty += 1
    else counters.claimJobs.add(jobs)
  }

  /** Tags take turns, so that a busy one does not starve the others. */
  function nextTag(): string | undefined {
    const tags = parts.tags()
    for (let i = 0; i < tags.length; i++) {
      const tag = tags[(turn + i) % tags.length]!
      if (!wanted.has(tag)) continue
      turn = (turn + i + 1) % tags.length
      return tag
    }
    wanted.clear()
    return undefined
  }

  function cursorOf(tag: string): Cursor {
    let cursor = cursors.get(tag)
    if (!cursor) cursors.set(tag, (cursor = new Cursor()))
    return cursor
  }

  function want(tag: string, again: boolean): void {
    wanted.add(tag)
    if (again) cursorOf(tag).again()
  }

  return {
    wake(tag, again = false) {
      if (!parts.tags().includes(tag)) return
      want(tag, again)
      pump()
    },
    wakeAll() {
      if (suspect === 'none') suspect = 'unknown'
      for (const tag of parts.tags()) want(tag, true)
      pump()
    },
    pump,
    suspect() {
      if (suspect === 'none') suspect = 'unknown'
      pump()
    },
    window: () => Math.floor(window),
    async stop() {
      stopped = true
      await running
      if (unsure && client) await settle(client).catch(() => {}) // what is left then is found when the lease ends
      await client?.end().catch(() => {})
      return !unsure
    },
  }
}
