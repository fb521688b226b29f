// What `millrace top` shows: two answers of the server become rates, and rates become lines. Pure.
//   V1. A counter that went back, or a worker seen for the first time, gives no rate.
//   V2. No line is longer than the screen, and there are no more of them than it has.
import type { Overview, OverviewWorker } from '../client/client.ts'
import { printable } from './output.ts'

/** Per second, where it could be measured. */
interface Rates {
  jobs: number
  steps: number
  failed: number
}

export interface WorkerLine extends OverviewWorker {
  per_s: Rates | null
}

/** A tag of the queue, a flow that workers run, or both: a dedicated flow's tag is its name. */
export interface FlowLine {
  name: string
  /** Null where no jobs go to a tag of this name. */
  queue: Overview['tags'][number] | null
  /** Null where no worker runs a flow of this name. */
  per_s: Rates | null
}

export interface View {
  totals: Rates & { workers: number; held: number; ready: number; lag_s: number; refused: number; poisoned: number }
  workers: WorkerLine[]
  flows: FlowLine[]
}

/** `before` and `now` are answers some time apart, oldest first. */
export function viewOf(before: Overview | null, now: Overview): View {
  const earlier = new Map((before?.workers ?? []).map((worker) => [worker.id, worker]))
  const flows = new Map<string, Rates>()
  const workers = now.workers.map((worker): WorkerLine => {
    const then = earlier.get(worker.id)
    const seconds = then ? (Date.parse(worker.heartbeat_at) - Date.parse(then.heartbeat_at)) / 1_000 : 0
    addFlows(flows, worker, then, seconds)
    if (!then || seconds <= 0) return { ...worker, per_s: then ? { jobs: 0, steps: 0, failed: 0 } : null }
    return {
      ...worker,
      per_s: {
        jobs: grown(then.jobs_done, worker.jobs_done) / seconds,
        steps: grown(then.steps_done, worker.steps_done) / seconds,
        failed: grown(then.jobs_failed, worker.jobs_failed) / seconds,
      },
    }
  })
  const tags = new Map(now.tags.map((tag) => [tag.tag, tag]))
  const names = [...new Set([...tags.keys(), ...flows.keys()])]
  const alive = workers.filter((worker) => worker.state === 'alive')
  const sum = (of: (worker: WorkerLine) => number): number => alive.reduce((total, worker) => total + of(worker), 0)
  return {
    totals: {
      workers: alive.length,
      held: sum((worker) => worker.jobs_held),
      ready: now.tags.reduce((total, tag) => total + tag.ready, 0),
      lag_s: now.tags.reduce((most, tag) => Math.max(most, tag.oldest_ready_s ?? 0), 0),
      jobs: sum((worker) => worker.per_s?.jobs ?? 0),
      steps: sum((worker) => worker.per_s?.steps ?? 0),
      failed: sum((worker) => worker.per_s?.failed ?? 0),
      refused: sum((worker) => worker.refused),
      poisoned: sum((worker) => worker.poisoned),
    },
    workers,
    flows: names.map((name) => ({ name, queue: tags.get(name) ?? null, per_s: flows.get(name) ?? null })),
  }
}

function addFlows(to: Map<string, Rates>, worker: OverviewWorker, then: OverviewWorker | undefined, seconds: number): void {
  if (worker.state !== 'alive') return
  const earlier = new Map((then?.flows ?? []).map((flow) => [flow.flow, flow]))
  for (const flow of worker.flows) {
    const rates = to.get(flow.flow) ?? { jobs: 0, steps: 0, failed: 0 }
    to.set(flow.flow, rates)
    if (!then || seconds <= 0) continue
    const from = earlier.get(flow.flow) ?? { jobs: 0, failed: 0, steps: 0 }
    rates.jobs += grown(from.jobs, flow.jobs) / seconds
    rates.steps += grown(from.steps, flow.steps) / seconds
    rates.failed += grown(from.failed, flow.failed) / seconds
  }
}

function grown(from: number, to: number): number {
  return Math.max(0, to - from)
}

export const sortings = ['steps/s', 'ready', 'oldest', 'failed/s', 'name'] as const
export type Sorting = (typeof sortings)[number]

export interface Screen {
  columns: number
  /** Infinity: all of it. */
  rows: number
  sorting: Sorting
  /** Where the terminal has no colours, these give the text as it is. */
  style: Record<'title' | 'head' | 'faint' | 'bad', (text: string) => string>
}

/** The lines of a screen. `place` is where the server listens; `fault` why it is not heard of. */
export function linesOf(view: View, of: { place: string; time: string; fault: string | null }, screen: Screen): string[] {
  const { style } = screen
  const { totals } = view
  const first = `millrace top  ${of.place}`
  const title =
    style.title(fit(first, screen.columns - 10)) + style.faint(of.time.padStart(Math.max(9, screen.columns - first.length)))
  const summary = [
    `${count(totals.workers)} ${totals.workers === 1 ? 'worker' : 'workers'}`,
    `${count(totals.steps)} steps/s`,
    `${count(totals.jobs)} jobs/s`,
    `${count(totals.failed)} failed/s`,
    `lag ${age(totals.lag_s)}`,
    `${count(totals.ready)} ready`,
    `${count(totals.held)} held`,
    ...(totals.poisoned > 0 ? [`${count(totals.poisoned)} poisoned`] : []),
    ...(totals.refused > 0 ? [`${count(totals.refused)} late reports refused`] : []),
  ].join(' · ')
  const state = of.fault === null ? fit(summary, screen.columns) : style.bad(fit(printable(of.fault), screen.columns))
  const room = Math.max(2, screen.rows - 6) // what both tables may take: the rest is title, summary, heads and gaps
  const [workerRows, flowRows] = share(room, view.workers.length, view.flows.length)
  return [
    title,
    state,
    '',
    ...workerTable(view.workers, workerRows, screen),
    '',
    ...flowTable(sorted(view.flows, screen.sorting), flowRows, screen),
  ]
}

/** Half each, and what one does not need is the other's. */
function share(room: number, workers: number, flows: number): [workers: number, flows: number] {
  const half = Math.floor(room / 2)
  const first = Math.min(workers, Math.max(half, room - flows))
  return [first, room - first]
}

function sorted(flows: readonly FlowLine[], by: Sorting): FlowLine[] {
  const value = (flow: FlowLine): number => {
    switch (by) {
      case 'steps/s':
        return flow.per_s?.steps ?? -1
      case 'ready':
        return flow.queue?.ready ?? -1
      case 'oldest':
        return flow.queue?.oldest_ready_s ?? -1
      case 'failed/s':
        return flow.per_s?.failed ?? -1
      case 'name':
        return 0
    }
  }
  return [...flows].sort((a, b) => value(b) - value(a) || (a.name < b.name ? -1 : 1))
}

function workerTable(workers: readonly WorkerLine[], rowsMax: number, screen: Screen): string[] {
  const { style } = screen
  const rows = workers.map((worker) => {
    const ended = worker.state !== 'alive'
    const cells = [
      worker.name,
      String(worker.id),
      worker.state === 'reaped' ? 'dead' : worker.state,
      ended ? '' : count(worker.jobs_held),
      ended ? '' : rate(worker.per_s?.jobs),
      ended ? '' : rate(worker.per_s?.steps),
      ended ? '' : rate(worker.per_s?.failed),
      age(worker.silent_s),
      worker.tags.join(' '),
    ]
    const paint = ended ? style.faint : worker.silent_s > 2 ? style.bad : null
    return { cells, paint }
  })
  return tableOf(
    ['WORKER', 'ID', 'STATE', 'HELD', 'JOBS/S', 'STEPS/S', 'FAILED/S', 'HEARD', 'TAKES JOBS OF'],
    rows,
    rowsMax,
    screen,
  )
}

function flowTable(flows: readonly FlowLine[], rowsMax: number, screen: Screen): string[] {
  const rows = flows.map(({ name, queue, per_s }) => {
    const cells = [
      name,
      rate(per_s?.steps),
      rate(per_s?.jobs),
      rate(per_s?.failed),
      queue ? count(queue.ready) : '',
      queue ? count(queue.running) : '',
      queue ? count(queue.parked + queue.waiting) : '',
      queue?.oldest_ready_s == null ? '' : age(queue.oldest_ready_s),
    ]
    return { cells, paint: (queue?.oldest_ready_s ?? 0) > 60 ? screen.style.bad : null }
  })
  const head = ['FLOW OR TAG', 'STEPS/S', 'JOBS/S', 'FAILED/S', 'READY', 'RUNNING', 'PARKED', 'OLDEST']
  const sortedBy = { 'steps/s': 1, 'failed/s': 3, ready: 4, oldest: 7, name: 0 }[screen.sorting]
  head[sortedBy] += '▾'
  return tableOf(head, rows, rowsMax, screen)
}

interface Row {
  cells: string[]
  paint: ((text: string) => string) | null
}

/** The first column and a last one of words are to the left, numbers to the right. Names give way when it is narrow. */
function tableOf(head: string[], rows: readonly Row[], rowsMax: number, { columns, style }: Screen): string[] {
  const left = (i: number): boolean => i === 0 || (i === head.length - 1 && head[i]!.includes(' ')) || head[i] === 'STATE'
  const shown = rows
    .slice(0, rows.length > rowsMax ? rowsMax - 1 : rowsMax)
    .map((row) => ({ ...row, cells: row.cells.map(printable) }))
  const widths = head.map((title, i) => Math.max(title.length, ...shown.map((row) => row.cells[i]!.length)))
  const rest = widths.slice(1).reduce((sum, width) => sum + width + 2, 0) - (left(head.length - 1) ? widths.at(-1)! - 12 : 0)
  widths[0] = Math.max(12, Math.min(widths[0]!, columns - rest))
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (left(i) ? fit(cell, widths[i]!).padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')
  const lines = [style.head(fit(line(head), columns))]
  for (const { cells, paint } of shown) lines.push(paint ? paint(fit(line(cells), columns)) : fit(line(cells), columns))
  if (rows.length > shown.length) lines.push(style.faint(`… and ${rows.length - shown.length} more`))
  if (rows.length === 0) lines.push(style.faint('none'))
  return lines
}

function fit(text: string, width: number): string {
  return text.length <= width ? text.trimEnd() : `${text.slice(0, Math.max(0, width - 1))}…`
}

function count(value: number): string {
  return Math.round(value).toLocaleString('en')
}

function rate(value: number | undefined): string {
  if (value === undefined) return ''
  return value > 0 && value < 9.5 ? value.toFixed(1) : count(value)
}

function age(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 100) return `${Math.round(seconds)} s`
  if (seconds < 6_000) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`
  return `${Math.round(seconds / 86_400)} d`
}
