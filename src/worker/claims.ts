// Claims: takes ready jobs of the worker's tags in batches, whenever there may be some and there is room.
//   C1. One claim under way at a time, on a connection of its own. Held jobs never exceed the window.
//   C2. A tag is asked when it was notified, when its last claim came back full, or when the poll is due; so a lost
//       notification delays a job by pollMs at most, and an empty queue is not asked again and again.
//   C3. The window follows the work (Little's law): about windowMs of what the worker finishes, so that held jobs are young
//       when they end (no journal, little to take over), and never so few that runners wait.
//   C4. A claim whose answer was lost may have taken jobs: before the next one, what this worker holds without knowing is
//       given back. Without that it would be held by a worker that lives and never runs it.
// HOT. Per batch: one statement.
import type pg from 'pg'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../store/clock.ts'
import { isOutage, type Database } from '../store/db.ts'
import { claimJobs, settleClaims, type ClaimedJob } from '../store/jobs.ts'
import { someOf, type WorkerCounters, type WorkerLog } from './report.ts'

const windowMs = 120
const windowMin = 200
// Below this share of the window a claim is not worth its round trip while jobs are held.
const roomShareMin = 0.25
const retryMs = 200

export interface Claims {
  /** This tag may have ready jobs. */
  wake(tag: string): void
  wakeAll(): void
  /** There may be room again. */
  pump(): void
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
  /** What they are: by this claim or another. */
  known: () => { id: string; epoch: number }[]
  /** Something downstream is full: claim nothing. */
  full: () => boolean
  take: (tag: string, jobs: ClaimedJob[]) => void
  counters: WorkerCounters
  log: WorkerLog
  concurrency?: number
}): Claims {
  const { db, clock, limits, workerId, counters, log } = parts
  const heldMax = parts.concurrency ?? limits.workerJobsMax
  const wanted = new Set<string>()
  let client: pg.Client | null = null
  let running: Promise<void> | null = null
  let stopped = false
  let turn = 0
  let round = 0
  /** What became of the last claim is not known (C4). */
  let unsure = false

  // The window and what it is made from.
  let window = Math.min(heldMax, 500)
  let measuredAtMs = clock.monotonicMs()
  let measuredJobs = counters.jobsFinished

  function measure(): void {
    const nowMs = clock.monotonicMs()
    const spanMs = nowMs - measuredAtMs
    if (spanMs < 50) return
    const rate = (counters.jobsFinished - measuredJobs) / spanMs
    measuredAtMs = nowMs
    measuredJobs = counters.jobsFinished
    const fits = Math.min(heldMax, Math.max(windowMin, rate * windowMs))
    // Up quickly (a window that is full hides the rate that was possible), down slowly (one quiet moment means nothing).
    window = fits > window * 0.75 ? Math.min(heldMax, Math.max(fits, window * 1.5)) : Math.max(fits, window * 0.9)
  }

  function room(): number {
    return Math.floor(window) - parts.held()
  }

  function ready(): boolean {
    if (stopped || wanted.size === 0 || parts.full()) return false
    const free = room()
    return free > 0 && (free >= Math.min(window * roomShareMin, limits.claimJobsMax) || parts.held() === 0)
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
      measure()
      const tag = nextTag()
      if (tag === undefined) return
      wanted.delete(tag) // before the claim: a notification that comes while it is under way counts
      const jobsMax = Math.min(limits.claimJobsMax, room())
      if (jobsMax <= 0) {
        wanted.add(tag)
        return
      }
      try {
        client ??= await db.connect({ name: `millrace claim ${workerId}` })
        if (unsure) await settle(client)
        unsure = true
        const askedMs = clock.monotonicMs()
        const jobs = await claimJobs(client, { workerId, tag, jobsMax, round })
        unsure = false
        count(jobs.length, clock.monotonicMs() - askedMs)
        if (jobs.length === jobsMax) wanted.add(tag)
        if (jobs.length > 0) parts.take(tag, jobs)
      } catch (error) {
        wanted.add(tag)
        client?.end().catch(() => {})
        client = null
        log[isOutage(error) ? 'warn' : 'error']({ err: error }, 'claim failed; trying again')
        await clock.pause(retryMs)
      }
    }
  }

  async function settle(on: pg.Client): Promise<void> {
    const settled = await settleClaims(on, { workerId, known: parts.known() })
    unsure = false
    if (!settled) return // declared dead: the lease tells
    round = settled.round
    if (settled.back.length === 0) return
    const jobs = someOf(settled.back.map((job) => job.id))
    log.warn({ worker: workerId, back: settled.back.length, jobs }, 'gave back jobs of a claim whose answer was lost')
    for (const { tag } of settled.back) wanted.add(tag)
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

  return {
    wake(tag) {
      if (!parts.tags().includes(tag)) return
      wanted.add(tag)
      pump()
    },
    wakeAll() {
      for (const tag of parts.tags()) wanted.add(tag)
      pump()
    },
    pump,
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
