// A job or a step as the API shows it: the one place that knows the shapes of QueuedJob, CompletedJob and flow_status.
//   V1. args, results and flow values are put in as the text they are stored as; they are not parsed to be shown.
//   V2. Nothing is stored for showing: what is inside of a job is told from its records (core/flow/history.ts).
import { parseTarget, type ApartTarget } from '../core/flow/apart.ts'
import type { Cursor } from '../core/flow/cursor.ts'
import type { FlowModule, FlowValue } from '../core/flow/definition.ts'
import type { AttemptPast, History, ListPast } from '../core/flow/history.ts'
import { listsIn, modulesOf } from '../core/flow/modules.ts'
import type { PlanStep, RunnableKind } from '../core/flow/plan.ts'
import { parseTaskArgs } from '../core/flow/workflow.ts'
import { acceptedAtMs, stepIdOf } from '../core/job/ids.ts'
import type { Json, JsonText } from '../core/json.ts'
import type { JobRow, JobSummary } from '../store/job_reads.ts'
import { hashOfVersion } from '../store/versions.ts'
import { flowStatusOf, workflowStatusOf, type FlowStatus, type WorkflowStatus } from './flow_status.ts'

/** A JSON object: what JSON.stringify makes of `plain`, then the members that are text already. */
export function objectText(plain: object, texts: Record<string, JsonText | undefined>): JsonText {
  let text = JSON.stringify(plain).slice(0, -1)
  for (const [key, value] of Object.entries(texts)) {
    if (value !== undefined) text += `${text.length === 1 ? '' : ','}${JSON.stringify(key)}:${value}`
  }
  return `${text}}`
}

export const isFlow = (kind: RunnableKind): boolean => kind === 'flow' || kind === 'flowpreview'

/** What it is of another job, if it is a step of that, or a task of a workflow, and nothing more. */
function stepTarget({ part }: Pick<JobRow, 'part'>): (ApartTarget & { id: string }) | null {
  const target = part === null ? null : parseTarget(part)
  return target === null || target.kind === 'flow' ? null : target
}

export const isStepApart = (job: Pick<JobRow, 'part'>): boolean => stepTarget(job) !== null

/** Of a step that is debounced: the job that runs in its place. */
export function callOf({ part, steps }: Pick<JobRow, 'part' | 'steps'>): string | null {
  if (part === null || !parseTarget(part)?.joins) return null
  const [joined] = JSON.parse(steps) as { job?: string }[]
  return joined?.job ?? null
}

/** Members that jobs and steps have in common and this engine always answers the same. */
const fixed = { visible_to_owner: true, mem_peak: null, raw_code: undefined }

/** A job in a list, or the facts every view of it begins with. */
export function listedJob(job: JobSummary, workspaceId: string): object {
  const acceptedAt = new Date(acceptedAtMs(job.id))
  const shared = {
    id: job.id,
    workspace_id: workspaceId,
    parent_job: job.parentId,
    created_by: job.createdBy,
    created_at: acceptedAt,
    started_at: job.startedAt,
    script_path: job.path,
    script_hash: hashOfVersion(job.versionId),
    job_kind: job.kind,
    permissioned_as: `u/${job.createdBy}`,
    is_flow_step: false,
    tag: job.tag,
    priority: job.priority,
    worker: job.workerId === null ? null : String(job.workerId),
    canceled: job.status === 'canceled' || (job.status === null && job.canceledBy !== null),
    canceled_by: job.canceledBy ?? undefined,
    canceled_reason: job.canceledReason ?? undefined,
    lost: job.lost > 0 ? job.lost : undefined,
    ...fixed,
  }
  if (job.status === null) {
    return {
      type: 'QueuedJob',
      ...shared,
      running: job.state === 'running',
      scheduled_for: job.runAt ?? acceptedAt,
      // One that waits for its turn has not begun.
      suspend: job.state === 'waiting' && job.startedAt !== null ? 1 : 0,
    }
  }
  const beganMs = (job.startedAt ?? job.completedAt)!.getTime()
  return {
    type: 'CompletedJob',
    ...shared,
    started_at: job.startedAt ?? job.completedAt,
    completed_at: job.completedAt,
    duration_ms: Math.max(0, job.completedAt!.getTime() - beganMs),
    success: job.status === 'success' || job.status === 'skipped',
    status: job.status,
    is_skipped: job.status === 'skipped',
    deleted: job.deleted === 'all',
  }
}

export function listedJobText(job: JobSummary, workspaceId: string): JsonText {
  return JSON.stringify(listedJob(job, workspaceId))
}

/** `history`: of a flow; `workflow`: of a script that is one. */
export function jobText(
  job: JobRow,
  workspaceId: string,
  logs: string,
  history: History | null,
  workflow: History | null = null,
): JsonText {
  const attempt = workflow?.root.steps.get(0)?.attempts.at(-1)
  const step = history ? undefined : (JSON.parse(job.value) as FlowValue).modules[0]?.value
  const code = step?.type === 'rawscript' ? step : undefined
  return objectText(
    {
      ...listedJob(job, workspaceId),
      ...stepOf(job),
      traceparent: job.trace?.slice(0, 55),
      replay_of: job.replayOf ?? undefined,
      replayed_as: job.replayedAs ?? undefined,
      logs,
      language: code?.language,
      raw_code: job.kind === 'preview' ? code?.content : undefined,
      flow_status: history ? jobStatusOf(history, job) : undefined,
      workflow_as_code_status: attempt && workflowStatusOf(attempt, job.id),
    },
    { args: argsOf(job), result: job.result ?? undefined, raw_flow: history ? job.value : undefined },
  )
}

/** What a job says that is a step apart. */
function stepOf(job: JobRow): object {
  const target = stepTarget(job)
  const call = { debounced_into: callOf(job) ?? undefined }
  return target === null ? call : { job_kind: 'flowscript', is_flow_step: true, flow_step_id: target.id, ...call }
}

/** A task is given more than its arguments. */
function argsOf(job: JobRow): JsonText {
  return stepTarget(job)?.kind === 'task' ? parseTaskArgs(job.args).args : job.args
}

/** flow_status of the job itself. */
export function jobStatusOf(history: History, job: JobRow): FlowStatus & { user_states?: Json; restarted_from?: object } {
  const { userStates, fromStep: step_id, fromSlot, replayOf: flow_job_id } = job
  return {
    ...flowStatusOf(history, history.root, job),
    ...(userStates === null ? {} : { user_states: JSON.parse(userStates) as Json }),
    ...(step_id === null ? {} : { restarted_from: { flow_job_id, step_id, branch_or_iteration_n: fromSlot ?? undefined } }),
  }
}

/** What a job's iteration, branch, sub-flow or step is shown from. */
export interface Inside {
  job: JobRow
  history: History
  past: ListPast | AttemptPast
}

/** null: not over. */
export function successOf({ job, history, past }: Inside): boolean | null {
  if (past.kind === 'list') {
    if (past.end) return past.end.how !== 'failed'
    return job.status === null && history.isAlive(past) ? null : false
  }
  if (past.end) return past.end.k === 'ok'
  const { of } = past
  if (of.attempts.at(-1) !== past) return false // it was tried again
  if (of.outcome) return of.outcome !== 'failed'
  if (of.list.end) return of.list.end.how !== 'failed'
  return job.status === null && history.isAlive(of.list) ? null : false
}

/** As it was printed; null: not over. */
export function resultOf(inside: Inside): JsonText | null {
  const { past, job } = inside
  if (past.kind === 'attempt' && past.end) {
    return past.end.k === 'ok' ? past.end.v : JSON.stringify({ error: past.end.e })
  }
  if (successOf(inside) === null) return null
  const left = past.kind === 'list' ? past.end?.value : past.of.list.cursor.results.get(past.of.step.id)
  return left ?? job.result ?? 'null'
}

/** An iteration, a branch or a sub-flow: a flow job of its own, inside of the job. */
export function listText(inside: Inside & { past: ListPast }, id: string, workspaceId: string, value: FlowValue): JsonText {
  const { job, history, past } = inside
  const { cursor, inside: around } = past
  const { plan, root } = cursor.frame
  const isSubflow = cursor === root
  const shown = partText(inside, id, workspaceId, {
    parent: around!.of.list.cursor,
    path: isSubflow ? plan.path : `${plan.path}/${around!.of.step.id}`,
    hash: isSubflow ? hashOfVersion(plan.versionId) : undefined,
    kind: isSubflow ? 'flow' : 'flownode',
    stepId: around!.of.step.id,
    status: flowStatusOf(history, past, job),
  })
  const modules = isSubflow ? value : { modules: modulesInside(value, around!.of.step.id, cursor.slot) }
  return objectText(shown, {
    args: isSubflow ? cursor.frame.args : cursor.flowInputText(),
    result: resultOf(inside) ?? undefined,
    raw_flow: JSON.stringify(modules),
  })
}

/** A step: an attempt that has ended, or that runs now. */
export function attemptText(inside: Inside & { past: AttemptPast }, id: string, workspaceId: string, logs: string): JsonText {
  const { past } = inside
  const { step, list } = past.of
  const { run } = step
  const { plan } = list.cursor.frame
  const shown = partText(inside, id, workspaceId, {
    parent: list.cursor,
    path: run.kind === 'script' ? run.path : `${plan.path}/${step.id}`,
    hash: undefined,
    kind: kindOf(run.kind),
    stepId: step.id,
    language: run.kind === 'code' ? run.built.language : undefined,
    logs,
    workflow: workflowStatusOf(past, inside.job.id),
  })
  return objectText(shown, { args: past.args ?? '{}', result: resultOf(inside) ?? undefined })
}

function kindOf(kind: PlanStep['run']['kind']): string {
  if (kind === 'code') return 'flowscript'
  if (kind === 'script') return 'script'
  return kind === 'identity' || kind === 'mock' ? 'identity' : 'flownode'
}

interface Part {
  parent: Cursor
  path: string
  hash: string | undefined
  kind: string
  stepId: string
  language?: string | undefined
  logs?: string
  status?: FlowStatus
  workflow?: WorkflowStatus | undefined
}

/** Members that everything inside of a job has in common. */
function partText(inside: Inside, id: string, workspaceId: string, part: Part): object {
  const { job, past } = inside
  const success = successOf(inside)
  const began = past.kind === 'attempt' && past.end ? past.end.at : past.beganMs
  const ended = past.kind === 'attempt' && past.end ? past.end.at + past.end.ms : past.endedMs
  const shared = {
    id,
    workspace_id: workspaceId,
    parent_job: stepIdOf(job.id, part.parent.id),
    root_job: job.id,
    created_by: job.createdBy,
    created_at: new Date(began),
    started_at: new Date(began),
    script_path: part.path,
    script_hash: part.hash,
    job_kind: part.kind,
    permissioned_as: `u/${job.createdBy}`,
    is_flow_step: true,
    flow_step_id: part.stepId,
    tag: job.tag,
    worker: job.workerId === null ? null : String(job.workerId),
    language: part.language,
    canceled: false,
    logs: part.logs ?? '',
    flow_status: part.status,
    workflow_as_code_status: part.workflow,
    ...fixed,
  }
  if (success === null) {
    return { type: 'QueuedJob', ...shared, running: job.state === 'running', scheduled_for: shared.created_at, suspend: 0 }
  }
  return {
    type: 'CompletedJob',
    ...shared,
    duration_ms: Math.max(0, ended - began),
    completed_at: new Date(ended),
    success,
    status: success ? 'success' : 'failure',
    is_skipped: false,
    deleted: job.deleted === 'all' || (past.kind === 'attempt' && past.end?.gone === true),
  }
}

/** The modules of a step's body. A default branch (slot -1) comes behind the others. */
function modulesInside(value: FlowValue, stepId: string, slot: number): FlowModule[] {
  const found = modulesOf(value, '$').find(({ module }) => module.id === stepId)
  if (!found) return []
  const lists = listsIn(found.module, found.at)
  const isLoop = found.module.value.type === 'forloopflow' || found.module.value.type === 'whileloopflow'
  return lists.at(isLoop ? 0 : slot)?.modules ?? []
}
