// When a failed step is tried again. Pure: the random draw comes in, and is recorded by the machine.
import type { Retry } from '../flow/definition.ts'

/** Windmill's caps. */
export const retryAttemptsMax = 1_000
export const retrySecondsMax = 6 * 3_600

/** Does the wait before this attempt depend on a random draw? */
export function retryNeedsRandom(retry: Retry, attempt: number): boolean {
  const constantAttempts = retry.constant?.attempts ?? 0
  const exponentialAttempts = retry.exponential?.attempts ?? 0
  const isExponential = attempt >= constantAttempts && attempt < constantAttempts + exponentialAttempts
  return isExponential && attempt < retryAttemptsMax && (retry.exponential?.random_factor ?? 0) > 0
}

/**
 * The wait before the next attempt; null if there is none. Constant attempts come first, then exponential ones,
 * whose exponent counts from the first failure of all.
 * @param attempt failures so far, less one: 0 after the first
 * @param random in [0, 1); 0.5 leaves the delay as it is
 */
export function retryDelayMs(retry: Retry, attempt: number, random: number): number | null {
  if (attempt >= retryAttemptsMax) return null
  const { constant, exponential } = retry
  const constantAttempts = constant?.attempts ?? 0
  if (constant && attempt < constantAttempts) return cappedMs(constant.seconds)
  if (!exponential || attempt - constantAttempts >= exponential.attempts) return null
  const seconds = exponential.multiplier * exponential.seconds ** (attempt + 1)
  const spread = (exponential.random_factor ?? 0) / 100
  return cappedMs(Math.min(seconds, retrySecondsMax) * (1 + spread * (2 * random - 1)))
}

function cappedMs(seconds: number): number {
  return Math.round(Math.min(seconds, retrySecondsMax) * 1_000)
}
