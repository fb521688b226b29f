// Which results a job that starts again from the middle begins with, and what runs again.
import { describe, expect, test } from 'vitest'
import type { FlowModule, FlowValue, Suspend } from '../../../src/core/flow/definition.ts'
import { restartRecords } from '../../../src/core/flow/restart.ts'
import type { JobRecord } from '../../../src/core/flow/records.ts'
import { defaultLimits } from '../../../src/core/limits.ts'
import { all, choose, each, flow, same } from '../../flows/cases.ts'
import { driven, historyOf, planOf, type Driven } from './drive.ts'

interface From {
  step: string
  slot?: number
}

/** Runs a flow, starts it again, and says which steps (with which values) were kept and which ran again. */
function restarted(of: Driven, from: From): { kept: JobRecord[]; values: [string, unknown][]; ran: string[] } {
  const { plan, args = {}, flows = {} } = of
  const old = historyOf(driven(of).records, of)
  expect(old.broken).toBeNull()
  const plans = (id: string) => Object.values(flows).find((one) => one.versionId === id)!
  const options = { plan, args: JSON.stringify(args), limits: defaultLimits, plans, beganMs: 0 }
  const kept = restartRecords(old, options, { stepId: from.step, slot: from.slot ?? null })
  const values = kept.flatMap((record): [string, unknown][] => (record.k === 'ok' ? [[record.s, JSON.parse(record.v)]] : []))
  const ran: string[] = []
  const again = { plan, args, flows, step: (id: string) => (ran.push(id), `again ${id}`), answers: of.answers ?? [] }
  const end = driven(again, kept)
  expect(end.state.finished).toBe(true)
  return { kept, values, ran }
}

const of = (modules: FlowModule[], more: Partial<Driven> = {}, value: Partial<FlowValue> = {}): Driven => ({
  plan: planOf(modules, value),
  ...more,
})

describe('a flow of steps', () => {
  const steps = of([same('a'), same('b'), same('c')])

  test('keeps those before the one it starts from', () => {
    expect(restarted(steps, { step: 'b' })).toMatchObject({ values: [['a', 1]], ran: ['b', 'c'] })
    expect(restarted(steps, { step: 'a' })).toMatchObject({ kept: [], ran: ['a', 'b', 'c'] })
  })

  test('keeps tries that failed before one that did not', () => {
    const tried = of([same('a', { retry: { constant: { attempts: 2, seconds: 1 } } }), same('b')], {
      step: (_id, n) => (n === 1 ? new Error('no') : n),
    })
    const { kept, ran } = restarted(tried, { step: 'b' })
    expect(kept.map((record) => record.k)).toEqual(['err', 'wake', 'ok'])
    expect(ran).toEqual(['b'])
  })

  test('asks again whether the step it starts from is skipped', () => {
    const skips = of([same('a'), same('b', { skip_if: { expr: 'flow_input.x' } }), same('c')])
    expect(restarted(skips, { step: 'b' })).toMatchObject({ values: [['a', 1]], ran: ['b', 'c'] })
  })

  test('that failed starts from the step that did; its failure module runs no more', () => {
    const fails = of(
      [same('a'), same('b')],
      { step: (id, n) => (id === 'b' ? new Error('no') : n) },
      { failure_module: same('failure') },
    )
    expect(restarted(fails, { step: 'b' })).toMatchObject({ values: [['a', 1]], ran: ['b'] })
  })

  test('keeps who answered a step that waited', () => {
    const waits = of([same('a', { suspend: { required_events: 2 } }), same('b')], {
      answers: ['ada', 'bob'].map((approver) => ({ approver, approved: true })),
    })
    const { kept, ran } = restarted(waits, { step: 'b' })
    expect(kept).toMatchObject([
      { k: 'ok', n: 1 },
      { k: 'signal', seq: 1, n: 1, approver: 'ada' },
      { seq: 2, approver: 'bob' },
    ])
    expect(ran).toEqual(['b'])
  })

  test('keeps which groups were asked for, and who answered for them', () => {
    const groups: Suspend = { required_events: 1, user_groups_required: { type: 'static', value: ['ops'] } }
    const waits = of([same('a', { suspend: groups }), same('b')], {
      answers: [{ approver: 'ada', approved: true, by: 'ada', groups: ['ops'] }],
    })
    const { kept, ran } = restarted(waits, { step: 'b' })
    expect(kept).toMatchObject([
      { k: 'ok', n: 1 },
      { k: 'pick', w: 'groups', v: ['ops'] },
      { k: 'signal', seq: 1, n: 1, approver: 'ada', groups: ['ops'] },
    ])
    expect(ran).toEqual(['b'])
  })
})

describe('a loop', () => {
  const loop = (more: object = {}, modules = [same('a'), same('b')]): Driven =>
    of([same('z'), each('l', '[10, 20, 30]', modules, more), same('y')])

  test('keeps the iterations before the one it starts from', () => {
    expect(restarted(loop(), { step: 'l', slot: 1 })).toMatchObject({
      values: [
        ['z', 1],
        ['a', 4],
        ['b', 5],
      ],
      ran: ['a', 'b', 'a', 'b', 'y'],
    })
    expect(restarted(loop(), { step: 'l' })).toMatchObject({ values: [['z', 1]], ran: ['a', 'b', 'a', 'b', 'a', 'b', 'y'] })
  })

  test('of parallel iterations keeps them too', () => {
    const { values, ran } = restarted(loop({ parallel: true }), { step: 'l', slot: 2 })
    expect(values.map(([id]) => id).sort()).toEqual(['a', 'a', 'b', 'b', 'z'])
    expect(ran).toEqual(['a', 'b', 'y'])
  })

  test('starts from a step inside of an iteration', () => {
    expect(restarted(loop(), { step: 'b', slot: 1 })).toMatchObject({
      values: [
        ['z', 1],
        ['a', 4],
        ['b', 5],
        ['a', 7],
      ],
      ran: ['b', 'a', 'b', 'y'],
    })
  })

  test('that was tried again starts from an iteration of its last try', () => {
    const tried = of([each('l', '[1, 2]', [same('a')], {}, { retry: { constant: { attempts: 1, seconds: 0 } } })], {
      step: (_id, n) => (n === 5 ? new Error('no') : n),
    })
    expect(restarted(tried, { step: 'l', slot: 1 })).toMatchObject({ values: [['a', 8]], ran: ['a'] })
  })
})

describe('branches', () => {
  test('of branchall before the one it starts from are kept', () => {
    const both = of([all('b', [[same('x')], [same('y')], [same('z')]])])
    expect(restarted(both, { step: 'b', slot: 2 })).toMatchObject({
      values: [
        ['x', 3],
        ['y', 5],
      ],
      ran: ['z'],
    })
    expect(restarted(both, { step: 'y' })).toMatchObject({ values: [['x', 3]], ran: ['y', 'z'] })
  })

  test('the chosen one stays chosen when a step in it is started from', () => {
    const one = of([choose('c', { 'flow_input.x': [same('p'), same('q')] }, [same('r')]), same('s')], { args: { x: true } })
    const { kept, ran } = restarted(one, { step: 'q' })
    expect(kept).toMatchObject([
      { k: 'pick', w: 'branch', v: 0 },
      { k: 'ok', s: 'p' },
    ])
    expect(ran).toEqual(['q', 's'])
    expect(() => restarted(one, { step: 'r' })).toThrow('the default branch of step c was not begun; 0 was')
  })
})

test('a sub-flow before the step is kept with its version, its arguments and all that is inside of it', () => {
  const inner = planOf([each('l', '[1, 2]', [same('a')])], {}, '9', 'f/test/inner')
  const calls = of([flow('f', 'f/test/inner'), same('b')], { flows: { 'f/test/inner': inner } })
  const { kept, ran } = restarted(calls, { step: 'b' })
  expect(kept[0]).toMatchObject({ k: 'call', s: 'f', version: '9', args: '{"sub":true}' })
  expect(ran).toEqual(['b'])
})

describe('what is no point to start from is said with what would be', () => {
  const nested = of([
    same('a'),
    each('l', '[1, 2]', [same('b'), each('m', '[1]', [same('c')])]),
    same('d', { stop_after_if: { expr: 'true' } }),
    same('e'),
  ])
  test.each<[string, From, string]>([
    ['no such step', { step: 'x' }, 'flow f/test/flow has no step "x" to start from; its steps are a, l, b, m, c, d, e'],
    ['a number of what has none', { step: 'a', slot: 1 }, 'step a is no loop or branchall, nor inside of a loop'],
    ['a step in a loop without a number', { step: 'b' }, 'step b is inside of loop l; say from which of its iterations'],
    ['a step in two loops', { step: 'c', slot: 0 }, 'step c is inside of loop l; start from an iteration of l instead'],
    ['an iteration of an inner loop', { step: 'm', slot: 0 }, 'step m is inside of loop l; start from an iteration of l instead'],
    ['an iteration that never began', { step: 'l', slot: 2 }, 'iteration 2 of step l was not begun; 0 to 1 were'],
    ['a step the job did not come to', { step: 'e' }, 'the job did not come to step e: it came to a, l, d'],
  ])('%s', (_name, from, message) => {
    expect(() => restarted(nested, from)).toThrow(message)
  })

  test('the failure module', () => {
    const fails = of([same('a')], { step: () => new Error('no') }, { failure_module: same('failure') })
    expect(() => restarted(fails, { step: 'failure' })).toThrow('has no step "failure" to start from; its steps are a')
  })
})
