// Answers: tells the server processes whose callers wait that their jobs are done. After the commit, never inside it.
//   A1. A hint: a server polls for what it waits for, so one that is lost only delays.
//   A2. A small commit tells by itself (sql/finish_jobs.sql); the rest is here: one notify per server and turn of the event loop; the result comes along when it fits a payload.
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../store/clock.ts'
import type { Database } from '../store/db.ts'
import { doneChannel, notify, payloadBytesMax } from '../store/jobs.ts'
import type { Run } from './run.ts'

export interface Answers {
  tell(run: Run): void
  /** A step's result is to be answered before the job is over: whoever waits reads it. */
  early(run: Run): void
  /** Under way. */
  pending(): number
  close(): Promise<void>
}

export function createAnswers({ db, clock, limits }: { db: Database; clock: Clock; limits: Limits }): Answers {
  let lines = new Map<number, string[]>()
  const sending = new Set<Promise<void>>()

  function flush(): void {
    const batch = lines
    lines = new Map()
    for (const [server, texts] of batch) {
      for (const payload of payloadsOf(texts)) {
        if (sending.size >= limits.answersInFlightMax) return // the server polls
        const sent = notify(db.pool, doneChannel(server), payload)
          .catch(() => {}) // the server polls
          .finally(() => sending.delete(sent))
        sending.add(sent)
      }
    }
  }

  function add(server: number, line: string): void {
    if (lines.size === 0) clock.soon(flush)
    const texts = lines.get(server)
    if (texts) texts.push(line)
    else lines.set(server, [line])
  }

  return {
    tell(run) {
      const server = run.job.waiter
      if (server === null) return
      const head = `${run.id} ${run.status}`
      const whole = `${head} ${run.result}`
      // A character is at most 3 bytes of UTF-8 per UTF-16 unit.
      const line = whole.length * 3 <= payloadBytesMax || Buffer.byteLength(whole) <= payloadBytesMax ? whole : head
      add(server, line)
    },
    early(run) {
      if (run.job.waiter !== null) add(run.job.waiter, `${run.id} early`)
    },
    pending: () => sending.size,
    async close() {
      await Promise.all(sending)
    },
  }
}

/** Lines packed into payloads that Postgres takes. */
function payloadsOf(texts: readonly string[]): string[] {
  const payloads: string[] = []
  let payload = ''
  let bytes = 0
  for (const text of texts) {
    const size = Buffer.byteLength(text) + 1
    if (bytes > 0 && bytes + size > payloadBytesMax) {
      payloads.push(payload)
      payload = ''
      bytes = 0
    }
    payload += (bytes === 0 ? '' : '\n') + text
    bytes += size
  }
  if (bytes > 0) payloads.push(payload)
  return payloads
}
