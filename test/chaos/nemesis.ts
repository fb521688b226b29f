// Strikes with one fault after another, each until it is put right again, and measures how long nothing was finished.
//   N1. Every fault chosen comes once before any comes twice; order and details follow from the seed.
import { setTimeout as pause } from 'node:timers/promises'
import type { Fault, Struck } from './faults.ts'
import type { Chance } from './random.ts'
import type { Rig } from './rig.ts'

export interface Strike extends Struck {
  fault: string
  /** From when recovery could begin to the next job that finished; undefined: none within a minute. */
  recoveredMs: number | undefined
}

const gapMs = { min: 200, max: 1_500 }
const recoveryMaxMs = 60_000

export async function torment(options: {
  rig: Rig
  faults: readonly Fault[]
  random: Chance
  /** No new fault after that, but every one at least once. */
  untilMs: number
  struck: (strike: Strike) => void
  striking: (fault: Fault) => void
}): Promise<void> {
  const { rig, random } = options
  let bag = random.shuffled(options.faults)
  for (let struck = 0; struck < options.faults.length || performance.now() < options.untilMs; struck++) {
    if (bag.length === 0) bag = random.shuffled(options.faults)
    const fault = bag.pop()!
    options.striking(fault)
    const finished = watchFinished(rig)
    try {
      const struck = await fault.strike(rig, random)
      options.struck({ ...struck, fault: fault.name, recoveredMs: await finished.after(struck.fromMs) })
    } finally {
      finished.stop()
    }
    await pause(random.between(gapMs.min, gapMs.max))
  }
}

/** Sees, some 50 times a second, whether a job has finished since it last looked. */
function watchFinished(rig: Rig) {
  const seenMs: number[] = []
  const over = new AbortController()
  let last: Date | null = null
  const watching = (async () => {
    while (!over.signal.aborted) {
      try {
        // The index on completed_at is this run's own (run.ts).
        const { rows } = await rig.db.pool.query('select max(completed_at) as at from job_done')
        const { at } = rows[0] as { at: Date | null }
        if (at !== null && (last === null || at > last)) {
          if (last !== null) seenMs.push(performance.now())
          last = at
        }
      } catch {
        // Postgres is away
      }
      await pause(15)
    }
  })()
  return {
    async after(sinceMs: number): Promise<number | undefined> {
      while (performance.now() - sinceMs < recoveryMaxMs) {
        const first = seenMs.find((ms) => ms > sinceMs)
        if (first !== undefined) return first - sinceMs
        await pause(10)
      }
      return undefined
    },
    stop(): void {
      over.abort()
      watching.catch(() => {})
    },
  }
}
