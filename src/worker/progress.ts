// How far steps say they are. What a step said last is what counts, so there is one write at a time, and one value waiting a step.
import type { Database } from '../store/db.ts'
import { setProgress } from '../store/jobs.ts'
import type { WorkerLog } from './report.ts'

export interface Progress {
  set(stepJobId: string, percent: number): void
}

export function createProgress({ db, log }: { db: Database; log: WorkerLog }): Progress {
  const waiting = new Map<string, number>()
  let busy: Promise<void> | null = null

  async function send(): Promise<void> {
    for (const [stepJobId, percent] of waiting) {
      waiting.delete(stepJobId)
      await setProgress(db.pool, stepJobId, percent).catch((error: unknown) => log.warn({ err: error }, 'progress not stored'))
    }
    busy = null
  }

  return {
    set(stepJobId: string, percent: number): void {
      waiting.set(stepJobId, percent)
      busy ??= Promise.resolve().then(send)
    },
  }
}
