// What only this run can know, seen from outside: that the result of every event is the right one, that it is the one of the worker
// that held the job, and that nobody's job was canceled for him. The rest is `millrace audit` (audit.ts).
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { expectedOf, type Event } from './flows.ts'
import type { Load } from './load.ts'
import type { Rig } from './rig.ts'

export interface Finding {
  check: string
  count: number
  examples: string[]
}

const examplesMax = 5

/** What is wrong. Empty: nothing is. */
export class Findings {
  readonly #found = new Map<string, Finding>()

  add(check: string, ...examples: string[]): void {
    const finding = this.#found.get(check) ?? { check, count: 0, examples: [] }
    finding.count += examples.length
    finding.examples.push(...examples.slice(0, examplesMax - finding.examples.length))
    this.#found.set(check, finding)
  }

  /** More were found than are shown. */
  count(check: string, count: number): void {
    this.#found.get(check)!.count = count
  }

  list(): Finding[] {
    return [...this.#found.values()]
  }
}

/** Waits until no job is active. False if some still are after `maxMs`. */
export async function queueIsEmpty(rig: Rig, maxMs: number): Promise<boolean> {
  const untilMs = performance.now() + maxMs
  while (performance.now() < untilMs) {
    const { rows } = await rig.db.pool.query('select from job limit 1')
    if (rows.length === 0) return true
    await pause(100)
  }
  return false
}

/** Looks at every finished job. Gives how many there are. */
export async function checkResults(rig: Rig, load: Load, findings: Findings): Promise<number> {
  let finished = 0
  for await (const row of finishedJobs(rig)) {
    finished += 1
    judge(row, load, findings)
  }
  return finished
}

interface FinishedRow {
  id: string
  args: string
  status: string
  result: string
  worker: string | null
  path: string
}

async function* finishedJobs(rig: Rig): AsyncGenerator<FinishedRow> {
  let after = '00000000-0000-0000-0000-000000000000'
  for (;;) {
    const { rows } = await rig.db.pool.query(
      `select d.id, d.args, d.status, d.result, w.name as worker, v.path
         from job_done d join flow_version v on v.id = d.version_id left join worker w on w.id = d.worker_id
        where d.id > $1 and v.path like 'chaos/%' order by d.id limit 5000`,
      [after],
    )
    if (rows.length === 0) return
    yield* rows as FinishedRow[]
    after = (rows.at(-1) as FinishedRow).id
  }
}

interface Result {
  op: string
  x: number
  first: number
  v: number
  job: string
  by: string
}

function judge(row: FinishedRow, load: Load, findings: Findings): void {
  const event = JSON.parse(row.args) as Event
  if (row.status === 'canceled') {
    if (!load.mayBeCanceled.has(event.op)) findings.add('canceled by nobody', `${event.op}: job ${row.id}`)
    return
  }
  if (row.status !== 'success') {
    findings.add('failed', `${event.op}: job ${row.id} (${row.path}): ${row.result.slice(0, 200)}`)
    return
  }
  const result = JSON.parse(row.result) as Result
  const expected = expectedOf(event)
  if (result.op !== expected.op || result.x !== expected.x || result.job !== row.id) {
    findings.add('wrong result', `job ${row.id} (${row.path}) of ${row.args}: ${row.result}`)
  }
  if (result.v !== result.first)
    findings.add('mixed versions', `job ${row.id}: steps of versions ${result.first} and ${result.v}`)
  if (result.by !== row.worker) {
    findings.add('recorded by a worker that did not hold it', `job ${row.id}: result of ${result.by}, held by ${row.worker}`)
  }
}

/** Executions of steps, and how many of them were not the first of their step. */
export async function countExecutions(rig: Rig): Promise<{ executed: number; again: number }> {
  const seen = new Set<string>()
  let executed = 0
  for await (const text of createInterface({ input: createReadStream(rig.effectsFile) })) {
    const { job, n } = JSON.parse(text) as { job: string; n: number }
    executed += 1
    seen.add(`${job} ${n}`)
  }
  return { executed, again: executed - seen.size }
}
