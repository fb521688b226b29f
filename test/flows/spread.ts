// Loops whose iterations are jobs of their own: they come to what the same loops come to inside one job. flows.e2e.test.ts gives each
// of those jobs at most two items, and two of them a turn at a time.
import type { FlowModule } from '../../src/core/flow/definition.ts'
import { listsIn } from '../../src/core/flow/modules.ts'
import { all, each, fail, failed, flow, give, repeat, same, script, type FlowCase } from './cases.ts'
import { loops } from './loops.ts'

/** Loops of a thousand jobs take their time. */
const itemsMax = 20

/** The same flow, its for loops spread. */
function spreadOut(modules: readonly FlowModule[]): FlowModule[] {
  return modules.map((module) => {
    const copy = structuredClone(module)
    for (const { modules: inner } of listsIn(copy, '')) inner.splice(0, inner.length, ...spreadOut(inner))
    if (copy.value.type === 'forloopflow') copy.value.spread = true
    return copy
  })
}

function hasLoop(modules: readonly FlowModule[]): boolean {
  return modules.some(
    (module) => module.value.type === 'forloopflow' || listsIn(module, '').some((list) => hasLoop(list.modules)),
  )
}

const again: FlowCase[] = loops
  .filter((one) => hasLoop(one.modules) && !(typeof one.result === 'number' && one.result > itemsMax))
  .map((one) => ({ ...one, modules: spreadOut(one.modules) }))

const spread = { spread: true }
const double = give('b', 'flow_input.iter.value * 2')
const five = { items: [1, 2, 3, 4, 5] }

export const spreads: FlowCase[] = [
  ...again,
  {
    name: 'the index goes on over the jobs',
    modules: [each('a', 'flow_input.items', [give('b', '[flow_input.iter.index, flow_input.iter.value]')], spread)],
    args: five,
    result: [0, 1, 2, 3, 4].map((index) => [index, index + 1]),
    ran: { b: 5 },
  },
  {
    name: 'a body that looks at the whole of flow_input, results and flow_env',
    modules: [
      give('s', '{ x: 7 }'),
      each(
        'a',
        'flow_input.items',
        [give('b', '[Object.keys(flow_input), Object.keys(results), flow_env.e, results.s.x]')],
        spread,
      ),
    ],
    value: { flow_env: { e: 'env' } },
    args: { items: [1, 2, 3], other: 'o' },
    result: [1, 2, 3].map(() => [['items', 'other', 'iter'], ['s'], 'env', 7]),
  },
  {
    name: 'previous_result inside, also where it is passed on',
    modules: [give('s', '"before"'), each('a', '[1, 2, 3]', [same('b'), all('c', [[give('d', 'previous_result')], []])], spread)],
    result: [1, 2, 3].map(() => ['before', 'before']),
  },
  {
    name: 'a loop of a loop, both spread, the inner one over what the outer one gives',
    modules: [
      each(
        'a',
        '[[1, 2, 3], [4], [], [5, 6]]',
        [each('b', 'flow_input.iter.value', [give('c', 'flow_input.iter.value * 10')], spread)],
        {
          ...spread,
          parallel: true,
        },
      ),
    ],
    result: [[10, 20, 30], [40], [], [50, 60]],
    ran: { c: 6 },
  },
  {
    name: 'a loop and a while loop inside stay in their job',
    modules: [
      each(
        'a',
        '[1, 2, 3]',
        [
          give('n', 'flow_input.iter.value'),
          each('b', '[1, 2, 3]', [give('c', 'results.n * flow_input.iter.value')], { parallel: true }),
          repeat('w', [give('d', 'flow_input.iter.index', { stop_after_if: { expr: 'result >= results.n' } })]),
          give('e', '[results.b, results.w.length]'),
        ],
        spread,
      ),
    ],
    result: [
      [[1, 2, 3], 2],
      [[2, 4, 6], 3],
      [[3, 6, 9], 4],
    ],
  },
  {
    name: 'a sub-flow and a script inside',
    deploy: {
      'f/double': { modules: [give('a', 'flow_input.n * 2')] },
      'f/add': { script: 'export const main = (a: number, b = 10) => a + b' },
    },
    modules: [
      each(
        'a',
        'flow_input.items',
        [flow('s', 'f/double', { n: 'flow_input.iter.value' }), script('t', 'f/add', { a: 'results.s' })],
        {
          ...spread,
          parallel: true,
        },
      ),
    ],
    args: five,
    result: [12, 14, 16, 18, 20],
  },
  {
    name: 'a spread loop in a sub-flow: its jobs are of the sub-flow',
    deploy: {
      'f/each': {
        modules: [each('l', 'flow_input.n', [give('i', 'flow_input.iter.value + flow_env.e')], spread)],
        value: { flow_env: { e: 100 } },
      },
    },
    modules: [flow('s', 'f/each', { n: 'flow_input.items' }), give('o', 'results.s.length + flow_env.e')],
    value: { flow_env: { e: 1 } },
    args: five,
    result: 6,
  },
  {
    name: 'two spread loops at once, beside a step',
    modules: [
      all(
        'x',
        [
          [each('a', 'flow_input.items', [double], { ...spread, parallel: true })],
          [each('c', 'flow_input.items', [give('d', 'flow_input.iter.value + 1')], spread)],
          [give('e', '"step"')],
        ],
        true,
      ),
    ],
    args: five,
    result: [[2, 4, 6, 8, 10], [2, 3, 4, 5, 6], 'step'],
  },
  {
    name: 'a failed iteration: no further job begins',
    modules: [each('a', 'flow_input.items', [fail('b', 'flow_input.iter.value === 4')], spread)],
    args: five,
    status: 'failure',
    result: failed('b'),
    ran: { b: 4 },
  },
  {
    name: 'a parallel loop with failures: all are waited for, over all jobs',
    modules: [
      each(
        'a',
        'flow_input.items',
        [fail('b', 'flow_input.iter.value % 2 === 0')],
        { ...spread, parallel: true },
        { continue_on_error: true },
      ),
      give('c', '[results.a, error.name, error.errors.length, error.message]'),
    ],
    args: five,
    result: [['fine', failed('b'), 'fine', failed('b'), 'fine'], 'MultipleErrors', 2, '2 of 5 failed'],
    ran: { b: 5 },
  },
  {
    name: 'skip_failures over all jobs',
    modules: [each('a', 'flow_input.items', [fail('b', 'flow_input.iter.value > 2')], { ...spread, skip_failures: true })],
    args: five,
    result: ['fine', 'fine', failed('b'), failed('b'), failed('b')],
    ran: { b: 5 },
  },
  {
    name: 'a break: no further job begins',
    modules: [
      each('a', 'flow_input.items', [give('b', 'flow_input.iter.value', { stop_after_if: { expr: 'result === 3' } })], spread),
      give('c', 'results.a'),
    ],
    args: five,
    result: [1, 2, 3],
    ran: { b: 3 },
  },
  {
    name: 'a break of a parallel loop, one at a time',
    modules: [
      each('a', 'flow_input.items', [give('b', 'flow_input.iter.value', { stop_after_if: { expr: 'result === 2' } })], {
        ...spread,
        parallel: true,
        parallelism: 1,
      }),
    ],
    args: five,
    result: [1, 2],
    ran: { b: 2 },
  },
  {
    name: 'a stop with an error, in the second job',
    modules: [
      each('a', 'flow_input.items', [double], spread, { stop_after_if: { expr: 'result === 6', error_message: 'enough' } }),
    ],
    args: five,
    status: 'failure',
    result: { error: { name: 'EarlyStop', message: 'enough' } },
    ran: { b: 3 },
  },
  {
    name: 'a retry of the loop makes new jobs',
    modules: [
      each('a', 'flow_input.items', [fail('b', 'flow_input.iter.value === 3')], spread, {
        retry: { constant: { attempts: 2, seconds: 0 } },
      }),
    ],
    args: five,
    status: 'failure',
    result: failed('b'),
    ran: { b: 9 },
  },
  {
    name: 'a retry inside that waits longer than a job is held',
    modules: [
      each('a', '[1, 2, 3]', [fail('b', 'flow_input.iter.value === 2', { retry: { constant: { attempts: 1, seconds: 1.2 } } })], {
        ...spread,
        parallel: true,
        skip_failures: true,
      }),
    ],
    result: ['fine', failed('b'), 'fine'],
    ran: { b: 4 },
  },
  {
    name: 'the failure module runs once, in the flow’s own job',
    modules: [each('a', 'flow_input.items', [fail('b')], spread)],
    value: { failure_module: give('failure', '[error.step_id, error.message]') },
    args: five,
    status: 'failure',
    result: ['b', 'b failed'],
    ran: { failure: 1 },
  },
  {
    name: 'a strict flow',
    modules: [
      give('s', '1'),
      each('a', 'flow_input.items', [double], { ...spread, parallel: true }),
      give('c', 'results.a.length'),
    ],
    value: { durability: 'strict' },
    args: five,
    result: 5,
  },
]
