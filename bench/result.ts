// What a case gives, and how several runs of it become one line: median, with minimum and maximum.
import type { Cpu } from './machine.ts'
import { median } from './machine.ts'

/** One run of a case. Figures a case does not have are absent. */
export interface Measured {
  jobsPerSecond?: number
  stepsPerSecond?: number
  p50Ms?: number
  p99Ms?: number
  /** Jobs per second as a share of the same rows claimed and finished by plain SQL. */
  floorRatio?: number
  /** Peak resident memory of the worker process. */
  rssMiB?: number
  /** Cores in use: worker, runners, postgres, client (what offers the load: benchmark and server). */
  cpu?: Cpu
  /** Anything worth a remark. */
  note?: string
}

const figures = ['jobsPerSecond', 'stepsPerSecond', 'p50Ms', 'p99Ms', 'floorRatio', 'rssMiB'] as const
type Figure = (typeof figures)[number]

export interface CaseResult extends Measured {
  name: string
  runs: number
  min: Partial<Record<Figure, number>>
  max: Partial<Record<Figure, number>>
}

export function summarise(name: string, runs: readonly Measured[]): CaseResult {
  const result: CaseResult = { name, runs: runs.length, min: {}, max: {} }
  for (const figure of figures) {
    const values = runs.flatMap((run) => run[figure] ?? [])
    if (values.length === 0) continue
    result[figure] = rounded(median(values))
    result.min[figure] = rounded(Math.min(...values))
    result.max[figure] = rounded(Math.max(...values))
  }
  const cpus = runs.flatMap((run) => run.cpu ?? [])
  if (cpus.length > 0) {
    const of = (part: keyof Cpu) => rounded(median(cpus.map((cpu) => cpu[part])))
    result.cpu = { worker: of('worker'), runners: of('runners'), postgres: of('postgres'), client: of('client') }
  }
  const note = runs.at(-1)?.note
  if (note) result.note = note
  return result
}

function rounded(value: number): number {
  if (value >= 1_000) return Math.round(value)
  return Math.round(value * 100) / 100
}

/** `12,345 (11,000–13,000)`; only the value after a single run. */
export function show(result: CaseResult, figure: Figure): string {
  const value = result[figure]
  if (value === undefined) return ''
  if (result.runs === 1) return value.toLocaleString('en')
  return `${value.toLocaleString('en')} (${result.min[figure]!.toLocaleString('en')}–${result.max[figure]!.toLocaleString('en')})`
}
