// Steps that are jobs of their own: the flows of the other tables come to the same, and what only such steps do.
import type { Debouncing, FlowModule } from '../../src/core/flow/definition.ts'
import { listsIn } from '../../src/core/flow/modules.ts'
import { around } from './around.ts'
import { branches } from './branches.ts'
import { all, choose, each, fail, failed, flow, give, same, script, withValue, type FlowCase } from './cases.ts'
import { loops } from './loops.ts'
import { subflows } from './subflows.ts'
import { waiting } from './waiting.ts'

/** A thousand jobs one after another take their time. */
const itemsMax = 20

/** A limit that nobody comes to: the step is a job of its own. */
const limited = { concurrent_limit: 1_000 }

/** The same steps, each of code a job of its own. */
function takeApart(modules: readonly FlowModule[]): FlowModule[] {
  return modules.map((module) => {
    const copy = structuredClone(module)
    for (const { modules: inner } of listsIn(copy, '')) inner.splice(0, inner.length, ...takeApart(inner))
    if (copy.value.type === 'rawscript') Object.assign(copy.value, limited)
    return copy
  })
}

function takeValueApart(value: FlowCase['value']): FlowCase['value'] {
  const copy = { ...value }
  if (copy.failure_module) [copy.failure_module] = takeApart(renamed([copy.failure_module])) as [FlowModule]
  if (copy.preprocessor_module) [copy.preprocessor_module] = takeApart(renamed([copy.preprocessor_module])) as [FlowModule]
  return copy
}

/** Code in scripts as well: they are limited, as is what is a step of its own flow. */
function deployApart(deploy: FlowCase['deploy']): FlowCase['deploy'] {
  return Object.fromEntries(
    Object.entries(deploy ?? {}).map(([path, what]) => {
      if ('script' in what) return [`${path}_apart`, { ...what, limits: limited }]
      return [`${path}_apart`, { ...what, modules: takeApart(renamed(what.modules)) }]
    }),
  )
}

/** Paths of scripts and flows are those of deployApart. */
function renamed(modules: readonly FlowModule[]): FlowModule[] {
  return modules.map((module) => {
    const copy = structuredClone(module)
    for (const { modules: inner } of listsIn(copy, '')) inner.splice(0, inner.length, ...renamed(inner))
    if ((copy.value.type === 'script' || copy.value.type === 'flow') && copy.value.path !== '') copy.value.path += '_apart'
    return copy
  })
}

const others = [...around, ...branches, ...loops, ...subflows, ...waiting]
/** As in the other tables. */
export const again = others
  .filter((one) => !(typeof one.result === 'number' && one.result > itemsMax))
  .filter((one) => !one.value?.same_worker) // its steps are no jobs of their own
  .map((one): FlowCase => ({
    ...one,
    modules: takeApart(renamed(one.modules)),
    value: takeValueApart(one.value) ?? {},
    deploy: deployApart(one.deploy) ?? {},
  }))

/** Longer than calls that are to come together take. */
const debounce_delay_s = 1
const debounced = (more: Debouncing = {}): Partial<FlowModule> => ({ debouncing: { debounce_delay_s, ...more } })

/** A step with a limit. */
const alone = (module: FlowModule): FlowModule => takeApart([module])[0]!
const retry = (attempts: number) => ({ constant: { attempts, seconds: 0 } })

export const apart: FlowCase[] = [
  {
    name: 'a limited script by path',
    deploy: { 'f/apart_add': { script: 'export const main = (a: number, b = 10) => a + b', limits: { concurrent_limit: 1 } } },
    modules: [script('s', 'f/apart_add', { a: '1' }), script('t', 'f/apart_add', { a: 'results.s', b: '2' })],
    result: 13,
    ran: { s: 1, t: 1 },
  },
  {
    name: 'an ordered script by path, in parallel iterations',
    deploy: {
      'f/apart_order': { script: 'export const main = (k: string, n: number) => n', limits: { ordering_key: 'flow_input.k' } },
    },
    modules: [
      each('l', '[1, 2, 3]', [script('s', 'f/apart_order', { k: '"k"', n: 'flow_input.iter.value' })], { parallel: true }),
    ],
    result: [1, 2, 3],
  },
  {
    name: 'a limited flow by path',
    deploy: {
      'f/apart_flow': { modules: [give('a', 'flow_input.n'), give('b', 'results.a * 2')], value: { concurrent_limit: 1 } },
    },
    modules: [
      each('l', '[1, 2, 3]', [flow('s', 'f/apart_flow', { n: 'flow_input.iter.value' })], { parallel: true }),
      give('e', '[results.l, previous_result.length]'),
    ],
    result: [[2, 4, 6], 3],
    ran: { a: 3, b: 3 },
  },
  {
    name: 'a limited flow that fails: its error is the step’s, its result that of its failure module',
    deploy: {
      'f/apart_fails': {
        modules: [fail('inner')],
        value: { concurrent_limit: 1, failure_module: give('failure', '"handled"') },
      },
    },
    modules: [flow('s', 'f/apart_fails', {}, { continue_on_error: true }), give('e', 'results.s')],
    value: { failure_module: give('failure', 'error') },
    result: 'handled',
  },
  {
    name: 'a limited flow that fails, for the failure module',
    deploy: { 'f/apart_fails_2': { modules: [fail('inner')], value: { concurrent_limit: 1 } } },
    modules: [flow('s', 'f/apart_fails_2')],
    value: { failure_module: give('failure', '[error.name, error.step_id]') },
    status: 'failure',
    result: ['TypeError', 'inner'],
  },
  {
    name: 'a limited flow that stops early is a step that is done',
    deploy: {
      'f/apart_stops': {
        modules: [give('a', '1', { stop_after_if: { expr: 'true', skip_if_stopped: true } }), give('b', '2')],
        value: { concurrent_limit: 1 },
      },
    },
    modules: [flow('s', 'f/apart_stops'), give('e', 'results.s + 5')],
    result: 6,
    ran: { a: 1, b: 0, e: 1 },
  },
  {
    name: 'a limited flow without an end: flows may be inside of so many others',
    deploy: { 'f/apart_self': { modules: [flow('s', 'f/apart_self')], value: { concurrent_limit: 1_000 } } },
    modules: [flow('s', 'f/apart_self')],
    status: 'failure',
    result: { error: { name: 'FlowsTooDeep' } },
  },
  {
    name: 'a step that would wait for the turn of its own job',
    modules: [withValue(give('a', '1'), { concurrent_limit: 1, custom_concurrency_key: 'its-own' })],
    value: { concurrent_limit: 1, concurrency_key: 'its-own' },
    status: 'failure',
    result: { error: { name: 'WaitsForItself', step_id: 'a' } },
  },
  {
    name: 'each try is a job of its own',
    modules: [alone(fail('a', 'true', { retry: retry(2), continue_on_error: true })), give('b', 'results.a.error.message')],
    result: 'a failed',
    ran: { a: 3, b: 1 },
  },
  {
    name: 'a failure without a second try, and what goes on after it',
    modules: [alone(fail('a', 'true', { continue_on_error: true })), give('b', '[previous_result.error.name, results.a]')],
    result: ['TypeError', failed('a')],
  },
  {
    name: 'a failure',
    modules: [alone(fail('a')), give('b', '1')],
    status: 'failure',
    result: failed('a'),
    ran: { a: 1, b: 0 },
  },
  {
    name: 'arguments that cannot be bound',
    modules: [alone(give('a', 'flow_input.x.y()'))],
    status: 'failure',
    result: { error: { name: 'ExpressionError', step_id: 'a' } },
    ran: { a: 1 },
  },
  {
    name: 'a time-out that an expression gives',
    modules: [
      alone({
        ...give('a', '1', { timeout: { type: 'javascript', expr: 'flow_input.seconds' } }),
        value: {
          type: 'rawscript',
          language: 'bun',
          content: 'export const main = () => new Promise((resolve) => setTimeout(resolve, 60_000))',
          input_transforms: {},
        },
      }),
    ],
    args: { seconds: 0.2 },
    status: 'failure',
    result: { error: { name: 'TimeoutError', step_id: 'a' } },
  },
  {
    name: 'a cached step is looked up before it is a job, and kept by it',
    deploy: {
      'f/apart_random': { script: 'export const main = (x: number) => x + Math.random()', limits: { concurrent_limit: 5 } },
    },
    modules: [
      script('a', 'f/apart_random', { x: '3' }, { cache_ttl: 60 }),
      script('b', 'f/apart_random', { x: '3' }, { cache_ttl: 60 }),
      give('c', 'results.a === results.b'),
    ],
    result: true,
  },
  {
    name: 'beside steps that run here, in parallel branches',
    modules: [
      all('p', [[alone(give('a', '1')), give('b', 'results.a + 1')], [give('c', '3')], [same('d'), alone(give('e', '5'))]], true),
      choose('o', { 'results.p[0] === 2': [alone(give('f', 'results.p'))] }),
    ],
    result: [2, 3, 5],
  },
  {
    name: 'in a spread loop',
    modules: [
      each('l', '[1, 2, 3, 4, 5]', [alone(give('a', 'flow_input.iter.value * 2')), give('b', 'results.a + 1')], {
        spread: true,
        parallel: true,
      }),
    ],
    result: [3, 5, 7, 9, 11],
    ran: { a: 5, b: 5 },
  },
  {
    name: 'a debounced step of parallel iterations is called once, with the arguments of all',
    modules: [
      each('l', '[1, 2, 3]', [give('a', '[flow_input.iter.value]', debounced({ debounce_args_to_accumulate: ['x'] }))], {
        parallel: true,
      }),
      give('b', '[results.l, previous_result.length]'),
    ],
    result: [[1, 2, 3].map(() => [1, 2, 3]), 3],
  },
  {
    name: 'of arguments that are not accumulated the last ones count; another key is another call',
    modules: [
      each(
        'l',
        '[["x", 1], ["y", 2], ["x", 3]]',
        [give('a', '({ k: flow_input.iter.value[0], n: flow_input.iter.value[1] })', debounced({ debounce_key: '$args[x.k]' }))],
        { parallel: true },
      ),
    ],
    result: [
      { k: 'x', n: 3 },
      { k: 'y', n: 2 },
      { k: 'x', n: 3 },
    ],
  },
  {
    name: 'a debounced step that fails does for all who wait for it; each tries again by itself',
    modules: [
      each(
        'l',
        '[1, 2]',
        [fail('a', 'true', { ...debounced({ debounce_key: 'fails' }), retry: retry(1), continue_on_error: true })],
        { parallel: true },
      ),
    ],
    result: [failed('a'), failed('a')],
  },
  {
    name: 'a script by path that debounces its jobs',
    deploy: {
      'f/apart_debounced': {
        script: 'export const main = (n: number[]) => n.length',
        limits: { debounce_delay_s, debounce_args_to_accumulate: ['n'] },
      },
    },
    modules: [
      each('l', '[1, 2, 3]', [script('s', 'f/apart_debounced', { n: '[flow_input.iter.value]' })], { parallel: true }),
      script('t', 'f/apart_debounced', { n: '[0]' }),
    ],
    result: 1,
  },
  {
    name: 'a script by path that is limited, and debounced by the step',
    deploy: {
      'f/apart_limited': { script: 'export const main = (n: number[]) => n', limits: { concurrent_limit: 1 } },
    },
    modules: [
      each(
        'l',
        '[1, 2]',
        [script('s', 'f/apart_limited', { n: '[flow_input.iter.value]' }, debounced({ debounce_args_to_accumulate: ['n'] }))],
        { parallel: true },
      ),
    ],
    result: [
      [1, 2],
      [1, 2],
    ],
  },
  {
    name: 'a flow by path that debounces its jobs, and what it comes to where it fails',
    deploy: {
      'f/apart_debounced_flow': {
        modules: [give('a', 'flow_input.n'), give('b', 'results.a.length')],
        value: { debounce_delay_s, debounce_args_to_accumulate: ['n'] },
      },
      'f/apart_debounced_fails': {
        modules: [fail('inner')],
        value: { debounce_delay_s, failure_module: give('failure', '"handled"') },
      },
    },
    modules: [
      each(
        'l',
        '[1, 2, 3]',
        [
          flow('s', 'f/apart_debounced_flow', { n: '[flow_input.iter.value]' }),
          flow('t', 'f/apart_debounced_fails', {}, { continue_on_error: true }),
          give('u', '[results.s, results.t]'),
        ],
        { parallel: true },
      ),
    ],
    result: [1, 2, 3].map(() => [3, 'handled']),
  },
  {
    name: 'a debounced step in a spread loop',
    modules: [
      each(
        'l',
        '[1, 2, 3, 4, 5]',
        [give('a', '[flow_input.iter.value]', debounced({ max_total_debounces_amount: 4 })), give('b', 'results.a.length')],
        {
          spread: true,
          parallel: true,
        },
      ),
    ],
    result: [1, 1, 1, 1, 1],
  },
  {
    name: 'a loop that is abandoned while a step of it is a job',
    modules: [
      each(
        'l',
        '[1, 2]',
        [alone(give('a', 'flow_input.iter.value'))],
        { parallel: true },
        {
          stop_after_if: { expr: 'result.x()' },
          retry: retry(1),
          continue_on_error: true,
        },
      ),
      give('e', 'results.l.error.name'),
    ],
    result: 'ExpressionError',
  },
]
