// Steps that are jobs of their own: which they are, what such a job runs, and how the job that has them goes on.
import { describe, expect, test } from 'vitest'
import type { Sandbox } from '../../../src/core/expr/expression.ts'
import { parseTarget, planOfPart, printTarget, readApartEnd, type ApartTarget } from '../../../src/core/flow/apart.ts'
import { compilePlan } from '../../../src/core/flow/compile.ts'
import type { FlowModule } from '../../../src/core/flow/definition.ts'
import { deletedText, deletionOf } from '../../../src/core/flow/deletion.ts'
import { advance, fold, open } from '../../../src/core/flow/machine.ts'
import type { Plan } from '../../../src/core/flow/plan.ts'
import { parseRecord, printRecord, type JobRecord } from '../../../src/core/flow/records.ts'
import { restartRecords } from '../../../src/core/flow/restart.ts'
import { printPartEnd } from '../../../src/core/flow/spread.ts'
import type { Effect } from '../../../src/core/flow/state.ts'
import { elementTexts } from '../../../src/core/json.ts'
import { defaultLimits } from '../../../src/core/limits.ts'
import { each, flow, give, same, script, withValue } from '../../flows/cases.ts'
import { driven, historyOf, partIdOf, planOf, takenApart } from './drive.ts'

const built = { artifactKey: 'k', language: 'bun' as const, params: ['x'], wantsToken: false }
const noSandbox = {} as Sandbox

function compiled(...modules: FlowModule[]): Plan {
  const steps = Object.fromEntries(modules.map(({ id }) => [id, built]))
  return compilePlan(
    { id: '1', workspaceId: 'main', path: 'f/a/b', kind: 'flow', value: { modules }, built: { steps } },
    noSandbox,
  )
}

test('a step with a tag or a limit is a job of its own, others are not', () => {
  const limit = { concurrent_limit: 2, concurrency_time_window_s: 1.5, custom_concurrency_key: 'k-$args[x]' }
  const plan = compiled(
    give('a', '1'),
    withValue(give('b', '1'), { tag: 'gpu' }),
    withValue(give('c', '1'), limit),
    withValue(script('d', 'f/x/y'), { tag_override: 'gpu' }),
    withValue(flow('e', 'f/x/z'), { tag_override: 'gpu' }),
    { ...withValue(give('f', '1'), { tag: 'gpu' }), mock: { enabled: true, return_value: 1 } },
    withValue(give('g', '1'), { tag: '', concurrent_limit: 0 }),
    script('h', 'f/x/y', {}, { debouncing: { debounce_delay_s: 0.5, debounce_key: 'k', max_total_debounces_amount: 3 } }),
  )
  const debounce = { key: 'k', delayMs: 500, withinMs: null, amount: 3, merge: [] }
  const debounced = { key: null, order: null, jobsMax: null, windowMs: null, debounce }
  const turns = { key: 'k-$args[x]', order: null, jobsMax: 2, windowMs: 1_500, debounce: null }
  const gpu = { tag: 'gpu', turns: null }
  expect(plan.steps.map(({ apart }) => apart)).toEqual([
    null,
    gpu,
    { tag: null, turns },
    gpu,
    gpu,
    null,
    null,
    { tag: null, turns: debounced },
  ])
})

test.each<[string, ApartTarget]>([
  ['a-1_b/', { kind: 'step', id: 'a-1_b', timeoutMs: null, cacheMs: null, deleteS: null }],
  ['a/1500', { kind: 'step', id: 'a', timeoutMs: 1_500, cacheMs: null, deleteS: null }],
  ['a//60', { kind: 'step', id: 'a', timeoutMs: null, cacheMs: null, deleteS: 60 }],
  ['a///3000', { kind: 'step', id: 'a', timeoutMs: null, cacheMs: 3_000, deleteS: null }],
  ['a////task', { kind: 'task', id: 'a', timeoutMs: null, cacheMs: null, deleteS: null }],
  ['a/1/2/3/task', { kind: 'task', id: 'a', timeoutMs: 1, cacheMs: 3, deleteS: 2 }],
  ['/3/5', { kind: 'flow', depth: 3, deleteS: 5 }],
  ['/3', { kind: 'flow', depth: 3, deleteS: null }],
])('what is stored of a part: %s', (text, target) => {
  expect(printTarget(target)).toBe(text)
  expect(parseTarget(text)).toEqual(target)
  expect(parseTarget(`@${text}`)).toEqual({ ...target, joins: true })
  expect(parseTarget('a')).toBeNull()
})

describe.each(['@a/', '@/1'])('a part %s, which another job runs in its place', (part) => {
  const plan = planOfPart(planOf([same('z'), same('a'), same('b')]), part)
  const joined: JobRecord = { k: 'spread', s: '', n: 1, jobs: 1, job: partIdOf(9) }
  const told = (end: object, result: string): JobRecord => {
    const v = `{"end":${JSON.stringify({ ...end, at: 1, ms: 1 })},"result":${result}}`
    return { k: 'signal', seq: 1, n: -1, id: 0, approver: null, approved: true, v }
  }

  test('begins nothing, and ends as that did', () => {
    const { state, outstanding } = fold(plan, '{}', [joined], defaultLimits, () => plan, part)
    expect(outstanding).toMatchObject([{ e: 'wait', wanted: 1 }])
    const effects: Effect[] = []
    advance(state, told({ how: 'done' }, '[1.0]'), effects)
    expect(effects).toEqual([{ e: 'finish', status: 'success', result: '[1.0]', part: { how: 'done' } }])
  })

  test('also where that failed, or was canceled', () => {
    for (const end of [{ how: 'failed', error: { name: 'E', message: 'no', step_id: 'a' } }, { how: 'lost' }]) {
      const { state } = fold(plan, '{}', [joined], defaultLimits, () => plan, part)
      const effects: Effect[] = []
      advance(state, told(end, '{"error":{"name":"E","message":"no"}}'), effects)
      expect(effects).toMatchObject([{ status: 'failure', part: { how: 'failed', error: { name: 'E', message: 'no' } } }])
    }
  })
})

describe('the job of a step', () => {
  const around = {
    skip_if: { expr: 'true' },
    stop_after_if: { expr: 'true' },
    retry: { constant: { attempts: 3, seconds: 1 } },
    sleep: 5,
    suspend: { required_events: 1 },
    continue_on_error: true,
    timeout: { type: 'javascript', expr: 'flow_input.s' } as const,
  }
  const plan = compiled(give('z', '1'), withValue(give('a', 'results.z', around), { tag: 'gpu' }), give('y', '1'))
  const part = 'a/1500'
  const own = planOfPart(plan, part)

  function run(record: JobRecord): Effect[] {
    const effects: Effect[] = []
    const state = open(own, '{"x":7}', defaultLimits, () => plan, effects, null, part)
    expect(effects).toMatchObject([{ e: 'start', n: 1, step: { id: 'a', apart: null } }])
    const last: Effect[] = []
    advance(state, record, last)
    return last
  }

  test('runs it once, with the arguments it is given, and nothing around it', () => {
    expect(own).toMatchObject({ alone: true, root: { steps: [0] }, turns: null, versionId: '1' })
    expect(own.steps).toHaveLength(1)
    expect(own.steps[0]!.timeout!.value(undefined as never)).toBe(1.5)
    const done = run({ k: 'ok', n: 1, s: 'a', at: 0, ms: 1, v: '[1.0]' })
    expect(done).toEqual([{ e: 'finish', status: 'success', result: '[1.0]', part: { how: 'done' } }])
    const error = { name: 'Error', message: 'no' }
    const failed = run({ k: 'err', n: 1, s: 'a', at: 0, ms: 1, e: error })
    expect(failed).toMatchObject([{ e: 'finish', status: 'failure', part: { how: 'failed', error } }])
  })

  test('that is a part of a loop, or a whole flow, has the plan as it is', () => {
    expect(planOfPart(plan, 'a')).toBe(plan)
    expect(planOfPart(plan, '/2')).toBe(plan)
    const effects: Effect[] = []
    const state = open(plan, '{}', defaultLimits, () => plan, effects, null, '/2')
    expect([state.root.frame.depth, state.apart]).toEqual([2, true])
  })
})

test('the end of a part is passed on as it was printed', () => {
  const took = { at: 12, ms: 3 }
  const done = printPartEnd('a/', '{}', { how: 'done' }, took)
  expect(done).toBe('"end":{"how":"done","at":12,"ms":3},"next":null,"refuses":false')
  const end = (text: string) => text.slice(0, text.indexOf(',"next"'))
  expect(readApartEnd(`{${end(done)},"result":{"x":1.50}}`)).toEqual({ ...took, value: '{"x":1.50}' })
  const error = { name: 'E', message: ',"result":' }
  const failed = printPartEnd('a/', '{}', { how: 'failed', error }, took)
  expect(readApartEnd(`{${end(failed)},"result":{"error":{}}}`)).toEqual({ ...took, error, result: '{"error":{}}' })
  const lost = printPartEnd('a/', '{}', { how: 'lost' }, took)
  expect(readApartEnd(`{${end(lost)},"result":{"error":{"name":"Canceled"}}}`)).toMatchObject({ error: { name: 'Canceled' } })
})

test('of what is deleted the end stays, and its times', () => {
  const told = (end: object, result: string) =>
    `{"d":5,"k":"signal","seq":1,"n":-1,"id":0,"approver":null,"approved":true,"v":{"end":${JSON.stringify(end)},"result":${result}}}`
  const error = { name: 'E', message: 'secret' }
  const steps = `[${told({ how: 'done', at: 12, ms: 3 }, '{"x":1}')},${told({ how: 'failed', error, at: 1, ms: 2 }, '{"error":{}}')}]`
  const left = deletionOf({ status: 'success', args: '{}', result: '1', steps, isPart: false }, null, 6)
  const [done, failed] = elementTexts(left.steps).map((text) =>
    readApartEnd((parseRecord(text) as JobRecord & { k: 'signal' }).v),
  )
  expect(done).toEqual({ at: 12, ms: 3, value: JSON.stringify(deletedText) })
  expect(failed).toMatchObject({ at: 1, ms: 2, error: { name: 'E', message: deletedText } })
})

describe('the job that has it', () => {
  const retry = { constant: { attempts: 1, seconds: 0 } }

  test('goes on with its value, and its tries are jobs each', () => {
    const plan = takenApart(planOf([same('a', { retry }), same('b')]), 'a')
    const { records, state } = driven({ plan, step: (_id, n) => (n === 1 ? new Error('no') : n) })
    expect(state.finished).toBe(true)
    expect(records.map((record) => [record.k, 'n' in record ? record.n : null])).toEqual([
      ['spread', 1],
      ['signal', -1],
      ['spread', 2],
      ['signal', -2],
      ['ok', 3],
    ])
  })

  test('that another worker goes on with waits for the same job', () => {
    const plan = takenApart(planOf([same('a'), same('b')]), 'a')
    const { records } = driven({ plan, step: () => undefined })
    expect(records).toEqual([{ k: 'spread', s: 'a', n: 1, jobs: 1, job: partIdOf(1) }])
    const stored = records.map((record) => parseRecord(printRecord(record))!)
    const before = fold(plan, '{}', [], defaultLimits, () => plan)
    expect(before.outstanding).toMatchObject([{ e: 'start', n: 1 }])
    const after = fold(plan, '{}', stored, defaultLimits, () => plan)
    expect(after.outstanding).toMatchObject([{ e: 'wait', ms: Infinity, wanted: 1 }])
  })

  test('stops waiting where its loop is given up', () => {
    const plan = takenApart(planOf([each('l', '[1, 2]', [same('a')], { parallel: true })]), 'a')
    const { records } = driven({ plan, step: () => undefined })
    const { state } = fold(plan, '{}', records, defaultLimits, () => plan)
    const effects: Effect[] = []
    advance(state, { k: 'cancel', by: 'me', reason: 'enough' }, effects)
    expect(effects).toMatchObject([{ e: 'finish', status: 'canceled' }])
    // An iteration whose own condition fails ends the loop.
    const broken = takenApart(
      planOf([each('l', '[1, 2]', [same('a')], { parallel: true }, { stop_after_if: { expr: 'result' } })]),
      'a',
    )
    const gone = fold(broken, '{}', records, defaultLimits, () => broken)
    const end = '{"end":{"how":"done","at":1,"ms":1},"result":5}'
    const spreads = records.filter((record) => record.k === 'spread')
    const [first, second] = spreads.map(({ n }) => n)
    const out: Effect[] = []
    advance(gone.state, { k: 'signal', seq: 1, n: -first!, id: 0, approver: null, approved: true, v: end }, out)
    expect(out).toMatchObject([{ e: 'pick', what: 'break' }])
    const c = (out[0] as Effect & { e: 'pick' }).cursor.id
    const quits: Effect[] = []
    advance(gone.state, { k: 'pick', c, s: 'l', w: 'break', v: null, error: { name: 'E', message: 'no' } }, quits)
    expect(quits[0]).toEqual({ e: 'quit', n: second, unbegun: false })
    const late: Effect[] = []
    advance(gone.state, { k: 'signal', seq: 2, n: -second!, id: 0, approver: null, approved: true, v: end }, late)
    expect(late).toEqual([])
  })

  test('with a flow by path: what that came to, its error and its result', () => {
    const plan = takenApart(planOf([flow('s', 'f/inner', {}, { continue_on_error: true }), same('b')]), 's')
    const sub = planOf([same('i')], {}, '2', 'f/inner')
    const { state } = fold(plan, '{}', [], defaultLimits, () => sub)
    const out: Effect[] = []
    advance(state, { k: 'spread', s: 's', n: 1, jobs: 1, job: partIdOf(1) }, out)
    const end = { how: 'failed', error: { name: 'TypeError', message: 'no', step_id: 'i' }, at: 1, ms: 1 }
    const v = `{"end":${JSON.stringify(end)},"result":"handled"}`
    advance(state, { k: 'signal', seq: 1, n: -1, id: 0, approver: null, approved: true, v }, out)
    expect(state.root.results.get('s')).toBe('"handled"')
  })

  test('has it in its history, and keeps it when it starts again behind it', () => {
    const plan = takenApart(planOf([same('a', { retry }), same('b'), same('c')]), 'a', 'b')
    const of = { plan, step: (_id: string, n: number) => (n === 1 ? new Error('no') : n) }
    const { records } = driven(of)
    const history = historyOf(records, of)
    expect(history.broken).toBeNull()
    const tries = history.root.steps.get(0)!.attempts
    expect(tries.map(({ apart, end }) => [apart, end?.k])).toEqual([
      [partIdOf(1), 'err'],
      [partIdOf(2), 'ok'],
    ])
    expect(tries[1]!.end).toMatchObject({ n: 2, at: 20, ms: 5, v: '2' })
    const options = { plan, args: '{}', limits: defaultLimits, plans: () => plan, beganMs: 0 }
    const kept = restartRecords(history, options, { stepId: 'b', slot: null })
    expect(kept).toEqual(records.slice(0, 4))
    const again = driven({ plan }, kept)
    expect(again.state.finished).toBe(true)
    expect(again.records.filter((record) => record.k === 'spread').map(({ s, n }) => [s, n])).toEqual([
      ['a', 1],
      ['a', 2],
      ['b', 3],
    ])
  })

  test('makes anew what was not over when it starts again', () => {
    const body = [same('a')]
    const plan = takenApart(planOf([each('l', '[1, 2]', body, { parallel: true })]), 'a')
    const of = { plan, step: (_id: string, n: number) => (n === 3 ? undefined : n) }
    const { records } = driven(of)
    const history = historyOf(records, of)
    const options = { plan, args: '{}', limits: defaultLimits, plans: () => plan, beganMs: 0 }
    const kept = restartRecords(history, options, { stepId: 'l', slot: 1 })
    expect(kept.map(({ k }) => k)).toEqual(['items'])
  })
})
