// Time and chance, as the parts that decide are given them: this machine's, or a simulation's (test/sim).
//   T1. worker/, the enqueuer and the waiters read no other clock and no other source of chance, so a run of them is a
//       function of what their ports answer.
//   T2. No clock of a process decides about a lease or about what is due: that is the database's (see the statements).
import { setTimeout as pause } from 'node:timers/promises'

export interface Timer {
  cancel(): void
  /** The process need not live for it. */
  unref(): void
}

export interface Clock {
  /** The wall clock, in ms since 1970. May jump. */
  nowMs(): number
  /** Ms since some moment; never goes back. */
  monotonicMs(): number
  after(ms: number, work: () => void): Timer
  every(ms: number, work: () => void): Timer
  /** Once what runs now is through. */
  soon(work: () => void): void
  /** Once what has already arrived was read. */
  nextTurn(work: () => void): void
  /** Rejects when the signal is aborted. */
  pause(ms: number, signal?: AbortSignal): Promise<void>
  /** From 0 to below 1. */
  random(): number
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (ms, work) => timerOf(setTimeout(work, ms)),
  every: (ms, work) => timerOf(setInterval(work, ms)),
  soon: (work) => process.nextTick(work),
  nextTurn: (work) => void setImmediate(work),
  pause: (ms, signal) => pause(ms, undefined, signal ? { signal } : undefined),
  random: () => Math.random(),
}

function timerOf(timeout: NodeJS.Timeout): Timer {
  return { cancel: () => clearTimeout(timeout), unref: () => void timeout.unref() }
}
