// How a flow does right now, read from what is stored: for the live line of `millrace up --sample`.
import { firstIdAt } from '../core/job/ids.ts'
import { run, type Queryable } from './db.ts'

export interface Pulse {
  /** Jobs that finished in the window. */
  finished: number
  /** From accepted to finished, in ms: 99 of 100 took no longer. null if none finished. */
  p99Ms: number | null
  /** Accepted and not finished. */
  active: number
}

const lookBackMs = 30_000 // jobs accepted earlier are not counted: they would not belong to a live line

export async function pulse(on: Queryable, of: { tag: string; windowMs: number }): Promise<Pulse> {
  const [row] = await run<Pulse>(on, 'pulse', [of.tag, firstIdAt(Date.now() - lookBackMs), of.windowMs])
  return row!
}
