// The commit channel: what happened becomes durable, many facts in one statement, while the worker goes on.
//   C1. Self-clocking: while a commit is under way the next batch gathers. No timer: a lone job is committed at once.
//   C2. Facts of one job are committed in order: its journal before its end (an end waits for its own journal rows).
//   C3. A batch whose outcome is unknown (connection lost) is sent again: the statements name (job, worker, epoch), so a
//       second time does nothing; a job found missing then was either committed the first time or taken over.
//   C4. backlogBytes() and logBytes() bound: the claims stop above limits.commitBacklogBytesMax, and above half of
//       limits.logBacklogBytesMax. Log beyond that is left out, and the log says so: it keeps nobody from finishing.
// HOT. Per job: one string. Per batch: one statement.
import type pg from 'pg'
import { messageOf } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../store/clock.ts'
import { blamesRows, isOutage, type Database } from '../store/db.ts'
import { appendJournal, appendLogs, finishJobs, finishWaited, keepWaits, recordRefusals, type LogPiece } from '../store/jobs.ts'
import { spreadJobs } from '../store/parts.ts'
import { someOf, type WorkerCounters, type WorkerLog } from './report.ts'

/** A finished job on its way to job_done. */
export interface Finished {
  readonly id: string
  readonly epoch: number
  /** {id, epoch, status, result, steps} as JSON. */
  readonly text: string
  /** The database will not take it: becomes something that says so, or false if it was that already. */
  unstorable(reason: string): boolean
  /** A caller waits for it. */
  readonly awaited: boolean
  /** Signals or times are kept for it, it has parts, is one, or has a turn. */
  readonly waited: boolean
  /** Its job was let go of: the worker may have claimed it again, and what that comes to is sent too. */
  readonly left: boolean
  /** `refused`: it was not ours any more. `told`: the commit itself told the caller. */
  committed(refused: boolean, told: boolean): void
}

/** A record on its way to job_journal, or waits of a job on their way to job_wait. */
export interface Journaled {
  readonly id: string
  readonly epoch: number
  readonly left: boolean
  /** {id, epoch, n, record} as JSON; or {id, epoch, waits}. */
  readonly text: string
  unstorable(reason: string): boolean
  committed(refused: boolean): void
}

export interface Committer {
  finish(job: Finished): void
  journal(record: Journaled): void
  /** As journal(), for a record that jobs come with, or one that goes before such a record. */
  spread(record: Journaled): void
  /** Makes durable until when a job waits of which more runs. */
  keepWaits(waits: Journaled): void
  log(piece: LogPiece): void
  backlogBytes(): number
  /** Bytes of log that wait to be stored. */
  logBytes(): number
  /** Finished jobs and records that wait for a commit. */
  backlogRows(): { jobs: number; records: number }
  /** Resolves once everything handed in so far is durable. */
  drained(): Promise<void>
  close(): Promise<void>
}

// Rows that make a second commit at the same time worth it: 79,000 → 83,000 steps/s against a full batch of 1,000
// (bench drain-3-typescript, 2 cores).
const secondCommitRows = 300
// A commit of so few jobs tells waiting callers itself; larger ones leave that to answers.ts.
const tellRowsMax = 8

// A row of the log takes lines until it has so many characters; an insert takes so many rows.
const logRowChars = 16 << 10
const logRowsMax = 1_000
const gapText = '[a part of the log is missing here: the database did not take it fast enough]\n'

// The database's gate tries about once a second while it is away; whoever waits longer by itself comes later than that.
const retryAfterMs = [50, 100, 200, 400] as const

export function createCommitter(parts: {
  db: Database
  clock: Clock
  limits: Limits
  workerId: number
  counters: WorkerCounters
  log: WorkerLog
  /** Called after each commit, when there is room again. */
  onRoom: () => void
}): Committer {
  const { db, clock, limits, workerId, counters, log } = parts
  const tells = (batch: Finished[]) => batch.length <= tellRowsMax && batch.some((job) => job.awaited)
  const finishes = createLane<Finished>(
    'finish',
    (client, text, told) => finishJobs(client, workerId, text, told),
    limits.commitsInFlightMax,
    tells,
    (job) => finishesWaited.push(job), // a failure
  )
  const finishesWaited = createLane<Finished>(
    'finish',
    (client, text, told) => finishWaited(client, workerId, text, told),
    1,
    tells,
  )
  const journals = createLane<Journaled>('journal', (client, text) => appendJournal(client, workerId, text), 1)
  const spreads = createLane<Journaled>('journal', (client, text) => spreadJobs(client, workerId, text), 1)
  const waits = createLane<Journaled>('journal', (client, text) => keepWaits(client, workerId, text), 1)
  const lanes = [finishes, finishesWaited, journals, spreads, waits]
  const logs: LogPiece[] = []
  let logBytes = 0
  /** Steps whose log has a gap that it does not tell of yet. */
  const gaps = new Map<string, LogPiece>()
  let logging: Promise<void> | null = null
  const over = new AbortController()

  function createLane<Item extends Pick<Finished, 'id' | 'epoch' | 'text' | 'left' | 'unstorable' | 'committed'>>(
    what: 'finish' | 'journal',
    commit: (client: pg.Client, text: string, told: boolean) => Promise<string[]>,
    widthMax: number,
    tells: (batch: Item[]) => boolean = () => false,
    /** Takes what has become something else; null: this lane. */
    elsewhere: ((item: Item) => void) | null = null,
  ) {
    const counted = counters[what]
    const waiting: Item[] = []
    let head = 0
    let bytes = 0
    let busy = 0
    let scheduled = false
    const clients: pg.Client[] = []
    const idle: (() => void)[] = []

    function pump(): void {
      scheduled = false
      // One commit at a time keeps batches large; a second one only when a good batch already waits.
      while (head < waiting.length && busy < widthMax && (busy === 0 || waiting.length - head >= secondCommitRows)) {
        const batch = take()
        if (batch.length === 0) continue
        busy += 1
        void send(batch).finally(() => {
          busy -= 1
          parts.onRoom()
          if (head < waiting.length) pump()
          else if (busy === 0) for (const resolve of idle.splice(0)) resolve()
        })
      }
    }

    /** The next of them. A statement tells what it refused by the ids of jobs, so each is in it under one epoch. */
    function take(): Item[] {
      let rows = 0
      let size = 0
      let left = false
      while (head + rows < waiting.length && rows < limits.commitRowsMax && (rows === 0 || size < limits.commitBytesMax)) {
        const item = waiting[head + rows]!
        size += item.text.length
        left ||= item.left
        rows += 1
      }
      const batch = waiting.slice(head, head + rows)
      head += rows
      bytes -= size
      if (head === waiting.length) {
        waiting.length = 0
        head = 0
      } else if (head > 8_192) {
        waiting.splice(0, head)
        head = 0
      }
      return left ? withoutLeft(batch) : batch
    }

    function withoutLeft(batch: Item[]): Item[] {
      for (const item of batch) if (item.left) item.committed(true, false)
      return batch.filter((item) => !item.left)
    }

    async function send(batch: Item[]): Promise<void> {
      const text = printBatch(batch)
      const told = tells(batch)
      for (let attempt = 0; !over.signal.aborted; attempt++) {
        const client = clients.pop() ?? (await connect(attempt))
        if (!client) continue
        try {
          const askedMs = clock.monotonicMs()
          const strangers = await commit(client, text, told)
          keep(client)
          count(batch.length, clock.monotonicMs() - askedMs)
          settle(batch, strangers, told, attempt > 0)
          return
        } catch (error) {
          if (!blamesRows(error)) {
            client.end().catch(() => {})
            counted.retries += 1
            log[isOutage(error) ? 'warn' : 'error']({ err: error, attempt }, 'commit failed; trying again')
            continue
          }
          keep(client)
          return refusedByDatabase(batch, error)
        }
      }
    }

    /** For the next batch; or, where close() came while it was busy, no more. */
    function keep(client: pg.Client): void {
      if (over.signal.aborted) client.end().catch(() => {})
      else clients.push(client)
    }

    function count(rows: number, ms: number): void {
      counted.commits += 1
      counted.rows.add(rows)
      counted.seconds.add(ms / 1_000)
    }

    /** It is the fault of one of them, which must not hold up the others. */
    async function refusedByDatabase(batch: Item[], error: unknown): Promise<void> {
      const [first] = batch
      if (batch.length > 1) {
        log.error({ err: error, jobs: batch.length }, 'the database refused a commit; its jobs are committed one by one')
        for (const item of batch) await send([item])
        return
      }
      log.error({ err: error, job: first!.id }, 'the database does not take what a job came to')
      if (first!.unstorable(messageOf(error))) await (elsewhere ? elsewhere(first!) : send(batch))
      else first!.committed(true, false)
    }

    async function connect(attempt: number): Promise<pg.Client | null> {
      if (attempt > 0) await clock.pause(retryAfterMs[Math.min(attempt, retryAfterMs.length) - 1]!)
      try {
        return await db.connect({ name: `millrace commit ${workerId}` })
      } catch (error) {
        log.warn({ err: error }, 'no connection to commit on')
        await clock.pause(retryAfterMs[Math.min(attempt, retryAfterMs.length - 1)]!)
        return null
      }
    }

    function settle(batch: Item[], strangers: string[], told: boolean, resent: boolean): void {
      if (strangers.length === 0) {
        for (const item of batch) item.committed(false, told)
        return
      }
      const refused = new Set(strangers)
      counters.refused += refused.size
      const jobs = batch.filter((item) => refused.has(item.id))
      const why = resent
        ? 'sent again after an outage: these were committed before, or are no longer ours'
        : 'these jobs are no longer ours'
      log.warn({ worker: workerId, what, refused: refused.size, jobs: someOf(refused) }, `refused: ${why}`)
      recordRefusals(db.pool, { workerId, what, jobs, resent }).catch((error: unknown) => {
        log.warn({ err: error, refused: jobs.length }, 'refused commits were not recorded for the audit')
      })
      for (const item of batch) item.committed(refused.has(item.id), told)
    }

    return {
      push(item: Item): void {
        waiting.push(item)
        bytes += item.text.length
        if (!scheduled) {
          scheduled = true
          clock.soon(pump) // what the same read brought in comes along
        }
      },
      bytes: () => bytes,
      rows: () => waiting.length - head,
      async drained(): Promise<void> {
        if (busy > 0 || head < waiting.length) await new Promise<void>((resolve) => idle.push(resolve))
      },
      async close(): Promise<void> {
        await Promise.allSettled(clients.map((client) => client.end()))
      },
    }
  }

  function pushLog(piece: LogPiece): void {
    const size = piece.text.length
    if (logBytes + size > limits.logBacklogBytesMax) {
      gaps.set(piece.id, { ...piece, channel: 0, text: gapText })
      return
    }
    logBytes += size
    const last = logs.at(-1)
    // Lines printed one by one need not be rows of their own.
    if (last?.id === piece.id && last.channel === piece.channel && last.text.length < logRowChars) last.text += piece.text
    else logs.push({ ...piece })
    logging ??= Promise.resolve().then(sendLogs)
  }

  async function sendLogs(): Promise<void> {
    while (logs.length > 0 && !over.signal.aborted) {
      const batch = logs.splice(0, logRowsMax)
      await sendLog(batch)
      for (const piece of batch) logBytes -= piece.text.length
      parts.onRoom()
      const untold = [...gaps.values()]
      gaps.clear()
      for (const gap of untold) pushLog(gap)
    }
    logging = null
  }

  async function sendLog(batch: LogPiece[]): Promise<void> {
    for (let attempt = 0; !over.signal.aborted; attempt++) {
      try {
        return await appendLogs(db.pool, batch)
      } catch (error) {
        if (!isOutage(error)) {
          log.warn({ err: error, pieces: batch.length }, 'log pieces lost: the database did not take them')
          return
        }
        await clock.pause(retryAfterMs[Math.min(attempt, retryAfterMs.length - 1)]!)
      }
    }
  }

  return {
    finish: (job) => (job.waited ? finishesWaited : finishes).push(job),
    journal: (record) => journals.push(record),
    spread: (record) => spreads.push(record),
    keepWaits: (kept) => waits.push(kept),
    log: pushLog,
    logBytes: () => logBytes,
    backlogBytes: () => lanes.reduce((sum, lane) => sum + lane.bytes(), 0),
    backlogRows: () => ({
      jobs: finishes.rows() + finishesWaited.rows(),
      records: journals.rows() + spreads.rows() + waits.rows(),
    }),
    async drained() {
      await Promise.all([...lanes.map((lane) => lane.drained()), logging])
    },
    async close() {
      over.abort()
      await Promise.all(lanes.map((lane) => lane.close()))
    },
  }
}

function printBatch(batch: readonly { text: string }[]): string {
  let text = '['
  for (let i = 0; i < batch.length; i++) text += i === 0 ? batch[i]!.text : ',' + batch[i]!.text
  return text + ']'
}
