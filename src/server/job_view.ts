// A job or a step as the API shows it: the one place that knows the shapes of QueuedJob, CompletedJob and flow_status.
//   V1. args, results and flow values are put in as the text they are stored as; they are not parsed to be shown.
//   V2. Nothing is stored for showing: flow_status is made of the flow's modules and the job's records.
import { acceptedAtMs, stepIdOf } from '../core/job/ids.ts'
import type { JsonText } from '../core/json.ts'
import { hashOfVersion } from '../store/versions.ts'
import type { JobRow, JobSummary, StepRow } from '../store/job_reads.ts'

/** As much of a record as is shown. Kinds that are not known here are skipped. */
interface SeenRecord {
  k: string
  n?: number
  s?: string
  at?: number
  ms?: number
  w?: string
  v?: unknown
  e?: Record<string, unknown>
}

interface SeenModule {
  id: string
  value?: { type?: string; language?: string; content?: string }
  continue_on_error?: boolean
  retry?: { constant?: { attempts: number }; exponential?: { attempts: number } }
}

interface SeenFlow {
  modules: SeenModule[]
  failure_module?: SeenModule
}

export interface ModuleStatus {
  type: 'WaitingForPriorSteps' | 'WaitingForEvents' | 'WaitingForExecutor' | 'InProgress' | 'Success' | 'Failure'
  id: string
  job?: string
  skipped?: boolean
  failed_retries?: string[]
}

export interface FlowStatus {
  step: number
  modules: ModuleStatus[]
  failure_module: ModuleStatus
}

/** A JSON object: what JSON.stringify makes of `plain`, then the members that are text already. */
export function objectText(plain: object, texts: Record<string, JsonText | undefined>): JsonText {
  let text = JSON.stringify(plain).slice(0, -1)
  for (const [key, value] of Object.entries(texts)) {
    if (value !== undefined) text += `${text.length === 1 ? '' : ','}${JSON.stringify(key)}:${value}`
  }
  return `${text}}`
}

const isFlow = (kind: string): boolean => kind === 'flow' || kind === 'flowpreview'

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
      suspend: job.state === 'waiting' ? 1 : 0,
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
    deleted: false,
  }
}

export function listedJobText(job: JobSummary, workspaceId: string): JsonText {
  return JSON.stringify(listedJob(job, workspaceId))
}

export function jobText(job: JobRow, workspaceId: string, logs: string): JsonText {
  const flow = JSON.parse(job.value) as SeenFlow
  const asFlow = isFlow(job.kind)
  const step = asFlow ? undefined : flow.modules[0]?.value
  return objectText(
    {
      ...listedJob(job, workspaceId),
      traceparent: job.trace?.slice(0, 55),
      replay_of: job.replayOf ?? undefined,
      replayed_as: job.replayedAs ?? undefined,
      logs,
      language: step?.language,
      raw_code: job.kind === 'preview' ? step?.content : undefined,
      flow_status: asFlow ? flowStatusOf(job, flow) : undefined,
    },
    { args: job.args, result: job.result ?? undefined, raw_flow: asFlow ? job.value : undefined },
  )
}

export function flowStatusTextOf(job: JobRow): JsonText | undefined {
  return isFlow(job.kind) ? JSON.stringify(flowStatusOf(job, JSON.parse(job.value) as SeenFlow)) : undefined
}

/** A step that has ended, or one that may be running now (its record is not there yet). */
export function stepText(step: StepRow, id: string, workspaceId: string, logs: string): JsonText {
  const record = step.record === null ? null : (JSON.parse(step.record) as SeenRecord)
  const flow = JSON.parse(step.value) as SeenFlow
  const module = record ? [...flow.modules, flow.failure_module].find((m) => m?.id === record.s) : undefined
  const shared = {
    id,
    workspace_id: workspaceId,
    parent_job: step.jobId,
    root_job: step.jobId,
    created_by: step.createdBy,
    created_at: new Date(record?.at ?? acceptedAtMs(id)),
    started_at: new Date(record?.at ?? step.startedAt ?? acceptedAtMs(id)),
    script_path: record ? `${step.path}/${record.s}` : step.path,
    job_kind: module?.value?.type === 'identity' ? 'identity' : 'flowscript',
    permissioned_as: `u/${step.createdBy}`,
    is_flow_step: true,
    flow_step_id: record?.s,
    tag: step.tag,
    worker: step.workerId === null ? null : String(step.workerId),
    language: module?.value?.language,
    canceled: false,
    logs,
    ...fixed,
  }
  if (!record)
    return objectText({ type: 'QueuedJob', ...shared, running: true, scheduled_for: shared.created_at }, { args: '{}' })
  const success = record.k === 'ok'
  const ended = {
    type: 'CompletedJob',
    ...shared,
    duration_ms: record.ms ?? 0,
    completed_at: new Date((record.at ?? 0) + (record.ms ?? 0)),
    success,
    status: success ? 'success' : 'failure',
    is_skipped: false,
    deleted: false,
  }
  return objectText(ended, { args: '{}', result: stepResultOf(step) })
}

/** The result of a step that has ended. */
export function stepResultOf(step: StepRow): JsonText {
  const record = JSON.parse(step.record!) as SeenRecord
  return record.k === 'ok' ? (step.result ?? 'null') : JSON.stringify({ error: record.e })
}

export function stepSucceeded(step: StepRow): boolean {
  return (JSON.parse(step.record!) as SeenRecord).k === 'ok'
}

/** Whether a step without a record may be the one that runs now: the first number no record has. */
export function mayRunNow(steps: JsonText, n: number): boolean {
  return n === nextStepOf(JSON.parse(steps) as SeenRecord[])
}

function nextStepOf(records: readonly SeenRecord[]): number {
  let last = 0
  for (const record of records) if (record.n !== undefined && record.n > last) last = record.n
  return last + 1
}

function flowStatusOf(job: JobRow, flow: SeenFlow): FlowStatus {
  const records = JSON.parse(job.steps) as SeenRecord[]
  const over = job.status !== null
  const modules = flow.modules.map((module) => statusOf(module, records, job.id, over))
  const failure = statusOf(flow.failure_module ?? { id: 'failure' }, records, job.id, over)
  const at = modules.findIndex((status, i) => !passed(status, flow.modules[i]!))
  // A module that failed for good hands over to the failure module, whose first record is still to come.
  const inFailure =
    failure.type !== 'WaitingForPriorSteps' || (!over && modules[at]?.type === 'Failure' && flow.failure_module !== undefined)
  if (!over) markCurrent(inFailure ? failure : modules[at], job, records)
  return { step: inFailure || at === -1 ? modules.length : at, modules, failure_module: failure }
}

const passed = (status: ModuleStatus, module: SeenModule): boolean =>
  status.type === 'Success' || (status.type === 'Failure' && module.continue_on_error === true)

function statusOf(module: SeenModule, records: readonly SeenRecord[], jobId: string, over: boolean): ModuleStatus {
  const { id } = module
  const failed: string[] = []
  let givenUp = over
  for (const record of records) {
    if (record.s !== id) continue
    switch (record.k) {
      case 'ok':
        return withRetries({ type: 'Success', id, job: stepIdOf(jobId, record.n!) }, failed)
      case 'err':
        failed.push(stepIdOf(jobId, record.n!))
        break
      case 'pick':
        if (record.w === 'skip' && record.v === true) return { type: 'Success', id, skipped: true }
        if (record.w === 'retry' && record.v !== true) givenUp = true
        break
      default:
        break
    }
  }
  if (failed.length > attemptsOf(module)) givenUp = true
  const job = failed.at(-1)
  if (job === undefined) return { type: 'WaitingForPriorSteps', id }
  return withRetries({ type: givenUp ? 'Failure' : 'WaitingForExecutor', id, job }, failed.slice(0, -1))
}

/** How often a module is tried again. */
function attemptsOf({ retry }: SeenModule): number {
  return (retry?.constant?.attempts ?? 0) + (retry?.exponential?.attempts ?? 0)
}

function withRetries(status: ModuleStatus, failed: string[]): ModuleStatus {
  return failed.length === 0 ? status : { ...status, failed_retries: failed }
}

/** Where a job that is not over stands: the module it is at runs now, or waits for a worker, a time or a signal. */
function markCurrent(status: ModuleStatus | undefined, job: JobRow, records: readonly SeenRecord[]): void {
  if (!status || (status.type !== 'WaitingForPriorSteps' && status.type !== 'WaitingForExecutor')) return
  if (job.state === 'waiting') {
    status.type = 'WaitingForEvents'
  } else if (job.state === 'running') {
    status.type = 'InProgress'
    status.job = stepIdOf(job.id, nextStepOf(records))
  } else {
    status.type = 'WaitingForExecutor'
  }
}
