// Signals: what a waiting job waits for. Rows, numbered per job; the row of the job counts them and becomes ready once.
//   W1. Each signal counts once, however often it is sent: its sender numbers it (resume id), per step.
//   W2. A job that is given back while a signal it has not seen is there does not wait.
//   W3. Times are kept with the job and go by the database's clock, so that nothing begins anew after a crash.
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'
import { controlChannel, notify, readyAgain, workChannel, type JournalRow } from './jobs.ts'

export interface Signal {
  workspaceId: string
  jobId: string
  /** Which step it answers; 0: whatever waits next. */
  step: number
  resumeId: number
  approver: string | null
  approved: boolean
  payload: JsonText
}

export interface SignalRow {
  job_id: string
  seq: number
  n: number
  resume_id: number
  approver: string | null
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

const uniqueViolation = '23505'

/** False if the job is not active, or was sent this one before. Wakes whoever is to go on with it. */
export async function sendSignal(on: Queryable, signal: Signal): Promise<boolean> {
  const { workspaceId, jobId, step, resumeId, approver, approved, payload } = signal
  const values = [workspaceId, jobId, step, resumeId, approver, approved, payload]
  let told: { tag: string; state: string } | undefined
  try {
    ;[told] = await run<{ tag: string; state: string }>(on, 'send_signal', values)
  } catch (error) {
    if ((error as { code?: string }).code === uniqueViolation) return false // another request sent it at the same moment
    throw error
  }
  if (!told) return false
  if (told.state === 'ready') await notify(on, workChannel, readyAgain + told.tag)
  else if (told.state === 'running') await notify(on, controlChannel, `signal ${jobId}`)
  return true
}

/** Signals of jobs after those they have had (`seq`). */
export function readSignals(on: Queryable, jobs: readonly { id: string; seq: number }[]): Promise<SignalRow[]> {
  return run<SignalRow>(on, 'read_signals', [JSON.stringify(jobs)])
}

export function readWaits(on: Queryable, ids: readonly string[]): Promise<WaitRow[]> {
  return run(on, 'read_waits', [ids])
}
