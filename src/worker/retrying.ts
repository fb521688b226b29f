// Trying again: a worker outlives whatever is wrong with its database, and says so.
import type { Clock } from '../store/clock.ts'
import { isOutage } from '../store/db.ts'
import type { WorkerLog } from './report.ts'

/** Does `work` until it succeeds, or fails in a way that is `hopeless` (default: none is). */
export type Retrying = <T>(work: () => Promise<T>, hopeless?: (error: unknown) => boolean) => Promise<T>

export function createRetrying({ clock, log }: { clock: Clock; log: WorkerLog }): Retrying {
  return async (work, hopeless = () => false) => {
    for (let attempt = 0; ; attempt++) {
      try {
        return await work()
      } catch (error) {
        if (hopeless(error)) throw error
        const outage = isOutage(error)
        if (outage) log.warn({ err: error }, 'the database is away; trying again')
        else log.error({ err: error }, 'the database refuses; trying again')
        await clock.pause(Math.min(outage ? 1_000 : 10_000, 50 * 2 ** attempt))
      }
    }
  }
}
