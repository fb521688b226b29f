import { expect, test } from 'vitest'
import type { Clock } from '../../src/store/clock.ts'
import { systemClock } from '../../src/store/clock.ts'
import { createGate } from '../../src/store/gate.ts'

/** Time that stands still until it is moved; chance that is always 0.5. */
function handClock(): Clock & { move(ms: number): void } {
  let nowMs = 0
  return { ...systemClock, monotonicMs: () => nowMs, random: () => 0.5, move: (ms) => void (nowMs += ms) }
}

const down = () => Promise.reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
const up = () => Promise.resolve('connected')

test('while the database is there, everyone passes at once', async () => {
  const gate = createGate(handClock())
  expect(await Promise.all([gate.pass(up), gate.pass(up)])).toEqual(['connected', 'connected'])
})

test('after a failure nobody tries until the wait is over, and who asks is told so with the reason', async () => {
  const clock = handClock()
  const gate = createGate(clock)
  await expect(gate.pass(down)).rejects.toThrow('refused')
  let tries = 0
  const counted = () => {
    tries += 1
    return down()
  }
  for (let i = 0; i < 100; i++) await expect(gate.pass(counted)).rejects.toMatchObject({ code: 'E_DATABASE', message: 'refused' })
  expect(tries).toBe(0)
  clock.move(50)
  await expect(gate.pass(counted)).rejects.toThrow('refused')
  expect(tries).toBe(1)
})

test('a database that stays away is tried about once a second, however many ask', async () => {
  const clock = handClock()
  const gate = createGate(clock)
  let tries = 0
  const counted = () => {
    tries += 1
    return down()
  }
  for (let ms = 0; ms < 60_000; ms += 10) {
    await gate.pass(counted).catch(() => {})
    await gate.pass(counted).catch(() => {})
    clock.move(10)
  }
  expect(tries).toBeGreaterThan(60)
  expect(tries).toBeLessThan(90)
})

test('when the wait is over one tries, and the others wait for what it finds', async () => {
  const clock = handClock()
  const gate = createGate(clock)
  await gate.pass(down).catch(() => {})
  clock.move(1_000)
  let finish!: (value: string) => void
  let tries = 0
  const slow = () => {
    tries += 1
    return new Promise<string>((resolve) => {
      finish = resolve
    })
  }
  const first = gate.pass(slow)
  const second = gate.pass(up)
  expect(tries).toBe(1)
  finish('back')
  expect(await Promise.all([first, second])).toEqual(['back', 'connected'])
})

test('a line that flaps is not stormed: a success does not make the next failure the first one', async () => {
  const clock = handClock()
  const gate = createGate(clock)
  let tries = 0
  const flapping = () => {
    tries += 1
    return tries % 2 === 0 ? up() : down()
  }
  for (let ms = 0; ms < 20_000; ms += 10) {
    await gate.pass(flapping).catch(() => {})
    clock.move(10)
  }
  expect(tries / 20).toBeLessThan(5)
})
