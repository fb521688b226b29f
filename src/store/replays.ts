// Jobs that failed, started again: poison jobs above all, which nobody else starts again. Their arguments never leave the database.
//   P1. A replay is a new job with a link to the old one, which stays as it is.
//   P2. "All that failed" are those that were not started again yet; two who ask at once start each of them once.
//   P3. A replay pushes no queue over its bound.
import type { UserError } from '../core/errors.ts'
import type { RunnableKind } from '../core/flow/plan.ts'
import type { JsonText } from '../core/json.ts'
import { run, type Database, type Queryable } from './db.ts'
import type { JobStatus, JobSummary } from './job_reads.ts'
import { insertTurnJobs, newJobId, notify, workChannel, type NewJob } from './jobs.ts'
import type { TurnMakers } from './turns.ts'

export interface PoisonJob extends JobSummary {
  /** As JSON: a UserError with `workers`. */
  error: string
  replayedAs: string[] | null
}

export type PoisonError = UserError & { workers?: { id: number; name: string; host: string; pid: number; died_at: string }[] }

export interface FailedFilter {
  path?: string | undefined
  /** The first id, and the one before which. */
  idFrom?: string | undefined
  idBefore?: string | undefined
}

export function listPoison(on: Queryable, workspaceId: string, filter: FailedFilter & { limit: number }): Promise<PoisonJob[]> {
  const { path = null, idFrom = null, idBefore = null, limit } = filter
  return run<PoisonJob>(on, 'list_poison', [workspaceId, path, idFrom, idBefore, limit])
}

export interface Replays {
  workspaceId: string
  by: string
  which: { ids: readonly string[] } | (FailedFilter & { only: 'poisoned' | 'failed' })
  /** On the version that the old job ran; else on what its path runs now. Of named jobs it may differ from one to the other. */
  sameVersion: boolean | ((job: { kind: RunnableKind; path: string }) => boolean)
  jobsMax: number
  /** Jobs that a tag's queue still takes; and that it got some. */
  room(tag: string): number
  added(tag: string, jobs: number): void
  /** Runnables that the caller may run. */
  allows(kind: RunnableKind): boolean
  turnMakers: TurnMakers
}

export interface Replayed {
  replayed: { id: string; replayOf: string }[]
  refused: { id: string; why: string }[]
}

interface Candidate {
  id: string
  status: JobStatus | null
  kind: RunnableKind
  path: string
  versionId: string | null
  tag: string | null
  priority: number | null
  /** Its arguments were deleted. */
  deleted: boolean
  /** The rule of the version it runs on. */
  turns: JsonText | null
}

const chunkJobs = 1_000

export function replayJobs(db: Database, replays: Replays): Promise<Replayed> {
  if ('ids' in replays.which) return replayNamed(db, replays, replays.which.ids)
  return replayFailed(db, replays, replays.which)
}

async function replayNamed(db: Database, replays: Replays, ids: readonly string[]): Promise<Replayed> {
  const found = await candidates(db.pool, replays, ids)
  const known = new Map(found.map((job) => [job.id, job]))
  const unique = [...new Set(ids)]
  const unknown = unique.filter((id) => !known.has(id)).map((id) => ({ id, why: 'no such job in this workspace' }))
  const result = await startAgain(
    db.pool,
    replays,
    unique.flatMap((id) => known.get(id) ?? []),
  )
  await wake(db, found)
  return { ...result, refused: [...unknown, ...result.refused] }
}

async function candidates(on: Queryable, { workspaceId, sameVersion }: Replays, ids: readonly string[]): Promise<Candidate[]> {
  const find = (same: boolean) => run<Candidate>(on, 'replays_named', [workspaceId, ids, same])
  if (typeof sameVersion === 'boolean') return find(sameVersion)
  const [same, latest] = await Promise.all([find(true), find(false)])
  return [...same.filter(sameVersion), ...latest.filter((job) => !sameVersion(job))]
}

async function replayFailed(db: Database, replays: Replays, filter: FailedFilter & { only: string }): Promise<Replayed> {
  const { workspaceId, sameVersion, jobsMax } = replays
  const { path = null, idFrom = null, idBefore = null, only } = filter
  let found: Candidate[] = []
  const result = await db.transaction(async (client) => {
    await client.query(`select pg_advisory_xact_lock(hashtextextended('millrace replay', 0))`)
    const values = [workspaceId, path, idFrom, idBefore, only === 'poisoned', sameVersion === true, jobsMax]
    found = await run<Candidate>(client, 'replays_failed', values)
    return startAgain(client, replays, found)
  })
  await wake(db, found)
  return result
}

async function startAgain(on: Queryable, replays: Replays, jobs: readonly Candidate[]): Promise<Replayed> {
  const { workspaceId, by } = replays
  const taken = new Map<string, number>()
  const result: Replayed = { replayed: [], refused: [] }
  const chosen: Chosen[] = []
  const turned: { made: Chosen; job: Candidate }[] = []
  for (const job of jobs) {
    const why = faultOf(job, replays, taken)
    if (why !== null) {
      result.refused.push({ id: job.id, why })
      continue
    }
    taken.set(job.tag!, (taken.get(job.tag!) ?? 0) + 1)
    const made = { id: newJobId(), of: job.id, v: job.versionId!, tag: job.tag!, p: job.priority! }
    if (job.turns === null) chosen.push(made)
    else turned.push({ made, job })
  }
  for (const [tag, count] of taken) replays.added(tag, count)
  for (let from = 0; from < chosen.length; from += chunkJobs) {
    const chunk = chosen.slice(from, from + chunkJobs)
    const made = new Set(
      (await run<{ id: string }>(on, 'replay_jobs', [workspaceId, JSON.stringify(chunk), by])).map((r) => r.id),
    )
    tell(result, chunk, made)
  }
  for (let from = 0; from < turned.length; from += chunkJobs) {
    const chunk = turned.slice(from, from + chunkJobs)
    const made = await startInTurn(on, replays, chunk)
    tell(
      result,
      chunk.map((one) => one.made),
      made,
    )
  }
  return result
}

interface Chosen {
  id: string
  of: string
  v: string
  tag: string
  p: number
}

function tell(result: Replayed, chosen: readonly Chosen[], made: ReadonlySet<string>): void {
  for (const { id, of } of chosen) {
    if (made.has(id)) result.replayed.push({ id, replayOf: of })
    else result.refused.push({ id: of, why: 'it was dropped by retention a moment ago' })
  }
}

/** Jobs of versions that limit them: their keys are told from their arguments. Nobody absorbs a replay. */
async function startInTurn(
  on: Queryable,
  { workspaceId, by, turnMakers }: Replays,
  chosen: readonly { made: Chosen; job: Candidate }[],
): Promise<Set<string>> {
  const ids = chosen.map(({ job }) => job.id)
  const argsOf = new Map(
    (await run<{ id: string; args: JsonText }>(on, 'replay_args', [workspaceId, ids])).map((row) => [row.id, row.args]),
  )
  const jobs: NewJob[] = []
  for (const { made, job } of chosen) {
    const args = argsOf.get(job.id)
    if (args === undefined) continue
    const kind = job.kind === 'flow' || job.kind === 'flowpreview' ? 'flow' : 'script'
    const maker = await turnMakers.of(job.turns, { workspaceId, kind, path: job.path, versionId: made.v })
    const { debounce: _debounce, ...turn } = maker!.turnOf(args)
    const { id, v: versionId, tag, p: priority } = made
    jobs.push({ id, workspaceId, versionId, tag, priority, args, createdBy: by, turn })
  }
  await insertTurnJobs(on, jobs)
  const made = new Set(jobs.map(({ id }) => id))
  const links = chosen.filter(({ made: { id } }) => made.has(id)).map(({ made: { id, of } }) => ({ id, of }))
  await run(on, 'link_replays', [JSON.stringify(links), by])
  return made
}

function faultOf(job: Candidate, replays: Replays, taken: ReadonlyMap<string, number>): string | null {
  if (job.status === null) return 'it is not over yet'
  if (job.deleted) return 'its arguments were deleted (delete_after_secs)'
  if (!replays.allows(job.kind)) return `you may not run a ${job.kind}`
  if (job.versionId === null || job.tag === null) return `nothing is deployed at ${job.path} any more`
  if ((taken.get(job.tag) ?? 0) >= replays.room(job.tag)) return `the queue of tag ${job.tag} is full`
  return null
}

async function wake(db: Database, jobs: readonly Candidate[]): Promise<void> {
  const tags = new Set(jobs.map((job) => job.tag))
  for (const tag of tags) if (tag !== null) await notify(db.pool, workChannel, tag).catch(() => {}) // workers poll
}
