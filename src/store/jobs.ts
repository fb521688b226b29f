// Jobs as workers and the API move them. Every write of a worker names (job, worker, epoch) and does nothing when they no
// longer hold; what was no longer ours comes back and is handled by the caller.
import { randomFillSync } from 'node:crypto'
import { EngineError } from '../core/errors.ts'
import { createJobIds } from '../core/job/ids.ts'
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'
import type { Turn } from './turns.ts'

/** Advisory locks of workers are (workerLockClass, worker id). */
export const workerLockClass = 0x6d_72 // 'mr'

const randomWords = new Uint32Array(2_048)
let randomAt = randomWords.length

function random48(): number {
  if (randomAt === randomWords.length) {
    randomFillSync(randomWords)
    randomAt = 0
  }
  const high = randomWords[randomAt++]! & 0xffff
  return high * 0x1_0000_0000 + randomWords[randomAt++]!
}

const nextJobId = createJobIds(random48)

/** The id of a new job. Ids of one process grow. */
export function newJobId(nowMs = Date.now()): string {
  return nextJobId(nowMs)
}

const checkViolation = '23514'

/**
 * As run(), for what writes to job_done or job_log: a row that was on its way to the default partition when its day got a
 * partition of its own is refused by the former; sent again, it finds the latter. Nothing of the statement was done. (A
 * refusal that names a constraint is another one, and will not pass.)
 */
async function runRouted<Row extends object>(on: Queryable, name: string, values: unknown[]): Promise<Row[]> {
  for (;;) {
    try {
      return await run<Row>(on, name, values)
    } catch (error) {
      const { code, table, constraint } = error as { code?: string; table?: string; constraint?: string }
      if (code !== checkViolation || constraint !== undefined || !table?.endsWith('_rest')) throw error
    }
  }
}

export interface ClaimedJob {
  id: string
  version_id: string
  epoch: number
  args: JsonText
  created_by: string
  waiter: number | null
  lost: number
  journaled: boolean
  canceled_by: string | null
  /** It was parked, and its time has come. */
  waited: boolean
  /** See core/trace.ts. */
  trace: string | null
  /** Signals it has had. */
  signals: number
  /** What it is a part of: see core/flow/spread.ts and apart.ts. */
  part: string | null
}

export function claimJobs(
  on: Queryable,
  claim: { workerId: number; tag: string; jobsMax: number; round?: number; suspectAfter?: number; after?: string },
): Promise<ClaimedJob[]> {
  const { workerId, tag, jobsMax, round = 0, suspectAfter = lostNever, after = idBeforeAll } = claim
  return run<ClaimedJob>(on, 'claim_jobs', [workerId, tag, jobsMax, round, suspectAfter, after])
}

const idBeforeAll = '00000000-0000-0000-0000-000000000000'
const lostNever = 32_767

/** Is there a ready job that was lost so often? */
export async function suspectsWait(on: Queryable, tags: readonly string[], suspectAfter: number): Promise<boolean> {
  const [row] = await run<{ there: boolean }>(on, 'suspects_wait', [tags, suspectAfter])
  return row!.there
}

/** One of them. */
export function claimSuspect(
  on: Queryable,
  claim: { workerId: number; tags: readonly string[]; round: number; suspectAfter: number },
): Promise<ClaimedJob[]> {
  return run<ClaimedJob>(on, 'claim_suspect', [claim.workerId, claim.tags, claim.round, claim.suspectAfter])
}

/**
 * After a claim whose answer was lost: shuts out what of it may still come, and gives back what it took without the worker
 * knowing (all it holds but `known`). Two statements, since the second must see all that the first one let pass. `round`: that of
 * further claims, above every one that was asked for before. Gives what was given back; null: the worker was declared dead.
 */
export async function settleClaims(
  on: Queryable,
  claim: { workerId: number; round: number; known: readonly { id: string; epoch: number }[] },
): Promise<{ id: string; tag: string }[] | null> {
  const { workerId, round } = claim
  const begun = await run(on, 'end_claim_round', [workerId, round])
  if (begun.length === 0) return null
  const known = JSON.stringify(claim.known.map(({ id, epoch }) => ({ id, epoch })))
  return run<{ id: string; tag: string }>(on, 'give_back_unknown', [workerId, known, round])
}

/**
 * `batch`: a JSON array of {id, epoch, status, result, steps}. Gives the ids that were no longer ours. `tell`: the commit
 * itself announces what callers wait for (see answers.ts); for small batches.
 */
export function finishJobs(on: Queryable, workerId: number, batch: JsonText, tell = false): Promise<string[]> {
  return finishBy('finish_jobs', on, workerId, batch, tell)
}

/** The same for jobs with more to do at their end: see signals.ts, parts.ts, turns.ts. */
export function finishWaited(on: Queryable, workerId: number, batch: JsonText, tell = false): Promise<string[]> {
  return finishBy('finish_waited', on, workerId, batch, tell)
}

async function finishBy(name: string, on: Queryable, workerId: number, batch: JsonText, tell: boolean): Promise<string[]> {
  const rows = await runRouted<{ id: string | null }>(on, name, [workerId, batch, tell])
  return rows.flatMap((row) => row.id ?? [])
}

/** `batch`: a JSON array of {id, epoch, n, record}. Gives the ids that were no longer ours. */
export async function appendJournal(on: Queryable, workerId: number, batch: JsonText): Promise<string[]> {
  const strangers = await run<{ id: string }>(on, 'append_journal', [workerId, batch])
  return strangers.map((row) => row.id)
}

/** `batch`: a JSON array of {id, epoch, waits}; the waits as ReleasedWait. Gives the ids that were no longer ours. */
export async function keepWaits(on: Queryable, workerId: number, batch: JsonText): Promise<string[]> {
  const strangers = await run<{ id: string }>(on, 'keep_waits', [workerId, batch])
  return strangers.map((row) => row.id)
}

/**
 * Writes of a worker that matched nothing, for the audit; nothing happens unless audit mode is on. `resent`: the same write was sent
 * before, and its reply did not come.
 */
export async function recordRefusals(
  on: Queryable,
  refused: {
    workerId: number
    what: 'finish' | 'journal' | 'release'
    jobs: readonly { id: string; epoch: number }[]
    resent: boolean
  },
): Promise<void> {
  const jobs = JSON.stringify(refused.jobs.map(({ id, epoch }) => ({ id, epoch })))
  await run(on, 'record_refusals', [refused.workerId, refused.what, jobs, refused.resent])
}

export interface JournalRow {
  job_id: string
  n: number
  record: JsonText
}

/** The journals of jobs that this worker still holds under these epochs; nothing of the others. */
export function readJournal(
  on: Queryable,
  workerId: number,
  jobs: readonly { id: string; epoch: number }[],
): Promise<JournalRow[]> {
  const held = JSON.stringify(jobs.map(({ id, epoch }) => ({ id, epoch })))
  return run<JournalRow>(on, 'read_journal', [workerId, held])
}

/**
 * A job given back: at once (`parkMs` null), for so long, or until it has `wanted` signals more than the `seen` ones, if
 * for ever (Infinity).
 */
export interface Release {
  id: string
  epoch: number
  parkMs: number | null
  wanted?: number
  seen?: number
  /** Its waits, to be kept for it. */
  waits?: readonly ReleasedWait[] | null
}

/** A time; and, where answers end it sooner: to which step, how many, by whom (of which groups), and which module asks for them. */
export interface ReleasedWait {
  key: number
  ms: number
  step?: number
  wanted?: number
  by?: string
  groups?: readonly string[]
  module?: string
  version?: string
}

/** Gives jobs back to the queue. `strangers`: those that were no longer ours. `tags`: of those that are ready. */
export async function releaseJobs(
  on: Queryable,
  workerId: number,
  jobs: readonly Release[],
): Promise<{ tags: string[]; strangers: string[] }> {
  const batch = JSON.stringify(
    jobs.map(({ id, epoch, parkMs, wanted = 0, seen = 0, waits = null }) => ({
      id,
      epoch,
      run_in_ms: parkMs === null || parkMs === Infinity ? null : Math.max(0, Math.ceil(parkMs)),
      wanted,
      seen,
      waits,
    })),
  )
  const rows = await run<{ id: string; tag: string; ready: boolean }>(on, 'release_jobs', [workerId, batch])
  const back = new Set(rows.map((row) => row.id))
  return {
    tags: [...new Set(rows.filter((row) => row.ready).map((row) => row.tag))],
    strangers: jobs.filter((job) => !back.has(job.id)).map((job) => job.id),
  }
}

export type CancelOutcome = 'canceled' | 'asked' | 'finished' | 'missing'

/**
 * Cancels a job. One that nobody runs ends at once ('canceled'); a running one is 'asked' through its worker; one that
 * is over stays as it is ('finished').
 */
export async function cancelJob(
  on: Queryable,
  job: { workspaceId: string; id: string; by: string; reason: string },
): Promise<CancelOutcome> {
  // A job may be claimed between the statement's snapshot and its write: then nothing matches, and asking again settles it.
  for (let round = 0; round < 5; round++) {
    type Row = { outcome: CancelOutcome; waiter: number | null; tags: string[] | null }
    const [row] = await runRouted<Row>(on, 'cancel_job', [job.workspaceId, job.id, job.by, job.reason])
    if (!row) continue
    if (row.outcome === 'asked') await notify(on, 'millrace_control', `cancel ${job.id}`)
    if (row.outcome === 'canceled' && row.waiter !== null) await notify(on, doneChannel(row.waiter), `${job.id} canceled`)
    for (const tag of row.tags ?? []) await notify(on, workChannel, readyAgain + tag)
    return row.outcome
  }
  return 'missing'
}

export interface CanceledJob {
  id: string
  canceled_by: string
  canceled_reason: string
}

export function canceledJobs(on: Queryable, workerId: number): Promise<CanceledJob[]> {
  return run<CanceledJob>(on, 'canceled_jobs', [workerId])
}

export interface Reaped {
  workers: number[] | null
  jobs_back: number
  jobs_poisoned: number
  /** Some of their ids. */
  back_ids: string[] | null
  poison_ids: string[] | null
  tags: string[] | null
}

/**
 * Declares workers dead that missed their lease, then gives their jobs back: two statements, since the second must see every
 * claim the first one shut out. `now`: null in production (the database's clock decides).
 */
export async function reapWorkers(on: Queryable, reap: { hintAfterMs: number; lostMax: number; now?: Date }): Promise<Reaped> {
  const dead = await run(on, 'declare_dead', [reap.now ?? null, workerLockClass, reap.hintAfterMs])
  if (dead.length === 0) return { workers: null, jobs_back: 0, jobs_poisoned: 0, back_ids: null, poison_ids: null, tags: null }
  const [row] = await runRouted<Reaped>(on, 'give_back_jobs', [reap.lostMax])
  const { workers, jobs_back, jobs_poisoned, back_ids, poison_ids, tags } = row!
  return { workers, jobs_back, jobs_poisoned, back_ids, poison_ids, tags }
}

/** Jobs, and turns, whose time has come; at most `jobsMax` of each. Gives the tags of jobs that are ready for it. */
export async function wakeDueJobs(on: Queryable, wake: { jobsMax: number; now?: Date }): Promise<string[]> {
  const rows = await run<{ tag: string }>(on, 'wake_due_jobs', [wake.now ?? null, wake.jobsMax])
  return rows.map((row) => row.tag)
}

/** Where a server process hears of finished jobs that a caller of its waits for. */
export function doneChannel(serverId: number): string {
  return `millrace_done_${serverId}`
}

/** Payload: a tag that has ready jobs; or `* <tag>`: some that were accepted earlier have become ready (again). */
export const workChannel = 'millrace_work'
export const readyAgain = '* '
/** Payload: `deploy <workspace> <path> <version id>`, `cancel <job id>` or `signal <job id>`. */
export const controlChannel = 'millrace_control'

/** The longest payload Postgres takes is 7,999 bytes. */
export const payloadBytesMax = 7_999

export async function notify(on: Queryable, channel: string, payload: string): Promise<void> {
  await run(on, 'notify', [channel, payload])
}

export interface LogPiece {
  id: string
  channel: 0 | 1
  n: number
  text: string
}

export async function appendLogs(on: Queryable, pieces: readonly LogPiece[]): Promise<void> {
  await runRouted(on, 'append_logs', [JSON.stringify(pieces.map((p) => ({ id: p.id, c: p.channel, n: p.n, t: p.text })))])
}

export async function setProgress(on: Queryable, id: string, percent: number): Promise<void> {
  await run(on, 'set_progress', [id, Math.max(0, Math.min(100, Math.round(percent)))])
}

/** A job to be stored. `args` is stored as it is: see J1 of core/json.ts. */
export interface NewJob {
  id: string
  workspaceId: string
  versionId: string
  tag: string
  priority: number
  args: JsonText
  createdBy: string
  /** Parked until then. */
  runAtMs?: number
  /** The caller's own name for it: a second job of that key is not started; the first one's id is given. */
  key?: string
  /** The server process that has a caller waiting. */
  waiter?: number
  parentId?: string
  /** The trace it belongs to: see core/trace.ts. */
  trace?: string
  /** What it waits for before it is ready. */
  turn?: Turn
}

/** HOT. One job as an element of enqueue's document. Only args are long, and they are copied as they are. */
export function printNewJob(job: NewJob): JsonText {
  let text = `{"id":"${job.id}","ws":"${job.workspaceId}","v":${job.versionId},"tag":${JSON.stringify(job.tag)},"by":${JSON.stringify(job.createdBy)},"args":${job.args}`
  if (job.priority !== 0) text += `,"p":${job.priority}`
  if (job.waiter !== undefined) text += `,"w":${job.waiter}`
  if (job.runAtMs !== undefined) text += `,"at":${Math.ceil(job.runAtMs)}`
  if (job.parentId !== undefined) text += `,"parent":"${job.parentId}"`
  if (job.trace !== undefined) text += `,"trace":${JSON.stringify(job.trace)}`
  if (job.key !== undefined) text += `,"key":${JSON.stringify(job.key)}`
  if (job.turn !== undefined) text += `,"turn":${JSON.stringify(job.turn)}`
  return text + '}'
}

/** Stores jobs without keys, and wakes the workers of `tags`. One statement, one transaction. */
export async function insertJobs(on: Queryable, batch: JsonText, tags: readonly string[]): Promise<void> {
  await run(on, 'enqueue_jobs', [batch, tags])
}

/** Stores jobs with keys (each key once in the batch). Gives asked id → the id of the key's job. */
export async function insertKeyedJobs(on: Queryable, jobs: readonly NewJob[]): Promise<Map<string, string>> {
  const idOf = new Map<string, string>()
  let missing = jobs
  for (let round = 0; missing.length > 0; round++) {
    if (round === 5)
      throw new EngineError('E_BUSY', 'the same key is being used by another request; try again', { retryAfterS: 1 })
    const batch = `[${missing.map(printNewJob).join(',')}]`
    const rows = await run<{ asked_id: string; job_id: string | null }>(on, 'enqueue_keyed_jobs', [batch])
    for (const row of rows) if (row.job_id !== null) idOf.set(row.asked_id, row.job_id)
    missing = missing.filter((job) => !idOf.has(job.id))
  }
  return idOf
}

/**
 * Stores jobs of which some wait for their turn, or are absorbed by one that does; their keys, if they have some, are each once in the
 * batch. Gives asked id → the id of the job it became, and the tags of those that are ready.
 */
export async function insertTurnJobs(
  on: Queryable,
  jobs: readonly NewJob[],
): Promise<{ idOf: Map<string, string>; tags: string[] }> {
  const batch = `[${jobs.map((job, i) => `{"i":${i},${printNewJob(job).slice(1)}`).join(',')}]`
  type Row = { askedId: string | null; jobId: string; tag: string | null }
  const rows = await run<Row>(on, 'enqueue_turns', [batch])
  const idOf = new Map<string, string>()
  for (const { askedId, jobId } of rows) if (askedId !== null) idOf.set(askedId, jobId)
  return { idOf, tags: [...new Set(rows.flatMap((row) => row.tag ?? []))] }
}
