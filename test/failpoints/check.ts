// What a run must come to, whatever was killed or lost in it. The run that recorded the points says what normal is.
//   C1. Every job is there once, ended as it ends without a fault: status, result, and the last outcome of each step.
//   C2. Every step that has an outcome was executed; never again after a result of it was recorded; and not more often than the
//       faults allow: once, and once more for each worker that was declared dead.
//   C3. The result a job has is of the worker that held it: what a stale worker reports later changes nothing.
//   C4. The audit, which records every change of a job, finds nothing wrong.
import type { FlowValue } from '../../src/core/flow/definition.ts'
import { modulesOf } from '../../src/core/flow/modules.ts'
import { flows } from './flows.ts'
import type { Json } from '../../src/core/json.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import { auditDatabase } from '../../src/store/audit.ts'
import { openHistory } from '../../src/store/audit_history.ts'
import type { Database } from '../../src/store/db.ts'
import { linesOf } from './rig.ts'

export interface Outcome {
  status: string
  result: Json
  /** step → its last outcome: its value, or its error's name */
  steps: Record<string, Json>
}

export interface Sent {
  name: string
  id: string
}

interface DoneRow {
  id: string
  status: string
  result: string
  steps: string
  pid: number | null
}

/** Steps without code: they write no effects. */
const silent = new Set(
  Object.values(flows).flatMap((value: FlowValue) =>
    modulesOf(value, '$').flatMap(({ module }) => (module.value.type === 'identity' ? [module.id] : [])),
  ),
)

interface StepRecord {
  k: string
  n: number
  s: string
  v?: Json
  e?: { name: string }
}

/** How often each step of each job has begun: `<job> <n>` → times. */
export type Executions = Map<string, number>

function executionsIn(effectsFile: string): Executions {
  const times: Executions = new Map()
  for (const line of linesOf(effectsFile)) {
    const { job, n } = JSON.parse(line) as { job: string; n: number }
    times.set(`${job} ${n}`, (times.get(`${job} ${n}`) ?? 0) + 1)
  }
  return times
}

/** Steps whose result is recorded for good, and how often they had run by then. */
export async function recordedNow(db: Database, ids: string[], effectsFile: string): Promise<Executions> {
  const { rows } = await db.pool.query<{ id: string; record: string }>(
    `select job_id as id, record::text as record from job_journal where job_id = any($1)
     union all
     select id, record::text from job_done, json_array_elements(steps) as record where id = any($1)`,
    [ids],
  )
  const times = executionsIn(effectsFile)
  const recorded: Executions = new Map()
  for (const { id, record } of rows) {
    const { k, n } = JSON.parse(record) as StepRecord
    if (k === 'ok' || k === 'err') recorded.set(`${id} ${n}`, times.get(`${id} ${n}`) ?? 0)
  }
  return recorded
}

export async function faultsOf(
  db: Database,
  run: {
    sent: Sent[]
    effects: string
    expected: Record<string, Outcome>
    /** How often one step may run. */
    executionsMax: number
    /** What was recorded when the process died. */
    recorded: Executions | null
    beganMs: number
  },
): Promise<string[]> {
  const faults: string[] = []
  const ids = run.sent.map((job) => job.id)
  const { rows } = await db.pool.query<DoneRow>(
    `select job_done.id, status, result::text as result, steps::text as steps, worker.pid
       from job_done left join worker on worker.id = job_done.worker_id where job_done.id = any($1)`,
    [ids],
  )
  const left = await db.pool.query<{ id: string; what: string }>(
    `select id, 'job ' || state as what from job where id = any($1)
     union all select job_id, 'journal' from job_journal where job_id = any($1)`,
    [ids],
  )
  for (const { id, what } of left.rows) faults.push(`${nameOf(run.sent, id)}: left over: ${what}`)

  const executions = executionsIn(run.effects)
  for (const { name, id } of run.sent) {
    const mine = rows.filter((row) => row.id === id)
    if (mine.length !== 1) {
      faults.push(`${name}: recorded ${mine.length} times`)
      continue
    }
    const [row] = mine as [DoneRow]
    const outcome = outcomeOf(row)
    const expected = run.expected[name]
    if (expected && JSON.stringify(outcome) !== JSON.stringify(expected)) {
      faults.push(`${name}: ${JSON.stringify(outcome)} instead of ${JSON.stringify(expected)}`)
    }
    const by = workerIn(JSON.parse(row.result) as Json)
    if (by !== null && by !== row.pid) faults.push(`${name}: the result is of process ${by}, the job was held by ${row.pid}`)
    for (const record of JSON.parse(row.steps) as StepRecord[]) {
      if (record.k === 'ok' && !silent.has(record.s) && !executions.has(`${id} ${record.n}`))
        faults.push(`${name}: step ${record.n} has a result and never ran`)
    }
  }
  for (const [step, times] of executions) {
    if (times > run.executionsMax) faults.push(`${nameOf(run.sent, step)}: step ${step.split(' ')[1]} ran ${times} times`)
  }
  for (const [step, times] of run.recorded ?? []) {
    const since = (executions.get(step) ?? 0) - times
    if (since > 0) faults.push(`${nameOf(run.sent, step)}: step ${step.split(' ')[1]} ran again after its result was recorded`)
  }
  return [...faults, ...(await auditOf(db, run))]
}

/** C4. */
async function auditOf(db: Database, { effects, beganMs }: { effects: string; beganMs: number }): Promise<string[]> {
  const { lostMax, retentionDays } = defaultLimits
  const scope = { sinceMs: beganMs, lostMax, retentionDays, rowsMax: 3, settleMs: 0 }
  const { outcomes } = await auditDatabase(db, scope, openHistory({ effects, sinceMs: beganMs }))
  return outcomes
    .filter((check) => check.status === 'violated' || check.status === 'failed')
    .map((check) => `audit ${check.id} (${check.says}): ${check.why ?? JSON.stringify(check.rows)}`)
}

export async function outcomesOf(db: Database, sent: Sent[]): Promise<Record<string, Outcome>> {
  const { rows } = await db.pool.query<DoneRow>(
    'select id, status, result::text as result, steps::text as steps from job_done where id = any($1)',
    [sent.map((job) => job.id)],
  )
  return Object.fromEntries(rows.map((row) => [nameOf(sent, row.id), outcomeOf(row)]))
}

function outcomeOf(row: DoneRow): Outcome {
  const steps: Record<string, Json> = {}
  // A canceled job has the steps it had come to.
  const records = row.status === 'canceled' ? [] : (JSON.parse(row.steps) as StepRecord[])
  for (const record of records) {
    if (record.k === 'ok') steps[record.s] = withoutWorkers(record.v ?? 'the result')
    else if (record.k === 'err') steps[record.s] = record.e!.name
  }
  return { status: row.status, result: withoutWorkers(JSON.parse(row.result) as Json), steps }
}

function nameOf(sent: Sent[], idAnd: string): string {
  return sent.find((job) => job.id === idAnd.slice(0, 36))?.name ?? idAnd
}

function workerIn(result: Json): number | null {
  const worker = typeof result === 'object' && result !== null && !Array.isArray(result) ? result['worker'] : undefined
  return typeof worker === 'number' ? worker : null
}

/** Who ran it differs from run to run. */
const ofThisRun = new Set(['worker', 'workers', 'stack'])

function withoutWorkers(value: Json): Json {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(withoutWorkers)
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, field]) => (ofThisRun.has(name) ? [] : [[name, withoutWorkers(field)]])),
  )
}
