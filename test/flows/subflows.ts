// Flows and scripts that steps name by path.
import { ts } from '../support/engine.ts'
import { each, fail, failed, flow, give, script, type FlowCase } from './cases.ts'

const double = { modules: [give('a', 'flow_input.n * 2')] }
const add = { script: 'export const main = (a: number, b = 10) => a + b' }

export const subflows: FlowCase[] = [
  {
    name: 'a sub-flow gets its own input and gives its result',
    deploy: { 'f/double': double },
    modules: [flow('s', 'f/double', { n: 'flow_input.x' })],
    args: { x: 4 },
    result: 8,
  },
  {
    name: 'a sub-flow does not see the outer flow',
    deploy: { 'f/peek': { modules: [give('a', '[flow_input.x ?? null, results.o ?? null]')] } },
    modules: [give('o', '1'), flow('s', 'f/peek', { y: '2' })],
    args: { x: 4 },
    result: [null, null],
  },
  {
    name: 'the outer flow does not see inside',
    deploy: { 'f/double': double },
    modules: [flow('s', 'f/double', { n: '1' }), give('o', '[results.s, results.a ?? null]')],
    result: [2, null],
  },
  {
    name: 'step ids may be the same inside and outside',
    deploy: { 'f/double': double },
    modules: [give('a', '5'), flow('b', 'f/double', { n: 'results.a' }), give('c', 'results.a + results.b')],
    result: 15,
  },
  {
    name: 'sub-flows inside sub-flows',
    deploy: {
      'f/double': double,
      'f/four': { modules: [flow('d', 'f/double', { n: 'flow_input.n' }), flow('e', 'f/double', { n: 'results.d' })] },
    },
    modules: [flow('s', 'f/four', { n: '3' })],
    result: 12,
  },
  {
    name: 'a sub-flow in a loop',
    deploy: { 'f/double': double },
    modules: [each('l', '[1, 2]', [flow('s', 'f/double', { n: 'flow_input.iter.value' })], { parallel: true })],
    result: [2, 4],
  },
  {
    name: 'a loop in a sub-flow has its own iter',
    deploy: { 'f/loop': { modules: [each('l', 'flow_input.n', [give('i', 'flow_input.iter.value')])] } },
    modules: [each('o', '[[1], [2, 3]]', [flow('s', 'f/loop', { n: 'flow_input.iter.value' })])],
    result: [[1], [2, 3]],
  },
  {
    name: 'a failing sub-flow fails the flow',
    deploy: { 'f/bad': { modules: [fail('b')] } },
    modules: [flow('s', 'f/bad')],
    status: 'failure',
    result: failed('b'),
  },
  {
    name: 'a sub-flow’s own failure module',
    deploy: { 'f/handled': { modules: [fail('b')], value: { failure_module: give('failure', '"handled " + error.step_id') } } },
    modules: [flow('s', 'f/handled', {}, { continue_on_error: true }), give('c', 'results.s')],
    result: 'handled b',
  },
  {
    name: 'a retry of a sub-flow',
    deploy: { 'f/bad': { modules: [fail('b')] } },
    modules: [flow('s', 'f/bad', {}, { retry: { constant: { attempts: 2, seconds: 0 } } })],
    status: 'failure',
    result: failed('b'),
    ran: { b: 3 },
  },
  {
    name: 'an early stop inside a sub-flow ends that one only',
    deploy: { 'f/early': { modules: [give('a', '1', { stop_after_if: { expr: 'true' } }), give('b', '2')] } },
    modules: [flow('s', 'f/early'), give('c', '[results.s]')],
    result: [1],
    ran: { b: 0 },
  },
  {
    name: 'a sub-flow’s own flow_env',
    deploy: { 'f/env': { modules: [give('a', 'flow_env.K')], value: { flow_env: { K: 'inner' } } } },
    modules: [flow('s', 'f/env'), give('c', '[results.s, flow_env.K]')],
    value: { flow_env: { K: 'outer' } },
    result: ['inner', 'outer'],
  },
  {
    name: 'an empty sub-flow gives its input',
    deploy: { 'f/empty': { modules: [] } },
    modules: [flow('s', 'f/empty', { n: '1' })],
    result: { n: 1 },
  },
  {
    name: 'a skipped sub-flow',
    deploy: { 'f/skipped': { modules: [give('a', '1')], value: { skip_expr: 'true' } } },
    modules: [flow('s', 'f/skipped', { n: '1' }), give('c', '[results.s]')],
    result: [{ n: 1 }],
    ran: { a: 0 },
  },
  {
    name: 'a flow that is not there',
    modules: [flow('s', 'f/nowhere')],
    status: 'failure',
    result: { error: { name: 'NotFound', step_id: 's' } },
  },
  {
    name: 'input that throws',
    deploy: { 'f/double': double },
    modules: [flow('s', 'f/double', { n: 'flow_input.x.y()' })],
    status: 'failure',
    result: { error: { name: 'ExpressionError', step_id: 's' } },
  },
  {
    name: 'a flow that calls itself until it need not',
    deploy: {
      'f/down': {
        modules: [
          give('n', 'flow_input.n'),
          {
            id: 'c',
            value: {
              type: 'branchone',
              branches: [{ expr: 'flow_input.n > 0', modules: [flow('s', 'f/down', { n: 'flow_input.n - 1' })] }],
              default: [],
            },
          },
        ],
      },
    },
    modules: [flow('s', 'f/down', { n: '5' })],
    result: 0,
  },
  {
    name: 'a flow that calls itself without an end',
    deploy: { 'f/round': { modules: [flow('s', 'f/round')] } },
    modules: [flow('s', 'f/round')],
    status: 'failure',
    result: { error: { name: 'FlowsTooDeep' } },
  },
  { name: 'a script by path', deploy: { 'f/add': add }, modules: [script('s', 'f/add', { a: '1', b: '2' })], result: 3 },
  { name: 'a script’s own defaults', deploy: { 'f/add': add }, modules: [script('s', 'f/add', { a: '1' })], result: 11 },
  {
    name: 'a script in Python',
    deploy: { 'f/py': { script: 'def main(a):\n    return a * 3', language: 'python3' } },
    modules: [script('s', 'f/py', { a: '2' })],
    result: 6,
  },
  {
    name: 'a script in a parallel loop',
    deploy: { 'f/add': add },
    modules: [each('l', '[1, 2, 3]', [script('s', 'f/add', { a: 'flow_input.iter.value', b: '1' })], { parallel: true })],
    result: [2, 3, 4],
  },
  {
    name: 'a failing script',
    deploy: { 'f/throws': { script: 'export const main = () => { throw new Error("no") }' } },
    modules: [script('s', 'f/throws', {}, { retry: { constant: { attempts: 1, seconds: 0 } } })],
    status: 'failure',
    result: { error: { name: 'Error', message: 'no', step_id: 's' } },
    ran: { s: 2 },
  },
  {
    name: 'a script that is not there',
    modules: [script('s', 'f/nowhere')],
    status: 'failure',
    result: { error: { name: 'NotFound', step_id: 's' } },
  },
  {
    name: 'what a failure module knows of the error, and of its job',
    modules: [fail('b')],
    value: {
      failure_module: ts(
        'failure',
        `export const main = (error: Error & { step_id: string }, message: string) => [
          error.name, error.step_id, error.message === message, error.stack.includes('b failed'), process.env.WM_FLOW_JOB_ID.length,
        ]`,
        { error: 'error', message: 'previous_result.error.message' },
      ),
    },
    status: 'failure',
    result: ['TypeError', 'b', true, true, 36],
  },
  {
    name: 'a script as the failure module',
    deploy: { 'f/add': add },
    modules: [fail('b')],
    value: { failure_module: script('failure', 'f/add', { a: 'error.message.length', b: '0' }) },
    status: 'failure',
    result: 8,
  },
]
