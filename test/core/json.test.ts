import { expect, test } from 'vitest'
import { parseRecord, printRecord, type JobRecord } from '../../src/core/flow/records.ts'
import { elementTexts } from '../../src/core/json.ts'

test.each([
  ['[]', []],
  [' [ ] ', []],
  ['[1]', ['1']],
  ['[1.50, 12345678901234567890,\n null]', ['1.50', '12345678901234567890', 'null']],
  ['[{"a":[1,2]},[3,[4,5]],"x"]', ['{"a":[1,2]}', '[3,[4,5]]', '"x"']],
  ['["a,]b","say \\"hi, you\\"","\\\\","\\\\\\"]"]', ['"a,]b"', '"say \\"hi, you\\""', '"\\\\"', '"\\\\\\"]"']],
])('the elements of %s', (array, texts) => {
  expect(elementTexts(array)).toEqual(texts)
})

const long = '{"id":12345678901234567890,"v":[1.0,"a,\\"v\\":"]}'

test.each<JobRecord>([
  { k: 'ok', n: 1, s: 'a', at: 5, ms: 1, v: long },
  { k: 'signal', seq: 1, n: 0, id: 7, approver: 'a,"v":b', approved: true, v: long },
  { k: 'items', s: 'a', count: 2, v: [long, '1.50'] },
  { k: 'items', s: 'a', count: 2 },
  { k: 'call', c: 3, s: 'a', version: '9', args: long },
  { k: 'pick', s: 'a', w: 'skip', v: true },
])('a record comes back as it was printed: %j', (record) => {
  expect(parseRecord(printRecord(record))).toEqual(record)
})

test('the record that leaves its value out has that of the job', () => {
  const record: JobRecord = { k: 'ok', n: 1, s: 'a', at: 5, ms: 1, v: long }
  expect(parseRecord(printRecord(record, false), long)).toEqual(record)
})
