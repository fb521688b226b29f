// suspend and sleep: what is waited for, what it gives, and what does not wait.
import type { FlowModule, Suspend } from '../../src/core/flow/definition.ts'
import { all, choose, each, fail, flow, give, js, repeat, same, type FlowCase } from './cases.ts'

/** A step that waits once it has given `expr`. */
function ask(id: string, suspend: Suspend = {}, more: Partial<FlowModule> = {}, expr = `'${id}'`): FlowModule {
  return give(id, expr, { suspend: { required_events: 1, ...suspend }, ...more })
}

const short = { timeout: 0.05 }
const refusal = { name: 'SuspendedDisapproved', step_id: 'a' }
const tooLate = { name: 'SuspendedTimedOut', step_id: 'a' }

export const waiting: FlowCase[] = [
  {
    name: 'the flow goes on with the answer as `resume`, and the step keeps its own result',
    modules: [ask('a'), give('b', '[resume.x, results.a, previous_result]')],
    answers: [{ to: 'a', payload: { x: 1 } }],
    result: [1, 'a', 'a'],
    ran: { a: 1, b: 1 },
  },
  {
    name: 'an answer without a payload is null',
    modules: [ask('a'), give('b', '[resume, resumes, approvers]')],
    answers: [{ to: 'a' }],
    result: [null, [null], []],
  },
  {
    name: 'a flow that has waited may come to nothing',
    modules: [ask('a', { result: 'resume' })],
    answers: [{ to: 'a' }],
    result: null,
  },
  {
    name: 'an answer to whatever waits',
    modules: [ask('a'), give('b', 'resume')],
    answers: [{ payload: 'any' }],
    result: 'any',
  },
  {
    name: 'an answer that comes before the step has begun counts when it waits',
    modules: [give('z', '0'), ask('a'), give('b', 'resume')],
    answers: [{ to: 2, early: true, payload: 'early' }],
    result: 'early',
  },
  {
    name: 'an early answer to whatever waits next counts for the first that does, and for no other',
    modules: [give('z', '0'), ask('a'), give('b', 'resume'), ask('c'), give('d', '[results.b, resume]')],
    answers: [
      { early: true, payload: 'first' },
      { to: 'c', payload: 'second' },
    ],
    result: ['first', 'second'],
  },
  {
    name: 'an answer to one step is none to another',
    modules: [ask('a', { ...short, on_timeout: { value: 'nobody' } }), ask('b'), give('c', '[results.a, resume]')],
    answers: [{ to: 2, early: true, payload: 'for b' }],
    result: ['nobody', 'for b'],
  },
  {
    name: 'several answers are waited for; resume is the last one, resumes all of them, oldest first',
    modules: [ask('a', { required_events: 3 }), give('b', '[resume, resumes, approvers]')],
    answers: [
      { to: 'a', payload: 1, approver: 'ann' },
      { to: 'a', payload: 2 },
      { to: 'a', payload: 3, approver: 'cid' },
    ],
    result: [3, [1, 2, 3], ['ann', 'cid']],
  },
  {
    name: 'early and late answers count together',
    modules: [ask('a', { required_events: 3 }), give('b', 'resumes')],
    answers: [
      { early: true, payload: 1 },
      { to: 1, early: true, payload: 2 },
      { to: 'a', payload: 3 },
    ],
    result: [1, 2, 3],
  },
  {
    name: 'an answer sent twice counts once',
    modules: [ask('a', { required_events: 2 }), give('b', 'resumes')],
    answers: [
      { to: 'a', id: 7, payload: 1 },
      { to: 'a', id: 7, payload: 'again' },
      { to: 'a', id: 8, payload: 2 },
    ],
    result: [1, 2],
  },
  {
    name: 'a refusal fails the flow',
    modules: [ask('a'), give('b', '1')],
    answers: [{ to: 'a', approved: false, approver: 'bob' }],
    status: 'failure',
    result: { error: { ...refusal, message: 'the approval was refused by bob' } },
    ran: { b: 0 },
  },
  {
    name: 'one refusal is enough, however many answers are asked for',
    modules: [ask('a', { required_events: 3 }), give('b', '1')],
    answers: [
      { to: 'a', payload: 1 },
      { to: 'a', approved: false },
    ],
    status: 'failure',
    result: { error: refusal },
  },
  {
    name: 'a refusal that came early',
    modules: [ask('a'), give('b', '1')],
    answers: [{ to: 1, early: true, approved: false }],
    status: 'failure',
    result: { error: refusal },
    ran: { a: 1, b: 0 },
  },
  {
    name: 'the failure module is told of a refusal',
    modules: [ask('a'), give('b', '1')],
    value: { failure_module: give('failure', 'error.name') },
    answers: [{ to: 'a', approved: false }],
    status: 'failure',
    result: 'SuspendedDisapproved',
  },
  {
    name: 'continue_on_error takes a refusal as the step’s result',
    modules: [ask('a', {}, { continue_on_error: true }), give('b', 'results.a.error.name')],
    answers: [{ to: 'a', approved: false }],
    result: 'SuspendedDisapproved',
  },
  {
    name: 'continue_on_disapprove_timeout: refused, the flow goes on, and the next step sees the error',
    modules: [ask('a', { continue_on_disapprove_timeout: true }), give('b', '[error.name, results.a, resume]')],
    answers: [{ to: 'a', approved: false, payload: 'why' }],
    result: ['SuspendedDisapproved', 'a', 'why'],
  },
  {
    name: 'no answer in time fails the flow',
    modules: [ask('a', short), give('b', '1')],
    status: 'failure',
    result: { error: { ...tooLate, message: 'no answer came within 0.05 s' } },
    ran: { b: 0 },
  },
  {
    name: 'too few answers in time',
    modules: [ask('a', { required_events: 2, timeout: 0.3 }), give('b', '1')],
    answers: [{ to: 1, early: true }],
    status: 'failure',
    result: { error: tooLate },
  },
  {
    name: 'continue_on_disapprove_timeout: too late, the flow goes on, and the next step sees the error',
    modules: [ask('a', { ...short, continue_on_disapprove_timeout: true }), give('b', '[error.name, resume]')],
    result: ['SuspendedTimedOut', null],
  },
  {
    name: 'on_timeout gives the value the flow goes on with',
    modules: [ask('a', { ...short, on_timeout: { value: { x: 'nobody' } } }), give('b', '[results.a.x, previous_result.x]')],
    result: ['nobody', 'nobody'],
  },
  {
    name: 'on_timeout says nothing of a refusal',
    modules: [ask('a', { on_timeout: { value: 1 } }), give('b', '1')],
    answers: [{ to: 'a', approved: false }],
    status: 'failure',
    result: { error: refusal },
  },
  {
    name: 'result: resume makes the answer the step’s result',
    modules: [ask('a', { result: 'resume' }), give('b', 'results.a.ok')],
    answers: [{ to: 'a', payload: { ok: 'yes' } }],
    result: 'yes',
  },
  {
    name: 'result: resume of several answers is their list',
    modules: [ask('a', { result: 'resume', required_events: 2 }), same('b')],
    answers: [
      { to: 'a', payload: 1 },
      { to: 'a', payload: 2 },
    ],
    result: [1, 2],
  },
  {
    name: 'the last step waits for nobody',
    modules: [give('a', '1'), ask('b')],
    result: 'b',
  },
  {
    name: 'the last step waits where its result is the answer',
    modules: [give('a', '1'), ask('b', { result: 'resume' })],
    answers: [{ to: 'b', payload: 'answer' }],
    result: 'answer',
  },
  {
    name: 'a skipped step waits for nobody',
    modules: [ask('a', {}, { skip_if: { expr: 'true' } }), give('b', '1')],
    result: 1,
    ran: { a: 0, b: 1 },
  },
  {
    name: 'required_events of 0 waits for nobody',
    modules: [ask('a', { required_events: 0 }), give('b', '1')],
    result: 1,
  },
  {
    name: 'an early stop waits for nobody',
    modules: [ask('a', {}, { stop_after_if: { expr: 'true' } }), give('b', '1')],
    result: 'a',
    ran: { b: 0 },
  },
  {
    name: 'a step that failed waits for nobody',
    modules: [fail('a', 'true', { suspend: { required_events: 1 }, continue_on_error: true }), give('b', '1')],
    result: 1,
  },
  {
    name: 'a retried step waits once, after the attempt that worked',
    modules: [
      {
        ...fail('a', 'false'),
        retry: { constant: { attempts: 2, seconds: 0 } },
        suspend: { required_events: 1 },
      },
      give('b', 'resume'),
    ],
    answers: [{ to: 'a', payload: 'once' }],
    result: 'once',
  },
  {
    name: 'a branch is chosen by the answer',
    modules: [
      ask('a'),
      choose('b', { "resume.choice === 'left'": [give('l', '"left"')], "approvers[0] === 'bob'": [give('r', '"right"')] }),
    ],
    answers: [{ to: 'a', payload: { choice: 'right' }, approver: 'bob' }],
    result: 'right',
  },
  {
    name: 'skip_if and stop_after_if see the answer',
    modules: [
      ask('a'),
      give('b', '1', { skip_if: { expr: 'resume.skip' } }),
      give('c', '2', { stop_after_if: { expr: 'resume.stop' } }),
      give('d', '3'),
    ],
    answers: [{ to: 'a', payload: { skip: true, stop: true } }],
    result: 2,
    ran: { b: 0, d: 0 },
  },
  {
    name: 'steps inside a branch see the answer before it',
    modules: [ask('a'), choose('b', { true: [give('c', 'resume')] })],
    answers: [{ to: 'a', payload: 5 }],
    result: 5,
  },
  {
    name: 'a step without code waits too',
    modules: [same('a', { suspend: { required_events: 1 } }), give('b', '[resume, results.a.x]')],
    args: { x: 4 },
    answers: [{ to: 'a', payload: 5 }],
    result: [5, 4],
  },
  {
    name: 'branches wait at the same time, each for its own answer',
    modules: [
      all(
        'p',
        [
          [ask('a'), give('x', 'resume')],
          [ask('b'), give('y', 'resume')],
        ],
        true,
      ),
    ],
    answers: [
      { to: 'b', payload: 'for b' },
      { to: 'a', payload: 'for a' },
    ],
    result: ['for a', 'for b'],
  },
  {
    name: 'of branches that wait, the one that has waited longest takes an answer to whatever waits',
    modules: [
      all(
        'p',
        [
          [ask('s'), ask('a'), give('x', 'resume')],
          [ask('b'), give('y', 'resume')],
        ],
        true,
      ),
    ],
    answers: [
      { to: 's', once: 'b' },
      { once: 'a', payload: 'any' },
      { to: 'a', payload: 'for a' },
    ],
    result: ['for a', 'any'],
  },
  {
    name: 'a branch that waits keeps nobody else from going on',
    modules: [
      all(
        'p',
        [
          [ask('a'), give('x', 'resume')],
          [give('b', '1'), give('y', '2')],
        ],
        true,
      ),
    ],
    answers: [{ to: 'a', payload: 'done' }],
    result: ['done', 2],
  },
  {
    name: 'a parallel branch whose wait is refused fails the step, once the others are over',
    modules: [
      all(
        'p',
        [
          [ask('a'), give('x', '1')],
          [ask('b'), give('y', '2')],
        ],
        true,
      ),
      give('c', '3'),
    ],
    answers: [{ to: 'a', approved: false }, { to: 'b' }],
    status: 'failure',
    result: [{ error: refusal }, 2],
    ran: { x: 0, y: 1, c: 0 },
  },
  {
    name: 'each iteration waits for its own answer',
    modules: [each('l', '[1, 2]', [ask('a'), give('b', '[flow_input.iter.value, resume]')])],
    answers: [
      { to: 'a', payload: 'one' },
      { to: 'a', payload: 'two' },
    ],
    result: [
      [1, 'one'],
      [2, 'two'],
    ],
  },
  {
    name: 'parallel iterations wait together, and are answered in any order',
    modules: [each('l', '[1, 2, 3]', [ask('a'), give('b', '[flow_input.iter.value, resume]')], { parallel: true })],
    answers: [
      { to: 'a', nth: 2, payload: 'three' },
      { to: 'a', nth: 1, payload: 'two' },
      { to: 'a', nth: 0, payload: 'one' },
    ],
    result: [
      [1, 'one'],
      [2, 'two'],
      [3, 'three'],
    ],
  },
  {
    name: 'a loop waits once, after its last iteration',
    modules: [
      each('l', '[1, 2]', [give('a', 'flow_input.iter.value')], {}, { suspend: { required_events: 1 } }),
      give('b', '[results.l, resume]'),
    ],
    answers: [{ to: 'l', payload: 'go' }],
    result: [[1, 2], 'go'],
  },
  {
    name: 'a while loop goes on until an answer ends it',
    modules: [
      repeat('l', [ask('a', { result: 'resume' })], {}, { stop_after_if: { expr: 'result.enough' } }),
      give('b', 'results.l.length'),
    ],
    answers: [
      { to: 'a', payload: { enough: false } },
      { to: 'a', payload: { enough: false } },
      { to: 'a', payload: { enough: true } },
    ],
    result: 3,
  },
  {
    name: 'a step of a sub-flow waits, and what is after the sub-flow does not see its answer',
    modules: [flow('f', 'waiting/inner'), give('b', '[results.f, resume]')],
    deploy: { 'waiting/inner': { modules: [ask('a'), give('c', '[resume, flow_input.x ?? null]')] } },
    answers: [{ to: 'a', payload: 'in' }],
    result: [['in', null], null],
  },
  {
    name: 'a sub-flow that is tried again waits again',
    modules: [flow('f', 'waiting/again', {}, { retry: { constant: { attempts: 1, seconds: 0 } } })],
    deploy: { 'waiting/again': { modules: [ask('a'), give('c', 'resume')] } },
    answers: [
      { to: 'a', approved: false },
      { to: 'a', payload: 'now' },
    ],
    result: 'now',
  },
  {
    name: 'a strict flow waits too',
    modules: [ask('a'), give('b', 'resume'), ask('c'), give('d', '[results.b, resume]')],
    value: { durability: 'strict' },
    answers: [
      { to: 'a', payload: 1 },
      { to: 'c', payload: 2 },
    ],
    result: [1, 2],
  },
  {
    name: 'user_auth_required: whoever answered early without being logged in does not count',
    modules: [ask('a', { user_auth_required: true }), give('b', 'resumes')],
    answers: [
      { early: true, payload: 'nobody' },
      { to: 1, early: true, approved: false },
      { to: 'a', payload: 'eve', account: 'eve' },
    ],
    result: ['eve'],
  },
  {
    name: 'self_approval_disabled: nor does whoever started the job',
    modules: [ask('a', { self_approval_disabled: true }), give('b', 'resumes'), ask('c'), give('d', '[results.b, resume]')],
    answers: [
      { early: true, payload: 'own', account: 'test' },
      { to: 'a', payload: 'eve', account: 'eve' },
    ],
    result: [['eve'], 'own'],
  },
  {
    name: 'user_groups_required: early answers count if their senders were in one of the groups',
    modules: [ask('a', { user_groups_required: { type: 'static', value: ['ops', 'legal'] } }), give('b', 'resumes')],
    answers: [
      { early: true, payload: 'nobody' },
      { early: true, payload: 'ann', account: 'ann' },
      { to: 1, early: true, payload: 'bob', account: 'bob', groups: ['sales'] },
      { to: 'a', payload: 'eve', account: 'eve', groups: ['legal', 'sales'] },
    ],
    result: ['eve'],
  },
  {
    name: 'which groups, an expression may say, of what the step has given',
    modules: [
      ask('a', { user_groups_required: js('[result.who, flow_input.also]') }, {}, '({ who: "ops" })'),
      give('b', '[resumes, approvers]'),
    ],
    args: { also: 'legal' },
    answers: [
      { to: 'a', approved: false, account: 'eve', groups: ['sales'] },
      { to: 'a', payload: 1, account: 'ann', approver: 'ann', groups: ['ops'] },
    ],
    result: [[1], ['ann']],
  },
  {
    name: 'the groups of one wait are not those of the next',
    modules: [
      ask('a', { user_groups_required: { type: 'static', value: ['ops'] } }),
      ask('b', { user_groups_required: { type: 'static', value: ['legal'] } }),
      ask('c'),
      give('d', 'resume'),
    ],
    answers: [
      { early: true, payload: 'for b', account: 'eve', groups: ['legal'] },
      { to: 'a', account: 'ann', groups: ['ops'] },
      { to: 'c', payload: 'anyone' },
    ],
    result: 'anyone',
  },
  {
    name: 'every member is in the group all; no group is asked for with an empty list: both ask for a login',
    modules: [
      ask('a', { user_groups_required: { type: 'static', value: ['all'] } }),
      give('b', 'resume'),
      ask('c', { user_groups_required: js('[]') }),
      give('d', '[results.b, resume]'),
    ],
    answers: [
      { early: true, payload: 'nobody' },
      { to: 'a', payload: 'ann', account: 'ann' },
      { to: 'c', payload: 'eve', account: 'eve' },
    ],
    result: ['ann', 'eve'],
  },
  {
    name: 'user_groups_required with self_approval_disabled: a member of the group who did not start the job',
    modules: [
      ask('a', { user_groups_required: { type: 'static', value: ['ops'] }, self_approval_disabled: true }),
      give('b', 'resumes'),
    ],
    answers: [
      { to: 'a', payload: 'own', account: 'test', groups: ['ops'] },
      { to: 'a', payload: 'other', account: 'eve' },
      { to: 'a', payload: 'ann', account: 'ann', groups: ['ops'] },
    ],
    result: ['ann'],
  },
  {
    name: 'each iteration asks for its own groups',
    modules: [
      each('l', '["ops", "legal"]', [
        ask('a', { user_groups_required: js('[flow_input.iter.value]') }),
        give('b', '[flow_input.iter.value, resume]'),
      ]),
    ],
    answers: [
      { to: 'a', payload: 1, account: 'ann', groups: ['ops'] },
      { to: 'a', payload: 2, account: 'eve', groups: ['legal'] },
    ],
    result: [
      ['ops', 1],
      ['legal', 2],
    ],
  },
  {
    name: 'groups that are no list of names fail the step, which says so',
    modules: [ask('a', { user_groups_required: js('flow_input.who') }), give('b', '1')],
    args: { who: 'ops' },
    status: 'failure',
    result: {
      error: {
        name: 'ExpressionError',
        message: 'user_groups_required is "ops"; it must be a list of names of groups, as ["ops"], 100 at most',
        step_id: 'a',
      },
    },
    ran: { a: 1, b: 0 },
  },
  {
    name: 'so do groups that an expression throws at; continue_on_error takes that as the step’s result',
    modules: [
      ask('a', { user_groups_required: js('result.x.y') }, { continue_on_error: true }),
      give('b', 'results.a.error.name'),
    ],
    result: 'ExpressionError',
  },
  {
    name: 'sleep is a pause after the step',
    modules: [give('a', 'Date.now()', { sleep: 0.2 }), give('b', 'Date.now() - results.a >= 200')],
    result: true,
  },
  {
    name: 'a sleep that is longer gives the worker back',
    modules: [give('a', 'Date.now()', { sleep: 1.2 }), give('b', 'Date.now() - results.a >= 1200')],
    result: true,
    ran: { a: 1 },
  },
  {
    name: 'how long, an expression may say',
    modules: [
      give('a', '({ at: Date.now(), s: 0.1 })', { sleep: js('result.s') }),
      give('b', 'Date.now() - results.a.at >= 100'),
    ],
    result: true,
  },
  { name: 'a sleep of 0 is none', modules: [give('a', '1', { sleep: 0 }), give('b', '2')], result: 2 },
  {
    name: 'a skipped step does not sleep',
    modules: [give('a', '1', { skip_if: { expr: 'true' }, sleep: 3_600 }), give('b', '2')],
    result: 2,
  },
  {
    name: 'a sleep that is no number fails the step',
    modules: [give('a', '"long"', { sleep: js('result') }), give('b', '2')],
    status: 'failure',
    result: { error: { name: 'ExpressionError', step_id: 'a' } },
    ran: { b: 0 },
  },
  {
    name: 'a step that waits and sleeps does so in this order',
    modules: [ask('a', {}, { sleep: 0.2 }), give('b', 'Date.now() - resume.at >= 200')],
    answers: [{ to: 'a', payload: { at: 0 } }],
    result: true,
  },
  {
    name: 'each iteration sleeps',
    modules: [
      give('z', 'Date.now()'),
      each('l', '[1, 2]', [give('a', '1', { sleep: 0.1 }), give('b', '2')]),
      give('c', 'Date.now() - results.z >= 200'),
    ],
    result: true,
  },
]
