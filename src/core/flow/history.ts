// History: everything a job has been through, as a tree of lists of modules, their steps, the attempts of those, and the lists
// inside of them. For showing a job and for starting it again from the middle; a job that runs needs none of it.
//   H1. It is the machine's own fold, watched: nothing is guessed from records.
//   H2. Numbers are those of the machine: a list has its cursor's, an attempt its step's. With them ids are made (job/ids.ts).
//   H3. A record that the machine does not take (of a version that did something else) ends the fold, not its reader: `broken`.
import type { JsonText } from '../json.ts'
import { readApartEnd } from './apart.ts'
import type { Cursor } from './cursor.ts'
import { advance, open } from './machine.ts'
import type { Plan, PlanStep } from './plan.ts'
import type { Approval, JobRecord } from './records.ts'
import { isAlive, takerOf, type Effect, type End, type JobState, type MachineLimits, type Plans, type Witness } from './state.ts'

/** A list of modules that was gone through: the flow's, an iteration's, a branch's, a sub-flow's. */
export interface ListPast {
  kind: 'list'
  readonly cursor: Cursor
  /** Whose body it is; null: the job's own. */
  readonly inside: AttemptPast | null
  /** Steps that were come to, in order; by their index. */
  readonly steps: Map<number, StepPast>
  /** What its cursor has taken, in order. */
  readonly records: JobRecord[]
  /** null: it goes on, or was left where it stood. */
  end: End | null
  readonly beganMs: number
  endedMs: number
}

export interface StepPast {
  readonly list: ListPast
  readonly step: PlanStep
  /** The first of the list's records that is about it. */
  readonly from: number
  readonly attempts: AttemptPast[]
  outcome: 'settled' | 'failed' | 'skipped' | null
  approvals: readonly Approval[] | null
}

export interface AttemptPast {
  kind: 'attempt'
  readonly of: StepPast
  readonly n: number
  /** The bodies it has begun, in order; `slot` of their cursors is which one each is. */
  readonly bodies: ListPast[]
  /** Of a loop that has items: them. */
  items: readonly JsonText[] | null
  /** The job that it was: it is a step apart. */
  apart: string | null
  /** How code ended; of a workflow that had several rounds, counted from the first. */
  end: (JobRecord & { k: 'ok' | 'err' }) | null
  /** Of a workflow: when its first round was called. */
  firstMs: number | null
  readonly beganMs: number
  endedMs: number
  /** Of the attempt that was asked for, where no JavaScript is needed to know them. */
  args: JsonText | null
}

export interface HistoryOptions {
  plan: Plan
  args: JsonText
  limits: MachineLimits
  plans: Plans
  /** When the job began. */
  beganMs: number
  /** What the job is a part of; `plan` is that of planOfPart. */
  part?: string | null
  /** Whose arguments are wanted. */
  argsOf?: number
}

export class History implements Witness {
  readonly state: JobState
  readonly root: ListPast
  broken: Error | null = null
  /** The job has the result of an earlier one: nothing of it ran. */
  cached = false
  readonly #options: HistoryOptions
  readonly #lists = new Map<Cursor, ListPast>()
  readonly #numbered = new Map<number, ListPast | AttemptPast>()
  /** Whose answers cursor.approvals are. */
  readonly #suspended = new Map<Cursor, StepPast>()
  /** The end of the last step so far. */
  #nowMs: number

  /** `effects`: gets what the job begins with. */
  constructor(options: HistoryOptions, effects: Effect[] = []) {
    this.#options = options
    this.#nowMs = options.beganMs
    this.state = open(options.plan, options.args, options.limits, options.plans, effects, this, options.part ?? null)
    this.root = this.listOf(this.state.root)
  }

  static of(records: readonly JobRecord[], options: HistoryOptions): History {
    const history = new History(options)
    history.addAll(records)
    return history
  }

  /** What has come since. */
  addAll(records: readonly JobRecord[]): void {
    for (const record of records) {
      if (this.broken) break
      try {
        this.take(record, [])
      } catch (error) {
        this.broken = error as Error
      }
    }
    this.close()
  }

  take(record: JobRecord, effects: Effect[]): void {
    if (this.state.finished) return
    const cursor = takerOf(this.state, record)
    const list = cursor && this.listOf(cursor)
    if (record.k === 'ok' || record.k === 'err') this.#codeEnded(cursor, record)
    else if (record.k === 'round') {
      this.#nowMs = Math.max(this.#nowMs, record.at + record.ms)
      const attempt = this.#numbered.get(record.n)
      if (attempt?.kind === 'attempt') attempt.firstMs ??= record.at
    } else if (list && cursor.step && !(record.k === 'pick' && (record.w === 'break' || record.w === 'flow'))) {
      this.#come(list, cursor.step)
    }
    if (record.k === 'cached') this.cached = true
    if (record.k === 'spread' && list) this.#attempt(list)!.apart = record.job ?? null
    if (record.k === 'signal' && list) this.#apartEnded(list, record)
    list?.records.push(record)
    if (record.k === 'items' && list) this.#attempt(list)!.items = record.v ?? []
    advance(this.state, record, effects)
    if (record.k === 'items' && cursor?.inner?.items) this.#attempt(list!)!.items = cursor.inner.items
  }

  #codeEnded(cursor: Cursor | null, record: JobRecord & { k: 'ok' | 'err' }): void {
    this.#nowMs = Math.max(this.#nowMs, record.at + record.ms)
    const attempt = this.#numbered.get(record.n)
    if (!cursor || attempt?.kind !== 'attempt') return
    attempt.end = record
    attempt.endedMs = this.#nowMs
    const { firstMs } = attempt
    if (firstMs !== null) attempt.end = { ...record, at: firstMs, ms: record.at + record.ms - firstMs }
  }

  /** A part is over. */
  #apartEnded({ cursor }: ListPast, { n, v, gone }: JobRecord & { k: 'signal' }): void {
    const attempt = this.#numbered.get(-n)
    if (attempt?.kind !== 'attempt' || attempt.apart === null) return
    const end = readApartEnd(v)
    const shared = { n: -n, s: attempt.of.step.id, at: end.at, ms: end.ms, ...(gone && { gone }) }
    if ('value' in end) this.#codeEnded(cursor, { k: 'ok', ...shared, v: end.value })
    // A flow that failed may have a result of its failure module.
    else if (attempt.of.step.run.kind !== 'flow') this.#codeEnded(cursor, { k: 'err', ...shared, e: end.error })
    else this.#nowMs = Math.max(this.#nowMs, end.at + end.ms)
  }

  /** Nothing more is known now: answers of waits that are not over are put where they belong. */
  close(): void {
    for (const cursor of this.#suspended.keys()) this.suspends(cursor, true)
  }

  numbered(n: number): ListPast | AttemptPast | null {
    return this.#numbered.get(n) ?? null
  }

  /** Does its cursor still go on? */
  isAlive({ cursor }: ListPast): boolean {
    return !this.state.finished && cursor.phase !== 'over' && isAlive(this.state, cursor)
  }

  listOf(cursor: Cursor): ListPast {
    const known = this.#lists.get(cursor)
    if (known) return known
    const inside = cursor.parent ? this.#attempt(this.listOf(cursor.parent)) : null
    const list: ListPast = {
      kind: 'list',
      cursor,
      inside,
      steps: new Map(),
      records: [],
      end: null,
      beganMs: this.#nowMs,
      endedMs: this.#nowMs,
    }
    this.#lists.set(cursor, list)
    if (cursor.parent) this.#numbered.set(cursor.id, list)
    inside?.bodies.push(list)
    return list
  }

  // ── What the machine tells ──

  began(cursor: Cursor): void {
    this.listOf(cursor)
  }

  ended(cursor: Cursor, end: End): void {
    const list = this.listOf(cursor)
    list.end = end
    list.endedMs = this.#nowMs
  }

  started(cursor: Cursor): void {
    const past = this.#come(this.listOf(cursor), cursor.step!)
    const attempt: AttemptPast = {
      kind: 'attempt',
      of: past,
      n: cursor.n,
      bodies: [],
      items: null,
      apart: null,
      end: null,
      firstMs: null,
      beganMs: this.#nowMs,
      endedMs: this.#nowMs,
      args: cursor.n === this.#options.argsOf ? argsOf(cursor) : null,
    }
    past.attempts.push(attempt)
    this.#numbered.set(cursor.n, attempt)
  }

  skipped(cursor: Cursor): void {
    this.#come(this.listOf(cursor), cursor.step!).outcome = 'skipped'
  }

  settled(cursor: Cursor): void {
    this.#over(cursor, 'settled')
  }

  gaveUp(cursor: Cursor): void {
    this.#over(cursor, 'failed')
  }

  suspends(cursor: Cursor, closing = false): void {
    const before = this.#suspended.get(cursor)
    if (before) before.approvals = cursor.approvals
    if (!closing) this.#suspended.set(cursor, this.#come(this.listOf(cursor), cursor.step!))
  }

  #over(cursor: Cursor, outcome: 'settled' | 'failed'): void {
    const past = this.#come(this.listOf(cursor), cursor.step!)
    past.outcome = outcome
    const last = past.attempts.at(-1)
    if (last) last.endedMs = this.#nowMs
  }

  #come(list: ListPast, step: PlanStep): StepPast {
    let past = list.steps.get(step.index)
    if (!past) {
      past = { list, step, from: list.records.length, attempts: [], outcome: null, approvals: null }
      list.steps.set(step.index, past)
    }
    return past
  }

  /** The attempt that a list is at. */
  #attempt(list: ListPast): AttemptPast | null {
    return list.steps.get(list.cursor.step!.index)?.attempts.at(-1) ?? null
  }
}

/** What the step is called with, as far as that needs no JavaScript. */
function argsOf(cursor: Cursor): JsonText | null {
  const { ask, task } = cursor
  if (ask) return 'args' in ask ? JSON.stringify(ask.args) : '{}'
  if (task) return task.args
  const { plan } = cursor.frame
  if (plan.alone) return cursor.flowInputText()
  const { inputs } = cursor.step!
  if (!inputs.every(({ expression }) => expression.pure)) return null
  return `{${inputs.map(({ name, expression }) => `${JSON.stringify(name)}:${expression.text(cursor)}`).join(',')}}`
}
