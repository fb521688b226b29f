// Where claims begin: as far back as they must, and seldom as far as they could.
import { expect, test } from 'vitest'
import { firstIdAt } from '../../src/core/job/ids.ts'
import { Cursor } from '../../src/worker/cursor.ts'

const start = '00000000-0000-0000-0000-000000000000'
const jobsAt = (...times: number[]) => times.map((ms) => ({ id: firstIdAt(ms) }))

/** A cursor whose claim from the start came back short: it has seen all there was. */
function settled(): Cursor {
  const cursor = new Cursor()
  expect(cursor.begin(0)).toBe(start)
  expect(cursor.found(jobsAt(10_000, 10_001), false, 1)).toBe(false)
  return cursor
}

test('the first claim is from the start, the next ones from shortly before what was found', () => {
  const cursor = settled()
  expect(cursor.begin(100)).toBe(firstIdAt(8_000))
  expect(cursor.found(jobsAt(20_000), true, 101)).toBe(true)
  expect(cursor.begin(102)).toBe(firstIdAt(18_000))
})

test('it goes by the oldest of a batch, in whatever order they come', () => {
  const cursor = new Cursor()
  cursor.begin(0)
  cursor.found([...jobsAt(50_000), ...jobsAt(60_000)].reverse(), true, 1)
  expect(cursor.begin(2)).toBe(firstIdAt(48_000))
})

test('a claim that found nothing leaves the cursor where it was', () => {
  const cursor = settled()
  cursor.begin(100)
  expect(cursor.found([], false, 101)).toBe(false)
  expect(cursor.begin(102)).toBe(firstIdAt(8_000))
})

test('jobs that became ready again are looked for from the start', () => {
  const cursor = settled()
  cursor.again()
  expect(cursor.begin(1_000)).toBe(start)
})

test('a short claim is followed by one from the start if older jobs may have been left behind (of a lower priority)', () => {
  const cursor = new Cursor()
  cursor.begin(0)
  expect(cursor.found(jobsAt(90_000), true, 1)).toBe(true) // full: urgent jobs, perhaps older ones behind them
  expect(cursor.begin(100)).toBe(firstIdAt(88_000))
  expect(cursor.found([], false, 101)).toBe(true)
  expect(cursor.begin(102)).toBe(start)
  expect(cursor.found(jobsAt(5_000), false, 103)).toBe(false)
})

/** A claim from the start, asked for at `atMs`, that took so long. */
function walk(cursor: Cursor, atMs: number, tookMs: number): void {
  cursor.again()
  expect(cursor.begin(atMs)).toBe(start)
  expect(cursor.found(jobsAt(10_000), false, atMs + tookMs)).toBe(false)
}

test('claims from the start that take long are rare, and are not forgotten', () => {
  const cursor = new Cursor()
  walk(cursor, 0, 400)
  walk(cursor, 1_500, 400) // as long as the last: 8 seconds of rest
  cursor.again()
  expect(cursor.begin(9_000)).toBe(firstIdAt(8_000))
  expect(cursor.found([], false, 9_001)).toBe(false)
  expect(cursor.begin(10_000)).toBe(start)
})

test('one slow answer is not taken for a long walk', () => {
  const cursor = settled()
  walk(cursor, 1_000, 6_000)
  cursor.again()
  expect(cursor.begin(8_500)).toBe(start)
})

test('however long they take, the next one comes within ten seconds', () => {
  const cursor = settled()
  walk(cursor, 1_000, 60_000)
  walk(cursor, 70_000, 60_000)
  cursor.again()
  expect(cursor.begin(140_000)).toBe(start)
})
