import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { retryDelayMs, retryNeedsRandom } from '../../../src/core/job/retry.ts'

const delays = (retry: Parameters<typeof retryDelayMs>[0], attempts: number): (number | null)[] =>
  Array.from({ length: attempts }, (_, attempt) => retryDelayMs(retry, attempt, 0.5))

test('constant attempts wait the same each time', () => {
  expect(delays({ constant: { attempts: 2, seconds: 1.5 } }, 3)).toEqual([1_500, 1_500, null])
})

test('exponential attempts wait multiplier × seconds to the power of the failures so far', () => {
  expect(delays({ exponential: { attempts: 4, multiplier: 3, seconds: 2 } }, 5)).toEqual([6_000, 12_000, 24_000, 48_000, null])
})

test('constant attempts come first, and the exponent counts them', () => {
  const retry = { constant: { attempts: 2, seconds: 5 }, exponential: { attempts: 2, multiplier: 1, seconds: 2 } }
  expect(delays(retry, 5)).toEqual([5_000, 5_000, 8_000, 16_000, null])
})

test('without attempts there is no retry', () => {
  expect(retryDelayMs({}, 0, 0.5)).toBe(null)
  expect(
    retryDelayMs({ constant: { attempts: 0, seconds: 1 }, exponential: { attempts: 0, multiplier: 1, seconds: 1 } }, 0, 0.5),
  ).toBe(null)
})

test('no wait is longer than six hours, no step tried more than a thousand times again', () => {
  expect(retryDelayMs({ exponential: { attempts: 1_000, multiplier: 1, seconds: 10 } }, 999, 0.5)).toBe(6 * 3_600_000)
  const both = { constant: { attempts: 1_000, seconds: 0 }, exponential: { attempts: 1_000, multiplier: 1, seconds: 1 } }
  expect([retryDelayMs(both, 999, 0.5), retryDelayMs(both, 1_000, 0.5)]).toEqual([0, null])
})

test('the random factor spreads the wait around its middle', () => {
  const retry = { exponential: { attempts: 1, multiplier: 1, seconds: 10, random_factor: 20 } }
  expect([0, 0.5, 1].map((random) => retryDelayMs(retry, 0, random))).toEqual([8_000, 10_000, 12_000])
})

test('a draw is needed exactly where it changes the wait', () => {
  const arbitrary = fc.record({
    constant: fc.option(fc.record({ attempts: fc.nat(4), seconds: fc.nat(10) }), { nil: undefined }),
    exponential: fc.option(
      fc.record({
        attempts: fc.nat(4),
        multiplier: fc.integer({ min: 1, max: 5 }),
        seconds: fc.integer({ min: 1, max: 5 }),
        random_factor: fc.nat(100),
      }),
      { nil: undefined },
    ),
  })
  fc.assert(
    fc.property(arbitrary, fc.nat(10), ({ constant, exponential }, attempt) => {
      const retry = { ...(constant ? { constant } : {}), ...(exponential ? { exponential } : {}) }
      const differs = retryDelayMs(retry, attempt, 0) !== retryDelayMs(retry, attempt, 0.5)
      expect(retryNeedsRandom(retry, attempt)).toBe(differs)
    }),
  )
})
