// What a worker asks the database for when jobs name variables and resources.
import { expect, test } from 'vitest'
import { NotAtHand, type Lookup } from '../../src/core/lookups.ts'
import { systemClock } from '../../src/store/clock.ts'
import type { Database } from '../../src/store/db.ts'
import { createLookups } from '../../src/worker/lookups.ts'

const a: Lookup = { kind: 'variable', path: 'f/a' }
const r: Lookup = { kind: 'resource', path: 'f/r' }

/** A database that has f/a and f/r, asked at a time that tests set. `answer`: before each answer. */
function lookupsOver(answer: () => void | Promise<void> = () => {}) {
  const asked: { ws: string; path: string }[][] = []
  const time = { ms: 0 }
  const query = async ({ values }: { values: string[] }) => {
    const batch = JSON.parse(values[0]!) as { i: number; ws: string; path: string }[]
    asked.push(batch.map(({ ws, path }) => ({ ws, path })))
    await answer()
    return {
      rows: batch.flatMap(({ i, ws, path }) => (path === 'f/none' ? [] : [{ i, value: `"${ws} ${path}"`, isSecret: false }])),
    }
  }
  const db = { pool: { query } } as unknown as Database
  const clock = { ...systemClock, monotonicMs: () => time.ms }
  const retrying = async <T>(work: () => Promise<T>): Promise<T> => work().catch(() => retrying(work))
  return { lookups: createLookups({ db, clock, retrying }), asked, time }
}

test('what jobs need at the same moment is one question, whatever workspaces they are of', async () => {
  const { lookups, asked } = lookupsOver()
  const look = lookups.lookIn('main')
  expect(() => look([a, r])).toThrow(NotAtHand)
  await Promise.all([lookups.load('main', [a, r]), lookups.load('other', [a]), lookups.load('main', [{ ...a, path: 'f/none' }])])
  expect(asked).toHaveLength(1)
  expect(look([r, a, { ...a, path: 'f/none' }])).toEqual(['"main f/r"', '"main f/a"', null])
  expect(lookups.lookIn('other')([a])).toEqual(['"other f/a"'])
  expect(() => lookups.lookIn('other')([r, a])).toThrow(expect.objectContaining({ lookups: [r] }))
})

test('a value is asked for again after a second', async () => {
  const { lookups, time } = lookupsOver()
  const look = lookups.lookIn('main')
  await lookups.load('main', [a])
  time.ms = 999
  expect(look([a])).toEqual(['"main f/a"'])
  time.ms = 1_000
  expect(() => look([a])).toThrow(NotAtHand)
})

test('where the database is slow, what takes several questions is there together all the same', async () => {
  const { lookups, time } = lookupsOver(() => void (time.ms += 1_500))
  await lookups.load('main', [a])
  await lookups.load('main', [r])
  expect(lookups.lookIn('main')([a, r])).toEqual(['"main f/a"', '"main f/r"'])
})

test('a question that fails is asked again', async () => {
  let failures = 2
  const { lookups, asked } = lookupsOver(() => {
    if (failures-- > 0) throw Object.assign(new Error('away'), { code: 'ECONNRESET' })
  })
  await lookups.load('main', [a])
  expect(asked).toHaveLength(3)
})
