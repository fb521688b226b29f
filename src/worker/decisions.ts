// What the machine wants to know of a step's expressions: conditions, delays, the items of a loop. The answer is a record, or says what
// is wrong with the expression.
import type { Expression } from '../core/expr/expression.ts'
import { recordAt, sharesFolder, type Cursor } from '../core/flow/cursor.ts'
import { groupsOf } from '../core/flow/groups.ts'
import { itemsOf, type Effect } from '../core/flow/state.ts'
import type { LoopRun } from '../core/flow/plan.ts'
import type { JobRecord } from '../core/flow/records.ts'
import { spreadOf } from '../core/flow/spread.ts'
import { retryDelayMs } from '../core/job/retry.ts'
import type { Json } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../store/clock.ts'
import type { Run } from './run.ts'
import { expressionError } from './step_faults.ts'

export function decide(effect: Effect & { e: 'pick' }, clock: Clock, limits: Limits): JobRecord {
  const { cursor, step, what } = effect
  const record: JobRecord & { k: 'pick' } = { k: 'pick', ...recordAt(cursor), s: step.id, w: what, v: null }
  try {
    record.v = decided(effect, clock, limits)
  } catch (error) {
    record.error = expressionError(error)
    if (step.id !== '') record.error.step_id = step.id
  }
  return record
}

function decided({ cursor, step, what }: Effect & { e: 'pick' }, clock: Clock, limits: Limits): Json {
  switch (what) {
    case 'skip':
      return truthy(step.skipIf!, cursor)
    case 'stop':
    case 'break':
      return truthy(step.stopAfterIf!.expression, cursor)
    case 'after':
      return truthy(step.stopAfterAllIf!.expression, cursor)
    case 'retry':
      return truthy(step.retryIf!, cursor)
    case 'delay':
      return retryDelayMs(step.retry!, cursor.failures, clock.random())
    case 'sleep':
      return Math.min(secondsOf(step.sleep!.value(cursor), 'sleep') * 1_000, limits.waitMsMax)
    case 'groups':
      return groupsOf(step.suspend!.groups!.value(cursor))
    case 'flow':
      return truthy(cursor.frame.plan.skipIf!, cursor)
    case 'branch': {
      const { run } = step
      return run.kind === 'choice' ? run.branches.findIndex((branch) => truthy(branch.when, cursor)) : -1
    }
  }
}

export function items(run: Run, effect: Effect & { e: 'items' }, limits: Limits): JobRecord {
  const { cursor, step } = effect
  const loop = step.run as LoopRun
  const record: JobRecord & { k: 'items' } = { k: 'items', ...recordAt(cursor), s: step.id, count: 0 }
  try {
    const values = itemsOf(loop, cursor)
    const count = (record.count = values.length)
    record.v = values
    if (loop.iterator!.pure) record.again = true
    const parallelism = loop.parallel && loop.parallelism ? widthOf(loop.parallelism.value(cursor)) : null
    if (loop.parallel) record.width = parallelism ?? limits.loopWidthMax
    const { plan } = cursor.frame
    const inside = run.folder !== '' && sharesFolder(cursor) // its parts would run on workers that have another folder
    const spread = inside ? null : spreadOf({ plan, step, count, parallelism, started: run.state!.started }, limits)
    if (spread) record.spread = spread
  } catch (error) {
    record.error = { ...expressionError(error), step_id: step.id }
  }
  return record
}

function truthy(expression: Expression, cursor: Cursor): boolean {
  return Boolean(expression.value(cursor))
}

export function timeoutOf(seconds: Json, limits: Limits): number {
  if (seconds === 0) throw new Error('timeout is 0; it must be a number of seconds above 0')
  return Math.min(secondsOf(seconds, 'timeout') * 1_000, limits.stepTimeoutMs)
}

function secondsOf(seconds: Json, what: string): number {
  if (typeof seconds === 'number' && seconds >= 0) return seconds
  throw new Error(`${what} is ${JSON.stringify(seconds)}; it must be a number of seconds above 0`)
}

function widthOf(width: Json): number {
  if (typeof width === 'number' && width >= 1) return Math.floor(width)
  throw new Error(`parallelism is ${JSON.stringify(width)}; it must be a whole number above 0`)
}
