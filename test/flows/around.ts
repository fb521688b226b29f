// What stands around flows and steps: turns, caches.
import { ts } from '../support/engine.ts'
import { all, choose, each, fail, flow, give, same, script, type FlowCase } from './cases.ts'

const random = { script: 'export const main = (x: number) => x + Math.random()' }
/** A step that gives something else each time it runs. */
const dice = (id: string, x = '0', more: object = {}) => give(id, `${x} + Math.random()`, more)
/** Makes a file in ./shared, or gives their names. */
const shared = (id: string, what: 'add' | 'list', name = 'null') =>
  ts(
    id,
    `import { readdirSync, writeFileSync } from 'node:fs'
export const main = (name: string) => ${what === 'add' ? "writeFileSync('./shared/' + name, '')" : "readdirSync('./shared').sort()"}`,
    { name },
  )
const equal = (id: string, a: string, b: string) => give(id, `${a} === ${b}`)

export const around: FlowCase[] = [
  { name: 'a flow may come to nothing', modules: [give('a', 'null', { cache_ttl: 60 })], result: null },
  { name: 'a flow with a limit may come to nothing', modules: [give('a', 'null')], value: { concurrent_limit: 1 }, result: null },
  { name: 'a flow with a limit runs', modules: [give('a', '1')], value: { concurrent_limit: 1 }, result: 1 },
  {
    name: 'a flow with a limit and a window runs',
    modules: [give('a', 'flow_input.x')],
    value: { concurrent_limit: 5, concurrency_time_window_s: 60, concurrency_key: 'api-$args[x]' },
    args: { x: 'y' },
    result: 'y',
  },
  {
    name: 'a flow with an ordering key runs, fails and retries as any other',
    modules: [fail('a', 'true', { retry: { constant: { attempts: 1, seconds: 0 } }, continue_on_error: true }), give('b', '2')],
    value: { ordering_key: 'flow_input.account.id' },
    args: { account: { id: 7 } },
    result: 2,
    ran: { a: 2, b: 1 },
  },
  {
    name: 'an ordering key that needs JavaScript',
    modules: [give('a', '1')],
    value: { ordering_key: '`${flow_input.x ?? "none"}-${typeof flow_input.x}`' },
    result: 1,
  },
  {
    name: 'a debounced flow runs after its delay',
    modules: [give('a', 'flow_input.items.length')],
    value: { debounce_delay_s: 0.05, debounce_args_to_accumulate: ['items'] },
    args: { items: [1, 2] },
    result: 2,
  },
  {
    name: 'a flow with a limit keeps its turn while it sleeps',
    modules: [give('a', '1', { sleep: { type: 'static', value: 0.05 } }), give('b', '2')],
    value: { concurrent_limit: 1 },
    result: 2,
  },
  {
    name: 'a step of the same code and arguments runs once',
    modules: [
      each('l', '[1, 1, 2]', [dice('c', 'flow_input.iter.value', { cache_ttl: 60 })]),
      give('d', '[results.l[0] === results.l[1], results.l[1] === results.l[2]]'),
    ],
    // Its arguments hold a random number themselves, so nothing is the same.
    result: [false, false],
  },
  {
    name: 'a cached step is looked up by its arguments',
    deploy: { 'f/random_1': random },
    modules: [
      each('l', '[10, 10, 20]', [script('c', 'f/random_1', { x: 'flow_input.iter.value' }, { cache_ttl: 60 })]),
      give('d', '[results.l[0] === results.l[1], results.l[1] === results.l[2]]'),
    ],
    result: [true, false],
  },
  {
    name: 'without cache_ttl it runs each time',
    deploy: { 'f/random_2': random },
    modules: [
      each('l', '[10, 10]', [script('c', 'f/random_2', { x: 'flow_input.iter.value' })]),
      give('d', 'results.l[0] === results.l[1]'),
    ],
    result: false,
  },
  {
    name: 'two steps of the same script share what is cached',
    deploy: { 'f/random_3': random },
    modules: [
      script('a', 'f/random_3', { x: '1' }, { cache_ttl: 60 }),
      script('b', 'f/random_3', { x: '1' }, { cache_ttl: 60 }),
      equal('c', 'results.a', 'results.b'),
    ],
    result: true,
  },
  {
    name: 'steps with code of their own do not share it',
    modules: [{ ...dice('a'), cache_ttl: 60 }, { ...dice('b'), cache_ttl: 60 }, equal('c', 'results.a', 'results.b')],
    result: false,
  },
  {
    name: 'a failure is not cached',
    modules: [each('l', '[1, 2]', [fail('c', 'true', { cache_ttl: 60, continue_on_error: true })])],
    result: [{ error: { name: 'TypeError' } }, { error: { name: 'TypeError' } }],
    ran: { c: 2 },
  },
  {
    name: 'a retry of a cached step',
    modules: [fail('c', 'true', { cache_ttl: 60, retry: { constant: { attempts: 2, seconds: 0 } } })],
    status: 'failure',
    result: { error: { name: 'TypeError' } },
    ran: { c: 3 },
  },
  {
    name: 'a cached step in a branch, in a parallel branch, in a sub-flow',
    deploy: {
      'f/random_4': random,
      'f/inner': { modules: [script('i', 'f/random_4', { x: '3' }, { cache_ttl: 60 })] },
    },
    modules: [
      choose('o', { true: [script('a', 'f/random_4', { x: '3' }, { cache_ttl: 60 })] }),
      all('p', [[script('b', 'f/random_4', { x: '3' }, { cache_ttl: 60 })], [flow('s', 'f/inner')]], true),
      give('d', '[results.o === results.p[0], results.o === results.p[1]]'),
    ],
    result: [true, true],
  },
  {
    name: 'conditions of a cached step are asked as ever',
    modules: [give('a', '5', { cache_ttl: 60, stop_after_if: { expr: 'result === 5' } }), give('b', '6')],
    result: 5,
    ran: { a: 1, b: 0 },
  },
  { name: 'a flow with cache_ttl runs once', modules: [give('a', '1'), same('b')], value: { cache_ttl: 60 }, result: 1 },
  {
    name: 'a flow with cache_ttl that fails runs its failure module',
    modules: [fail('a')],
    value: { cache_ttl: 60, failure_module: give('failure', '"handled"') },
    status: 'failure',
    result: 'handled',
  },
  {
    name: 'steps of a flow with same_worker share a folder, also in parallel branches and in a sub-flow',
    deploy: { 'f/adds': { modules: [shared('i', 'add', 'flow_input.x')] } },
    modules: [
      shared('a', 'add', '"a"'),
      all('p', [[shared('b', 'add', '"b"')], [flow('s', 'f/adds', { x: '"s"' })]], true),
      each('l', '["c", "d"]', [shared('x', 'add', 'flow_input.iter.value')]),
      shared('z', 'list'),
    ],
    value: { same_worker: true },
    result: ['a', 'b', 'c', 'd', 's'],
  },
  {
    name: 'a flow with a deletion runs as any other',
    modules: [give('a', '1', { delete_after_secs: 0 }), each('l', '[1, 2]', [give('b', 'results.a + flow_input.iter.value')])],
    value: { delete_after_secs: 60 },
    result: [2, 3],
  },
  {
    name: 'a flow that answers early has the result of its last step',
    modules: [give('a', '1'), give('b', '2')],
    value: { early_return: 'a' },
    result: 2,
    ran: { a: 1, b: 1 },
  },
  {
    name: 'a flow that answers early may fail afterwards',
    modules: [give('a', '1'), fail('b')],
    value: { early_return: 'a' },
    status: 'failure',
    result: { error: { name: 'TypeError', step_id: 'b' } },
  },
  {
    name: 'a flow that would answer early with a cached step',
    modules: [give('a', '1', { cache_ttl: 60 }), give('b', 'results.a + 1')],
    value: { early_return: 'a' },
    result: 2,
  },
  {
    name: 'a flow that answers early, as a step of another one',
    deploy: { 'f/early_one': { modules: [give('a', '1'), give('b', '2')], value: { early_return: 'a' } } },
    modules: [flow('s', 'f/early_one')],
    result: 2,
  },
  {
    name: 'a flow with cache_ttl, as a step of another one, runs',
    deploy: { 'f/cached_one': { modules: [give('a', 'flow_input.x')], value: { cache_ttl: 60 } } },
    modules: [flow('s', 'f/cached_one', { x: '3' }), flow('t', 'f/cached_one', { x: '3' })],
    result: 3,
    ran: { a: 2 },
  },
  {
    name: 'a cached step with a time-out, after a skipped one',
    modules: [give('a', '1', { skip_if: { expr: 'true' }, cache_ttl: 60 }), give('b', '2', { cache_ttl: 60, timeout: 10 })],
    result: 2,
    ran: { a: 0, b: 1 },
  },
  {
    name: 'a limited flow that stops early passes its turn on',
    modules: [give('a', '1', { stop_after_if: { expr: 'true', skip_if_stopped: true } }), give('b', '2')],
    value: { concurrent_limit: 1, concurrency_key: 'stops' },
    status: 'skipped',
    result: 1,
  },
  {
    name: 'a limited flow that fails passes its turn on',
    modules: [fail('a')],
    value: { concurrent_limit: 1, concurrency_key: 'fails' },
    status: 'failure',
    result: { error: { name: 'TypeError' } },
  },
]
