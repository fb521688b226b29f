import { describe, expect, test } from 'vitest'
import { isDeeper, reportedError } from '../../src/runner/failures.ts'

const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)

describe('the depth of a printed document', () => {
  test.each([
    ['short', nested(10), 10, false],
    ['one level too deep', nested(11), 10, true],
    ['wide', `[${'{},'.repeat(500)}1]`, 10, false],
    ['brackets in text', JSON.stringify(['['.repeat(500), '"\\{'.repeat(500)]), 10, false],
    ['deep after text', `["\\"[\\\\",${nested(12)}]`.padEnd(60), 10, true],
    ['objects', `${'{"a":'.repeat(30)}1${'}'.repeat(30)}`, 29, true],
    ['objects at the bound', `${'{"a":'.repeat(30)}1${'}'.repeat(30)}`, 30, false],
  ])('%s', (_name, text, depthMax, deeper) => {
    expect(isDeeper(text, depthMax)).toBe(deeper)
  })
})

describe('a failure that a runtime reports', () => {
  test('keeps its extra fields and becomes storable', () => {
    const error = reportedError({ name: 'E\0', message: 'half \ud800', code: 7, nested: { a: 'x\0' } })
    expect(error).toEqual({ name: 'E\ufffd', message: 'half \ufffd', code: 7, nested: { a: 'x\ufffd' } })
  })

  test('is cut where it is without end', () => {
    const error = reportedError({ name: 'E', message: 'm'.repeat(1_000_000), stack: 's', more: 'x'.repeat(1_000_000) })
    expect(JSON.stringify(error).length).toBeLessThan(200_000)
    expect(error).not.toHaveProperty('more')
  })
})
