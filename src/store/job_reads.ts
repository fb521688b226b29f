// Reading jobs: one by id, its outcome, its steps, logs and progress; lists and counts. Nothing here changes a job.
//   R1. args, results and flow values come back as the text they were stored as.
//   R2. Every read names a workspace: an id alone opens nothing.
import type { JsonText } from '../core/json.ts'
import type { RunnableKind } from '../core/flow/plan.ts'
import { run, type Queryable } from './db.ts'

export type JobStatus = 'success' | 'failure' | 'canceled' | 'skipped'
export type ActiveState = 'ready' | 'running' | 'parked' | 'waiting'

/** What a list shows of a job. */
export interface JobSummary {
  id: string
  versionId: string
  path: string
  kind: RunnableKind
  tag: string
  state: ActiveState | 'done'
  /** null while active. */
  status: JobStatus | null
  priority: number
  workerId: number | null
  lost: number
  createdBy: string
  runAt: Date | null
  startedAt: Date | null
  completedAt: Date | null
  parentId: string | null
  canceledBy: string | null
  canceledReason: string | null
  /** What delete_after_secs took of it. */
  deleted: 'all' | 'some' | null
}

export interface JobRow extends JobSummary {
  /** The trace it belongs to: see core/trace.ts. */
  trace: string | null
  args: JsonText
  result: JsonText | null
  /** A JSON array of its records so far. */
  steps: JsonText
  /** The OpenFlow value of its version. */
  value: JsonText
  /** While it is active: how far its steps say they are, in percent, by their ids. */
  progress: Record<string, number> | null
  /** What of `parentId` it is a part of: see core/flow/apart.ts. */
  part: string | null
  /** What its steps keep, by key. */
  userStates: JsonText | null
  /** The job whose arguments it has, and those that have its own (see replays.ts). */
  replayOf: string | null
  /** Where in that one it began: a step, and which iteration or branch of it; null: at the beginning. */
  fromStep: string | null
  fromSlot: number | null
  replayedAs: string[] | null
}

export async function readJob(on: Queryable, workspaceId: string, id: string): Promise<JobRow | null> {
  type Row = Omit<JobRow, 'progress'> & { progress: JsonText | null }
  const [row] = await run<Row>(on, 'read_job', [workspaceId, id])
  if (!row) return null
  return { ...row, progress: row.progress === null ? null : (JSON.parse(row.progress) as Record<string, number>) }
}

export interface PartOf {
  jobId: string
  step: number
  /** See core/flow/apart.ts. */
  part: string
}

/** The step of another job that this job is. */
export async function readPart(on: Queryable, workspaceId: string, id: string): Promise<PartOf | null> {
  const [row] = await run<Omit<PartOf, 'jobId'> & { jobId: string | null }>(on, 'read_part', [workspaceId, id])
  return row && row.jobId !== null ? { ...row, jobId: row.jobId } : null
}

export interface Outcome {
  status: JobStatus | null
  started: boolean
  running: boolean
  result: JsonText | null
}

export async function readOutcome(on: Queryable, workspaceId: string, id: string): Promise<Outcome | null> {
  const [row] = await run<Outcome>(on, 'read_job_outcome', [workspaceId, id])
  return row ?? null
}

export interface Finished {
  id: string
  status: JobStatus
  result: JsonText
}

/** Those of these jobs that are over. */
export function readOutcomes(on: Queryable, ids: readonly string[]): Promise<Finished[]> {
  return run<Finished>(on, 'read_outcomes', [ids])
}

/** What these jobs answer with before they are over. */
export function readEarly(on: Queryable, ids: readonly string[]): Promise<{ id: string; result: JsonText }[]> {
  return run(on, 'read_early', [ids])
}

/** The job that a caller gave this name. */
export async function jobOfKey(on: Queryable, workspaceId: string, key: string): Promise<string | null> {
  const [row] = await run<{ jobId: string }>(on, 'read_job_key', [workspaceId, key])
  return row?.jobId ?? null
}

export async function rootJobOf(on: Queryable, workspaceId: string, id: string): Promise<string | null> {
  const [row] = await run<{ rootId: string }>(on, 'read_job_parent', [workspaceId, id])
  return row?.rootId ?? null
}

/** One step (`withSteps` false), or a job and all its steps. */
export interface Span {
  id: string
  withSteps: boolean
}

const boundsOf = ({ id, withSteps }: Span): [first: string, last: string] => [id, withSteps ? `${id.slice(0, 32)}ffff` : id]

/** What was said from character `offset` on, and how long it is in all. Channel 0: console output; 1: streamed result. */
export async function readLogs(
  on: Queryable,
  span: Span,
  { channel = 0, offset = 0 }: { channel?: 0 | 1; offset?: number } = {},
): Promise<{ text: string; length: number }> {
  const [row] = await run<{ text: string; length: number }>(on, 'read_logs', [...boundsOf(span), channel, offset])
  return row!
}

/** What these steps said, one after another. */
export async function readLogsOf(on: Queryable, ids: readonly string[]): Promise<string> {
  const [row] = await run<{ text: string }>(on, 'read_logs_of', [ids])
  return row!.text
}

export async function readProgress(on: Queryable, span: Span): Promise<number | null> {
  const [row] = await run<{ percent: number }>(on, 'read_progress', boundsOf(span))
  return row?.percent ?? null
}

/** Names of the statement's filter document. */
export interface JobFilter {
  path?: string
  path_start?: string
  version_id?: string
  created_by?: string
  tag?: string
  parent_id?: string
  has_null_parent?: boolean
  /** With commas. */
  kinds?: string
  statuses?: string
  running?: boolean
  waiting?: boolean
  due?: boolean
  worker_id?: number
  id_from?: string
  id_before?: string
  started_before?: string
  started_after?: string
  completed_before?: string
  completed_after?: string
  args?: unknown
  result?: unknown
}

export interface JobListOptions {
  /** none: the filter contradicts itself. */
  which: 'all' | 'queue' | 'completed' | 'none'
  filter: JobFilter
  limit: number
  offset: number
  oldestFirst: boolean
}

export function listJobs(on: Queryable, workspaceId: string, options: JobListOptions): Promise<JobSummary[]> {
  const { which, filter, limit, offset, oldestFirst } = options
  return run<JobSummary>(on, oldestFirst ? 'list_jobs_oldest' : 'list_jobs', [
    workspaceId,
    which,
    JSON.stringify(filter),
    limit,
    offset,
  ])
}

export interface QueueCount {
  ready: number
  running: number
  /** For answers, or for the parts of a loop. */
  waiting: number
  parked: number
  /** Until others of the same limit, or of the same loop, are over. */
  limited: number
}

export async function countQueue(on: Queryable, workspaceId: string | null, tags: string[] | null): Promise<QueueCount> {
  const [row] = await run<QueueCount>(on, 'count_queue', [workspaceId, tags])
  return row!
}

export async function countCompleted(
  on: Queryable,
  {
    workspaceId,
    tags,
    success,
    idFrom,
  }: { workspaceId: string | null; tags: string[] | null; success?: boolean; idFrom?: string },
): Promise<number> {
  const [row] = await run<{ jobs: number }>(on, 'count_completed', [workspaceId, tags, success ?? null, idFrom ?? null])
  return row!.jobs
}

export async function countReadyBefore(on: Queryable, id: string): Promise<number> {
  const [row] = await run<{ jobs: number }>(on, 'count_ready_before', [id])
  return row!.jobs
}

/** Counted no further than `jobsMax`. */
export async function countTagReady(on: Queryable, tag: string, jobsMax: number): Promise<number> {
  const [row] = await run<{ jobs: number }>(on, 'count_tag_ready', [tag, jobsMax])
  return row!.jobs
}

export function countByTag(on: Queryable): Promise<{ tag: string; state: ActiveState; jobs: number }[]> {
  return run(on, 'count_by_tag', [])
}
