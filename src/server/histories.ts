// Histories of jobs, for showing them. The plans that are needed for it are compiled once per version and kept.
//   H1. A plan here runs nothing: expressions that need JavaScript are never evaluated, for what they decided is recorded.
import type { Sandbox } from '../core/expr/expression.ts'
import { compilePlan } from '../core/flow/compile.ts'
import type { FlowValue } from '../core/flow/definition.ts'
import { History, type HistoryOptions } from '../core/flow/history.ts'
import type { Plan } from '../core/flow/plan.ts'
import { parseRecord, type JobRecord } from '../core/flow/records.ts'
import { acceptedAtMs } from '../core/job/ids.ts'
import { elementTexts } from '../core/json.ts'
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
  /** `argsOf`: the number of the attempt whose arguments are wanted. */
  of(job: JobRow, argsOf?: number): Promise<History>
  /** What it is made of. */
  partsOf(job: JobRow): Promise<{ records: JobRecord[]; options: HistoryOptions }>
  version(id: string): Promise<ShownVersion>
}

const keptMax = 500

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
    return { records, options: { plan, args: job.args, limits, plans: (id) => plans.get(id)!, beganMs } }
  }

  return {
    version,
    partsOf,
    async of(job, argsOf) {
      const { records, options } = await partsOf(job)
      return History.of(records, argsOf === undefined ? options : { ...options, argsOf })
    },
  }
}

/** The records of a job so far. That of a finished one whose value is the job's result has it again (R3 of records.ts). */
export function recordsOf({ steps, result }: Pick<JobRow, 'steps' | 'result'>): JobRecord[] {
  return elementTexts(steps).flatMap((text) => parseRecord(text, result ?? 'null') ?? [])
}
