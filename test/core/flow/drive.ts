// Drives the machine as a worker does, with steps that a test makes up: the records of a job, without running any code.
import type { Sandbox } from '../../../src/core/expr/expression.ts'
import { compilePlan } from '../../../src/core/flow/compile.ts'
import type { FlowModule, FlowValue } from '../../../src/core/flow/definition.ts'
import { History } from '../../../src/core/flow/history.ts'
import { advance, fold } from '../../../src/core/flow/machine.ts'
import type { LoopRun, Plan } from '../../../src/core/flow/plan.ts'
import type { Approval, JobRecord } from '../../../src/core/flow/records.ts'
import { itemsOf, type Effect, type JobState, type Plans } from '../../../src/core/flow/state.ts'
import { defaultLimits } from '../../../src/core/limits.ts'

const sandbox: Sandbox = {
  evaluate: () => {
    throw new Error('nothing here needs JavaScript')
  },
}

export function planOf(modules: FlowModule[], more: Partial<FlowValue> = {}, id = '1', path = 'f/test/flow'): Plan {
  return compilePlan({ id, workspaceId: 'main', path, kind: 'flow', value: { modules, ...more }, built: { steps: {} } }, sandbox)
}

/** These steps of a plan are jobs of their own. */
export function takenApart(plan: Plan, ...ids: string[]): Plan {
  for (const step of plan.steps) if (ids.includes(step.id)) step.apart = { tag: null, turns: null }
  return plan
}

export interface Driven {
  plan: Plan
  args?: object
  /** Sub-flows by path. */
  flows?: Record<string, Plan>
  /** What step n gives, as JSON; an Error fails it, undefined leaves it under way. Preset: its number. */
  step?(id: string, n: number): unknown
  /** Answers to steps that wait: undefined leaves them waiting. */
  answers?: Pick<Approval, 'approver' | 'approved' | 'by' | 'groups'>[]
  /** Times come to their end by themselves. */
  sleepless?: boolean
}

/** What a job begins with that has these records; what it still waits for. */
export function driven(options: Driven, records: JobRecord[] = []): { records: JobRecord[]; state: JobState } {
  const { plan, args = {}, flows = {}, step = (_id, n) => n, answers = [], sleepless = true } = options
  const plans: Plans = (id) => [plan, ...Object.values(flows)].find((one) => one.versionId === id)!
  const { state, outstanding: effects } = fold(plan, JSON.stringify(args), records, defaultLimits, plans)
  const all = [...records]
  const take = (record: JobRecord): void => {
    all.push(record)
    advance(state, record, effects)
  }
  let { signals } = state
  for (let i = 0; i < effects.length; i++) {
    const effect = effects[i]!
    if (effect.e === 'finish') break
    if (effect.e === 'quit' || effect.e === 'spread') continue
    const { cursor } = effect
    const s = effect.step.id
    const c = cursor.id === 0 ? {} : { c: cursor.id }
    switch (effect.e) {
      case 'start': {
        const { n } = effect
        if (effect.step.apart) {
          take({ k: 'spread', ...c, s, n, jobs: 1, job: partIdOf(n) })
          break
        }
        const value = step(s, n)
        const shared = { n, s, at: n * 10, ms: 5 }
        if (value instanceof Error) take({ k: 'err', ...shared, e: { name: value.name, message: value.message } })
        else if (value !== undefined) take({ k: 'ok', ...shared, v: JSON.stringify(value) })
        break
      }
      case 'pick': {
        const { run } = effect.step
        const v = run.kind === 'choice' ? run.branches.findIndex(({ when }) => when.value(cursor) === true) : decided(effect)
        take({ k: 'pick', ...c, s, w: effect.what, v })
        break
      }
      case 'items': {
        const run = effect.step.run as LoopRun
        const width = run.parallel ? Number(run.parallelism?.value(cursor) ?? 100) : undefined
        take({ k: 'items', ...c, s, count: itemsOf(run, cursor).length, ...(width ? { width } : {}) })
        break
      }
      case 'call': {
        const { path } = effect.step.run as { path: string }
        take({ k: 'call', ...c, s, version: flows[path]!.versionId, args: '{"sub":true}' })
        break
      }
      case 'sleep':
        if (sleepless) take({ k: 'wake', ...c, s })
        break
      case 'wait': {
        if (cursor.phase === 'joining') {
          const value = step(s, cursor.n)
          if (value !== undefined) take({ ...partEnd(value, cursor.n * 10), seq: state.signals + 1, n: -cursor.n })
          break
        }
        const answer = answers[signals]
        if (answer) take({ k: 'signal', seq: ++signals, n: cursor.n, id: 70 + signals, v: '{}', ...answer })
        break
      }
    }
  }
  return { records: all, state }
}

/** The job of step n that is a job. */
export const partIdOf = (n: number): string => `00000000-0000-7000-8000-${String(n).padStart(8, '0')}0000`

function partEnd(value: unknown, at: number): Omit<JobRecord & { k: 'signal' }, 'seq' | 'n'> {
  const times = { at, ms: 5 }
  const error = value instanceof Error ? { name: value.name, message: value.message } : null
  const end = error ? { how: 'failed', error, ...times } : { how: 'done', ...times }
  const v = `{"end":${JSON.stringify(end)},"result":${JSON.stringify(error ? { error } : value)}}`
  return { k: 'signal', id: 0, approver: null, approved: true, v }
}

function decided(effect: Effect & { e: 'pick' }): boolean | number | string[] {
  const { what, step, cursor } = effect
  switch (what) {
    case 'skip':
      return Boolean(step.skipIf!.value(cursor))
    case 'stop':
    case 'break':
      return Boolean(step.stopAfterIf!.expression.value(cursor))
    case 'after':
      return Boolean(step.stopAfterAllIf!.expression.value(cursor))
    case 'sleep':
      return Number(step.sleep!.value(cursor)) * 1_000
    case 'groups':
      return step.suspend!.groups!.value(cursor) as string[]
    case 'delay':
      return 10
    default:
      return true
  }
}

export function historyOf(records: readonly JobRecord[], { plan, args = {}, flows = {} }: Driven, argsOf?: number): History {
  const plans: Plans = (id) => Object.values(flows).find((one) => one.versionId === id)!
  const options = { plan, args: JSON.stringify(args), limits: defaultLimits, plans, beganMs: 0 }
  return History.of(records, argsOf === undefined ? options : { ...options, argsOf })
}
