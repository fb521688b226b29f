// Callers that wait for a job's result.
//   W1. Every waiting id is polled every pollMs and whenever listening begins (again), so a notification that was lost only delays.
//   W2. A caller gives up by its signal; nothing is kept for it then.
//   W3. A job that answers early (early_return) has its result looked up: a line that tells of it is only a hint.
import { EngineError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import { isUuid } from '../core/job/ids.ts'
import { systemClock, type Clock } from '../store/clock.ts'
import type { Database } from '../store/db.ts'
import { readEarly, readOutcomes, type Finished, type JobStatus } from '../store/job_reads.ts'

export interface Waiters {
  /** Resolves when the job is over; with `early`, when what it answers with before is there. @throws EngineError E_BUSY when there are too many, or the server stops; the signal's reason */
  wait(id: string, signal: AbortSignal, early?: boolean): Promise<Finished>
  /** @throws EngineError E_BUSY */
  assertRoom(): void
  /** A payload of the done channel: lines `<id> <status> [<result>]`. */
  announced(payload: string): void
  /** Looks for results that nobody told us of. */
  poll(): Promise<void>
  count(): number
  close(): void
}

interface Waiter {
  resolve(finished: Finished): void
  reject(error: unknown): void
}

export function createWaiters(parts: { db: Database; limits: Limits; clock?: Clock }): Waiters {
  const { db, limits, clock = systemClock } = parts
  const waiting = new Map<string, Set<Waiter>>()
  const early = new Set<string>()
  let count = 0
  let closed = false
  let polling: Promise<void> | null = null
  const timer = clock.every(limits.pollMs, () => void poll())
  timer.unref()

  function settle(finished: Finished): void {
    const waiters = waiting.get(finished.id)
    if (!waiters) return
    for (const waiter of waiters) waiter.resolve(finished)
  }

  async function look(ids: string[]): Promise<void> {
    if (ids.length === 0) return
    const earlyIds = early.size === 0 ? [] : ids.filter((id) => early.has(id))
    if (earlyIds.length > 0) {
      for (const { id, result } of await readEarly(db.pool, earlyIds)) settle({ id, status: 'success', result })
    }
    for (const finished of await readOutcomes(db.pool, ids)) settle(finished)
  }

  function poll(): Promise<void> {
    // An outage is no reason to forget anybody: the next poll asks again.
    polling ??= look([...waiting.keys()])
      .catch(() => {})
      .finally(() => {
        polling = null
      })
    return polling
  }

  function assertRoom(): void {
    if (count < limits.waitersMax) return
    throw new EngineError('E_BUSY', `${limits.waitersMax} callers wait for results already`, { retryAfterS: 1 })
  }

  return {
    assertRoom,
    wait(id, signal, isEarly = false) {
      if (closed) return Promise.reject(new EngineError('E_BUSY', 'the server is stopping', { retryAfterS: 1 }))
      try {
        assertRoom()
      } catch (error) {
        return Promise.reject(error)
      }
      return new Promise((resolve, reject) => {
        const leave = (): void => {
          signal.removeEventListener('abort', abort)
          const others = waiting.get(id)
          if (others?.delete(waiter)) count -= 1
          if (others?.size === 0) {
            waiting.delete(id)
            early.delete(id)
          }
        }
        const abort = (): void => waiter.reject(signal.reason)
        const waiter: Waiter = {
          resolve(finished) {
            leave()
            resolve(finished)
          },
          reject(error) {
            leave()
            reject(error)
          },
        }
        const others = waiting.get(id) ?? new Set()
        waiting.set(id, others.add(waiter))
        if (isEarly) early.add(id)
        count += 1
        if (signal.aborted) abort()
        else signal.addEventListener('abort', abort, { once: true })
      })
    },
    announced(payload) {
      const told = payload.split('\n').map(finishedOf)
      if (told.includes(null)) {
        void poll() // not the lines we know: only a hint then
        return
      }
      const untold: string[] = []
      for (const finished of told as Told[]) {
        if (finished.result === null || early.has(finished.id)) untold.push(finished.id)
        else settle(finished as Finished)
      }
      const ours = untold.filter((id) => waiting.has(id))
      if (ours.length > 0) look(ours).catch(() => {}) // polled again soon
    },
    poll,
    count: () => count,
    close() {
      closed = true
      timer.cancel()
      const error = new EngineError('E_BUSY', 'the server is stopping; the job goes on', { retryAfterS: 1 })
      for (const waiters of waiting.values()) for (const waiter of waiters) waiter.reject(error)
    },
  }
}

interface Told {
  id: string
  status: JobStatus
  result: string | null
}

function finishedOf(line: string): Told | null {
  const id = line.slice(0, 36)
  if (!isUuid(id) || line[36] !== ' ') return null
  const cut = line.indexOf(' ', 37)
  const status = (cut === -1 ? line.slice(37) : line.slice(37, cut)) as JobStatus
  return { id, status, result: cut === -1 ? null : line.slice(cut + 1) }
}
