// Finding what an id in a URL names: a job, a step of one, or the name a caller gave a job (`job_id=`).
import { EngineError } from '../core/errors.ts'
import { jobIdOf, stepNumberOf } from '../core/job/ids.ts'
import type { JsonText } from '../core/json.ts'
import type { Queryable } from '../store/db.ts'
import {
  jobOfKey,
  readJob,
  readLogs,
  readOutcome,
  readStep,
  type JobRow,
  type Outcome,
  type Span,
  type StepRow,
} from '../store/job_reads.ts'
import { jobText, mayRunNow, stepResultOf, stepSucceeded, stepText } from './job_view.ts'
import { uuidOf } from './parts.ts'

export type Found = { kind: 'job'; id: string; job: JobRow } | { kind: 'step'; id: string; step: StepRow }

export const noJob = (id: string): EngineError =>
  new EngineError('E_NOT_FOUND', `no job ${id} in this workspace (finished jobs are dropped after the time of retention)`, {
    at: 'id',
  })

/** A job, a step that has ended, or the step that may be running now. @throws EngineError E_NOT_FOUND */
export async function findJob(on: Queryable, workspaceId: string, asked: string): Promise<Found> {
  const found = await lookUp(on, workspaceId, uuidOf(asked))
  if (!found) throw noJob(asked)
  return found
}

async function lookUp(on: Queryable, workspaceId: string, id: string): Promise<Found | null> {
  const number = stepNumberOf(id)
  if (number === 0) {
    const job = await readJob(on, workspaceId, id)
    if (job) return { kind: 'job', id, job }
  } else {
    const step = await readStep(on, workspaceId, id)
    if (step?.record) return { kind: 'step', id, step }
    if (step && step.status === null) {
      const job = await readJob(on, workspaceId, jobIdOf(id))
      if (job && job.status === null && mayRunNow(job.steps, number)) return { kind: 'step', id, step }
      if (job && job.status !== null) return lookUpEnded(on, workspaceId, id)
    }
  }
  const jobId = await jobOfKey(on, workspaceId, id)
  const job = jobId === null ? null : await readJob(on, workspaceId, jobId)
  return job ? { kind: 'job', id: job.id, job } : null
}

/** The job ended between two reads. */
async function lookUpEnded(on: Queryable, workspaceId: string, id: string): Promise<Found | null> {
  const step = await readStep(on, workspaceId, id)
  return step?.record ? { kind: 'step', id, step } : null
}

/** The job itself that an id names: a step's, and a caller's own name, lead to their job. @throws EngineError E_NOT_FOUND */
export async function jobIdNamed(on: Queryable, workspaceId: string, asked: string): Promise<{ id: string; outcome: Outcome }> {
  const id = uuidOf(asked)
  const outcome = await readOutcome(on, workspaceId, jobIdOf(id))
  if (outcome) return { id: jobIdOf(id), outcome }
  const named = await jobOfKey(on, workspaceId, id)
  const there = named === null ? null : await readOutcome(on, workspaceId, named)
  if (named === null || !there) throw noJob(asked)
  return { id: named, outcome: there }
}

export const isOver = (found: Found): boolean => (found.kind === 'job' ? found.job.status !== null : found.step.record !== null)

/** Where the output of what was found is kept: a script's is its steps', a flow's steps are asked for one by one. */
export function spanOf(found: Found): Span {
  return { id: found.id, withSteps: found.kind === 'job' && (found.job.kind === 'script' || found.job.kind === 'preview') }
}

export async function textOf(on: Queryable, workspaceId: string, found: Found, withLogs = true): Promise<JsonText> {
  const logs = withLogs ? (await readLogs(on, spanOf(found))).text : ''
  return found.kind === 'job' ? jobText(found.job, workspaceId, logs) : stepText(found.step, found.id, workspaceId, logs)
}

export interface Ending {
  started: boolean
  running: boolean
  /** null: not over. */
  success: boolean | null
  result: JsonText | null
}

/** How something ended, without the rest of it. @throws EngineError E_NOT_FOUND */
export async function endingOf(on: Queryable, workspaceId: string, asked: string): Promise<Ending> {
  const id = uuidOf(asked)
  if (stepNumberOf(id) === 0) {
    const outcome = await readOutcome(on, workspaceId, id)
    if (outcome) return endingOfOutcome(outcome)
  }
  const found = await findJob(on, workspaceId, asked)
  if (found.kind === 'job') {
    const { state, startedAt, status, result } = found.job
    return endingOfOutcome({ status, started: startedAt !== null, running: state === 'running', result })
  }
  if (!found.step.record) return { started: true, running: true, success: null, result: null }
  return { started: true, running: false, success: stepSucceeded(found.step), result: stepResultOf(found.step) }
}

function endingOfOutcome({ status, started, running, result }: Outcome): Ending {
  return { started, running, success: status === null ? null : status === 'success' || status === 'skipped', result }
}
