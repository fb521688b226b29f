// Every day's selection of what `npm run failpoints` does in full.
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { enumerate, type Enumeration } from './enumerate.ts'
import { openRig, type Rig } from './rig.ts'

let rig: Rig
let done: Enumeration

beforeAll(async () => {
  rig = await openRig({ url: inject('postgres')!.url })
  done = await enumerate(rig, { lanes: 3, which: 'few' })
}, 600_000) // less than a minute on a machine that does nothing else
afterAll(() => rig.close())

test('the canonical flows come to their ends, and to every statement that is not left out for a reason', () => {
  expect(done.wrong).toEqual([])
  expect(done.unreached).toEqual([])
})

test('whatever is killed, lost or stale at a failpoint, the end is the same, and the audit finds nothing', () => {
  const wrong = done.tried.filter((one) => one.wrong.length > 0)
  expect(wrong.map(({ part, faults, wrong: found }) => ({ part, faults: faults.slice(0, 3), found }))).toEqual([])
})

test('every fault was met', () => {
  expect(done.tried.length).toBeGreaterThan(40)
  expect(done.tried.flatMap((one) => one.missed)).toEqual([])
})
