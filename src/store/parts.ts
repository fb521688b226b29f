// Parts: jobs that run some iterations of a loop of another one (core/flow/spread.ts), or a step of it (core/flow/apart.ts).
//   P1. They are made in the statement that makes durable that they are: all of them, once.
//   P2. Their ids follow from the job, the number of the step and their slot; their time is the job's.
//   P3. Each ends by finish_waited, whatever became of it: that statement alone tells the job that it is a part of, and makes the
//       next one ready. The end of that job, however it comes, asks its parts to stop.
//   P4. Some wait for a turn (turns.ts), as jobs do. Whoever may tell parts to stop locks the keys of their turns before any row of job.
import { createHash } from 'node:crypto'
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'

/** 16 bits of a job's id are its steps'; its time and its form are kept. */
export function partIdOf(jobId: string, step: number, slot: number): string {
  const hex = createHash('sha256').update(`${jobId} ${step} ${slot}`).digest('hex')
  const high = (0x8000 | (Number.parseInt(hex.slice(3, 7), 16) & 0x3fff)).toString(16)
  return `${jobId.slice(0, 13)}-7${hex.slice(0, 3)}-${high}-${hex.slice(7, 15)}0000`
}

/**
 * `batch`: a JSON array of {id, epoch, n, record, step, part, v, at_once, jobs: [{id, slot, args, tag?, priority?, turn?}, …]}, and
 * {id, epoch, n, record} of records without jobs. Gives the ids that were no longer ours.
 */
export async function spreadJobs(on: Queryable, workerId: number, batch: JsonText): Promise<string[]> {
  const rows = await run<{ id: string | null }>(on, 'spread_jobs', [workerId, batch])
  return rows.flatMap((row) => row.id ?? [])
}

/** The parts of a step of a job are to stop; or those that have not begun. */
export interface PartsQuit {
  id: string
  epoch: number
  step: number
  unbegun: boolean
}

export async function quitParts(on: Queryable, workerId: number, quits: readonly PartsQuit[]): Promise<void> {
  await run(on, 'quit_parts', [workerId, JSON.stringify(quits)])
}
