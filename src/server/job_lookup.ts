// Finding what an id in a URL names: a job, what is inside of one (an iteration, a branch, a sub-flow, a step), or the name a
// caller gave a job (`job_id=`).
import { EngineError } from '../core/errors.ts'
import type { AttemptPast, History, ListPast } from '../core/flow/history.ts'
import { jobIdOf, stepIdOf, stepNumberOf } from '../core/job/ids.ts'
import type { JsonText } from '../core/json.ts'
import type { Queryable } from '../store/db.ts'
import { jobOfKey, readJob, readLogs, readLogsOf, readOutcome, type JobRow, type Outcome, type Span } from '../store/job_reads.ts'
import { flowStatusOf, hasBegun, treeOf } from './flow_status.ts'
import {
  attemptText,
  callOf,
  isFlow,
  isStepApart,
  jobStatusOf,
  jobText,
  listText,
  resultOf,
  successOf,
  type Inside,
} from './job_view.ts'
import { uuidOf, type ServerParts } from './parts.ts'

export type Found = { kind: 'job'; id: string; job: JobRow } | { kind: 'inside'; id: string; inside: Inside }

export type Look = Pick<ServerParts, 'reads' | 'histories'>

export const noJob = (id: string): EngineError =>
  new EngineError('E_NOT_FOUND', `no job ${id} in this workspace (finished jobs are dropped after the time of retention)`, {
    at: 'id',
  })

/** A job, or what of one has begun. @throws EngineError E_NOT_FOUND */
export async function findJob(look: Look, workspaceId: string, asked: string): Promise<Found> {
  const found = await lookUp(look, workspaceId, uuidOf(asked))
  if (!found) throw noJob(asked)
  return found
}

async function lookUp({ reads, histories }: Look, workspaceId: string, id: string): Promise<Found | null> {
  const number = stepNumberOf(id)
  const job = await readJob(reads, workspaceId, jobIdOf(id))
  if (job && number === 0) return { kind: 'job', id, job }
  if (job) {
    const history = await histories.of(job)
    const past = history.numbered(number)
    if (past && (job.status === null || hasBegun(history, job))) return { kind: 'inside', id, inside: { job, history, past } }
  }
  const jobId = await jobOfKey(reads, workspaceId, id)
  const named = jobId === null ? null : await readJob(reads, workspaceId, jobId)
  return named ? { kind: 'job', id: named.id, job: named } : null
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

export function isOver(found: Found): boolean {
  return found.kind === 'job' ? found.job.status !== null : successOf(found.inside) !== null
}

/** Where the output of what was found is kept: a script's is its steps', a flow's steps are asked for one by one, one apart is a job's. */
export function spanOf(found: Found): Span {
  if (found.kind === 'job')
    return { id: callOf(found.job) ?? found.id, withSteps: !isFlow(found.job.kind) || isStepApart(found.job) }
  const { past } = found.inside
  if (past.kind === 'attempt' && past.apart !== null) return { id: past.apart, withSteps: true }
  return { id: found.id, withSteps: false }
}

/** What all steps inside of it have printed. */
export async function allLogsOf({ reads }: Look, found: Found): Promise<string> {
  if (found.kind === 'job') return (await readLogs(reads, { id: callOf(found.job) ?? found.id, withSteps: true })).text
  const { job, past } = found.inside
  const ids: string[] = []
  const add = (attempt: AttemptPast): void => {
    ids.push(attempt.apart === null ? stepIdOf(job.id, attempt.n) : stepIdOf(attempt.apart, 1))
    for (const body of attempt.bodies) addAll(body)
  }
  const addAll = (list: ListPast): void => {
    for (const { attempts } of list.steps.values()) attempts.forEach(add)
  }
  if (past.kind === 'list') addAll(past)
  else add(past)
  return readLogsOf(reads, ids)
}

export async function textOf(look: Look, workspaceId: string, found: Found, withLogs = true): Promise<JsonText> {
  const logs = withLogs ? (await readLogs(look.reads, spanOf(found))).text : ''
  if (found.kind === 'job') {
    const { job } = found
    const workflow = isFlow(job.kind) || !job.steps.includes('"k":"round"') ? null : await look.histories.of(job)
    return jobText(job, workspaceId, logs, await flowHistoryOf(look, job), workflow)
  }
  const { inside, id } = found
  const { past } = inside
  if (past.kind === 'attempt') {
    const { job } = inside
    const history = await look.histories.withArgsOf(job, past.n)
    const withArgs = history.numbered(past.n)
    return attemptText({ job, history, past: withArgs?.kind === 'attempt' ? withArgs : past }, id, workspaceId, logs)
  }
  const { value } = await look.histories.version(past.cursor.frame.plan.versionId)
  return listText({ ...inside, past }, id, workspaceId, value)
}

/** Of a flow, or of a list of modules inside of one. */
export async function flowStatusTextOf(look: Look, found: Found): Promise<JsonText | undefined> {
  if (found.kind === 'job') {
    const history = await flowHistoryOf(look, found.job)
    return history ? JSON.stringify(jobStatusOf(history, found.job)) : undefined
  }
  const { past, history, job } = found.inside
  return past.kind === 'list' ? JSON.stringify(flowStatusOf(history, past, job)) : undefined
}

/** All that is inside of a flow, in one. @throws EngineError E_INVALID for what has nothing inside */
export async function treeTextOf(look: Look, found: Found): Promise<JsonText> {
  if (found.kind === 'inside') {
    const { past, history, job } = found.inside
    if (past.kind === 'list') return JSON.stringify(treeOf(history, past, job))
  } else if (isFlow(found.job.kind)) {
    const history = await look.histories.of(found.job)
    return JSON.stringify(treeOf(history, history.root, found.job))
  }
  throw new EngineError('E_INVALID', `${found.id} is a step or a script: there are no steps inside of it`, { at: 'id' })
}

function flowHistoryOf(look: Look, job: JobRow): Promise<History> | null {
  return isFlow(job.kind) ? look.histories.of(job) : null
}

/** null: not over. */
export function foundResultOf(found: Found): JsonText | null {
  return found.kind === 'job' ? found.job.result : resultOf(found.inside)
}

export interface Ending {
  started: boolean
  running: boolean
  /** null: not over. */
  success: boolean | null
  result: JsonText | null
}

/** How something ended, without the rest of it. @throws EngineError E_NOT_FOUND */
export async function endingOf(look: Look, workspaceId: string, asked: string): Promise<Ending> {
  const id = uuidOf(asked)
  if (stepNumberOf(id) === 0) {
    const outcome = await readOutcome(look.reads, workspaceId, id)
    if (outcome) return endingOfOutcome(outcome)
  }
  const found = await findJob(look, workspaceId, asked)
  if (found.kind === 'inside') {
    const success = successOf(found.inside)
    return { started: true, running: success === null, success, result: resultOf(found.inside) }
  }
  const { state, startedAt, status, result } = found.job
  return endingOfOutcome({ status, started: startedAt !== null, running: state === 'running', result })
}

function endingOfOutcome({ status, started, running, result }: Outcome): Ending {
  return { started, running, success: status === null ? null : status === 'success' || status === 'skipped', result }
}
