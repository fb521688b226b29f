// branchone and branchall.
import { all, choose, each, fail, failed, give, same, type FlowCase } from './cases.ts'

const by = (value: unknown): FlowCase['args'] => ({ x: value }) as FlowCase['args']
const abc = { 'flow_input.x === 1': [give('b', '"one"')], 'flow_input.x > 0': [give('c', '"positive"')] }

export const branches: FlowCase[] = [
  { name: 'the first branch that holds', modules: [choose('a', abc)], args: by(1), result: 'one', ran: { b: 1, c: 0 } },
  { name: 'the second, if the first does not', modules: [choose('a', abc)], args: by(2), result: 'positive' },
  { name: 'the default', modules: [choose('a', abc, [give('d', '"default"')])], args: by(-1), result: 'default' },
  { name: 'an empty default passes on what was before', modules: [give('s', '5'), choose('a', abc)], args: by(-1), result: 5 },
  { name: 'no branch at all', modules: [give('s', '5'), choose('a', {}), give('e', 'results.a')], result: 5 },
  {
    name: 'any true value chooses',
    modules: [choose('a', { 'flow_input.x': [give('b', '1')] }, [give('c', '0')])],
    args: by('yes'),
    result: 1,
  },
  {
    name: 'a branch’s result is its last step’s',
    modules: [choose('a', { true: [give('b', '1'), give('c', 'results.b + 1')] })],
    result: 2,
  },
  {
    name: 'results.<branch> is that of the chosen branch',
    modules: [choose('a', { true: [give('b', '1')] }), give('c', '[results.a, results.b ?? null]')],
    result: [1, null],
  },
  {
    name: 'a branch sees what was before it',
    modules: [give('s', '7'), choose('a', { 'results.s === 7': [give('b', 'previous_result + results.s')] })],
    result: 14,
  },
  {
    name: 'previous_result decides',
    modules: [give('s', '[1]'), choose('a', { 'previous_result.length === 1': [give('b', '"yes"')] })],
    result: 'yes',
  },
  {
    name: 'a condition that throws fails the step',
    modules: [choose('a', { 'flow_input.x.y()': [give('b', '1')] })],
    status: 'failure',
    result: { error: { name: 'ExpressionError', step_id: 'a' } },
  },
  {
    name: 'a failing branch fails the flow',
    modules: [choose('a', { true: [fail('b')] })],
    status: 'failure',
    result: failed('b'),
  },
  {
    name: 'continue_on_error of the branch',
    modules: [choose('a', { true: [fail('b')] }, [], { continue_on_error: true }), give('c', 'results.a.error.message')],
    result: 'b failed',
  },
  {
    name: 'a retry of the branch chooses anew',
    modules: [choose('a', { true: [fail('b')] }, [], { retry: { constant: { attempts: 1, seconds: 0 } } })],
    status: 'failure',
    result: failed('b'),
    ran: { b: 2 },
  },
  {
    name: 'an early stop inside a branch stops the flow',
    modules: [choose('a', { true: [give('b', '1', { stop_after_if: { expr: 'true' } }), give('c', '2')] }), give('d', '3')],
    result: 1,
    ran: { c: 0, d: 0 },
  },
  {
    name: 'an early stop of the branch itself',
    modules: [choose('a', { true: [give('b', '1')] }, [], { stop_after_if: { expr: 'result === 1' } }), give('d', '3')],
    result: 1,
    ran: { d: 0 },
  },
  {
    name: 'branches inside branches',
    modules: [choose('a', { true: [choose('b', { false: [] }, [choose('c', { true: [give('d', '"deep"')] })])] })],
    result: 'deep',
  },
  {
    name: 'an inner branch sees results of the outer one',
    modules: [choose('a', { true: [give('b', '1'), choose('c', { 'results.b === 1': [give('d', 'results.b + 1')] })] })],
    result: 2,
  },
  {
    name: 'skip_if of a branch',
    modules: [give('s', '1'), choose('a', { true: [give('b', '2')] }, [], { skip_if: { expr: 'true' } })],
    result: 1,
    ran: { b: 0 },
  },
  {
    name: 'branchall gives one result per branch',
    modules: [all('a', [[give('b', '1')], [give('c', '2'), give('d', 'results.c + 1')]])],
    result: [1, 3],
  },
  { name: 'branchall without branches', modules: [all('a', [])], result: [] },
  { name: 'branchall with an empty branch', modules: [give('s', '9'), all('a', [[], [give('b', '1')]])], result: [9, 1] },
  {
    name: 'branchall, parallel',
    modules: [all('a', [[give('b', '1')], [give('c', '2')], [give('d', '3')]], true)],
    result: [1, 2, 3],
  },
  {
    name: 'a branch does not see the others',
    modules: [all('a', [[give('b', '1')], [give('c', 'results.b ?? null')]])],
    result: [1, null].map((one) => one),
  },
  {
    name: 'a failing branch ends branchall at once',
    modules: [all('a', [[fail('b')], [give('c', '2')]])],
    status: 'failure',
    result: failed('b'),
    ran: { c: 0 },
  },
  {
    name: 'skip_failure keeps the error in its place',
    modules: [all('a', [{ modules: [fail('b')], skip_failure: true }, [give('c', '2')]])],
    result: [failed('b'), 2],
  },
  {
    name: 'a failing branch of a parallel branchall: the others end too',
    modules: [all('a', [[fail('b')], [give('c', '2')]], true)],
    status: 'failure',
    result: [failed('b'), 2],
    ran: { c: 1 },
  },
  {
    name: 'skip_failure, parallel',
    modules: [all('a', [{ modules: [fail('b')], skip_failure: true }, [give('c', '2')]], true)],
    result: [failed('b'), 2],
  },
  {
    name: 'stop_after_all_iters_if of branchall',
    modules: [all('a', [[give('b', '1')]], false, { stop_after_all_iters_if: { expr: 'result[0] === 1' } }), give('c', '0')],
    result: [1],
    ran: { c: 0 },
  },
  {
    name: 'branchall inside a parallel loop',
    modules: [
      each('a', '[1, 2]', [all('b', [[give('c', 'flow_input.iter.value')], [same('d')]], true), give('e', 'results.b[0]')], {
        parallel: true,
      }),
    ],
    result: [1, 2],
  },
  {
    name: 'a loop inside a branch inside a loop',
    modules: [each('a', '[1, 2]', [choose('b', { true: [each('c', '[1, 2]', [give('d', 'flow_input.iter.value')])] })])],
    result: [
      [1, 2],
      [1, 2],
    ],
  },
  {
    name: 'a skipped flow runs nothing',
    modules: [give('a', '1')],
    value: { skip_expr: 'flow_input.x === 1' },
    args: by(1),
    status: 'skipped',
    result: { x: 1 },
    ran: { a: 0 },
  },
  {
    name: 'a flow whose skip_expr does not hold',
    modules: [give('a', '1')],
    value: { skip_expr: 'flow_input.x === 1' },
    args: by(2),
    result: 1,
  },
  {
    name: 'a failing skip_expr fails the flow',
    modules: [give('a', '1')],
    value: { skip_expr: 'flow_input.x.y()' },
    status: 'failure',
    result: { error: { name: 'ExpressionError' } },
  },
]
