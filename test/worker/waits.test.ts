// How long jobs wait, whatever the timers under them do.
import { expect, test } from 'vitest'
import { systemClock, type Clock } from '../../src/store/clock.ts'
import type { Run } from '../../src/worker/run.ts'
import { createWaits, type WaitsParts } from '../../src/worker/waits.ts'

/** A cursor that sleeps so long, on a clock that tests move. */
function sleeping(ms: number) {
  const time = { ms: 0 }
  const asked: number[] = []
  const taken: string[] = []
  let ring = (): void => {}
  const clock: Clock = {
    ...systemClock,
    monotonicMs: () => time.ms,
    after(forMs, work) {
      asked.push(forMs)
      ring = work
      return { cancel() {}, unref() {} }
    },
  }
  const parts = { clock, take: (_: Run, { k }: { k: string }) => taken.push(k) } as unknown as WaitsParts
  const cursor = { id: 0, n: 1, phase: 'sleeping' }
  createWaits(parts).wait({ records: [] } as unknown as Run, { e: 'sleep', cursor, step: { id: 'a' }, ms } as never)
  const rings = (atMs: number): void => {
    time.ms = atMs
    ring()
  }
  return { rings, asked, taken }
}

test('a timer that rings a moment too early is set again: nothing goes on before its time', () => {
  const { rings, asked, taken } = sleeping(200)
  rings(199.25)
  expect([asked, taken]).toEqual([[200, 0.75], []])
  rings(200)
  expect([asked.length, taken]).toEqual([2, ['wake']])
})

test('a wait that is longer than a timer holds is waited out', () => {
  const year = 365 * 24 * 3_600_000
  const { rings, asked, taken } = sleeping(year)
  expect(asked).toEqual([2 ** 31 - 1])
  for (let ms = 0; ms < year;) rings((ms += asked.at(-1)!))
  expect([asked.reduce((sum, one) => sum + one), taken]).toEqual([year, ['wake']])
})
