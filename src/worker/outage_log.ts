// A worker's log while the database is away: many parts meet the same outage many times a second, and it is one change.
//   L1. Of warnings about an outage, one in tellMs is let through, whichever part gives it. Everything else is.
import type { Clock } from '../store/clock.ts'
import { isOutage } from '../store/db.ts'
import type { WorkerLog } from './report.ts'

const tellMs = 5_000

export function outageLog(log: WorkerLog, clock: Clock): WorkerLog {
  let toldAtMs = -Infinity
  const warn = (facts: object, ...text: string[]): void => {
    if ('err' in facts && isOutage(facts.err)) {
      if (clock.monotonicMs() - toldAtMs < tellMs) return
      toldAtMs = clock.monotonicMs()
    }
    log.warn(facts, ...text)
  }
  return {
    info: log.info.bind(log),
    error: log.error.bind(log),
    debug: log.debug.bind(log),
    warn: warn as WorkerLog['warn'],
  }
}
