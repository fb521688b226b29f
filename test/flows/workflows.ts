// Workflows as code: scripts of the real windmill-client, as steps of a flow.
import type { FlowModule } from '../../src/core/flow/definition.ts'
import { all, each, give, js, script, type FlowCase } from './cases.ts'

const client = `import { parallel, sleep, step, task, taskFlow, taskScript, waitForApproval, workflow } from 'windmill-client@1.818.0'
const double = task(async function double(x: number) {
  if (x === 13) throw new RangeError('no 13')
  return x * 2
})
`

/** A step that is a workflow with this body. */
function body(id: string, text: string, inputs: Record<string, string> = {}, more: Partial<FlowModule> = {}): FlowModule {
  const content = `${client}export const main = workflow(async (${Object.keys(inputs).join(', ')}) => { ${text} })`
  const input_transforms = Object.fromEntries(Object.entries(inputs).map(([name, expr]) => [name, js(expr)]))
  return { id, value: { type: 'rawscript', language: 'bun', content, input_transforms }, ...more }
}

export const workflows: FlowCase[] = [
  {
    name: 'tasks one after another, between other steps of the flow',
    modules: [
      give('a', '20'),
      body('b', 'return [await double(x), await double(1)]', { x: 'results.a' }),
      give('c', 'results.b'),
    ],
    result: [40, 2],
    ran: { b: 3 },
  },
  {
    name: 'tasks side by side, and in batches',
    modules: [
      body('a', 'return [await Promise.all([double(1), double(2)]), await parallel([3, 4, 5], double, { concurrency: 2 })]'),
    ],
    result: [
      [2, 4],
      [6, 8, 10],
    ],
    ran: { a: 6 },
  },
  {
    name: 'a body that only computes is one call',
    modules: [body('a', 'return x', { x: '1' })],
    result: 1,
    ran: { a: 1 },
  },
  {
    name: 'inline steps give what every later round gives: JSON',
    modules: [
      body(
        'a',
        `const first = await step('time', () => new Date(0))
         const before = typeof first
         const more = await Promise.all([step('time', () => 10n), step('none', () => undefined)])
         await double(1)
         return [first, before, ...more]`,
      ),
    ],
    result: ['1970-01-01T00:00:00.000Z', 'string', '10', null],
  },
  {
    name: 'a strict flow has each result on disk before the body goes on',
    modules: [
      body(
        'a',
        `const both = await Promise.all([step('one', () => 1), step('two', () => 2)])
         return [...both, await step('three', () => 3), await double(2), await step('five', () => 5)]`,
      ),
      give('b', 'results.a.length'),
    ],
    value: { durability: 'strict' },
    result: 5,
    ran: { a: 2 },
  },
  {
    name: 'in parallel branches and iterations, each its own',
    modules: [
      all(
        'p',
        [
          [body('a', 'return await double(1)')],
          [
            each(
              'l',
              '[1, 2, 3]',
              [body('b', "return [await double(x), await step('s', () => x)]", { x: 'flow_input.iter.value' })],
              { parallel: true },
            ),
          ],
        ],
        true,
      ),
    ],
    result: [
      2,
      [
        [2, 1],
        [4, 2],
        [6, 3],
      ],
    ],
  },
  {
    name: 'inline steps that overlap a task run once',
    modules: [
      body(
        'a',
        `const slow = (n: number) => () => new Promise((done) => setTimeout(() => done([n, (globalThis.ran = (globalThis.ran ?? 0) + 1)]), 20 * n))
         const results = await Promise.all([step('one', slow(1)), double(1), step('two', slow(2))])
         return [...results, globalThis.ran]`,
      ),
    ],
    result: [[1, 1], 2, [2, 2], 2],
  },
  {
    name: 'a task that fails is an error of the body, the same in every round',
    modules: [
      body(
        'a',
        `try { await double(13) } catch (e) {
           return { after: await double(1), name: e.name, message: e.message, key: e.step_key, child: typeof e.child_job_id, error: e.result.error.name }
         }`,
      ),
    ],
    result: { after: 2, name: 'TaskError', message: 'no 13', key: 'double', child: 'string', error: 'RangeError' },
  },
  {
    name: 'so is an inline step that fails',
    modules: [
      body(
        'a',
        `try { await step('bad', () => { throw Object.assign(new TypeError('nope'), { code: 7 }) }) } catch (e) {
           await double(1)
           return [e.name, e.message, e.step_key, e.result.error.name, e.result.error.extra.code]
         }`,
      ),
    ],
    result: ['TaskError', 'nope', 'bad', 'TypeError', 7],
  },
  {
    name: 'a failure nobody catches fails the step',
    modules: [body('a', 'return await double(13)')],
    status: 'failure',
    result: { error: { name: 'TaskError', message: 'no 13', step_id: 'a' } },
  },
  {
    name: 'a step that is tried again begins anew',
    modules: [
      body(
        'a',
        `const n = await step('n', () => (globalThis.tries = (globalThis.tries ?? 0) + 1))
         await double(1)
         if (n < 3) throw new Error('again')
         return n`,
        {},
        { retry: { constant: { attempts: 2, seconds: 0 } } },
      ),
    ],
    result: 3,
  },
  {
    name: 'a task with a retry waits and runs again',
    modules: [
      body(
        'a',
        `const odd = task(async function odd() {
           globalThis.tried = (globalThis.tried ?? 0) + 1
           if (globalThis.tried < 3) throw new Error('again')
           return globalThis.tried
         }, { retry: { attempts: 3, delay: 1, multiplier: 0.5 } })
         return await odd()`,
      ),
    ],
    result: 3,
  },
  {
    name: 'a task that is not awaited runs all the same',
    modules: [body('a', "double(4); return 'done'")],
    result: 'done',
    ran: { a: 2 },
  },
  {
    name: 'sleep',
    modules: [body('a', "await sleep(1); return 'slept'")],
    result: 'slept',
  },
  {
    name: 'what a body swallows is asked for all the same',
    modules: [body('a', "try { return await double(2) } catch { return 'swallowed' }")],
    result: 4,
  },
  {
    name: 'settled tasks of which some fail',
    modules: [body('a', 'return (await Promise.allSettled([double(1), double(13)])).map((one) => one.status)')],
    result: ['fulfilled', 'rejected'],
  },
  {
    name: 'scripts and flows by path',
    deploy: {
      'f/wac/add': { script: 'export const main = (a: number, b = 10) => a + b' },
      'f/wac/flow': { modules: [give('a', 'flow_input.n * 2'), give('b', 'results.a + 1')] },
      'f/wac/bad': { script: "export const main = () => { throw new Error('bad script') }" },
    },
    modules: [
      body(
        'a',
        `const both = await Promise.all([taskScript('f/wac/add')({ a: 1 }), taskFlow('f/wac/flow')({ n: 2 })])
         try { await taskScript('f/wac/bad')() } catch (e) { both.push(e.message) }
         try { await taskFlow('f/wac/none')({}) } catch (e) { both.push(e.message) }
         return both`,
      ),
    ],
    result: [11, 5, 'bad script', 'flow f/wac/none: it is not deployed, or archived'],
  },
  {
    name: 'a script that is a workflow, as a step and as a task of another one',
    deploy: {
      'f/wac/inner': {
        script: `import * as wmill from 'windmill-client@1.818.0'
const twice = wmill.task(async function twice(x: number) { return x * 2 })
export default wmill.workflow(async (x: number) => (await twice(x)) + (await twice(1)))`,
      },
    },
    modules: [
      script('a', 'f/wac/inner', { x: '5' }),
      body('b', "return [x, await taskScript('f/wac/inner')({ x: 3 })]", { x: 'results.a' }),
    ],
    result: [12, 8],
  },
  {
    name: 'arguments that would not be the same again are those of the first round',
    modules: [body('a', 'const before = await step("x", () => x); await double(1); return before === x', { x: 'Math.random()' })],
    result: true,
  },
  {
    name: 'an approval gives its answer',
    modules: [
      body(
        'a',
        "const { value, approver, approved } = await waitForApproval({ key: 'boss' }); return [value, approver, approved]",
      ),
    ],
    answers: [{ to: 'a', payload: { ok: 1 }, approver: 'bob' }],
    result: [{ ok: 1 }, 'bob', true],
  },
  {
    name: 'a refused one too',
    modules: [body('a', 'return await waitForApproval()')],
    answers: [{ to: 'a', approved: false }],
    result: { value: null, approver: 'anonymous', approved: false },
  },
  {
    name: 'approvals one after another',
    modules: [body('a', 'return [(await waitForApproval()).value, await double(1), (await waitForApproval()).value]')],
    answers: [
      { to: 'a', payload: 1 },
      { to: 'a', payload: 2, nth: 0 },
    ],
    result: [1, 2, 2],
  },
  {
    name: 'one that does not come in time is none',
    modules: [body('a', 'return await waitForApproval({ timeout: 0.05 })')],
    result: { value: null, approver: null, approved: false },
  },
  {
    name: 'whoever started the job may not answer where selfApproval is false',
    modules: [body('a', 'return await waitForApproval({ selfApproval: false })')],
    answers: [
      { to: 2, once: 'a', account: 'test', payload: 'own' },
      { to: 2, once: 'a', account: 'eve', payload: 'other' },
    ],
    result: { value: 'other', approved: true },
  },
  {
    name: 'a task option that cannot be is refused by name',
    modules: [body('a', "await task(async function big() {}, { concurrency_key: 'k' })()")],
    status: 'failure',
    result: {
      error: {
        name: 'WorkflowError',
        message: 'task "big": concurrency_key does nothing without concurrency_limit',
        step_id: 'a',
      },
    },
  },
  {
    name: 'limited tasks are jobs: they see what the body has come to, beside tasks that are none',
    modules: [
      body(
        'a',
        `const here = await step('here', () => 7)
         const add = task(async function add(x: number) { return x + here + y }, { concurrency_limit: 1000 })
         const first = await add(1)
         return [first, ...(await Promise.all([add(2), double(first), add(3)])), await step('end', () => here)]`,
        { y: 'Math.floor(100 + Math.random() * 0.5)' },
      ),
      give('b', 'results.a'),
    ],
    result: [108, 109, 216, 110, 7],
    ran: { a: 5 },
  },
  {
    name: 'a limited task that fails is an error of the body, and is tried again as a task is',
    modules: [
      body(
        'a',
        `const limited = (f, more = {}) => task(f, { concurrency_limit: 1000, ...more })
         const bad = limited(async function bad(x: number) { throw Object.assign(new RangeError('no ' + x), { code: 7 }) }, { retry: { attempts: 1 } })
         try { await bad(13) } catch (e) {
           const { name, message, extra } = e.result.error
           return [e.name, e.step_key, await double(1), name, message, extra]
         }`,
      ),
    ],
    result: ['TaskError', 'bad#2', 2, 'RangeError', 'no 13', { code: 7 }],
  },
  {
    name: 'limited scripts and flows by path, and a script that limits its own jobs',
    deploy: {
      'f/wac/limited': { script: 'export const main = (a: number, b = 10) => a + b', limits: { concurrent_limit: 2 } },
      'f/wac/plain': { script: 'export const main = (a: number) => a * 2' },
      'f/wac/ordered': { script: 'export const main = (a: number) => a', limits: { ordering_key: 'flow_input.a' } },
      'f/wac/limited_flow': { modules: [give('x', 'flow_input.n + 1')] },
    },
    modules: [
      body(
        'a',
        `const options = { concurrency_limit: 3, concurrency_key: 'wac-$args[a]', concurrency_time_window_s: 0.01 }
         const both = await Promise.all([
           taskScript('f/wac/limited')({ a: 1 }), taskScript('f/wac/limited', { concurrency_limit: 5 })({ a: 2 }),
           taskScript('f/wac/plain', options)({ a: 3 }), taskFlow('f/wac/limited_flow', options)({ n: 4 }),
           taskScript('f/wac/ordered')({ a: 5 }),
         ])
         try { await taskScript('f/wac/ordered', options)({ a: 6 }) } catch (e) { return [...both, e.result.error.name] }`,
      ),
    ],
    result: [11, 12, 6, 5, 5, 'OrderedInside'],
    ran: { x: 1 },
  },
  {
    name: 'a script that is a workflow with limited tasks, as a step and as a limited task of another one',
    deploy: {
      'f/wac/inner_limited': {
        script: `import { task, workflow } from 'windmill-client@1.818.0'
const twice = task(async function twice(x: number) { return x * 2 }, { concurrency_limit: 100 })
export const main = workflow(async (x: number) => (await twice(x)) + (await twice(1)))`,
        limits: { concurrent_limit: 100 },
      },
    },
    modules: [
      script('a', 'f/wac/inner_limited', { x: '5' }),
      body('b', "return [x, await taskScript('f/wac/inner_limited', { concurrency_limit: 9 })({ x: 3 })]", { x: 'results.a' }),
    ],
    result: [12, 8],
  },
  {
    name: 'a limited task has a time-out of its own, and its result is used again',
    modules: [
      body(
        'a',
        `const limited = { concurrency_limit: 1000 }
         const slow = task(async function slow() { await new Promise((done) => setTimeout(done, 60_000)) }, { ...limited, timeout: 0.2 })
         const draw = task(async function draw(x: number) { return x + Math.random() }, { ...limited, cache_ttl: 60 })
         const drawn = [await draw(1), await draw(1), await draw(2)]
         try { await slow() } catch (e) { return [e.result.error.name, drawn[0] === drawn[1], drawn[2] > 2] }`,
      ),
    ],
    result: ['TimeoutError', true, true],
  },
  {
    name: 'a limited task sees the value of a variable that its workflow is given by name',
    kept: { variables: { 'f/wac/key': 'open sesame' } },
    modules: [
      body('a', 'return [key, await task(async function t() { return key.length }, { concurrency_limit: 1000 })()]', {
        key: "'$var:f/wac/key'",
      }),
    ],
    result: ['open sesame', 11],
  },
  {
    name: 'limited tasks in parallel iterations, and a strict flow',
    modules: [
      each(
        'l',
        '[1, 2, 3]',
        [
          body(
            'a',
            "const keep = await step('s', () => x); return [keep, await task(async function t() { return x * 2 }, { concurrency_limit: 2 })()]",
            { x: 'flow_input.iter.value' },
          ),
        ],
        { parallel: true },
      ),
    ],
    value: { durability: 'strict' },
    result: [
      [1, 2],
      [2, 4],
      [3, 6],
    ],
  },
  {
    name: 'a limited task in a flow whose steps share a folder is told why it cannot be',
    modules: [
      body('a', 'try { await task(async function t() {}, { concurrency_limit: 2 })() } catch (e) { return e.result.error.name }'),
    ],
    value: { same_worker: true },
    result: 'NotShared',
  },
  {
    name: 'a task has a time-out of its own',
    modules: [
      body(
        'a',
        `const slow = task(async function slow() { await new Promise((done) => setTimeout(done, 60_000)) }, { timeout: 0.2 })
         try { await slow() } catch (e) { return e.result.error.name }`,
      ),
    ],
    result: 'TimeoutError',
  },
  {
    name: 'a body that does not do the same again is told so',
    modules: [body('a', 'globalThis.rounds = (globalThis.rounds ?? 0) + 1; if (globalThis.rounds !== 2) await double(1)')],
    status: 'failure',
    result: { error: { name: 'TaskError', step_id: 'a' } },
  },
]
