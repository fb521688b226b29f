// Signals: what a waiting job waits for. Rows, numbered per job; the row of the job counts them and becomes ready once.
//   W1. Each signal counts once, however often it is sent: its sender numbers it (resume id), per step.
//   W2. A job that is given back while a signal it has not seen is there does not wait.
//   W3. Times are kept with the job and go by the database's clock, so that nothing begins anew after a crash.
import type { Answerer } from '../core/flow/plan.ts'
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'
import type { ActiveState } from './job_reads.ts'
import { controlChannel, notify, readyAgain, workChannel, type JournalRow } from './jobs.ts'

export interface Signal {
  workspaceId: string
  jobId: string
  /** Which step it answers; 0: whatever waits next. */
  step: number
  resumeId: number
  approver: string | null
  /** Whose token came with it; null: nobody's, its URL was enough. */
  account: string | null
  /** The groups that it was in; absent: none. */
  groups?: readonly string[]
  approved: boolean
  payload: JsonText
}

export interface SignalRow {
  job_id: string
  seq: number
  n: number
  resume_id: number
  approver: string | null
  account: string | null
  groups: string[] | null
  approved: boolean
  payload: JsonText
}

export interface WaitRow {
  job_id: string
  key: number
  ms: number
}

/** What is known of a job that was held before. */
export interface JobPast {
  journal: readonly JournalRow[]
  signals: readonly SignalRow[]
  waits: readonly WaitRow[]
}

/** False if the job is not active, or was sent this one before. Wakes whoever is to go on with it. */
export async function sendSignal(on: Queryable, signal: Signal): Promise<boolean> {
  const { workspaceId, jobId, step, resumeId, approver, approved, payload, account, groups = [] } = signal
  const values = [workspaceId, jobId, step, resumeId, approver, approved, payload, account, groups.length > 0 ? groups : null]
  const [told] = await run<{ tag: string; state: string }>(on, 'send_signal', values)
  if (!told) return false
  if (told.state === 'ready') await notify(on, workChannel, readyAgain + told.tag)
  else if (told.state === 'running') await notify(on, controlChannel, `signal ${jobId}`)
  return true
}

/** Signals of jobs after those they have had (`seq`). */
export function readSignals(on: Queryable, jobs: readonly { id: string; seq: number }[]): Promise<SignalRow[]> {
  return run<SignalRow>(on, 'read_signals', [JSON.stringify(jobs)])
}

/** A step that waits for answers. */
export interface Waiting {
  step: number
  /** How many more will do. */
  wanted: number
  by: Answerer
  /** Whose members they are; empty: of none. */
  groups: string[]
  until: Date
  /** The module, and the version of the flow that it is in. */
  moduleId: string
  versionId: string
}

/** What a job that is not over waits for. */
export interface WaitingJob {
  state: ActiveState
  createdBy: string
  /** What its flow asks of who answers, where it asks most. */
  strictest: Answerer
  waits: Waiting[]
  /** Of whoever may come to answer. */
  groups: string[]
}

/** null: no such job, or it is over. `email`: of whoever may come to answer. */
export async function readWaiting(
  on: Queryable,
  workspaceId: string,
  jobId: string,
  email: string | null = null,
): Promise<WaitingJob | null> {
  type Row = Omit<WaitingJob, 'waits'> & { waits: JsonText }
  const [row] = await run<Row>(on, 'read_waiting', [workspaceId, jobId, email])
  if (!row) return null
  const waits = (JSON.parse(row.waits) as (Omit<Waiting, 'until'> & { until: string })[]).map((wait) => ({
    ...wait,
    until: new Date(wait.until),
  }))
  return { ...row, waits }
}

export interface Answered {
  resumeId: number
  approver: string | null
  approved: boolean
}

/** The answers to a step (0: those to whatever waits) so far. */
export function readAnswers(on: Queryable, jobId: string, step: number): Promise<Answered[]> {
  return run<Answered>(on, 'read_answers', [jobId, step])
}

export function readWaits(on: Queryable, ids: readonly string[]): Promise<WaitRow[]> {
  return run(on, 'read_waits', [ids])
}
