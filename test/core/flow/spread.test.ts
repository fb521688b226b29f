// How a loop is cut into parts, and what a part is given and says.
import { expect, test } from 'vitest'
import { compilePlan } from '../../../src/core/flow/compile.ts'
import type { FlowModule, FlowValue } from '../../../src/core/flow/definition.ts'
import { fold, open } from '../../../src/core/flow/machine.ts'
import type { Plan } from '../../../src/core/flow/plan.ts'
import {
  parsePart,
  partArgsOf,
  partsOf,
  printPartEnd,
  type PartEnd,
  readPartEnd,
  spreadOf,
  type Spread,
} from '../../../src/core/flow/spread.ts'
import type { Effect } from '../../../src/core/flow/state.ts'
import { defaultLimits } from '../../../src/core/limits.ts'
import { each, flow, give, same } from '../../flows/cases.ts'

const sandbox = { evaluate: () => 'null' }

function planOf(modules: FlowModule[], more: Partial<FlowValue> = {}): Plan {
  const built = { artifactKey: 'k', language: 'bun' as const, params: ['x'], wantsToken: false }
  const steps = Object.fromEntries('abcdefs'.split('').map((id) => [id, built]))
  return compilePlan(
    { id: '1', workspaceId: 'main', path: 'a/b', kind: 'flow', value: { modules, ...more }, built: { steps } },
    sandbox,
  )
}

function cut(
  loop: { parallel?: boolean; spread?: boolean; skip_failures?: boolean },
  count: number,
  parallelism: number | null = null,
  modules = [same('b')],
  more: Partial<FlowModule> = {},
): Spread | null {
  const plan = planOf([each('a', '[1]', modules, loop, more)])
  return spreadOf({ plan, step: plan.steps[0]!, count, parallelism, started: 1 }, defaultLimits)
}

test('a loop stays inside its job until it is long, or was asked to spread', () => {
  expect(cut({}, 10_000)).toBeNull()
  expect(cut({}, 10_001)).not.toBeNull()
  expect(cut({}, 7_500, null, [same('b'), same('c'), same('d')])).toBeNull()
  expect(cut({}, 7_501, null, [same('b'), same('c'), same('d')])).not.toBeNull()
  expect(cut({ spread: true }, 2)).not.toBeNull()
  expect(cut({ spread: true }, 0)).toBeNull()
})

test('a loop that would not fit in what is left of its job’s numbers is spread', () => {
  const plan = planOf([each('a', '[1]', [same('b')])])
  const at = (started: number) => spreadOf({ plan, step: plan.steps[0]!, count: 100, parallelism: null, started }, defaultLimits)
  expect(at(65_535 - 200)).toBeNull()
  expect(at(65_535 - 199)).not.toBeNull()
})

test('a loop whose condition looks at all iterations stays inside', () => {
  const stop = { stop_after_if: { expr: 'all_iters.length > 3' } }
  expect(cut({ spread: true }, 20_000, null, [same('b')], stop)).toBeNull()
})

test('parts together never run more iterations than the loop allows, and nearly as many', () => {
  for (const count of [1, 2, 3, 7, 50, 99, 100, 1_000, 12_345, 100_000]) {
    for (const parallelism of [1, 2, 3, 7, 10, 13, 25, 99, 200, 1_000, 5_000, null]) {
      const { size, atOnce, width } = cut({ parallel: true, spread: true }, count, parallelism)!
      const where = `${count} items, ${parallelism} at a time: ${atOnce} parts of ${size}, ${width} in each`
      const wanted = Math.min(parallelism ?? count, count)
      expect(atOnce * width, where).toBeLessThanOrEqual(wanted)
      expect(atOnce * width, where).toBeGreaterThanOrEqual(Math.min(wanted, 1_000) * 0.5)
      expect(size, where).toBeLessThanOrEqual(defaultLimits.partItemsMax)
      expect(width, where).toBeLessThanOrEqual(size)
      expect(atOnce, where).toBeLessThanOrEqual(defaultLimits.partsAtOnceMax)
      expect(partsOf(count, { size, atOnce, width }) * size, where).toBeGreaterThanOrEqual(count)
    }
  }
})

test('one after another, one part comes after another', () => {
  expect(cut({}, 100_000)).toEqual({ size: 1_000, atOnce: 1, width: 1 })
})

test('parts whose bodies may start any number of steps are small', () => {
  expect(cut({}, 20_000, null, [each('c', '[1]', [same('d')])])!.size).toBe(100)
  expect(cut({}, 20_000, null, [flow('c', 'f/x')])!.size).toBe(100)
})

/** The arguments of the parts of loop a, once the steps before it gave these. */
function argsOf(
  modules: FlowModule[],
  given: { args?: object; results?: Record<string, unknown>; items: unknown[] },
  spread: Spread,
): object[] {
  const plan = planOf(modules)
  const effects: Effect[] = []
  const state = open(plan, JSON.stringify(given.args ?? {}), defaultLimits, () => plan, effects)
  for (const [id, value] of Object.entries(given.results ?? {})) state.root.results.set(id, JSON.stringify(value))
  const step = plan.steps.find(({ id }) => id === 'a')!
  const items = given.items.map((item) => JSON.stringify(item))
  return partArgsOf({ plan, step, cursor: state.root, items, spread }).map((text) => JSON.parse(text) as object)
}

test('a part gets its items and what its body can see, no more', () => {
  const body = [give('b', 'flow_input.k'), give('c', 'results.s')]
  const given = { args: { k: 1, large: 2 }, results: { s: 'x', other: 'y' }, items: [1, 2, 3] }
  const modules = [give('s', '1'), give('e', '2'), each('a', '[1]', body)]
  expect(argsOf(modules, given, { size: 2, atOnce: 1, width: 1 })).toEqual([
    {
      slot: 0,
      jobs: 2,
      at_once: 1,
      stops: true,
      first: 0,
      width: 1,
      depth: 0,
      flow_input: { k: 1 },
      results: { s: 'x' },
      previous_result: null,
      items: [1, 2],
    },
    {
      slot: 1,
      jobs: 2,
      at_once: 1,
      stops: true,
      first: 2,
      width: 1,
      depth: 0,
      flow_input: { k: 1 },
      results: { s: 'x' },
      previous_result: null,
      items: [3],
    },
  ])
})

test('what was before the loop goes along where a body begins with a step that sees it, or is empty', () => {
  const given = { args: { k: 1 }, items: [1] }
  const one = { size: 1, atOnce: 1, width: 1 }
  for (const body of [[], [same('b')], [give('b', 'previous_result')], [give('b', '1', { skip_if: { expr: 'true' } })]]) {
    expect(argsOf([each('a', '[1]', body)], given, one)[0]).toMatchObject({ previous_result: { k: 1 } })
  }
  expect(argsOf([each('a', '[1]', [give('b', '1'), give('c', 'previous_result')])], given, one)[0]).toMatchObject({
    previous_result: null,
  })
})

const partArgs = (more: object = {}): string =>
  JSON.stringify({
    slot: 1,
    jobs: 4,
    at_once: 2,
    stops: false,
    first: 2,
    width: 1,
    depth: 3,
    flow_input: {},
    results: {},
    previous_result: 'before',
    items: [5, 6],
    ...more,
  })

test('a part begins inside its loop, with the index of its first item, and ends with the list', () => {
  const plan = planOf([each('a', '[1]', [give('b', 'flow_input.iter')])])
  const effects: Effect[] = []
  const state = open(plan, partArgs(), defaultLimits, () => plan, effects, null, 'a')
  expect(effects).toMatchObject([{ e: 'start', n: 2 }])
  expect((effects[0] as Effect & { e: 'start' }).cursor.flowInput()).toEqual({ iter: { index: 2, value: 5 } })
  expect(state.root.frame.depth).toBe(3)
  const records = [2, 4].map((n) => ({ k: 'ok' as const, n, s: 'b', at: 0, ms: 1, v: String(n) }))
  const { outstanding } = fold(plan, partArgs(), records, defaultLimits, () => plan, 'a')
  expect(outstanding).toEqual([{ e: 'finish', status: 'success', result: '[2,4]', part: { how: 'done' } }])
})

test('the end of a part names the next one, unless no other may begin', () => {
  const ended = (args: string, end: PartEnd) => printPartEnd('a', args, end, { at: 0, ms: 0 })
  expect(ended(partArgs(), { how: 'done' })).toBe('"end":{"how":"done"},"next":3,"refuses":false')
  expect(ended(partArgs({ slot: 2 }), { how: 'done' })).toBe('"end":{"how":"done"},"next":null,"refuses":false')
  expect(ended(partArgs(), { how: 'broken' })).toBe('"end":{"how":"broken"},"next":null,"refuses":true')
  expect(ended(partArgs(), { how: 'lost' })).toBe('"end":{"how":"lost"},"next":3,"refuses":false')
  expect(ended(partArgs({ stops: true }), { how: 'lost' })).toBe('"end":{"how":"lost"},"next":null,"refuses":true')
})

test('results of parts are passed on as they were printed', () => {
  expect(readPartEnd('{"end":{"how":"done"},"result":[1.0, "a,b",{"x":[]}]}').list).toBe('1.0, "a,b",{"x":[]}')
  expect(readPartEnd('{"end":{"how":"broken"},"result":[1,2]}')).toMatchObject({ end: { how: 'broken' }, list: '1,2' })
  expect(parsePart(partArgs()).items).toEqual(['5', '6'])
})
