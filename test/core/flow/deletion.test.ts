import { describe, expect, test } from 'vitest'
import { deletedText, deletionOf, type Deletable } from '../../../src/core/flow/deletion.ts'
import { parseRecord } from '../../../src/core/flow/records.ts'
import { readPartEnd } from '../../../src/core/flow/spread.ts'
import { elementTexts, type Json } from '../../../src/core/json.ts'

const job = (more: Partial<Deletable> & { records?: object[] } = {}): Deletable => {
  const { records = [], ...rest } = more
  return { status: 'success', args: '{"a":1}', result: '7', steps: JSON.stringify(records), isPart: false, ...rest }
}
const ok = (s: string, n: number, more: object = {}) => ({ k: 'ok', n, s, at: 1, ms: 2, v: `of ${s}`, ...more })
const stepsOf = (steps: string) => JSON.parse(steps) as Record<string, Json>[]

describe('all of a job', () => {
  const records = [
    { k: 'pick', s: 'x', w: 'skip', v: false },
    ok('x', 1),
    { k: 'err', n: 2, s: 'y', at: 1, ms: 2, e: { name: 'TypeError', message: 'secret', stack: 'secret', step_id: 'y' } },
    { k: 'items', s: 'l', count: 2, v: ['secret', 2] },
    { k: 'call', s: 'f', version: '3', args: { secret: 1 } },
    { k: 'signal', seq: 1, n: 4, id: 1, approver: 'ann', approved: true, v: 'secret' },
    {
      k: 'signal',
      seq: 2,
      n: -5,
      id: 0,
      approver: null,
      approved: true,
      v: { end: { how: 'done' }, result: ['secret', 'secret'] },
    },
  ]

  test('of a workflow, what it asked for stays, without arguments', () => {
    const asks = [
      { kind: 'task', key: 'a', name: 'a', args: { secret: 1 } },
      { kind: 'sleep', key: 's', ms: 5 },
      { kind: 'approval', key: 'b', timeout: 1, by: 'anyone', form: 'secret', description: 'secret' },
    ]
    const workflow = [
      { k: 'inline', n: 1, s: 'w', at: 1, key: 'i', v: 'secret' },
      { k: 'round', n: 1, s: 'w', at: 1, ms: 2, asks, args: '{"secret":1}' },
    ]
    const left = deletionOf(job({ records: workflow }), 60, 60)
    expect(stepsOf(left.steps)).toEqual([
      { k: 'inline', n: 1, s: 'w', at: 1, key: 'i', v: deletedText, gone: true },
      {
        k: 'round',
        n: 1,
        s: 'w',
        at: 1,
        ms: 2,
        gone: true,
        asks: [{ ...asks[0], args: {} }, asks[1], { kind: 'approval', key: 'b', timeout: 1, by: 'anyone' }],
      },
    ])
  })

  test('goes when its time has come: what ran and what was decided stays', () => {
    const left = deletionOf(job({ records }), 60, 60)
    expect(left).toMatchObject({ deleted: 'all', args: '{}', result: JSON.stringify(deletedText), logsOf: null, nextS: null })
    expect(left.steps).not.toContain('secret')
    expect(stepsOf(left.steps)).toEqual([
      { k: 'pick', s: 'x', w: 'skip', v: false, gone: true },
      { k: 'ok', n: 1, s: 'x', at: 1, ms: 2, v: deletedText, gone: true },
      { k: 'err', n: 2, s: 'y', at: 1, ms: 2, e: { name: 'TypeError', message: deletedText, step_id: 'y' }, gone: true },
      { k: 'items', s: 'l', count: 2, v: [deletedText, deletedText], gone: true },
      { k: 'call', s: 'f', version: '3', args: {}, gone: true },
      { k: 'signal', seq: 1, n: 4, id: 1, approver: 'ann', approved: true, v: deletedText, gone: true },
      {
        ...records[6],
        v: { end: { how: 'done' }, result: [deletedText, deletedText] },
        gone: true,
      },
    ])
  })

  test('is read as it was', () => {
    const { steps } = deletionOf(job({ records }), 60, 60)
    const read = elementTexts(steps).map((text) => parseRecord(text))
    expect(read.map((record) => record!.k)).toEqual(records.map(({ k }) => k))
    expect(read[1]).toMatchObject({ v: JSON.stringify(deletedText), gone: true })
    expect(read[3]).toMatchObject({ v: [JSON.stringify(deletedText), JSON.stringify(deletedText)] })
    expect(read[4]).toMatchObject({ args: '{}' })
    expect(readPartEnd((read[6] as { v: string }).v)).toMatchObject({ end: { how: 'done' } })
  })

  test('stays until then', () => {
    const left = deletionOf(job({ records }), 60, 59.9)
    expect(left).toMatchObject({ deleted: 'some', args: '{"a":1}', result: '7', logsOf: [], nextS: 60 })
    expect(stepsOf(left.steps)).toEqual(records)
  })

  test('deleting what was deleted changes nothing', () => {
    const once = deletionOf(job({ records }), 60, 61)
    const { args, result, steps } = once
    expect(deletionOf(job({ args, result, steps }), 60, 62)).toEqual(once)
  })

  test('a failure is still one, and which', () => {
    const result = JSON.stringify({ error: { name: 'TypeError', message: 'secret', step_id: 'a' } })
    const left = deletionOf(job({ status: 'failure', result }), 5, 5)
    expect(JSON.parse(left.result)).toEqual({ error: { name: 'TypeError', message: deletedText, step_id: 'a' } })
  })

  test('a part is still shown with as many iterations as it had', () => {
    const args = JSON.stringify({
      delete_s: 5,
      slot: 0,
      depth: 1,
      flow_input: { secret: 1 },
      results: { a: 1 },
      previous_result: 2,
      items: [1, 2],
    })
    const left = deletionOf(job({ isPart: true, args, result: '["secret","secret"]' }), 5, 5)
    expect(JSON.parse(left.result)).toEqual([deletedText, deletedText])
    expect(JSON.parse(left.args)).toEqual({
      delete_s: 5,
      slot: 0,
      depth: 1,
      flow_input: {},
      results: {},
      previous_result: null,
      items: [deletedText, deletedText],
    })
  })
})

describe('some steps of a job', () => {
  const records = [{ d: 10, ...ok('a', 1) }, ok('b', 2), { d: 20, ...ok('c', 3) }]

  test('each goes when its own time has come', () => {
    const first = deletionOf(job({ records }), null, 10)
    expect(first).toMatchObject({ deleted: 'some', args: '{"a":1}', result: '7', logsOf: [1], nextS: 20 })
    expect(stepsOf(first.steps)).toEqual([{ ...ok('a', 1), v: deletedText, gone: true }, records[1], records[2]])
    const second = deletionOf(job({ steps: first.steps }), null, 20)
    expect(second).toMatchObject({ logsOf: [3], nextS: null })
    expect(stepsOf(second.steps)[2]).toEqual({ ...ok('c', 3), v: deletedText, gone: true })
  })

  test('what the job goes with as a whole comes after them', () => {
    expect(deletionOf(job({ records }), 100, 20)).toMatchObject({ deleted: 'some', nextS: 100 })
  })

  test('what stays keeps every digit', () => {
    const steps = '[{"d":5,"k":"ok","n":1,"s":"a","at":1,"ms":2,"v":1},{"k":"ok","n":2,"s":"b","at":1,"ms":2,"v":1.10}]'
    expect(deletionOf(job({ steps }), null, 5).steps).toContain('"v":1.10')
  })
})
