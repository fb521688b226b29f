// Cases of https://www.w3.org/TR/trace-context/ and of its test suite.
import { expect, test } from 'vitest'
import { printTrace, readTrace, spanIdOf, traceOfHeaders } from '../../src/core/trace.ts'

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const spanId = '00f067aa0ba902b7'
const valid = `00-${traceId}-${spanId}-01`

test.each([
  ['as version 00 writes it', valid, valid],
  ['not sampled', `00-${traceId}-${spanId}-00`, `00-${traceId}-${spanId}-00`],
  ['with flags that are not known here', `00-${traceId}-${spanId}-ff`, `00-${traceId}-${spanId}-03`],
  ['of a later version', `cc-${traceId}-${spanId}-01`, valid],
  ['of a later version, with more behind it', `cc-${traceId}-${spanId}-01-what-will-be`, valid],
])('a traceparent %s is taken', (_name, header, stored) => {
  expect(traceOfHeaders(header, undefined)).toBe(stored)
})

test.each([
  ['empty', ''],
  ['of version ff', `ff-${traceId}-${spanId}-01`],
  ['of version 00 with more behind it', `${valid}-more`],
  ['of a later version with more than flags', `cc-${traceId}-${spanId}-01.what`],
  ['with a trace id of zeros', `00-${'0'.repeat(32)}-${spanId}-01`],
  ['with a parent id of zeros', `00-${traceId}-${'0'.repeat(16)}-01`],
  ['in capitals', valid.toUpperCase()],
  ['with an id that is no hex', `00-${traceId.replace('4', 'g')}-${spanId}-01`],
  ['too short', valid.slice(0, -1)],
  ['given twice', `${valid}, ${valid}`],
  ['with a space before it', ` ${valid}`],
  ['that breaks the line', `${valid}\n`],
])('a traceparent %s is ignored, and tracestate with it', (_name, header) => {
  expect(traceOfHeaders(header, 'rojo=1')).toBeUndefined()
})

test.each([
  ['one member', 'rojo=00f067aa0ba902b7', 'rojo=00f067aa0ba902b7'],
  ['several headers', ['rojo=1', 'congo=2'], 'rojo=1,congo=2'],
  ['spaces around members, and empty ones', ' rojo=1 ,, congo=t 61', 'rojo=1,congo=t 61'],
  ['a tenant', 'fw529a3039@dt=FfffffffFfff', 'fw529a3039@dt=FfffffffFfff'],
  ['a key in capitals', 'Rojo=1', ''],
  ['a member without a value', 'rojo', ''],
  ['a value with an equals sign', 'rojo=1=2', ''],
  ['a control character', 'rojo=1\u0007', ''],
  ['33 members', Array.from({ length: 33 }, (_, i) => `k${i}=1`).join(','), ''],
])('tracestate: %s', (_name, header, kept) => {
  expect(traceOfHeaders(valid, header)).toBe(kept === '' ? valid : `${valid} ${kept}`)
})

test('a tracestate too long is cut between members', () => {
  const members = Array.from({ length: 10 }, (_, i) => `k${i}=${'v'.repeat(100)}`)
  expect(traceOfHeaders(valid, members.join(','))).toBe(`${valid} ${members.slice(0, 4).join(',')}`)
})

test('what is stored is read back', () => {
  const trace = { traceId, spanId, flags: 1, state: 'rojo=a b,congo=2' }
  expect(readTrace(printTrace(trace))).toEqual(trace)
  expect(readTrace(valid)).toEqual({ ...trace, state: '' })
  expect(readTrace('something else')).toBeNull()
})

test('the id of a span is the end of the id of its step', () => {
  expect(spanIdOf('019ac0de-7000-7000-8abc-1234567890ab')).toBe('8abc1234567890ab')
})
