// Histories of jobs, for showing them. The plans that are needed for it are compiled once per version and kept.
//   H1. A plan here runs nothing: expressions that need JavaScript are never evaluated, for what they decided is recorded.
//   H2. Whoever follows a large job asks again and again: its history is kept for a while, and only what has come since is added.
import type { Sandbox } from '../core/expr/expression.ts'
import { planOfPart } from '../core/flow/apart.ts'
import { compilePlan } from '../core/flow/compile.ts'
import type { FlowValue } from '../core/flow/definition.ts'
import { History, type HistoryOptions } from '../core/flow/history.ts'
import type { Plan } from '../core/flow/plan.ts'
import { parseRecord, type JobRecord } from '../core/flow/records.ts'
import { acceptedAtMs } from '../core/job/ids.ts'
import { elementTexts, type JsonText } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import type { Queryable } from '../store/db.ts'
import type { JobRow } from '../store/job_reads.ts'
import { loadVersion } from '../store/versions.ts'

export interface ShownVersion {
  plan: Plan
  value: FlowValue
  tag: string
  priority: number
}

export interface Histories {
  /** It may go on by itself when the job is looked at again. */
  of(job: JobRow): Promise<History>
  /** One that knows the arguments of this attempt. */
  withArgsOf(job: JobRow, n: number): Promise<History>
  /** What it is made of. */
  partsOf(job: JobRow): Promise<{ records: JobRecord[]; options: HistoryOptions }>
  version(id: string): Promise<ShownVersion>
}

const keptMax = 500

// Of smaller jobs a history is made in less than a millisecond.
const largeChars = 50_000
const largeMax = 4
const largeMs = 30_000

interface Large {
  steps: JsonText
  history: History
  untilMs: number
}

const sandbox: Sandbox = {
  evaluate() {
    throw new Error('a history evaluates no JavaScript')
  },
}

export function createHistories({ on, limits }: { on: Queryable; limits: Limits }): Histories {
  const kept = new Map<string, ShownVersion>()

  async function version(id: string): Promise<ShownVersion> {
    const known = kept.get(id)
    if (known) {
      kept.delete(id) // the longest unused goes first
      kept.set(id, known)
      return known
    }
    const row = await loadVersion(on, id)
    const { workspaceId, path, kind, tag, priority, value, built } = row
    const made = { plan: compilePlan({ id, workspaceId, path, kind, value, built }, sandbox), value, tag, priority }
    if (kept.size >= keptMax) kept.delete(kept.keys().next().value!)
    kept.set(id, made)
    return made
  }

  async function partsOf(job: JobRow): Promise<{ records: JobRecord[]; options: HistoryOptions }> {
    const records = recordsOf(job)
    const called = records.flatMap((record) => (record.k === 'call' && !record.error ? record.version : []))
    const { plan } = await version(job.versionId)
    const plans = new Map<string, Plan>()
    for (const id of new Set(called)) plans.set(id, (await version(id)).plan)
    const beganMs = job.startedAt?.getTime() ?? acceptedAtMs(job.id)
    const own = job.part === null ? plan : planOfPart(plan, job.part)
    return { records, options: { plan: own, args: job.args, limits, plans: (id) => plans.get(id)!, beganMs, part: job.part } }
  }

  const large = new Map<string, Large>()

  async function of(job: JobRow): Promise<History> {
    const { id, steps } = job
    if (job.status !== null || steps.length < largeChars) return History.of(...(await partsFor(job)))
    for (const [other, { untilMs }] of large) if (untilMs < Date.now()) large.delete(other)
    const known = large.get(id)
    const more = known && addedTo(known.steps, steps)
    // A flow that is called meanwhile may be of a version that is not here yet.
    const history = more && !more.some(({ k }) => k === 'call') ? known.history : History.of(...(await partsFor(job)))
    if (history === known?.history) history.addAll(more!)
    large.delete(id)
    if (large.size >= largeMax) large.delete(large.keys().next().value!)
    large.set(id, { steps, history, untilMs: Date.now() + largeMs })
    return history
  }

  async function partsFor(job: JobRow): Promise<[records: JobRecord[], options: HistoryOptions]> {
    const { records, options } = await partsOf(job)
    return [records, options]
  }

  return {
    version,
    partsOf,
    of,
    async withArgsOf(job, n) {
      const { records, options } = await partsOf(job)
      return History.of(records, { ...options, argsOf: n })
    },
  }
}

/** The records by which a list has grown; null if it is another one. */
function addedTo(before: JsonText, now: JsonText): JobRecord[] | null {
  if (before === now) return []
  const whole = before.trimEnd().slice(0, -1)
  if (!now.startsWith(whole)) return null
  const rest = now.slice(whole.length).trimStart()
  if (!rest.startsWith(',')) return null
  return elementTexts(`[${rest.slice(1)}`).flatMap((text) => parseRecord(text) ?? [])
}

/** The records of a job so far. That of a finished one whose value is the job's result has it again (R3 of records.ts). */
export function recordsOf({ steps, result }: Pick<JobRow, 'steps' | 'result'>): JobRecord[] {
  return elementTexts(steps).flatMap((text) => parseRecord(text, result ?? 'null') ?? [])
}
