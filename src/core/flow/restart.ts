// Starting a job again from the middle: the records of a new job whose earlier results are those of an old one.
//   T1. The new records are a journal as the machine itself would have had it: they are the old ones, given to a new fold where it asks
//       for them. Numbers are given anew; the results, decisions and times are the old ones.
//   T2. Kept is what comes before the point: in the flow's list the steps before it; in a loop or a branchall the bodies with a lower
//       number (also of parallel ones), in the body that is entered the steps before the point. All else runs.
//   T3. A step that was tried more than once and is entered again keeps what its last try had.
import { EngineError } from '../errors.ts'
import { History, type AttemptPast, type HistoryOptions, type ListPast, type StepPast } from './history.ts'
import type { Effect } from './state.ts'
import type { Block, Plan, PlanStep } from './plan.ts'
import type { JobRecord } from './records.ts'

export interface RestartPoint {
  stepId: string
  /** Of a loop or a branchall: from this iteration or branch on. Of a step inside of a loop: which iteration's. */
  slot: number | null
}

/** A step on the way to the point, and which of its bodies leads there (null: none, the step itself is the point). */
interface Level {
  step: PlanStep
  slot: number | null
}

/** @throws EngineError E_INVALID where the flow has no such point, E_CONFLICT where the old job did not come to it */
export function restartRecords(old: History, options: HistoryOptions, point: RestartPoint): JobRecord[] {
  const levels = levelsTo(options.plan, point)
  return new Replay(old, options, levels, point).run()
}

/** Steps that a flow can be started again from: all but those of sub-flows, the preprocessor and the failure module. */
function restartableIds(plan: Plan): string[] {
  return plan.steps.filter((step) => step !== plan.failure && step !== plan.preprocessor).map((step) => step.id)
}

/** The top-level step that the point is, or is inside of; and whether it is inside. */
export function topOf(plan: Plan, point: RestartPoint): { id: string; inside: boolean } {
  const levels = levelsTo(plan, point)
  return { id: levels[0]!.step.id, inside: levels.length > 1 || levels[0]!.slot !== null }
}

function levelsTo(plan: Plan, { stepId, slot }: RestartPoint): Level[] {
  const way = plan.failure?.id === stepId ? null : wayTo(plan, plan.root, stepId)
  if (!way) {
    const ids = restartableIds(plan)
    throw new EngineError(
      'E_INVALID',
      `flow ${plan.path} has no step "${stepId.slice(0, 100)}" to start from; its steps are ${ids.join(', ')}`,
      {
        at: '$.step_id',
        allowed: ids,
      },
    )
  }
  const last = way.at(-1)!
  if (hasBodies(last.step) && slot !== null) last.slot = slot
  const open = way.slice(0, -1).filter((level) => level.slot === null)
  if (open.length === 0) {
    if (slot === null || last.slot !== null) return way
    const text = `step ${stepId} is no loop or branchall, nor inside of a loop; leave branch_or_iteration_n out`
    throw new EngineError('E_INVALID', text, { at: '$.branch_or_iteration_n' })
  }
  const loop = open[0]!.step.id
  if (open.length > 1 || last.slot !== null) {
    throw new EngineError('E_INVALID', `step ${stepId} is inside of loop ${loop}; start from an iteration of ${loop} instead`, {
      at: '$.step_id',
    })
  }
  if (slot === null) {
    const text = `step ${stepId} is inside of loop ${loop}; say from which of its iterations (branch_or_iteration_n)`
    throw new EngineError('E_INVALID', text, { at: '$.branch_or_iteration_n' })
  }
  open[0]!.slot = slot
  return way
}

function hasBodies({ run }: PlanStep): boolean {
  return run.kind === 'loop' || run.kind === 'branches'
}

/** Slots of branches are where they lie; that of a loop is for the caller to say. */
function wayTo(plan: Plan, block: Block, stepId: string): Level[] | null {
  for (const index of block.steps) {
    const step = plan.steps[index]!
    if (step.id === stepId) return [{ step, slot: null }]
    for (const { slot, body } of bodiesOf(step)) {
      const rest = wayTo(plan, body, stepId)
      if (rest) return [{ step, slot }, ...rest]
    }
  }
  return null
}

function bodiesOf({ run }: PlanStep): { slot: number | null; body: Block }[] {
  switch (run.kind) {
    case 'loop':
      return [{ slot: null, body: run.body }]
    case 'choice':
      return [...run.branches.map(({ body }, slot) => ({ slot, body })), { slot: -1, body: run.otherwise }]
    case 'branches':
      return run.branches.map(({ body }, slot) => ({ slot, body }))
    default:
      return []
  }
}

/** What of an old list a new one is given. */
interface Kept {
  old: ListPast
  /** Which level's step is in it; null: all of it is kept. */
  level: number | null
  queue: readonly JobRecord[]
  at: number
}

class Replay {
  readonly #levels: readonly Level[]
  readonly #point: RestartPoint
  readonly #new: History
  readonly #effects: Effect[] = []
  readonly #kept = new Map<ListPast, Kept | null>()
  readonly #records: JobRecord[] = []
  #signals = 0

  constructor(old: History, options: HistoryOptions, levels: readonly Level[], point: RestartPoint) {
    this.#levels = levels
    this.#point = point
    this.#new = new History(options, this.#effects)
    this.#kept.set(this.#new.root, this.#keptAt(old.root, 0))
  }

  run(): JobRecord[] {
    // Grows while it is walked.
    for (const effect of this.#effects) {
      if (effect.e === 'quit') continue
      if (effect.e === 'finish') throw this.#differs(`it is over before it comes to ${this.#point.stepId}`)
      const list = this.#new.listOf(effect.cursor)
      const kept = this.#new.isAlive(list) ? this.#keptOf(list) : null
      if (!kept) continue
      const record = this.#answerTo(effect, kept)
      if (!record) continue
      this.#records.push(record)
      this.#new.take(record, this.#effects)
    }
    return this.#records
  }

  #keptOf(list: ListPast): Kept | null {
    const known = this.#kept.get(list)
    if (known !== undefined) return known
    const kept = this.#find(list)
    this.#kept.set(list, kept)
    return kept
  }

  #find(list: ListPast): Kept | null {
    const attempt = list.inside!
    const around = this.#keptOf(attempt.of.list)
    if (!around) return null
    const { slot } = list.cursor
    const past = pastOf(around.old, attempt.of.step.id)
    const level = around.level === null ? null : this.#levels[around.level]!
    if (level?.step.id !== attempt.of.step.id) {
      const nth = attempt.of.attempts.indexOf(attempt)
      const old = bodyOf(past?.attempts[nth], slot)
      return old ? whole(old) : null
    }
    const old = bodyOf(past?.attempts.at(-1), slot)
    if (!old || slot > level.slot!) return null
    if (slot < level.slot!) return whole(old)
    return around.level! + 1 < this.#levels.length ? this.#keptAt(old, around.level! + 1) : null
  }

  /** What is kept of the old list that a level's step is in. */
  #keptAt(old: ListPast, at: number): Kept {
    const { step, slot } = this.#levels[at]!
    const past = pastOf(old, step.id)
    if (!past) throw this.#notReached(old, step.id)
    if (slot === null) return { old, level: at, queue: old.records.slice(0, past.from), at: 0 }
    const bodies = past.attempts.at(-1)?.bodies ?? []
    if (!bodies.some((body) => body.cursor.slot === slot)) throw this.#notBegun(step, slot, bodies)
    return { old, level: at, queue: [...old.records.slice(0, past.from), ...decidingOf(past)], at: 0 }
  }

  #answerTo(effect: Asking, kept: Kept): JobRecord | null {
    const { cursor } = effect
    const c = cursor.id === 0 ? {} : { c: cursor.id }
    if (effect.e === 'wait' && cursor.phase !== 'joining') {
      const answer = pastOf(kept.old, effect.step.id)?.approvals?.[cursor.approvals!.length]
      if (answer?.gone) throw wasDeleted(effect.step.id)
      if (answer) return { k: 'signal', seq: ++this.#signals, n: cursor.n, ...answer }
    }
    // Of a workflow its result is kept, and none of its rounds.
    if (effect.e === 'start') while (isRound(kept.queue[kept.at])) kept.at += 1
    const next = kept.queue[kept.at]
    if (!next) return null
    // Parts that had not all come to their end are made anew, for the new job.
    if (next.k === 'spread' && pastOf(kept.old, effect.step.id)?.outcome === null) return null
    if (!isAnswer(next, effect)) throw this.#differs(`step ${effect.step.id} is not where it was`)
    if (next.gone) throw wasDeleted(effect.step.id)
    kept.at += 1
    switch (next.k) {
      case 'ok':
      case 'err':
        return { ...next, n: cursor.n }
      case 'signal':
        return { ...next, seq: ++this.#signals, n: -cursor.n }
      case 'spread': {
        const { c: _old, ...rest } = next
        return { ...rest, ...c, n: cursor.n }
      }
      case 'pick':
      case 'items':
      case 'call':
      case 'wake': {
        const { c: _old, ...rest } = next
        return { ...rest, ...c }
      }
      default:
        return null
    }
  }

  #notReached(list: ListPast, stepId: string): EngineError {
    const came = [...list.steps.values()].map((past) => past.step.id)
    const text = came.length === 0 ? 'it came to no step' : `it came to ${came.join(', ')}`
    return new EngineError('E_CONFLICT', `the job did not come to step ${stepId}: ${text}`, { at: '$.step_id', allowed: came })
  }

  #notBegun(step: PlanStep, slot: number, bodies: readonly ListPast[]): EngineError {
    const slots = bodies.map((body) => body.cursor.slot)
    const what = step.run.kind === 'loop' ? 'iteration' : 'branch'
    const begun = slots.length === 0 ? 'none was' : slots.length === 1 ? `${slots[0]} was` : `${slots[0]} to ${slots.at(-1)} were`
    const name = slot < 0 ? 'the default branch' : `${what} ${slot}`
    return new EngineError('E_CONFLICT', `${name} of step ${step.id} was not begun; ${begun}`, { at: '$.branch_or_iteration_n' })
  }

  #differs(why: string): EngineError {
    return new EngineError('E_CONFLICT', `the records of the job do not lead there: ${why}`, { at: '$.step_id' })
  }
}

function wasDeleted(stepId: string): EngineError {
  const text = `what step ${stepId} came to was deleted (delete_after_secs); start from a step before it, or start the flow anew`
  return new EngineError('E_CONFLICT', text, { at: '$.step_id' })
}

function pastOf(list: ListPast, stepId: string): StepPast | undefined {
  for (const past of list.steps.values()) if (past.step.id === stepId) return past
  return undefined
}

function bodyOf(attempt: AttemptPast | undefined, slot: number): ListPast | undefined {
  const there = attempt?.bodies[slot] // bodies begin in order
  return there?.cursor.slot === slot ? there : attempt?.bodies.find((body) => body.cursor.slot === slot)
}

function whole(old: ListPast): Kept {
  return { old, level: null, queue: old.records, at: 0 }
}

/** What was decided about a step that is entered again: not to skip it; its items, or its branch, of the last try. */
function decidingOf({ list, from, step }: StepPast): JobRecord[] {
  const about = list.records.slice(from).filter((record) => 's' in record && record.s === step.id)
  const skip = about.find((record) => record.k === 'pick' && record.w === 'skip')
  const chosen = about.findLast((record) => record.k === 'items' || (record.k === 'pick' && record.w === 'branch'))
  return [skip, chosen].flatMap((record) => record ?? [])
}

function isRound(record: JobRecord | undefined): boolean {
  return record?.k === 'inline' || record?.k === 'round'
}

/** What a record answers. */
type Asking = Exclude<Effect, { e: 'finish' | 'quit' }>

function isAnswer(record: JobRecord, effect: Asking): boolean {
  const { e } = effect
  if (record.k === 'spread' && record.job !== undefined) return (e === 'start' || e === 'call') && record.s === effect.step.id
  switch (effect.e) {
    case 'start':
      return (record.k === 'ok' || record.k === 'err') && record.s === effect.step.id
    case 'pick':
      return record.k === 'pick' && record.w === effect.what && record.s === effect.step.id
    case 'items':
    case 'spread':
    case 'call':
      return record.k === effect.e && record.s === effect.step.id
    case 'wait':
      if (effect.cursor.phase === 'joining') return record.k === 'signal' && record.n < 0
      return record.k === 'wake' && record.s === effect.step.id
    case 'sleep':
      return record.k === 'wake' && record.s === effect.step.id
  }
}
