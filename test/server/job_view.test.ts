// flow_status and what is inside of a job, told from its flow and its records.
import { describe, expect, test } from 'vitest'
import type { FlowModule, FlowValue, Retry } from '../../src/core/flow/definition.ts'
import { planOfPart } from '../../src/core/flow/apart.ts'
import type { AttemptPast } from '../../src/core/flow/history.ts'
import { printRecord, type JobRecord } from '../../src/core/flow/records.ts'
import { stepIdOf } from '../../src/core/job/ids.ts'
import type { JobRow } from '../../src/store/job_reads.ts'
import { flowStatusOf, type FlowStatus } from '../../src/server/flow_status.ts'
import { recordsOf } from '../../src/server/histories.ts'
import { attemptText, jobText, listText, objectText } from '../../src/server/job_view.ts'
import { driven, historyOf, partIdOf, planOf, takenApart, type Driven } from '../core/flow/drive.ts'
import { all, choose, each, flow, js, repeat, same } from '../flows/cases.ts'

const id = '01a20555-2c4b-7000-b7ca-3658ce450000'
const s = (n: number): string => stepIdOf(id, n)

const retry: Retry = { constant: { attempts: 2, seconds: 1 } }
const plain = planOf([same('a'), same('b', { retry }), same('c', { continue_on_error: true }), same('d')], {
  failure_module: same('failure'),
})

const running: JobRow = {
  id,
  versionId: '7',
  path: 'f/test/flow',
  kind: 'flow',
  tag: 'flow',
  state: 'running',
  status: null,
  priority: 0,
  workerId: 1,
  lost: 0,
  createdBy: 'admin',
  runAt: null,
  startedAt: new Date(0),
  completedAt: null,
  parentId: null,
  part: null,
  canceledBy: null,
  canceledReason: null,
  deleted: null,
  trace: null,
  replayOf: null,
  fromStep: null,
  fromSlot: null,
  replayedAs: null,
  args: '{}',
  result: null,
  steps: '[]',
  value: '{"modules":[]}',
  progress: null,
  userStates: null,
}
const ended = { status: 'failure', state: 'done', completedAt: new Date(5), result: '{"error":{}}' } as const

function statusOf(records: JobRecord[], more: Partial<JobRow> = {}, of: Driven = { plan: plain }): FlowStatus {
  const history = historyOf(records, of)
  expect(history.broken).toBeNull()
  const job = { ...running, ...more }
  const text = jobText(job, 'main', '', history)
  return (JSON.parse(text) as { flow_status: FlowStatus }).flow_status
}

/** The status of the job, of what it has run so far. */
const statusNow = (of: Driven, more: Partial<JobRow> = {}): FlowStatus => statusOf(driven(of).records, more, of)

const ok = (n: number, step: string): JobRecord => ({ k: 'ok', n, s: step, at: 1, ms: 1, v: '1' })
const err = (n: number, step: string): JobRecord => ({
  k: 'err',
  n,
  s: step,
  at: 1,
  ms: 1,
  e: { name: 'Error', message: 'x' },
})
const wake = (step: string): JobRecord => ({ k: 'wake', s: step })
const later = (step: string): object => ({ type: 'WaitingForPriorSteps', id: step })

describe('a flow', () => {
  test('in the queue waits for a worker', () => {
    expect(statusOf([], { state: 'ready', startedAt: null })).toEqual({
      step: 0,
      modules: [{ type: 'WaitingForExecutor', id: 'a' }, later('b'), later('c'), later('d')],
      failure_module: later('failure'),
    })
  })

  test('under way shows the step that runs, under the id it has', () => {
    expect(statusOf([ok(1, 'a')])).toMatchObject({
      step: 1,
      modules: [{ type: 'Success', job: s(1) }, { type: 'InProgress', id: 'b', job: s(2) }, later('c'), later('d')],
    })
  })

  test('that tries again shows what failed so far, and that it waits', () => {
    const tried = [ok(1, 'a'), err(2, 'b'), wake('b'), err(3, 'b')]
    const waits = { type: 'WaitingForExecutor', id: 'b', job: s(3), failed_retries: [s(2)] }
    const fails = { fail_count: 2, failed_jobs: [s(2), s(3)] }
    expect(statusOf(tried, { state: 'parked' })).toMatchObject({ step: 1, modules: [{}, waits, {}, {}], retry: fails })
    const again = [...tried, wake('b')]
    expect(statusOf(again, { state: 'ready' })).toMatchObject({ modules: [{}, waits, {}, {}] })
    expect(statusOf(again)).toMatchObject({ modules: [{}, { type: 'InProgress', job: s(4) }, {}, {}] })
    expect(statusOf([...again, ok(4, 'b')])).toMatchObject({
      step: 2,
      modules: [{}, { type: 'Success', job: s(4), failed_retries: [s(2), s(3)] }, {}, {}],
    })
  })

  test('that gave up is in its failure module', () => {
    const records = [ok(1, 'a'), err(2, 'b'), wake('b'), err(3, 'b'), wake('b'), err(4, 'b')]
    const under = { type: 'InProgress', id: 'failure', job: s(5), parent_module: 'b' }
    expect(statusOf(records)).toMatchObject({ step: 4, failure_module: under })
    expect(statusOf([...records, ok(5, 'failure')], ended)).toEqual({
      step: 4,
      modules: [
        { type: 'Success', id: 'a', job: s(1) },
        { type: 'Failure', id: 'b', job: s(4), failed_retries: [s(2), s(3)] },
        later('c'),
        later('d'),
      ],
      failure_module: { type: 'Success', id: 'failure', job: s(5), parent_module: 'b' },
    })
  })

  test('goes on over a skipped step and one whose error does not matter', () => {
    const skips = planOf([same('a', { skip_if: { expr: 'true' } }), same('c', { continue_on_error: true }), same('d')])
    expect(statusOf([{ k: 'pick', s: 'a', w: 'skip', v: true }, err(1, 'c')], {}, { plan: skips })).toMatchObject({
      step: 2,
      modules: [
        { type: 'Success', id: 'a', skipped: true },
        { type: 'Failure', id: 'c' },
        { type: 'InProgress', id: 'd', job: s(2) },
      ],
    })
  })

  test('that is canceled or lost in the middle of a step leaves it as a failure', () => {
    expect(statusOf([ok(1, 'a')], ended)).toMatchObject({ modules: [{}, { type: 'Failure', job: s(2) }, later('c'), {}] })
    expect(statusOf([], { ...ended, startedAt: null })).toMatchObject({ modules: [later('a'), {}, {}, {}] })
  })

  test('whose result was that of an earlier job ran nothing', () => {
    const done = { ...ended, status: 'success' } as const
    const status = statusOf([{ k: 'cached', v: '7' }], done)
    expect(status).toMatchObject({ step: 4, modules: [later('a'), later('b'), later('c'), later('d')] })
    expect(status.modules[0]).not.toHaveProperty('job')
  })

  test('shows how far the step under way says it is', () => {
    expect(statusOf([ok(1, 'a')], { progress: { [s(2)]: 40 } })).toMatchObject({ modules: [{}, { progress: 40 }, {}, {}] })
  })

  test('whose last step gave what the job came to keeps that once', () => {
    const steps = `[${printRecord(ok(1, 'a'))}, \n ${printRecord(ok(2, 'b'), false)}]`
    expect(recordsOf({ steps, result: '{"n":12345678901234567890}' })[1]).toMatchObject({ v: '{"n":12345678901234567890}' })
  })
})

describe('a step that is a job of its own', () => {
  const plan = () => takenApart(planOf([same('a', { retry }), same('b')]), 'a')

  test('goes by the id of that job, and is under way until it is over', () => {
    const of = { plan: plan(), step: (_id: string, n: number) => (n === 1 ? new Error('no') : undefined) }
    expect(statusNow(of, { state: 'waiting' })).toMatchObject({
      modules: [{ type: 'InProgress', id: 'a', job: partIdOf(2), failed_retries: [partIdOf(1)] }, later('b')],
    })
    expect(statusNow({ plan: plan() }, { ...ended, status: 'success' })).toMatchObject({
      modules: [
        { type: 'Success', job: partIdOf(1) },
        { type: 'Success', job: s(2) },
      ],
    })
  })

  test('is found by its number too, with its result', () => {
    const of = { plan: plan() }
    const { records } = driven(of)
    const history = historyOf(records, of)
    const past = history.numbered(1) as AttemptPast
    const shown = JSON.parse(attemptText({ job: running, history, past }, s(1), 'main', 'said')) as object
    expect(shown).toMatchObject({ id: s(1), success: true, result: 1, logs: 'said', duration_ms: 5 })
  })

  test('says of itself whose step it is', () => {
    const of = { plan: planOfPart(plan(), 'a/') }
    const text = jobText({ ...running, parentId: s(0), part: 'a/' }, 'main', '', historyOf([], of))
    expect(JSON.parse(text)).toMatchObject({ parent_job: s(0), is_flow_step: true, flow_step_id: 'a', job_kind: 'flowscript' })
  })
})

describe('a step that waits for answers', () => {
  const plan = planOf([same('a', { suspend: { required_events: 2 } }), same('b')])

  test('is done; the next one waits, under the id that is answered', () => {
    expect(statusNow({ plan, answers: [{ approver: 'ada', approved: true }] }, { state: 'waiting' })).toMatchObject({
      step: 1,
      modules: [
        { type: 'Success', id: 'a', job: s(1), approvers: [{ resume_id: 71, approver: 'ada' }] },
        { type: 'WaitingForEvents', id: 'b', job: s(1), count: 1 },
      ],
    })
  })

  test('says who answered, also when all is over', () => {
    const answers = ['ada', 'bob'].map((approver) => ({ approver, approved: true }))
    const { modules } = statusNow({ plan, answers }, ended)
    expect(modules).toMatchObject([{ approvers: [{ approver: 'ada' }, { approver: 'bob' }] }, { type: 'Success', job: s(2) }])
  })

  test('fails where one refuses', () => {
    expect(statusNow({ plan, answers: [{ approver: null, approved: false }] }, ended)).toMatchObject({
      modules: [{ type: 'Failure', id: 'a' }, later('b')],
    })
  })
})

describe('a loop', () => {
  const loop = (more: object = {}): Driven => ({
    plan: planOf([same('z'), each('l', '[10, 20, 30]', [same('a'), same('b')], more)]),
  })
  // z is 1, the loop 2; iterations 3, 6, 9 with their steps behind them.

  test('names its iterations and how each has ended', () => {
    expect(statusNow(loop(), { ...ended, status: 'success' }).modules[1]).toEqual({
      type: 'Success',
      id: 'l',
      job: s(9),
      iterator: { index: 2, itered: [10, 20, 30], itered_len: 3 },
      flow_jobs: [s(3), s(6), s(9)],
      flow_jobs_success: [true, true, true],
      flow_jobs_duration: { started_at: expect.any(Array), duration_ms: expect.any(Array) },
    })
  })

  test('under way says which iteration is', () => {
    const of = { ...loop(), step: (_id: string, n: number) => (n < 8 ? n : undefined) }
    expect(statusNow(of)).toMatchObject({
      step: 1,
      modules: [
        {},
        { type: 'InProgress', job: s(6), iterator: { index: 1 }, flow_jobs: [s(3), s(6)], flow_jobs_success: [true, null] },
      ],
    })
  })

  test('whose iteration failed says so, and may go on', () => {
    const step = (at: string, n: number): unknown => (at === 'b' && n === 8 ? new Error('no') : n)
    expect(statusNow({ ...loop(), step }, ended).modules[1]).toMatchObject({
      type: 'Failure',
      flow_jobs: [s(3), s(6)],
      flow_jobs_success: [true, false],
    })
    expect(statusNow({ ...loop({ skip_failures: true }), step }, ended).modules[1]).toMatchObject({
      type: 'Success',
      flow_jobs_success: [true, false, true],
    })
  })

  test('of parallel iterations has them all under way', () => {
    const step = (at: string, n: number): unknown => (at === 'z' ? n : undefined)
    expect(statusNow({ ...loop({ parallel: true }), step }).modules[1]).toMatchObject({
      type: 'InProgress',
      parallel: true,
      iterator: { index: 2, itered_len: 3 },
      flow_jobs: [s(3), s(5), s(7)],
      flow_jobs_success: [null, null, null],
    })
  })

  test('that is tried again shows its last try', () => {
    const plan = planOf([each('l', '[1]', [same('a')], {}, { retry })])
    const step = (_id: string, n: number): unknown => (n < 5 ? new Error('no') : n)
    expect(statusNow({ plan, step }, { ...ended, status: 'success' }).modules[0]).toMatchObject({
      type: 'Success',
      job: s(5),
      failed_retries: [s(2)],
      flow_jobs: [s(5)],
    })
  })

  test('does not send long items with every look', () => {
    const of: Driven = { plan: planOf([each('l', 'flow_input.x', [same('a')])]), args: { x: ['y'.repeat(20_000)] } }
    expect(statusNow(of, ended).modules[0]!.iterator).toEqual({ index: 0, itered_len: 1 })
  })

  test('without items counts', () => {
    const plan = planOf([repeat('l', [same('a', { stop_after_if: { expr: 'true' } })])])
    expect(statusNow({ plan }, ended).modules[0]).toMatchObject({ while_loop: true, iterator: { index: 0 }, flow_jobs: [s(2)] })
  })
})

test('branches: the chosen one, the default one, all of them', () => {
  const one = choose('one', { 'flow_input.x': [same('a')] }, [same('b')])
  const both = all('all', [[same('c')], [same('d')]])
  const plan = planOf([one, both])
  expect(statusNow({ plan, args: { x: true } }, ended).modules).toMatchObject([
    { type: 'Success', job: s(2), branch_chosen: { type: 'branch', branch: 0 } },
    { type: 'Success', branchall: { branch: 1, len: 2 }, flow_jobs: [s(5), s(7)], flow_jobs_success: [true, true] },
  ])
  const step = (at: string, n: number): unknown => (at === 'd' ? new Error('no') : n)
  expect(statusNow({ plan, step }, ended).modules).toMatchObject([
    { type: 'Success', branch_chosen: { type: 'default' } },
    { type: 'Failure', flow_jobs_success: [true, false] },
  ])
})

describe('what is inside of a job', () => {
  const value = (modules: FlowModule[]): FlowValue => ({ modules })

  test('an iteration is a flow job: its own steps, items, arguments, times and result', () => {
    const modules = [each('l', '[10, 20]', [same('a'), same('b')])]
    const of: Driven = { plan: planOf(modules), args: { x: 1 } }
    const history = historyOf(driven(of).records, of)
    const past = history.numbered(5)
    if (past?.kind !== 'list') throw new Error('5 is the second iteration')
    const job = { ...running, ...ended }
    expect(JSON.parse(listText({ job, history, past }, s(5), 'main', value(modules)))).toMatchObject({
      type: 'CompletedJob',
      id: s(5),
      parent_job: id,
      root_job: id,
      job_kind: 'flownode',
      script_path: 'f/test/flow/l',
      flow_step_id: 'l',
      is_flow_step: true,
      success: true,
      args: { x: 1, iter: { index: 1, value: 20 } },
      result: 7,
      started_at: '1970-01-01T00:00:00.045Z',
      completed_at: '1970-01-01T00:00:00.075Z',
      flow_status: {
        step: 2,
        modules: [
          { id: 'a', job: s(6) },
          { id: 'b', job: s(7), type: 'Success' },
        ],
      },
      raw_flow: { modules: [{ id: 'a' }, { id: 'b' }] },
    })
  })

  test('a sub-flow is one too, of its own path and version; so is what is inside of it', () => {
    const inner = planOf([each('l', '[1]', [same('a')])], {}, '9', 'f/test/inner')
    const modules = [flow('f', 'f/test/inner')]
    const of: Driven = { plan: planOf(modules), flows: { 'f/test/inner': inner }, step: () => undefined }
    const history = historyOf(driven(of).records, of)
    expect(statusNow(of).modules[0]).toMatchObject({ type: 'InProgress', job: s(2) })
    const past = history.numbered(2)
    if (past?.kind !== 'list') throw new Error('2 is the sub-flow')
    const inside = { job: running, history, past }
    expect(JSON.parse(listText(inside, s(2), 'main', value([same('l')])))).toMatchObject({
      type: 'QueuedJob',
      running: true,
      job_kind: 'flow',
      script_path: 'f/test/inner',
      script_hash: '0000000000000009',
      args: { sub: true },
      flow_status: { modules: [{ type: 'InProgress', job: s(4), flow_jobs: [s(4)] }] },
    })
    const deeper = history.numbered(4)
    if (deeper?.kind !== 'list') throw new Error('4 is the iteration')
    expect(flowStatusOf(history, deeper, running).modules[0]).toMatchObject({ type: 'InProgress', job: s(5) })
  })

  test('a step is a job of the list it is in, with its arguments where no JavaScript is needed', () => {
    const script: FlowModule = {
      id: 'a',
      value: { type: 'script', path: 'f/test/script', input_transforms: { x: js('flow_input.iter.value') } },
    }
    const of: Driven = { plan: planOf([each('l', '[10]', [script])]) }
    const history = historyOf(driven(of).records, of, 3)
    const past = history.numbered(3)
    if (past?.kind !== 'attempt') throw new Error('3 is the step')
    expect(JSON.parse(attemptText({ job: { ...running, ...ended }, history, past }, s(3), 'main', 'said'))).toMatchObject({
      type: 'CompletedJob',
      parent_job: s(2),
      job_kind: 'script',
      script_path: 'f/test/script',
      flow_step_id: 'a',
      args: { x: 10 },
      logs: 'said',
      duration_ms: 5,
      result: 3,
    })
  })

  test('records of another flow end the history, not the reader', () => {
    const history = historyOf([ok(1, 'a'), { k: 'pick', s: 'x', w: 'skip', v: true }], { plan: plain })
    expect(history.broken?.message).toContain('step x does not wait for skip')
    expect(flowStatusOf(history, history.root, { ...running, ...ended }).modules[0]).toMatchObject({ type: 'Success' })
  })
})

test('text that is JSON already is put in as it is', () => {
  expect(objectText({ a: 1 }, { b: '1.50', c: undefined })).toBe('{"a":1,"b":1.50}')
  expect(objectText({}, { 'b"': '[]' })).toBe('{"b\\"":[]}')
})
