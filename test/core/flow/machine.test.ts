// The machine as given, when, then. Step code is not run here: the test answers each effect with a record.
import { expect, test } from 'vitest'
import type { Sandbox } from '../../../src/core/expr/expression.ts'
import { compilePlan } from '../../../src/core/flow/compile.ts'
import type { FlowModule, FlowValue } from '../../../src/core/flow/definition.ts'
import { advance, fold, open } from '../../../src/core/flow/machine.ts'
import type { Plan } from '../../../src/core/flow/plan.ts'
import { parseRecord, printRecord, type JobRecord } from '../../../src/core/flow/records.ts'
import type { Effect, JobState } from '../../../src/core/flow/state.ts'

const limits = { stepsMax: 100, flowDepthMax: 3, loopWidthMax: 10 }
const noPlans = () => {
  throw new Error('no flow is called')
}
const sandbox: Sandbox = {
  evaluate: () => {
    throw new Error('the machine evaluates nothing')
  },
}

function module(id: string, more: Partial<FlowModule> = {}): FlowModule {
  return { id, value: { type: 'identity' }, ...more }
}

function planOf(modules: FlowModule[], more: Partial<FlowValue> = {}): Plan {
  const value: FlowValue = { modules, ...more }
  return compilePlan({ id: '1', workspaceId: 'main', path: 'a/b', kind: 'flow', value, built: { steps: {} } }, sandbox)
}

const ok = (n: number, s: string, value: unknown): JobRecord => ({ k: 'ok', n, s, at: 0, ms: 1, v: JSON.stringify(value) })
const err = (n: number, s: string, message: string): JobRecord => ({
  k: 'err',
  n,
  s,
  at: 0,
  ms: 1,
  e: { name: 'Error', message },
})
const pick = (s: string, w: 'skip' | 'stop' | 'retry' | 'delay', v: boolean | number): JobRecord => ({ k: 'pick', s, w, v })

/** What an effect says, without the plan's innards. */
function told(effect: Effect): unknown[] {
  switch (effect.e) {
    case 'start':
      return ['start', effect.step.id, effect.n]
    case 'pick':
      return ['pick', effect.step.id, effect.what]
    case 'sleep':
      return ['sleep', effect.step.id, effect.ms]
    case 'wait':
      return ['wait', effect.step.id, effect.ms, effect.wanted]
    case 'quit':
      return ['quit', effect.n, effect.unbegun]
    case 'items':
    case 'spread':
    case 'call':
      return [effect.e, effect.step.id]
    case 'finish':
      return ['finish', effect.status, JSON.parse(effect.result)]
  }
}

/** Plays records one after another; gives the effects of each, the opening ones first. */
function play(plan: Plan, args: unknown, records: JobRecord[]): { said: unknown[][]; state: JobState } {
  const effects: Effect[] = []
  const state = open(plan, JSON.stringify(args), limits, noPlans, effects)
  const said = [effects.map(told)]
  for (const record of records) {
    const next: Effect[] = []
    advance(state, record, next)
    said.push(next.map(told))
  }
  return { said, state }
}

const lastSaid = (plan: Plan, args: unknown, records: JobRecord[]) => play(plan, args, records).said.at(-1)

test('modules run in order and the last result is the flow’s', () => {
  const { said } = play(planOf([module('a'), module('b')]), { x: 1 }, [ok(1, 'a', 1), ok(2, 'b', 2)])
  expect(said).toEqual([[['start', 'a', 1]], [['start', 'b', 2]], [['finish', 'success', 2]]])
})

test('a flow without modules gives its arguments', () => {
  expect(play(planOf([]), { x: 1 }, []).said).toEqual([[['finish', 'success', { x: 1 }]]])
})

test('a failed step fails the flow, naming the step', () => {
  const result = { error: { name: 'Error', message: 'no', step_id: 'a' } }
  expect(lastSaid(planOf([module('a'), module('b')]), {}, [err(1, 'a', 'no')])).toEqual([['finish', 'failure', result]])
})

test('a failed step with attempts left is tried again at once, with a new number', () => {
  const plan = planOf([module('a', { retry: { constant: { attempts: 1, seconds: 0 } } })])
  expect(lastSaid(plan, {}, [err(1, 'a', 'no')])).toEqual([['start', 'a', 2]])
  expect(lastSaid(plan, {}, [err(1, 'a', 'no'), ok(2, 'a', 5)])).toEqual([['finish', 'success', 5]])
})

test('attempts used up fail the step for good', () => {
  const plan = planOf([module('a', { retry: { constant: { attempts: 1, seconds: 0 } } })])
  const [finish] = lastSaid(plan, {}, [err(1, 'a', 'first'), err(2, 'a', 'second')]) as unknown[][]
  expect(finish).toEqual(['finish', 'failure', { error: { name: 'Error', message: 'second', step_id: 'a' } }])
})

test('a retry with seconds sleeps first and starts when woken', () => {
  const plan = planOf([module('a', { retry: { constant: { attempts: 2, seconds: 7 } } })])
  const { said } = play(plan, {}, [err(1, 'a', 'no'), { k: 'wake', s: 'a' }])
  expect(said.slice(1)).toEqual([[['sleep', 'a', 7_000]], [['start', 'a', 2]]])
})

test('exponential delays grow: multiplier * seconds^(n + 1)', () => {
  const plan = planOf([module('a', { retry: { exponential: { attempts: 3, multiplier: 2, seconds: 3 } } })])
  const records: JobRecord[] = []
  const sleeps = [1, 2, 3].map((n) => {
    records.push(err(n, 'a', 'no'))
    const [sleep] = lastSaid(plan, {}, records) as unknown[][]
    records.push({ k: 'wake', s: 'a' })
    return sleep
  })
  expect(sleeps).toEqual([
    ['sleep', 'a', 6_000],
    ['sleep', 'a', 18_000],
    ['sleep', 'a', 54_000],
  ])
})

test('a random delay is drawn outside and recorded', () => {
  const plan = planOf([module('a', { retry: { exponential: { attempts: 1, multiplier: 1, seconds: 2, random_factor: 50 } } })])
  const { said } = play(plan, {}, [err(1, 'a', 'no'), pick('a', 'delay', 2_345)])
  expect(said.slice(1)).toEqual([[['pick', 'a', 'delay']], [['sleep', 'a', 2_345]]])
})

test('retry_if decides whether there is a next attempt', () => {
  const plan = planOf([module('a', { retry: { constant: { attempts: 5, seconds: 0 }, retry_if: { expr: 'error.message' } } })])
  expect(lastSaid(plan, {}, [err(1, 'a', 'no')])).toEqual([['pick', 'a', 'retry']])
  expect(lastSaid(plan, {}, [err(1, 'a', 'no'), pick('a', 'retry', true)])).toEqual([['start', 'a', 2]])
  expect(lastSaid(plan, {}, [err(1, 'a', 'no'), pick('a', 'retry', false)])).toEqual([
    ['finish', 'failure', { error: { name: 'Error', message: 'no', step_id: 'a' } }],
  ])
})

test('each attempt sees the previous result of the step before, not the error', () => {
  const plan = planOf([module('a'), module('b', { retry: { constant: { attempts: 1, seconds: 0 } } })])
  const { state } = play(plan, {}, [ok(1, 'a', 'before'), err(2, 'b', 'no')])
  expect(state.root.last).toBe('"before"')
})

test('continue_on_error makes the error the result and goes on', () => {
  const plan = planOf([module('a', { continue_on_error: true }), module('b')])
  const { said, state } = play(plan, {}, [err(1, 'a', 'no')])
  expect(said.at(-1)).toEqual([['start', 'b', 2]])
  expect(JSON.parse(state.root.results.get('a')!)).toEqual({ error: { name: 'Error', message: 'no', step_id: 'a' } })
})

test('skip_if passes the previous result on', () => {
  const plan = planOf([module('a'), module('b', { skip_if: { expr: 'flow_input.x' } }), module('c')])
  const { said, state } = play(plan, {}, [ok(1, 'a', 1), pick('b', 'skip', true)])
  expect(said.slice(1)).toEqual([[['pick', 'b', 'skip']], [['start', 'c', 2]]])
  expect(state.root.results.get('b')).toBe('1')
})

test('stop_after_if ends the flow with the step’s result, or goes on', () => {
  const plan = planOf([module('a', { stop_after_if: { expr: 'result' } }), module('b')])
  expect(lastSaid(plan, {}, [ok(1, 'a', 1), pick('a', 'stop', true)])).toEqual([['finish', 'success', 1]])
  expect(lastSaid(plan, {}, [ok(1, 'a', 1), pick('a', 'stop', false)])).toEqual([['start', 'b', 2]])
})

test.each([
  [{ skip_if_stopped: true }, ['finish', 'skipped', 1]],
  [{ error_message: 'enough' }, ['finish', 'failure', { error: { name: 'EarlyStop', message: 'enough', step_id: 'a' } }]],
  [
    { error_message: '', error_include_result: true },
    [
      'finish',
      'failure',
      { error: { name: 'EarlyStop', message: 'the flow was stopped after step a', step_id: 'a', result: 1 } },
    ],
  ],
])('stop_after_if with %j', (more, finish) => {
  const plan = planOf([module('a', { stop_after_if: { expr: 'result', ...more } }), module('b')])
  expect(lastSaid(plan, {}, [ok(1, 'a', 1), pick('a', 'stop', true)])).toEqual([finish])
})

test('the failure module runs once, sees the error, and the flow is a failure with its result', () => {
  const plan = planOf([module('a')], { failure_module: module('failure') })
  const { said, state } = play(plan, {}, [err(1, 'a', 'no'), ok(2, 'failure', 'handled')])
  expect(said.slice(1)).toEqual([[['start', 'failure', 2]], [['finish', 'failure', 'handled']]])
  expect(state.root.frame.error).toEqual({ name: 'Error', message: 'no', step_id: 'a' })
})

test('a failure module that fails ends the flow with its own error', () => {
  const plan = planOf([module('a')], { failure_module: module('failure') })
  const [finish] = lastSaid(plan, {}, [err(1, 'a', 'no'), err(2, 'failure', 'worse')]) as unknown[][]
  expect(finish).toEqual(['finish', 'failure', { error: { name: 'Error', message: 'worse', step_id: 'failure' } }])
})

test('an expression that fails fails its step, without a retry', () => {
  const plan = planOf([module('a', { skip_if: { expr: 'flow_input.x.y()' }, retry: { constant: { attempts: 3, seconds: 0 } } })])
  const record: JobRecord = {
    k: 'pick',
    s: 'a',
    w: 'skip',
    v: null,
    error: { name: 'ExpressionError', message: 'x is not defined' },
  }
  const [finish] = lastSaid(plan, {}, [record]) as unknown[][]
  expect(finish).toEqual(['finish', 'failure', { error: { name: 'ExpressionError', message: 'x is not defined', step_id: 'a' } }])
})

test('a cancel ends the job wherever it is, and later records change nothing', () => {
  const plan = planOf([module('a'), module('b')])
  const { said } = play(plan, {}, [{ k: 'cancel', by: 'me', reason: 'enough' }, ok(1, 'a', 1)])
  expect(said.slice(1)).toEqual([[['finish', 'canceled', { error: { name: 'Canceled', message: 'enough' } }]], []])
})

test('a job that starts more steps than its ids can name fails with a way out', () => {
  const plan = planOf([module('a', { retry: { constant: { attempts: 1_000, seconds: 0 } } })])
  const records = Array.from({ length: limits.stepsMax }, (_, index) => err(index + 1, 'a', 'no'))
  const [finish] = lastSaid(plan, {}, records) as [[string, string, { error: { name: string; message: string } }]]
  expect(finish[1]).toBe('failure')
  expect(finish[2].error).toMatchObject({ name: 'TooManySteps', message: expect.stringContaining('jobs of their own') as string })
})

test('a result for a step that was never started is refused loudly', () => {
  expect(() => play(planOf([module('a')]), {}, [ok(2, 'a', 1)])).toThrow(/no step 2 was started/)
})

test('folding the stored journal gives the same state and the effect that was not answered', () => {
  const plan = planOf([
    module('a', { retry: { constant: { attempts: 2, seconds: 3 } } }),
    module('b', { skip_if: { expr: 'flow_input.x' } }),
    module('c', { stop_after_if: { expr: 'result' } }),
  ])
  const records = [
    err(1, 'a', 'no'),
    { k: 'wake', s: 'a' } as JobRecord,
    ok(2, 'a', { deep: [1, 'ü'] }),
    pick('b', 'skip', true),
    ok(3, 'c', 9),
  ]
  for (let count = 0; count <= records.length; count++) {
    const seen = records.slice(0, count)
    const stored = seen.map((record) => parseRecord(printRecord(record))!)
    const { said, state } = play(plan, {}, seen)
    const again = fold(plan, '{}', stored, limits, noPlans)
    expect(again.state).toEqual(state)
    expect(again.outstanding.map(told)).toEqual(said.at(-1))
  }
})
