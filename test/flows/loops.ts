// For loops and while loops.
import { choose, each, fail, failed, give, repeat, same, type FlowCase } from './cases.ts'

const numbers = { items: [1, 2, 3] }
const double = give('b', 'flow_input.iter.value * 2')

export const loops: FlowCase[] = [
  {
    name: 'a loop gives the results of its iterations in order',
    modules: [each('a', 'flow_input.items', [double])],
    args: numbers,
    result: [2, 4, 6],
  },
  { name: 'over a literal', modules: [each('a', '["x", "y"]', [give('b', 'flow_input.iter.value')])], result: ['x', 'y'] },
  { name: 'over what an earlier step gave', modules: [give('s', '[5, 6]'), each('a', 'results.s', [double])], result: [10, 12] },
  {
    name: 'over what code computes',
    modules: [each('a', 'flow_input.items.map((x) => x + 1)', [double])],
    args: numbers,
    result: [4, 6, 8],
  },
  { name: 'over nothing', modules: [each('a', '[]', [double])], result: [] },
  { name: 'over nothing, then on', modules: [each('a', '[]', [double]), give('c', 'results.a.length')], result: 0 },
  {
    name: 'iter.index counts from 0',
    modules: [each('a', '["x", "y", "z"]', [give('b', 'flow_input.iter.index')])],
    result: [0, 1, 2],
  },
  {
    name: 'a body sees the flow’s own input',
    modules: [each('a', 'flow_input.items', [give('b', 'flow_input.k + flow_input.iter.value')])],
    args: { items: [1, 2], k: 10 },
    result: [11, 12],
  },
  {
    name: 'iter hides an argument of that name',
    modules: [each('a', '[7]', [give('b', 'flow_input.iter.value')]), give('c', '[results.a, flow_input.iter]')],
    args: { iter: 'mine' },
    result: [[7], 'mine'],
  },
  {
    name: 'a body sees results of steps before the loop',
    modules: [give('s', '100'), each('a', '[1, 2]', [give('b', 'results.s + flow_input.iter.value')])],
    result: [101, 102],
  },
  {
    name: 'a body sees results of its own iteration',
    modules: [each('a', '[1, 2]', [double, give('c', 'results.b + 1')])],
    result: [3, 5],
  },
  {
    name: 'an iteration does not see those of another',
    modules: [each('a', '[1, 2]', [give('c', 'results.b ?? null'), give('b', '9')])],
    result: [9, 9],
    ran: { c: 2 },
  },
  {
    name: 'results inside a loop are not seen after it',
    modules: [each('a', '[1]', [double]), give('c', '[results.b ?? null, results.a]')],
    result: [null, [2]],
  },
  {
    name: 'previous_result of the first step of a body is that of the loop',
    modules: [give('s', '"before"'), each('a', '[1, 2]', [give('b', 'previous_result')])],
    result: ['before', 'before'],
  },
  {
    name: 'previous_result after a loop is the list',
    modules: [each('a', '[1, 2]', [double]), give('c', 'previous_result')],
    result: [2, 4],
  },
  { name: 'an empty body gives what was before', modules: [give('s', '5'), each('a', '[1, 2]', [])], result: [5, 5] },
  {
    name: 'items of any kind',
    modules: [each('a', '[null, "ü", {"x": [1]}, 1.5]', [give('b', 'flow_input.iter.value')])],
    result: [null, 'ü', { x: [1] }, 1.5],
  },
  {
    name: 'nested loops: the inner iter is the inner one’s',
    modules: [each('a', '[[1, 2], [3]]', [each('b', 'flow_input.iter.value', [give('c', 'flow_input.iter.value * 10')])])],
    result: [[10, 20], [30]],
  },
  {
    name: 'nested loops: the outer item by a step',
    modules: [
      each('a', '[10, 20]', [
        give('o', 'flow_input.iter.value'),
        each('b', '[1, 2]', [give('c', 'results.o + flow_input.iter.value')]),
      ]),
    ],
    result: [
      [11, 12],
      [21, 22],
    ],
  },
  {
    name: 'loops three deep',
    modules: [each('a', '[1, 2]', [each('b', '[1, 2]', [each('c', '[1, 2]', [give('d', 'flow_input.iter.index')])])])],
    result: [
      [
        [0, 1],
        [0, 1],
      ],
      [
        [0, 1],
        [0, 1],
      ],
    ],
  },
  {
    name: 'an iterator that gives no array fails the loop',
    modules: [each('a', 'flow_input.x', [double])],
    args: { x: 5 },
    status: 'failure',
    result: { error: { name: 'ExpressionError', step_id: 'a' } },
  },
  {
    name: 'an iterator that throws fails the loop',
    modules: [each('a', 'flow_input.x.y.z()', [double])],
    status: 'failure',
    result: { error: { name: 'ExpressionError', step_id: 'a' } },
  },
  {
    name: 'a failed iteration fails the flow with its error',
    modules: [each('a', '[1, 2, 3]', [fail('b', 'flow_input.iter.value === 2')])],
    status: 'failure',
    result: failed('b'),
    ran: { b: 2 },
  },
  {
    name: 'skip_failures keeps the error in its place',
    modules: [each('a', '[1, 2, 3]', [fail('b', 'flow_input.iter.value === 2')], { skip_failures: true })],
    result: ['fine', failed('b'), 'fine'],
  },
  {
    name: 'continue_on_error of a body’s step',
    modules: [
      each('a', '[1, 2]', [
        fail('b', 'flow_input.iter.value === 1', { continue_on_error: true }),
        give('c', 'error?.message ?? "none"'),
      ]),
    ],
    result: ['b failed', 'none'],
  },
  {
    name: 'continue_on_error of the loop',
    modules: [each('a', '[1]', [fail('b')], {}, { continue_on_error: true }), give('c', 'previous_result.error.message')],
    result: 'b failed',
  },
  {
    name: 'a retry inside a body',
    modules: [
      each('a', '[1, 2]', [fail('b', 'flow_input.iter.value === 2', { retry: { constant: { attempts: 2, seconds: 0 } } })]),
    ],
    status: 'failure',
    result: failed('b'),
    ran: { b: 4 },
  },
  {
    name: 'a retry of the loop begins it anew',
    modules: [
      each('a', '[1, 2]', [fail('b', 'flow_input.iter.value === 2')], {}, { retry: { constant: { attempts: 1, seconds: 0 } } }),
    ],
    status: 'failure',
    result: failed('b'),
    ran: { b: 4 },
  },
  {
    name: 'skip_if of the loop',
    modules: [give('s', '1'), each('a', '[1, 2]', [double], {}, { skip_if: { expr: 'results.s === 1' } })],
    result: 1,
    ran: { b: 0 },
  },
  {
    name: 'skip_if of a body’s step',
    modules: [each('a', '[1, 2]', [give('b', '"did"', { skip_if: { expr: 'flow_input.iter.value === 1' } })])],
    result: [null, 'did'].map((one, index) => (index === 0 ? {} : one)),
  },
  {
    name: 'stop_after_if of a body’s step breaks the loop',
    modules: [
      each('a', '[1, 2, 3]', [
        give('b', 'flow_input.iter.value', { stop_after_if: { expr: 'result === 2' } }),
        give('c', 'results.b * 10'),
      ]),
    ],
    result: [10, 2],
    ran: { b: 2, c: 1 },
  },
  {
    name: 'stop_after_if of a body’s step, then the flow goes on',
    modules: [
      each('a', '[1, 2, 3]', [give('b', 'flow_input.iter.value', { stop_after_if: { expr: 'result === 1' } })]),
      give('c', '[results.a]'),
    ],
    result: [[1]],
  },
  {
    name: 'stop_after_if of the loop is asked after each iteration',
    modules: [each('a', '[1, 2, 3]', [double], {}, { stop_after_if: { expr: 'result >= 4' } })],
    result: [2, 4],
    ran: { b: 2 },
  },
  {
    name: 'all_iters in stop_after_if of the loop',
    modules: [each('a', '[1, 2, 3, 4]', [double], {}, { stop_after_if: { expr: 'all_iters.length === 3' } })],
    result: [2, 4, 6],
  },
  {
    name: 'iter in stop_after_if of the loop',
    modules: [
      each('a', '["x", "y", "z"]', [double], {}, { stop_after_if: { expr: 'flow_input.iter.index === 0' } }),
      give('c', 'results.a.length'),
    ],
    result: 1,
  },
  {
    name: 'stop_after_if of the loop with an error',
    modules: [each('a', '[1, 2]', [double], {}, { stop_after_if: { expr: 'result === 2', error_message: 'enough' } })],
    status: 'failure',
    result: { error: { name: 'EarlyStop', message: 'enough' } },
  },
  {
    name: 'stop_after_all_iters_if ends the flow',
    modules: [each('a', '[1, 2]', [double], {}, { stop_after_all_iters_if: { expr: 'result.length === 2' } }), give('c', '0')],
    result: [2, 4],
    ran: { c: 0 },
  },
  {
    name: 'stop_after_all_iters_if that does not hold',
    modules: [each('a', '[1, 2]', [double], {}, { stop_after_all_iters_if: { expr: 'all_iters.length === 3' } }), give('c', '0')],
    result: 0,
  },
  {
    name: 'stop_after_all_iters_if marks the job skipped',
    modules: [
      each('a', '[1]', [double], {}, { stop_after_all_iters_if: { expr: 'true', skip_if_stopped: true } }),
      give('c', '0'),
    ],
    status: 'skipped',
    result: [2],
  },
  {
    name: 'an early stop three loops deep breaks the innermost',
    modules: [
      each('a', '[1, 2]', [
        each('b', '[1, 2, 3]', [give('c', 'flow_input.iter.value', { stop_after_if: { expr: 'result === 2' } })]),
      ]),
    ],
    result: [
      [1, 2],
      [1, 2],
    ],
  },
  {
    name: 'parallel: results in the order of the items',
    modules: [each('a', '[1, 2, 3, 4]', [double], { parallel: true })],
    result: [2, 4, 6, 8],
  },
  {
    name: 'parallel, two at a time',
    modules: [each('a', '[1, 2, 3, 4, 5]', [double], { parallel: true, parallelism: 2 })],
    result: [2, 4, 6, 8, 10],
  },
  {
    name: 'parallelism of an expression',
    modules: [each('a', '[1, 2, 3]', [double], { parallel: true, parallelism: { type: 'javascript', expr: 'flow_input.p' } })],
    args: { p: 2 },
    result: [2, 4, 6],
  },
  {
    name: 'parallelism that is no number',
    modules: [each('a', '[1]', [double], { parallel: true, parallelism: { type: 'javascript', expr: '"many"' } })],
    status: 'failure',
    result: { error: { name: 'ExpressionError', step_id: 'a' } },
  },
  { name: 'parallel over nothing', modules: [each('a', '[]', [double], { parallel: true })], result: [] },
  {
    name: 'parallel with a failure: all are waited for, and the list has the error',
    modules: [each('a', '[1, 2, 3]', [fail('b', 'flow_input.iter.value === 1')], { parallel: true })],
    status: 'failure',
    result: [failed('b'), 'fine', 'fine'],
    ran: { b: 3 },
  },
  {
    name: 'parallel with skip_failures',
    modules: [each('a', '[1, 2]', [fail('b', 'flow_input.iter.value === 1')], { parallel: true, skip_failures: true })],
    result: [failed('b'), 'fine'],
  },
  {
    name: 'several failures of a parallel loop are one error',
    modules: [
      each('a', '[1, 2, 3]', [fail('b', 'flow_input.iter.value > 1')], { parallel: true }, { continue_on_error: true }),
      give('c', '[error.name, error.errors.length]'),
    ],
    result: ['MultipleErrors', 2],
  },
  {
    name: 'parallel loops inside a parallel loop',
    modules: [
      each('a', '[1, 2]', [each('b', '[1, 2]', [give('c', 'flow_input.iter.index')], { parallel: true })], { parallel: true }),
    ],
    result: [
      [0, 1],
      [0, 1],
    ],
  },
  {
    name: 'a while loop until a step stops it',
    modules: [repeat('a', [give('b', 'flow_input.iter.index', { stop_after_if: { expr: 'result === 3' } })])],
    result: [0, 1, 2, 3],
  },
  {
    name: 'a while loop until its own condition',
    modules: [repeat('a', [give('b', 'flow_input.iter.value')], {}, { stop_after_if: { expr: 'all_iters.length >= 2' } })],
    result: [0, 1],
  },
  {
    name: 'a while loop that fails',
    modules: [repeat('a', [fail('b', 'flow_input.iter.index === 1')])],
    status: 'failure',
    result: failed('b'),
  },
  {
    name: 'a while loop that skips failures',
    modules: [
      repeat(
        'a',
        [
          fail('b', 'flow_input.iter.index === 0'),
          give('c', 'flow_input.iter.index', { stop_after_if: { expr: 'result === 1' } }),
        ],
        { skip_failures: true },
      ),
    ],
    result: [failed('b'), 1],
  },
  {
    name: 'no state is carried between iterations of a while loop',
    modules: [
      repeat('a', [
        give('c', 'results.b ?? "none"'),
        give('b', 'flow_input.iter.index', { stop_after_if: { expr: 'result === 1' } }),
      ]),
    ],
    result: [0, 1],
  },
  {
    name: 'a while loop inside a for loop',
    modules: [
      each('a', '[1, 2]', [
        give('n', 'flow_input.iter.value'),
        repeat('b', [give('c', 'flow_input.iter.index', { stop_after_if: { expr: 'result >= results.n' } })]),
      ]),
    ],
    result: [
      [0, 1],
      [0, 1, 2],
    ],
  },
  {
    name: 'a branch inside a loop',
    modules: [
      each('a', '[1, 2]', [choose('b', { 'flow_input.iter.value === 1': [give('c', '"one"')] }, [give('d', '"other"')])]),
    ],
    result: ['one', 'other'],
  },
  {
    name: 'a thousand iterations',
    modules: [
      give('s', 'Array.from({ length: 1000 }, (_, i) => i)'),
      each('a', 'results.s', [same('b')]),
      give('c', 'results.a.length'),
    ],
    result: 1_000,
  },
  {
    name: 'the failure module sees which step of a body failed',
    modules: [each('a', '[1]', [fail('b')])],
    value: { failure_module: give('failure', 'error.step_id') },
    status: 'failure',
    result: 'b',
  },
  { name: 'squash is accepted', modules: [each('a', '[1]', [double], { squash: true })], result: [2] },
]
