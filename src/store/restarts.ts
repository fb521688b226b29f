// Jobs started again from the middle of a finished one: see core/flow/restart.ts for the records they begin with.
//   S1. The new job, its journal and its link to the old one are stored in one transaction.
import { EngineError } from '../core/errors.ts'
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'
import { notify, workChannel, type NewJob } from './jobs.ts'

export interface Restart {
  /** Its arguments are the old one's. */
  job: Omit<NewJob, 'args' | 'waiter'>
  of: string
  fromStep: string
  fromSlot: number | null
  records: readonly JsonText[]
  /** How many answers to waiting steps are among them. */
  signals: number
}

/** Gives the new job's id, or that of the job which has its key already. @throws EngineError E_NOT_FOUND, E_BUSY */
export async function restartJob(on: Queryable, restart: Restart): Promise<string> {
  const { job, of, fromStep, fromSlot, records, signals } = restart
  const row = {
    id: job.id,
    of,
    ws: job.workspaceId,
    v: job.versionId,
    tag: job.tag,
    p: job.priority,
    by: job.createdBy,
    at: job.runAtMs === undefined ? null : Math.ceil(job.runAtMs),
    parent: job.parentId ?? null,
    trace: job.trace ?? null,
    key: job.key ?? null,
    signals,
    from_step: fromStep,
    from_slot: fromSlot,
  }
  const [stored] = await run<{ id: string }>(on, 'restart_job', [JSON.stringify(row), `[${records.join(',')}]`])
  if (!stored) {
    if (job.key === undefined)
      throw new EngineError('E_NOT_FOUND', `job ${of} was dropped by retention a moment ago`, { at: 'id' })
    throw new EngineError('E_BUSY', 'the same key is being used by another request; try again', { retryAfterS: 1 })
  }
  if (stored.id === job.id && job.runAtMs === undefined) await notify(on, workChannel, job.tag).catch(() => {}) // workers poll
  return stored.id
}
