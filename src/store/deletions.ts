// What delete_after_secs takes of finished jobs: core/flow/deletion.ts says what is left of one.
//   D1. Any number of workers may look; an entry is changed by the one whose due_at still holds, together with its job.
import { deletionOf, type Deletable } from '../core/flow/deletion.ts'
import { stepIdOf } from '../core/job/ids.ts'
import { run, type Queryable } from './db.ts'

/** A job that retention took has no status, nor what follows it. */
type Due = { id: string; dueAt: string; wholeS: number | null; elapsedS: number } & (Deletable | { status: null })

/** Is there anything to be done after the end of jobs: handlers to be started (failures.ts), jobs to be deleted? */
export async function afterwardsDue(on: Queryable): Promise<{ failures: boolean; deletions: boolean }> {
  const [row] = await run<{ failures: boolean; deletions: boolean }>(on, 'afterwards_due', [])
  return row!
}

/** Deletes what is due, of at most so many jobs. Gives how many there were. `now`: null in production (the database's clock decides). */
export async function deleteDue(on: Queryable, due: { jobsMax: number; now?: Date }): Promise<number> {
  const jobs = await run<Due>(on, 'due_deletions', [due.now ?? null, due.jobsMax])
  if (jobs.length > 0) await run(on, 'delete_used', [`[${jobs.map(printLeft).join(',')}]`])
  return jobs.length
}

function printLeft(job: Due): string {
  const { id, dueAt, wholeS, elapsedS } = job
  const entry = `"id":"${id}","due_at":${JSON.stringify(dueAt)}`
  if (job.status === null) return `{${entry}}`
  const { deleted, args, result, steps, logsOf, nextS } = deletionOf(job, wholeS, elapsedS)
  const logs = logsOf === null ? { first: id, last: `${id.slice(0, 32)}ffff` } : { logs: logsOf.map((n) => stepIdOf(id, n)) }
  const rest = JSON.stringify({ next_s: nextS, deleted, ...logs }).slice(1, -1)
  return `{${entry},${rest},"args":${args},"result":${result},"steps":${steps}}`
}
