// The machine: which step next. Pure: (state, record) → effects; the state of a job is the fold of its journal.
//   M1. `advance` changes only the state it is given and reads nothing else: no clock, no randomness, no I/O.
//   M2. Each cursor (cursor.ts) waits for exactly one record at a time, named by its phase:
//         skip stop retry delay branch break after sleep groups flow  that pick
//         items      items           what the loop runs over was evaluated
//         spreading  spread          its iterations become jobs
//         joining    signal          those jobs are over; or the one that a step apart is
//         call       call            which version of a flow runs, with which arguments; or spread: it becomes a job
//         running    ok | err        step n of this cursor is with a runner; or spread: it becomes a job (apart.ts); of a workflow also
//                    inline | round  a step inside of it is over; it asks for what runs inside of it
//         asleep     wake            the wait before the next attempt
//         resting    wake            the wait after the step
//         suspended  signal | wake   answers to the step; wake: its time is over
//         inside     nothing         its bodies do
//         over       nothing         its result is its owner's
//   M3. The effect last emitted for a cursor is the one it waits for; so a fold knows what to do again after a crash.
//   M4. After `finish` nothing is emitted; later records change nothing.
//   M5. A record is for the cursor it names. One whose cursor is gone (its loop failed meanwhile) changes nothing.
//   M6. A part (spread.ts) is a job whose own cursor stands inside a loop from the start; what ends the loop ends the job.
// Semantics of OpenFlow fields: https://www.openflow.dev and docs/architecture.md.
import { assert, type UserError } from '../errors.ts'
import { retryDelayMs, retryNeedsRandom } from '../job/retry.ts'
import type { Json, JsonText } from '../json.ts'
import { parseTarget, readApartEnd } from './apart.ts'
import { isEvent } from './event.ts'
import { Cursor, listText, type Inner, type Iteration } from './cursor.ts'
import { noGroups } from './groups.ts'
import type { Block, BranchesRun, LoopRun, Plan, PlanStep, Stop, Suspend } from './plan.ts'
import type { Approval, JobRecord, PickKind } from './records.ts'
import { parsePart, partsOf, readPartEnd, type PartEnd } from './spread.ts'
import {
  apartCursor,
  cursorNamed,
  errorResult,
  isAlive,
  isTo,
  itemsOf,
  mayAnswer,
  newState,
  rootOf,
  runningCursor,
  runningNow,
  shown,
  suspendedAt,
  suspendedIn,
  waitingCursor,
  type Effect,
  type End,
  type JobState,
  type JobStatus,
  type MachineLimits,
  type Plans,
  type Witness,
} from './state.ts'
import { approvalText, complete, newWorkflow, parseTaskArgs, stepOfAsk, type Ask, type Workflow } from './workflow.ts'

/** A job that has no record yet. `part`: what it is a part of (apart.ts), if it is one; `plan` is then that of planOfPart. */
export function open(
  plan: Plan,
  args: JsonText,
  limits: MachineLimits,
  plans: Plans,
  effects: Effect[],
  witness: Witness | null = null,
  part: string | null = null,
): JobState {
  const target = part === null ? null : parseTarget(part)
  if (part !== null && target === null) return openPart(plan, args, limits, plans, effects, witness, part)
  const task = target?.kind === 'task' ? parseTaskArgs(args) : null
  const state = newState(plan, task?.input ?? args, limits, plans, witness, target?.kind === 'flow' ? target.depth : 0)
  state.apart = target !== null
  state.root.task = task
  begin(state, state.root, effects)
  return state
}

function openPart(
  plan: Plan,
  args: JsonText,
  limits: MachineLimits,
  plans: Plans,
  effects: Effect[],
  witness: Witness | null,
  part: string,
): JobState {
  const given = parsePart(args)
  const state = newState(plan, given.flowInput, limits, plans, witness, given.depth)
  state.part = true
  const { root } = state
  const step = plan.steps.find(({ id }) => id === part)
  assert(step?.run.kind === 'loop', `${part} is no loop of ${plan.path}`)
  root.step = step
  root.last = root.input = given.previous
  root.approvals = given.approvals
  for (const [id, value] of given.results) root.results.set(id, value)
  witness?.started(root)
  beginBodies(state, root, innerOf(given.items.length, given.width, given.items, given.first), effects)
  return state
}

/** One fact more. Appends the effects it calls for. HOT: one switch, one effect. */
export function advance(state: JobState, record: JobRecord, effects: Effect[]): void {
  if (state.finished) return
  switch (record.k) {
    case 'ok': {
      const cursor = runningCursor(state, record.n)
      if (cursor) settle(state, cursor, record.v, effects)
      return
    }
    case 'err': {
      const cursor = runningCursor(state, record.n)
      if (cursor) failed(state, cursor, record.e, null, effects)
      return
    }
    case 'inline': {
      const cursor = runningNow(state, record.n)
      if (cursor) complete(workflowOf(cursor), record.key, record.v)
      return
    }
    case 'round': {
      const cursor = runningCursor(state, record.n)
      if (cursor) asked(state, cursor, record, effects)
      return
    }
    case 'pick': {
      const cursor = waitingCursor(state, record.c, record.s, record.w)
      if (cursor) picked(state, cursor, record, effects)
      return
    }
    case 'items': {
      const cursor = waitingCursor(state, record.c, record.s, 'items')
      if (cursor) looped(state, cursor, record, effects)
      return
    }
    case 'call': {
      const cursor = waitingCursor(state, record.c, record.s, 'call')
      if (cursor) called(state, cursor, record, effects)
      return
    }
    case 'spread': {
      const cursor = record.job === undefined ? waitingCursor(state, record.c, record.s, 'spreading') : apartCursor(state, record)
      if (cursor) spread(state, cursor, record, effects)
      return
    }
    case 'wake':
      woken(state, record, effects)
      return
    case 'signal':
      if (record.n < 0) partOver(state, record, effects)
      else signaled(state, record, effects)
      return
    case 'cached':
      finish(state, 'success', record.v, effects)
      return
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
  plans: Plans,
  part: string | null = null,
): { state: JobState; outstanding: Effect[] } {
  const outstanding = new Map<Cursor, Effect>() // what each waits for (M3)
  const quits: Effect[] = []
  let finished: Effect | null = null
  const effects: Effect[] = []
  const keep = () => {
    for (const effect of effects) {
      if (effect.e === 'finish') finished = effect
      else if (effect.e === 'quit') quits.push(effect)
      else outstanding.set(effect.cursor, effect)
    }
    effects.length = 0
  }
  const state = open(plan, args, limits, plans, effects, null, part)
  keep()
  for (const record of records) {
    advance(state, record, effects)
    keep()
  }
  if (finished) return { state, outstanding: [finished] }
  return { state, outstanding: [...quits, ...[...outstanding.values()].filter((effect) => isAwaited(state, effect))] }
}

/** Is the effect what its cursor still waits for? */
function isAwaited(state: JobState, effect: Effect): boolean {
  if (effect.e === 'finish' || effect.e === 'quit') return true
  const { cursor } = effect
  return isAlive(state, cursor) && cursor.phase !== 'inside' && cursor.phase !== 'over'
}

// ── Flows ──

function begin(state: JobState, cursor: Cursor, effects: Effect[]): void {
  const { plan, args } = cursor.frame
  if (plan.preprocessor && !cursor.parent && !state.apart && isEvent(args)) enter(plan.preprocessor, state, cursor, effects)
  else beginModules(state, cursor, effects)
}

function beginModules(state: JobState, cursor: Cursor, effects: Effect[]): void {
  const { plan } = cursor.frame
  if (!plan.skipIf) {
    goOn(state, cursor, effects)
    return
  }
  cursor.phase = 'flow'
  effects.push({ e: 'pick', cursor, step: noStep, what: 'flow' })
}

/** Stands where a pick is about the flow itself. */
const noStep = { id: '' } as PlanStep

function called(state: JobState, cursor: Cursor, record: JobRecord & { k: 'call' }, effects: Effect[]): void {
  if (record.error) {
    failed(state, cursor, record.error, null, effects)
    return
  }
  const depth = cursor.frame.depth + 1
  if (depth > state.limits.flowDepthMax) {
    const { path } = cursor.step!.run as { path: string }
    const message = `flow ${path} is inside of ${depth} others; flows may be inside of ${state.limits.flowDepthMax}: does it call itself without an end?`
    failed(state, cursor, { name: 'FlowsTooDeep', message }, null, effects)
    return
  }
  const n = nextNumber(state, cursor.step!, effects)
  if (n === null) return
  cursor.inner = innerOf(1, 1, null)
  cursor.inner.next = cursor.inner.active = 1
  cursor.phase = 'inside'
  const inner = rootOf(state.plans(record.version), record.args, n, cursor, depth)
  state.inside.set(n, inner)
  state.witness?.began(inner)
  begin(state, inner, effects)
}

/** A list of modules has come to its end. */
function ended(state: JobState, cursor: Cursor, end: End, effects: Effect[]): void {
  cursor.phase = 'over'
  const { frame, parent } = cursor
  if (cursor === frame.root && frame.error && end.how !== 'failed') {
    end = { how: 'failed', value: end.value, error: frame.error }
  }
  state.witness?.ended(cursor, end)
  if (parent) {
    state.inside.delete(cursor.id)
    bodyEnded(state, parent, cursor, end, effects)
    return
  }
  const status = end.how === 'failed' ? 'failure' : end.how === 'stopped' && end.skipped ? 'skipped' : 'success'
  finish(state, status, end.value, effects, state.apart ? apartEndOf(end) : undefined)
}

/** As a sub-flow's end is one of its step. */
function apartEndOf(end: End): PartEnd {
  return end.how === 'failed' ? { how: 'failed', error: end.error } : { how: 'done' }
}

/** `part`: how a job that is a part ended. */
function finish(state: JobState, status: JobStatus, result: JsonText, effects: Effect[], part?: PartEnd): void {
  state.finished = true
  effects.push(part ? { e: 'finish', status, result, part } : { e: 'finish', status, result })
}

// ── Steps ──

/** To the next module of the cursor's list, or to its end. */
function goOn(state: JobState, cursor: Cursor, effects: Effect[]): void {
  cursor.at += 1
  const index = cursor.block.steps[cursor.at]
  if (index === undefined) ended(state, cursor, { how: 'done', value: cursor.last }, effects)
  else enter(cursor.frame.plan.steps[index]!, state, cursor, effects)
}

function enter(step: PlanStep, state: JobState, cursor: Cursor, effects: Effect[]): void {
  cursor.step = step
  cursor.failures = 0
  cursor.input = cursor.last
  if (step.skipIf) pick(cursor, 'skip', effects)
  else start(state, cursor, effects)
}

function start(state: JobState, cursor: Cursor, effects: Effect[]): void {
  const step = cursor.step!
  const n = nextNumber(state, step, effects)
  if (n === null) return
  cursor.last = cursor.input
  cursor.error = isFailing(cursor) ? cursor.frame.error : null
  cursor.n = n
  if (cursor.workflow) cursor.workflow = null // another attempt begins anew
  state.witness?.started(cursor)
  switch (step.run.kind) {
    case 'loop':
      if (step.run.iterator) {
        cursor.phase = 'items'
        effects.push({ e: 'items', cursor, step })
      } else beginBodies(state, cursor, innerOf(Infinity, 1, null), effects)
      return
    case 'choice':
      pick(cursor, 'branch', effects)
      return
    case 'branches': {
      const count = step.run.branches.length
      beginBodies(state, cursor, innerOf(count, step.run.parallel ? Math.max(1, count) : 1, null), effects)
      return
    }
    case 'flow':
      cursor.phase = 'call'
      effects.push({ e: 'call', cursor, step })
      return
    default:
      call(state, cursor, effects)
  }
}

/** Its code is called. */
function call(state: JobState, cursor: Cursor, effects: Effect[]): void {
  const { n } = cursor
  cursor.phase = 'running'
  if (cursor !== state.root) state.runningAt.set(n, cursor)
  effects.push({ e: 'start', cursor, step: cursor.step!, n })
}

/** A number for a step, an iteration or a branch; null if the job has had all: then it is over. */
function nextNumber(state: JobState, step: PlanStep, effects: Effect[]): number | null {
  if (state.finished) return null
  if (state.started >= state.limits.stepsMax) {
    const message = `a job may start at most ${state.limits.stepsMax} steps, retries and iterations included; run parts of it as jobs of their own`
    finish(state, 'failure', errorResult({ name: 'TooManySteps', message, step_id: step.id }), effects)
    return null
  }
  state.started += 1
  return state.started
}

function pick(cursor: Cursor, what: PickKind, effects: Effect[]): void {
  cursor.phase = what
  effects.push({ e: 'pick', cursor, step: cursor.step!, what })
}

/** The event has become the flow's input. */
function preprocessed(state: JobState, cursor: Cursor, value: JsonText, effects: Effect[]): void {
  if (!value.startsWith('{')) {
    const message = `the preprocessor gave ${shown(JSON.parse(value) as Json)}; it must give an object: the flow's input`
    gaveUp(state, cursor, { name: 'PreprocessorError', message }, null, effects)
    return
  }
  cursor.results.delete(cursor.step!.id)
  cursor.frame.args = value
  cursor.last = cursor.input = value
  beginModules(state, cursor, effects)
}

/** The step has a value. */
function settle(state: JobState, cursor: Cursor, value: JsonText, effects: Effect[]): void {
  const step = cursor.step!
  cursor.results.set(step.id, value)
  cursor.last = value
  state.witness?.settled(cursor)
  if (step.stopAfterAllIf) pick(cursor, 'after', effects)
  else if (step.stopAfterIf && step.run.kind !== 'loop') pick(cursor, 'stop', effects)
  else rest(state, cursor, effects)
}

/** What a step asks for between its end and the next one. The last of a list waits for nobody (as in OpenFlow), unless for its result. */
function rest(state: JobState, cursor: Cursor, effects: Effect[]): void {
  const { suspend, sleep } = cursor.step!
  if (suspend && (suspend.resultIsAnswer || !isLast(cursor))) {
    if (suspend.groups) pick(cursor, 'groups', effects)
    else wait(state, cursor, suspend, noGroups, effects)
  } else if (sleep) pick(cursor, 'sleep', effects)
  else stepOver(state, cursor, effects)
}

function stepOver(state: JobState, cursor: Cursor, effects: Effect[]): void {
  if (isFailing(cursor)) ended(state, cursor, { how: 'done', value: cursor.last }, effects)
  else if (cursor.step === cursor.frame.plan.preprocessor) preprocessed(state, cursor, cursor.last, effects)
  else goOn(state, cursor, effects)
}

function isLast(cursor: Cursor): boolean {
  return isFailing(cursor) || cursor.at + 1 === cursor.block.steps.length
}

/** Is it at its flow's failure module? */
function isFailing({ frame, step }: Cursor): boolean {
  return frame.error !== null && step === frame.plan.failure
}

/** An attempt failed: again, or for good. `value`: what the step leaves as its result, if not the error alone. */
function failed(state: JobState, cursor: Cursor, error: UserError, value: JsonText | null, effects: Effect[]): void {
  const step = cursor.step!
  if (cursor.inner) abandon(state, cursor, effects)
  if (state.part && cursor === state.root) {
    finish(state, 'failure', value ?? errorResult(error), effects, { how: 'failed', error })
    return
  }
  const again = step.retry !== null && retryDelayMs(step.retry, cursor.failures, 0.5) !== null
  if (!again) {
    gaveUp(state, cursor, error, value, effects)
    return
  }
  cursor.error = error
  cursor.last = value ?? errorResult(error)
  if (step.retryIf) pick(cursor, 'retry', effects)
  else waitToRetry(state, cursor, effects)
}

/** The wait before the next attempt. Only a random wait is a pick. */
function waitToRetry(state: JobState, cursor: Cursor, effects: Effect[]): void {
  const retry = cursor.step!.retry!
  if (retryNeedsRandom(retry, cursor.failures)) pick(cursor, 'delay', effects)
  else sleep(state, cursor, retryDelayMs(retry, cursor.failures, 0.5) ?? 0, effects)
}

function sleep(state: JobState, cursor: Cursor, ms: number, effects: Effect[]): void {
  cursor.failures += 1
  if (ms <= 0) {
    start(state, cursor, effects)
    return
  }
  cursor.phase = 'asleep'
  effects.push({ e: 'sleep', cursor, step: cursor.step!, ms })
}

/** A step failed for good. */
function gaveUp(state: JobState, cursor: Cursor, error: UserError, value: JsonText | null, effects: Effect[]): void {
  const step = cursor.step!
  const { frame } = cursor
  const known = { ...error, step_id: error.step_id || step.id } // joinsFlow (apart.ts) has no id
  const result = value ?? errorResult(known)
  cursor.results.set(step.id, result)
  cursor.last = result
  cursor.error = null
  state.witness?.gaveUp(cursor)
  if (step.continueOnError && !isFailing(cursor)) goOn(state, cursor, effects)
  else if (cursor !== frame.root || frame.error || !frame.plan.failure) {
    ended(state, cursor, { how: 'failed', value: result, error: known }, effects)
  } else {
    frame.error = known
    enter(frame.plan.failure, state, cursor, effects)
  }
}

function picked(state: JobState, cursor: Cursor, record: JobRecord & { k: 'pick' }, effects: Effect[]): void {
  if (record.w === 'flow') {
    if (record.error) ended(state, cursor, { how: 'failed', value: errorResult(record.error), error: record.error }, effects)
    else if (record.v === true) ended(state, cursor, { how: 'stopped', value: cursor.last, skipped: true }, effects)
    else goOn(state, cursor, effects)
    return
  }
  if (record.w === 'break') {
    iterationAsked(state, cursor, record, effects)
    return
  }
  const step = cursor.step!
  if (record.error) {
    gaveUp(state, cursor, record.error, null, effects)
    return
  }
  switch (record.w) {
    case 'skip':
      if (record.v !== true) {
        start(state, cursor, effects)
        return
      }
      cursor.results.set(step.id, cursor.last)
      state.witness?.skipped(cursor)
      stepOver(state, cursor, effects)
      return
    case 'stop':
    case 'after': {
      const stop = (record.w === 'stop' ? step.stopAfterIf : step.stopAfterAllIf)!
      if (record.v === true) ended(state, cursor, stopped(stop, step, cursor.last), effects)
      else if (record.w === 'after' && step.stopAfterIf && step.run.kind !== 'loop') pick(cursor, 'stop', effects)
      else rest(state, cursor, effects)
      return
    }
    case 'retry':
      if (record.v === true) waitToRetry(state, cursor, effects)
      else gaveUp(state, cursor, cursor.error!, null, effects)
      return
    case 'delay':
      sleep(state, cursor, typeof record.v === 'number' ? record.v : 0, effects)
      return
    case 'sleep':
      if (typeof record.v !== 'number' || record.v <= 0) {
        stepOver(state, cursor, effects)
        return
      }
      cursor.phase = 'resting'
      effects.push({ e: 'sleep', cursor, step, ms: record.v })
      return
    case 'groups':
      wait(state, cursor, step.suspend!, record.v as string[], effects)
      return
    case 'branch':
      beginBodies(state, cursor, { ...innerOf(Number(record.v) + 1, 1, null), next: Number(record.v) }, effects)
      return
  }
}

/** How a list ends whose step says: stop here. */
function stopped(stop: Stop, step: PlanStep, value: JsonText): End {
  if (stop.errorMessage === null) return { how: 'stopped', value, skipped: stop.skipIfStopped }
  const message = stop.errorMessage === '' ? `the flow was stopped after step ${step.id}` : stop.errorMessage
  const error: UserError = { name: 'EarlyStop', message, step_id: step.id }
  if (stop.includeResult) error['result'] = JSON.parse(value)
  return { how: 'failed', value: errorResult(error), error }
}

// ── Bodies: iterations, branches, sub-flows ──

function innerOf(count: number, width: number, items: readonly JsonText[] | null, first = 0): Inner {
  return {
    count,
    width,
    items,
    first,
    parts: null,
    next: 0,
    active: 0,
    results: [],
    broken: false,
    errors: [],
    beginning: false,
  }
}

function looped(state: JobState, cursor: Cursor, record: JobRecord & { k: 'items' }, effects: Effect[]): void {
  if (record.error) {
    failed(state, cursor, record.error, null, effects)
    return
  }
  const { run } = cursor.step! as { run: LoopRun }
  if (record.spread) {
    const { spread, count, v } = record
    cursor.inner = { ...innerOf(count, 1, null), parts: { jobs: partsOf(count, spread), size: spread.size, over: 0 } }
    cursor.phase = 'spreading'
    effects.push({ e: 'spread', cursor, step: cursor.step!, n: cursor.n, spread, items: v ?? null })
    return
  }
  const width = Math.min(record.width ?? 1, state.limits.loopWidthMax)
  beginBodies(state, cursor, innerOf(record.count, width, record.v ?? itemsOf(run, cursor)), effects)
}

function beginBodies(state: JobState, cursor: Cursor, inner: Inner, effects: Effect[]): void {
  cursor.inner = inner
  cursor.phase = 'inside'
  goOnInside(state, cursor, inner, effects)
}

/** Begins as many bodies as may be under way; when all are over, so is the step. */
function goOnInside(state: JobState, owner: Cursor, inner: Inner, effects: Effect[]): void {
  if (inner.beginning) return // a body ended while it was begun: whoever began it goes on
  inner.beginning = true
  while (!inner.broken && inner.next < inner.count && inner.active < inner.width && !state.finished) {
    const slot = inner.next++
    const n = nextNumber(state, owner.step!, effects)
    if (n === null) return
    inner.active += 1
    const body = new Cursor(n, owner.frame, blockOf(owner.step!, slot, inner), owner.input, owner, slot, iterationOf(owner, slot))
    state.inside.set(n, body)
    goOn(state, body, effects)
    if (owner.inner !== inner) return // it failed for good
  }
  inner.beginning = false
  if (inner.active === 0 && !state.finished) insideOver(state, owner, inner, effects)
}

function blockOf(step: PlanStep, slot: number, inner: Inner): Block {
  const { run } = step
  if (run.kind === 'loop') return run.body
  if (run.kind === 'branches') return run.branches[slot]!.body
  assert(run.kind === 'choice', `step ${step.id} has no bodies`)
  return inner.count === 0 ? run.otherwise : run.branches[slot]!.body
}

function iterationOf(owner: Cursor, slot: number): Iteration | null {
  const { run } = owner.step!
  if (run.kind !== 'loop') return null
  const { items, first } = owner.inner!
  return { index: first + slot, value: items?.[slot] ?? String(slot) }
}

/** A body is over: its loop goes on, or its step is over too. */
function bodyEnded(state: JobState, owner: Cursor, body: Cursor, end: End, effects: Effect[]): void {
  const { inner, step } = owner
  if (!inner) return
  if (body.ask) {
    askEnded(state, owner, inner, body, body.ask, end, effects)
    return
  }
  const { run } = step!
  if (run.kind === 'loop' && end.how === 'done' && step!.stopAfterIf) {
    // The iteration is asked for, before it counts.
    state.inside.set(body.id, body)
    body.phase = 'break'
    inner.results[body.slot] = end.value
    effects.push({ e: 'pick', cursor: body, step: step!, what: 'break' })
    return
  }
  inner.active -= 1
  switch (run.kind) {
    case 'loop':
      iterationEnded(state, owner, inner, run, body.slot, end, effects)
      return
    case 'branches':
      branchEnded(state, owner, inner, run, body.slot, end, effects)
      return
    default: // a choice or a flow: what it came to is what the step came to
      owner.inner = null
      if (end.how === 'failed') failed(state, owner, end.error, end.value, effects)
      else if (end.how === 'stopped' && run.kind === 'choice') {
        owner.results.set(step!.id, end.value)
        ended(state, owner, end, effects)
      } else settle(state, owner, end.value, effects)
  }
}

function iterationAsked(state: JobState, body: Cursor, record: JobRecord & { k: 'pick' }, effects: Effect[]): void {
  const owner = body.parent!
  const inner = owner.inner!
  const { step } = owner
  const value = inner.results[body.slot]!
  state.inside.delete(body.id)
  inner.active -= 1
  const { run } = step! as { run: LoopRun }
  let end: End = { how: 'done', value }
  if (record.error) end = { how: 'failed', value: errorResult(record.error), error: record.error }
  else if (record.v === true) end = stopped(step!.stopAfterIf!, step!, value)
  if (end.how === 'failed') failed(state, owner, end.error, end.value, effects)
  else iterationEnded(state, owner, inner, run, body.slot, end, effects)
}

function iterationEnded(
  state: JobState,
  owner: Cursor,
  inner: Inner,
  run: LoopRun,
  slot: number,
  end: End,
  effects: Effect[],
): void {
  inner.results[slot] = end.value
  if (end.how === 'stopped') inner.broken = true
  else if (end.how === 'failed' && !run.skipFailures) {
    if (!run.parallel) {
      failed(state, owner, end.error, end.value, effects)
      return
    }
    inner.errors.push(end.error)
  }
  goOnInside(state, owner, inner, effects)
}

function branchEnded(
  state: JobState,
  owner: Cursor,
  inner: Inner,
  run: BranchesRun,
  slot: number,
  end: End,
  effects: Effect[],
): void {
  inner.results[slot] = end.value
  if (end.how === 'failed' && !run.branches[slot]!.skipFailure) {
    if (!run.parallel) {
      failed(state, owner, end.error, end.value, effects)
      return
    }
    inner.errors.push(end.error)
  } else if (end.how === 'stopped' && !run.parallel) {
    owner.results.set(owner.step!.id, listText(inner.results))
    ended(state, owner, end, effects)
    return
  }
  goOnInside(state, owner, inner, effects)
}

/** The step is over before its bodies are: what they come to changes nothing any more. */
function abandon(state: JobState, owner: Cursor, effects: Effect[]): void {
  owner.inner = null
  quit(state, owner, effects)
  for (const cursor of state.inside.values()) {
    let at = cursor.parent
    while (at && at !== owner) at = at.parent
    if (at !== owner) continue
    state.inside.delete(cursor.id)
    state.runningAt.delete(cursor.n)
    quit(state, cursor, effects)
  }
}

/** All bodies of a step are over. */
function insideOver(state: JobState, owner: Cursor, inner: Inner, effects: Effect[]): void {
  const value = listText(inner.results)
  owner.inner = null
  if (state.part && owner === state.root) {
    const { errors } = inner
    const part: PartEnd = { how: inner.broken ? 'broken' : 'done' }
    if (errors.length > 0) part.errors = errors
    finish(state, errors.length > 0 ? 'failure' : 'success', value, effects, part)
    return
  }
  if (inner.errors.length === 0) settle(state, owner, value, effects)
  else failed(state, owner, errorOf(inner), value, effects)
}

function errorOf({ errors, results, parts, count }: Inner): UserError {
  if (errors.length === 1) return errors[0]!
  return { name: 'MultipleErrors', message: `${errors.length} of ${parts ? count : results.length} failed`, errors }
}

// ── Workflows ──

function workflowOf(cursor: Cursor): Workflow {
  return (cursor.workflow ??= newWorkflow())
}

/** A round is over: what it asks for begins, all at once. */
function asked(state: JobState, owner: Cursor, record: JobRecord & { k: 'round' }, effects: Effect[]): void {
  const workflow = workflowOf(owner)
  workflow.rounds += 1
  workflow.version ??= record.version ?? null
  workflow.args ??= record.args ?? null
  const { asks } = record
  owner.inner = { ...innerOf(asks.length, asks.length, null), next: asks.length, active: asks.length }
  owner.phase = 'inside'
  for (const [slot, ask] of asks.entries()) {
    const n = nextNumber(state, owner.step!, effects)
    if (n === null) return
    const body = new Cursor(n, owner.frame, noBlock, owner.input, owner, slot, null)
    body.ask = ask
    body.step = stepOfAsk(ask, owner.step!)
    body.n = n
    state.inside.set(n, body)
    state.witness?.started(body)
    beginAsk(state, body, body.step, ask, effects)
  }
}

/** There are no modules behind what was asked for. */
const noBlock: Block = { steps: [] }

function beginAsk(state: JobState, body: Cursor, step: PlanStep, ask: Ask, effects: Effect[]): void {
  switch (ask.kind) {
    case 'sleep':
      body.phase = 'resting'
      effects.push({ e: 'sleep', cursor: body, step, ms: ask.ms })
      return
    case 'approval':
      wait(state, body, step.suspend!, noGroups, effects)
      return
    case 'flow':
      body.phase = 'call'
      effects.push({ e: 'call', cursor: body, step })
      return
    default:
      call(state, body, effects)
  }
}

/** One of what a round asked for is over; after the last of them comes the next round. */
function askEnded(state: JobState, owner: Cursor, inner: Inner, body: Cursor, ask: Ask, end: End, effects: Effect[]): void {
  const result = end.how === 'failed' ? { n: body.n, error: end.error } : ask.kind === 'sleep' ? 'null' : end.value
  complete(workflowOf(owner), ask.key, result)
  inner.active -= 1
  if (inner.active > 0) return
  owner.inner = null
  call(state, owner, effects)
}

// ── Parts ──

function spread(state: JobState, cursor: Cursor, record: JobRecord & { k: 'spread' }, effects: Effect[]): void {
  if (record.error) {
    failed(state, cursor, record.error, null, effects)
    return
  }
  state.joins ??= new Map()
  state.joins.set(cursor.n, cursor)
  cursor.phase = 'joining'
  effects.push(joining(cursor))
}

function joining(cursor: Cursor): Effect {
  const parts = cursor.inner?.parts
  return { e: 'wait', cursor, step: cursor.step!, ms: Infinity, wanted: parts ? parts.jobs - parts.over : 1 }
}

/** A part is over: what its iterations came to counts here, as if they had run here. */
function partOver(state: JobState, record: JobRecord & { k: 'signal' }, effects: Effect[]): void {
  state.signals = record.seq
  const cursor = state.joins?.get(-record.n)
  if (!cursor) return // its loop was over before
  const { inner } = cursor
  if (!inner) {
    apartOver(state, cursor, record, effects)
    return
  }
  const parts = inner.parts!
  const { run } = cursor.step! as { run: LoopRun }
  const { end, list, result } = readPartEnd(record.v)
  parts.over += 1
  switch (end.how) {
    case 'failed':
      failed(state, cursor, end.error, result, effects)
      return
    case 'lost': {
      if (inner.broken) break // it was not to begin
      const { error } = JSON.parse(result) as unknown as { error: UserError }
      if (!run.skipFailures && !run.parallel) {
        failed(state, cursor, error, null, effects)
        return
      }
      const items = Math.min(parts.size, inner.count - record.id * parts.size)
      inner.results[record.id] = Array<string>(items).fill(result).join(',')
      if (!run.skipFailures) inner.errors.push(error)
      break
    }
    default:
      inner.results[record.id] = list
      if (end.errors) inner.errors.push(...end.errors)
      if (end.how === 'broken' && !inner.broken) {
        inner.broken = true
        // Those that have begun go on, as iterations under way do.
        if (parts.over < parts.jobs) effects.push({ e: 'quit', n: cursor.n, unbegun: run.parallel })
      }
  }
  if (parts.over < parts.jobs && (run.parallel || !inner.broken)) {
    effects.push(joining(cursor))
    return
  }
  state.joins!.delete(cursor.n)
  cursor.phase = 'inside'
  insideOver(state, cursor, inner, effects)
}

/** The job that a step was is over: so is the step. */
function apartOver(state: JobState, cursor: Cursor, record: JobRecord & { k: 'signal' }, effects: Effect[]): void {
  state.joins!.delete(cursor.n)
  const end = readApartEnd(record.v)
  if ('value' in end) settle(state, cursor, end.value, effects)
  else if (cursor.step!.run.kind === 'flow') failed(state, cursor, end.error, end.result, effects)
  else {
    const { step_id: _own, ...error } = end.error // its own, not what a script calls its step
    failed(state, cursor, error, null, effects)
  }
}

/** Nothing waits for the parts of this loop any more. */
function quit(state: JobState, cursor: Cursor, effects: Effect[]): void {
  if (state.joins?.get(cursor.n) !== cursor) return
  state.joins.delete(cursor.n)
  effects.push({ e: 'quit', n: cursor.n, unbegun: false })
}

// ── Waiting ──

/** `groups`: whose members may answer. */
function wait(state: JobState, cursor: Cursor, suspend: Suspend, groups: readonly string[], effects: Effect[]): void {
  state.witness?.suspends(cursor)
  cursor.approvals = []
  cursor.groups = groups
  if (state.early && takeEarly(state, cursor, suspend)) {
    answered(state, cursor, suspend, effects)
    return
  }
  state.suspended = [...suspendedIn(state), cursor]
  cursor.phase = 'suspended'
  effects.push(waiting(cursor, suspend))
}

/** Counts what came before the wait, as if it came now: it makes no difference when an answer is sent. True: that is enough. */
function takeEarly(state: JobState, cursor: Cursor, suspend: Suspend): boolean {
  let enough = false
  state.early = state.early!.filter(({ n, approval }) => {
    if (enough || !isTo(n, cursor) || !mayAnswer(cursor, approval)) return true
    enough = counts(cursor, approval, suspend)
    return false
  })
  return enough
}

function waiting(cursor: Cursor, suspend: Suspend): Effect {
  const wanted = suspend.events - cursor.approvals!.length
  return { e: 'wait', cursor, step: cursor.step!, ms: suspend.timeoutMs, wanted }
}

/** One answer more. True: that is enough. */
function counts(cursor: Cursor, approval: Approval, suspend: Suspend): boolean {
  cursor.approvals = [...cursor.approvals!, approval]
  return !approval.approved || cursor.approvals.length >= suspend.events
}

function signaled(state: JobState, record: JobRecord & { k: 'signal' }, effects: Effect[]): void {
  state.signals = record.seq
  const { seq: _seq, k: _k, n, ...approval } = record
  const cursor = suspendedAt(state, n, approval)
  if (!cursor) {
    state.early = [...(state.early ?? []), { n, approval }]
    return
  }
  const suspend = cursor.step!.suspend!
  if (counts(cursor, approval, suspend)) answered(state, cursor, suspend, effects)
  else effects.push(waiting(cursor, suspend))
}

/** As many answers as asked for, or one that refuses. */
function answered(state: JobState, cursor: Cursor, suspend: Suspend, effects: Effect[]): void {
  const last = cursor.approvals!.at(-1)!
  if (cursor.ask) {
    cursor.last = approvalText(last)
    stepOver(state, cursor, effects)
    return
  }
  if (!last.approved) {
    const by = last.approver ? ` by ${last.approver}` : ''
    refused(state, cursor, suspend, { name: 'SuspendedDisapproved', message: `the approval was refused${by}` }, effects)
    return
  }
  if (suspend.resultIsAnswer) {
    const value = suspend.events > 1 ? listText(cursor.approvals!.map((approval) => approval.v)) : last.v
    cursor.results.set(cursor.step!.id, value)
    cursor.last = value
  }
  awake(state, cursor, effects)
}

function refused(state: JobState, cursor: Cursor, suspend: Suspend, error: UserError, effects: Effect[]): void {
  if (!suspend.goesOn) {
    gaveUp(state, cursor, error, null, effects)
    return
  }
  cursor.last = errorResult({ ...error, step_id: cursor.step!.id })
  awake(state, cursor, effects)
}

function woken(state: JobState, record: JobRecord & { k: 'wake' }, effects: Effect[]): void {
  const cursor = cursorNamed(state, record.c)
  if (cursor?.step?.id !== record.s) return
  switch (cursor.phase) {
    case 'asleep':
      start(state, cursor, effects)
      return
    case 'resting':
      stepOver(state, cursor, effects)
      return
    case 'suspended': {
      const suspend = cursor.step.suspend!
      if (suspend.onTimeout === null) {
        const message = `no answer came within ${suspend.timeoutMs / 1_000} s`
        refused(state, cursor, suspend, { name: 'SuspendedTimedOut', message }, effects)
        return
      }
      cursor.results.set(cursor.step.id, suspend.onTimeout)
      cursor.last = suspend.onTimeout
      awake(state, cursor, effects)
      return
    }
    default:
      return // an answer came first
  }
}

/** The wait after a step is over; its sleep, if any, comes behind. */
function awake(state: JobState, cursor: Cursor, effects: Effect[]): void {
  if (cursor.step!.sleep) pick(cursor, 'sleep', effects)
  else stepOver(state, cursor, effects)
}
