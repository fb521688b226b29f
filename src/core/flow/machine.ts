// The machine: which step next. Pure: (plan, state, record) → effects; the state of a job is the fold of its journal.
//   M1. `advance` changes only the state it is given and reads nothing else: no clock, no randomness, no I/O.
//   M2. A cursor walks one list of modules. It waits for exactly one record at a time, named by its phase:
//         skip     a pick 'skip'     skip_if was evaluated
//         running  ok | err          step n of this cursor is with a runner
//         stop     a pick 'stop'     stop_after_if was evaluated
//         retry    a pick 'retry'    retry_if was evaluated
//         delay    a pick 'delay'    the random part of a retry's wait was drawn
//         asleep   wake              the wait before the next attempt
//         over     nothing           its result is its owner's
//   M3. The effect last emitted for a cursor is the one it waits for; so a fold knows what to do again after a crash.
//   M4. After `finish` nothing is emitted; later records change nothing.
// Semantics of OpenFlow fields: https://www.openflow.dev and docs/architecture.md.
import { assert, type UserError } from '../errors.ts'
import { retryDelayMs, retryNeedsRandom } from '../job/retry.ts'
import { storable, type JsonText } from '../json.ts'
import type { Block, Plan, PlanStep } from './plan.ts'
import type { JobRecord, PickKind } from './records.ts'

export const jobStatuses = ['success', 'failure', 'canceled', 'skipped'] as const
export type JobStatus = (typeof jobStatuses)[number]

type Phase = 'skip' | 'running' | 'stop' | 'retry' | 'delay' | 'asleep' | 'over'

interface Cursor {
  readonly id: number
  readonly block: Block
  /** Position in the block. */
  at: number
  step: PlanStep | null
  phase: Phase
  /** Number of the step with a runner (phase running), or of the last one. */
  n: number
  /** Failed attempts of this step so far. */
  failures: number
  /** What `previous_result` is: the result of the step before, or of this one once it has one. */
  previous: JsonText
  /** `previous` when this step was entered; each attempt sees it again. */
  input: JsonText
}

export interface JobState {
  readonly args: JsonText
  /** Result of each finished step. */
  readonly results: Map<string, JsonText>
  readonly cursors: Cursor[]
  /** Steps started so far; the next gets this + 1 as its number. */
  started: number
  /** `error` for the failure module and retry_if. */
  error: UserError | null
  /** The failure module runs or ran: the job ends as a failure. */
  failing: boolean
  finished: boolean
}

export type Effect =
  /** Evaluate what decides (or draw a random number) and answer with the pick. */
  | { e: 'pick'; cursor: number; step: PlanStep; what: PickKind; failures: number }
  /** Bind the step's arguments and run it; answer with ok or err. */
  | { e: 'start'; cursor: number; step: PlanStep; n: number }
  /** Answer with wake when this time is over. */
  | { e: 'sleep'; cursor: number; step: PlanStep; ms: number }
  | { e: 'finish'; status: JobStatus; result: JsonText }

export interface MachineLimits {
  stepsMax: number
}

/** A job that has no record yet. */
export function open(plan: Plan, args: JsonText, limits: MachineLimits, effects: Effect[]): JobState {
  const cursor: Cursor = {
    id: 0,
    block: plan.root,
    at: -1,
    step: null,
    phase: 'over',
    n: 0,
    failures: 0,
    previous: args,
    input: args,
  }
  const state: JobState = {
    args,
    results: new Map(),
    cursors: [cursor],
    started: 0,
    error: null,
    failing: false,
    finished: false,
  }
  goOn(plan, state, cursor, limits, effects)
  return state
}

/** One fact more. Appends the effects it calls for. HOT: one switch, one effect. */
export function advance(plan: Plan, state: JobState, record: JobRecord, limits: MachineLimits, effects: Effect[]): void {
  if (state.finished) return
  switch (record.k) {
    case 'ok': {
      const cursor = runningCursor(state, record.n)
      settle(plan, state, cursor, record.v, limits, effects)
      return
    }
    case 'err':
      failed(plan, state, runningCursor(state, record.n), record.e, limits, effects)
      return
    case 'pick':
      picked(plan, state, waitingCursor(state, record.s, record.w), record, limits, effects)
      return
    case 'wake': {
      const cursor = waitingCursor(state, record.s, 'asleep')
      start(state, cursor, limits, effects)
      return
    }
    case 'cancel':
      finish(state, 'canceled', errorResult({ name: 'Canceled', message: record.reason }), effects)
      return
  }
}

/** The state a journal leads to, and what is to be done next: the effects nobody has answered. */
export function fold(
  plan: Plan,
  args: JsonText,
  records: readonly JobRecord[],
  limits: MachineLimits,
): { state: JobState; outstanding: Effect[] } {
  const outstanding = new Map<number, Effect>() // cursor → what it waits for (M3)
  const effects: Effect[] = []
  const keep = () => {
    for (const effect of effects) outstanding.set(effect.e === 'finish' ? -1 : effect.cursor, effect)
    effects.length = 0
  }
  const state = open(plan, args, limits, effects)
  keep()
  for (const record of records) {
    advance(plan, state, record, limits, effects)
    keep()
  }
  const finished = outstanding.get(-1)
  return { state, outstanding: finished ? [finished] : [...outstanding.values()] }
}

/** `{"error": …}`: what a failed step leaves as its result. */
export function errorResult(error: UserError): JsonText {
  return storable(JSON.stringify({ error }))
}

function runningCursor(state: JobState, n: number): Cursor {
  for (const cursor of state.cursors) if (cursor.n === n && cursor.phase === 'running') return cursor
  throw new Error(`no step ${n} is running; at ${JSON.stringify(state.cursors.map((c) => [c.phase, c.n]))}`)
}

function waitingCursor(state: JobState, stepId: string, phase: Phase): Cursor {
  const cursor = state.cursors.find((c) => c.phase === phase && c.step?.id === stepId)
  assert(
    cursor,
    `step ${stepId} does not wait for ${phase}; at ${JSON.stringify(state.cursors.map((c) => [c.step?.id, c.phase]))}`,
  )
  return cursor
}

/** To the next module of the cursor's block, or to its end. */
function goOn(plan: Plan, state: JobState, cursor: Cursor, limits: MachineLimits, effects: Effect[]): void {
  cursor.at += 1
  const index = cursor.block.steps[cursor.at]
  if (index === undefined) {
    cursor.phase = 'over'
    finish(state, 'success', cursor.previous, effects)
    return
  }
  enter(plan.steps[index]!, state, cursor, limits, effects)
}

function enter(step: PlanStep, state: JobState, cursor: Cursor, limits: MachineLimits, effects: Effect[]): void {
  cursor.step = step
  cursor.failures = 0
  cursor.input = cursor.previous
  if (step.skipIf) pick(cursor, 'skip', effects)
  else start(state, cursor, limits, effects)
}

function start(state: JobState, cursor: Cursor, limits: MachineLimits, effects: Effect[]): void {
  if (state.started >= limits.stepsMax) {
    const message = `a job may start at most ${limits.stepsMax} steps, retries included; run parts of it as jobs of their own`
    finish(state, 'failure', errorResult({ name: 'TooManySteps', message, step_id: cursor.step!.id }), effects)
    return
  }
  state.started += 1
  cursor.previous = cursor.input
  cursor.n = state.started
  cursor.phase = 'running'
  effects.push({ e: 'start', cursor: cursor.id, step: cursor.step!, n: cursor.n })
}

function pick(cursor: Cursor, what: PickKind, effects: Effect[]): void {
  cursor.phase = what
  effects.push({ e: 'pick', cursor: cursor.id, step: cursor.step!, what, failures: cursor.failures })
}

/** The step has a value. */
function settle(plan: Plan, state: JobState, cursor: Cursor, value: JsonText, limits: MachineLimits, effects: Effect[]): void {
  const step = cursor.step!
  state.results.set(step.id, value)
  cursor.previous = value
  if (step.stopAfterIf) pick(cursor, 'stop', effects)
  else stepOver(plan, state, cursor, limits, effects)
}

function stepOver(plan: Plan, state: JobState, cursor: Cursor, limits: MachineLimits, effects: Effect[]): void {
  if (state.failing) finish(state, 'failure', cursor.previous, effects)
  else goOn(plan, state, cursor, limits, effects)
}

/** An attempt failed: again, or for good. */
function failed(plan: Plan, state: JobState, cursor: Cursor, error: UserError, limits: MachineLimits, effects: Effect[]): void {
  const step = cursor.step!
  state.error = error
  const again = step.retry !== null && retryDelayMs(step.retry, cursor.failures, 0.5) !== null
  if (!again) {
    gaveUp(plan, state, cursor, error, limits, effects)
    return
  }
  cursor.previous = errorResult(error)
  if (step.retryIf) pick(cursor, 'retry', effects)
  else wait(state, cursor, limits, effects)
}

/** The wait before the next attempt. Only a random wait is a pick. */
function wait(state: JobState, cursor: Cursor, limits: MachineLimits, effects: Effect[]): void {
  const retry = cursor.step!.retry!
  if (retryNeedsRandom(retry, cursor.failures)) {
    pick(cursor, 'delay', effects)
    return
  }
  sleep(state, cursor, retryDelayMs(retry, cursor.failures, 0.5) ?? 0, limits, effects)
}

function sleep(state: JobState, cursor: Cursor, ms: number, limits: MachineLimits, effects: Effect[]): void {
  cursor.failures += 1
  if (ms <= 0) {
    start(state, cursor, limits, effects)
    return
  }
  cursor.phase = 'asleep'
  effects.push({ e: 'sleep', cursor: cursor.id, step: cursor.step!, ms })
}

/** A step failed for good. */
function gaveUp(plan: Plan, state: JobState, cursor: Cursor, error: UserError, limits: MachineLimits, effects: Effect[]): void {
  const step = cursor.step!
  const known = { ...error, step_id: error.step_id ?? step.id }
  const result = errorResult(known)
  state.results.set(step.id, result)
  cursor.previous = result
  if (step.continueOnError && !state.failing) {
    goOn(plan, state, cursor, limits, effects)
    return
  }
  if (state.failing || !plan.failure) {
    finish(state, 'failure', result, effects)
    return
  }
  state.failing = true
  state.error = known
  enter(plan.failure, state, cursor, limits, effects)
}

function picked(
  plan: Plan,
  state: JobState,
  cursor: Cursor,
  record: JobRecord & { k: 'pick' },
  limits: MachineLimits,
  effects: Effect[],
): void {
  const step = cursor.step!
  if (record.error) {
    gaveUp(plan, state, cursor, record.error, limits, effects)
    return
  }
  switch (record.w) {
    case 'skip':
      if (record.v !== true) {
        start(state, cursor, limits, effects)
        return
      }
      state.results.set(step.id, cursor.previous)
      stepOver(plan, state, cursor, limits, effects)
      return
    case 'stop': {
      const stop = step.stopAfterIf!
      if (record.v !== true) stepOver(plan, state, cursor, limits, effects)
      else if (stop.errorMessage === null) finish(state, stop.skipIfStopped ? 'skipped' : 'success', cursor.previous, effects)
      else {
        const message = stop.errorMessage === '' ? `the flow was stopped after step ${step.id}` : stop.errorMessage
        const error: UserError = { name: 'EarlyStop', message, step_id: step.id }
        if (stop.includeResult) error['result'] = JSON.parse(cursor.previous)
        finish(state, 'failure', errorResult(error), effects)
      }
      return
    }
    case 'retry':
      if (record.v === true) wait(state, cursor, limits, effects)
      else gaveUp(plan, state, cursor, state.error!, limits, effects)
      return
    case 'delay':
      sleep(state, cursor, typeof record.v === 'number' ? record.v : 0, limits, effects)
      return
  }
}

function finish(state: JobState, status: JobStatus, result: JsonText, effects: Effect[]): void {
  state.finished = true
  effects.push({ e: 'finish', status, result })
}
