import { expect, test } from 'vitest'
import { readLimits, settingRows, settingsMarkdown, wholeNumber } from '../../src/cli/settings.ts'
import { defaultLimits, limitSettings } from '../../src/core/limits.ts'

test('a variable sets its limit, an empty one does not', () => {
  const limits = readLimits({ MILLRACE_LEASE_MS: '5000', MILLRACE_POLL_MS: '' })
  expect(limits).toEqual({ ...defaultLimits, leaseMs: 5_000 })
})

test.each(['0', '-1', '1.5', 'many', '1e3', ' 5'])('a limit of %j is refused by the name of its variable', (text) => {
  expect(() => readLimits({ MILLRACE_LEASE_MS: text })).toThrow(/^MILLRACE_LEASE_MS is .* whole number/)
})

test('a number out of its range is refused', () => {
  expect(wholeNumber('65535', '--port', { min: 0, max: 65_535 })).toBe(65_535)
  expect(() => wholeNumber('65536', '--port', { min: 0, max: 65_535 })).toThrow(/--port is "65536"/)
})

test('every limit that the environment may set is in the table', () => {
  const listed = new Set(settingRows().map((row) => row.env))
  expect(Object.keys(limitSettings).filter((env) => !listed.has(env))).toEqual([])
  expect(settingsMarkdown().split('\n')).toHaveLength(settingRows().length + 2)
})
