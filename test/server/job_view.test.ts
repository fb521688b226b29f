// flow_status: where a job stands, told from its flow and its records.
import { describe, expect, test } from 'vitest'
import { stepIdOf } from '../../src/core/job/ids.ts'
import type { JobRow } from '../../src/store/job_reads.ts'
import { jobText, mayRunNow, objectText } from '../../src/server/job_view.ts'

const id = '01a20555-2c4b-7000-b7ca-3658ce450000'
const s = (n: number): string => stepIdOf(id, n)

const retry = { constant: { attempts: 2, seconds: 1 } }
const flow = {
  modules: [{ id: 'a' }, { id: 'b', retry }, { id: 'c', continue_on_error: true }, { id: 'd' }],
  failure_module: { id: 'failure' },
}

function statusOf(records: object[], more: Partial<JobRow> = {}): unknown {
  const job: JobRow = {
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
    canceledBy: null,
    canceledReason: null,
    trace: null,
    replayOf: null,
    replayedAs: null,
    args: '{}',
    result: null,
    steps: JSON.stringify(records),
    value: JSON.stringify(flow),
    ...more,
  }
  return (JSON.parse(jobText(job, 'main', '')) as { flow_status: unknown }).flow_status
}

const ended = { status: 'failure', state: 'done', completedAt: new Date(5), result: '{"error":{}}' } as const
const ok = (n: number, step: string): object => ({ k: 'ok', n, s: step, at: 1, ms: 1, v: 1 })
const err = (n: number, step: string): object => ({ k: 'err', n, s: step, at: 1, ms: 1, e: { name: 'Error', message: 'x' } })
const later = (step: string): object => ({ type: 'WaitingForPriorSteps', id: step })

describe('a flow', () => {
  test('in the queue waits for a worker', () => {
    expect(statusOf([], { state: 'ready' })).toEqual({
      step: 0,
      modules: [{ type: 'WaitingForExecutor', id: 'a' }, later('b'), later('c'), later('d')],
      failure_module: later('failure'),
    })
  })

  test('under way shows the step that runs, under the id it will have', () => {
    expect(statusOf([ok(1, 'a')])).toMatchObject({
      step: 1,
      modules: [{ type: 'Success', job: s(1) }, { type: 'InProgress', id: 'b', job: s(2) }, later('c'), later('d')],
    })
  })

  test('that tries again shows what failed so far, and where it waits', () => {
    const tried = [ok(1, 'a'), err(2, 'b'), err(3, 'b')]
    const waits = { type: 'WaitingForExecutor', id: 'b', job: s(3), failed_retries: [s(2)] }
    expect(statusOf(tried, { state: 'parked' })).toMatchObject({ step: 1, modules: [{}, waits, {}, {}] })
    expect(statusOf(tried)).toMatchObject({ modules: [{}, { ...waits, type: 'InProgress', job: s(4) }, {}, {}] })
    expect(statusOf([...tried, ok(4, 'b')])).toMatchObject({
      step: 2,
      modules: [{}, { type: 'Success', job: s(4), failed_retries: [s(2), s(3)] }, {}, {}],
    })
  })

  test('that gave up is in its failure module', () => {
    const records = [ok(1, 'a'), err(2, 'b'), err(3, 'b'), err(4, 'b')]
    expect(statusOf([...records, ok(5, 'failure')], ended)).toEqual({
      step: 4,
      modules: [
        { type: 'Success', id: 'a', job: s(1) },
        { type: 'Failure', id: 'b', job: s(4), failed_retries: [s(2), s(3)] },
        later('c'),
        later('d'),
      ],
      failure_module: { type: 'Success', id: 'failure', job: s(5) },
    })
    expect(statusOf([ok(1, 'a'), err(2, 'b'), { k: 'pick', s: 'b', w: 'retry', v: false }])).toMatchObject({
      modules: [{}, { type: 'Failure', job: s(2) }, {}, {}],
    })
  })

  test('whose failure module is about to run shows it', () => {
    const records = [ok(1, 'a'), err(2, 'b'), err(3, 'b'), err(4, 'b')]
    expect(statusOf(records)).toMatchObject({ step: 4, failure_module: { type: 'InProgress', id: 'failure', job: s(5) } })
  })

  test('goes on over a skipped step and one whose error does not matter', () => {
    const records = [
      { k: 'pick', s: 'a', w: 'skip', v: true },
      { k: 'pick', s: 'b', w: 'skip', v: false },
      ok(1, 'b'),
      err(2, 'c'),
      { k: 'news' },
    ]
    expect(statusOf(records)).toMatchObject({
      step: 3,
      modules: [
        { type: 'Success', id: 'a', skipped: true },
        { type: 'Success', id: 'b' },
        { type: 'Failure', id: 'c' },
        { type: 'InProgress', id: 'd', job: s(3) },
      ],
    })
  })

  test('that waits for a signal says so', () => {
    expect(statusOf([ok(1, 'a')], { state: 'waiting' })).toMatchObject({
      modules: [{}, { type: 'WaitingForEvents', id: 'b' }, {}, {}],
    })
  })
})

test('only the step after the last record may be running', () => {
  const steps = JSON.stringify([ok(1, 'a'), err(2, 'b')])
  expect([1, 2, 3, 4].map((n) => mayRunNow(steps, n))).toEqual([false, false, true, false])
})

test('text that is JSON already is put in as it is', () => {
  expect(objectText({ a: 1 }, { b: '1.50', c: undefined })).toBe('{"a":1,"b":1.50}')
  expect(objectText({}, { 'b"': '[]' })).toBe('{"b\\"":[]}')
})
