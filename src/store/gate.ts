// The gate: every attempt of this process to connect to the database passes here, whoever makes it, so that a database that is
// away, or a line that flaps, is not stormed.
//   G1. After a failure nobody tries until a wait is over: doubled with each failure up to retryMaxMs, and shortened by chance,
//       so that processes do not come all at once. Who asks meanwhile is told so at once.
//   G2. Then one tries, and the others wait for what it finds: it failing, all fail.
//   G3. Failures are forgotten after steadyMs without one, not with the first success.
import { EngineError, messageOf } from '../core/errors.ts'
import { systemClock, type Clock } from './clock.ts'

const retryMinMs = 50
const retryMaxMs = 1_000
const steadyMs = 5_000

export interface Gate {
  /** @throws what the attempt throws; EngineError E_DATABASE while it is too early to try */
  pass<T>(attempt: () => Promise<T>): Promise<T>
}

export function createGate(clock: Clock = systemClock): Gate {
  let failures = 0
  let failedAtMs = -Infinity
  let openAtMs = -Infinity
  let lastError: unknown = null // set: it is not known that the database is back
  let probe: Promise<unknown> | null = null

  function failed(error: unknown): void {
    const nowMs = clock.monotonicMs()
    if (nowMs - failedAtMs > steadyMs) failures = 0
    failures += 1
    failedAtMs = nowMs
    lastError = error
    const waitMs = Math.min(retryMaxMs, retryMinMs * 2 ** (failures - 1))
    openAtMs = nowMs + waitMs * (0.5 + 0.5 * clock.random())
  }

  return {
    async pass(attempt) {
      if (probe !== null) await probe
      else if (lastError !== null) {
        if (clock.monotonicMs() < openAtMs) {
          throw new EngineError('E_DATABASE', messageOf(lastError), { retryAfterS: 1, cause: lastError })
        }
        const trying = attempt()
        probe = trying
        try {
          const value = await trying
          lastError = null
          return value
        } catch (error) {
          failed(error)
          throw error
        } finally {
          probe = null
        }
      }
      try {
        return await attempt()
      } catch (error) {
        if (lastError === null) failed(error) // of several that fail together, one counts
        throw error
      }
    },
  }
}
