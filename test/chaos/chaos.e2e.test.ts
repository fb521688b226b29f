// A short chaos run: real processes, a fault of each common kind with a fixed seed, and the verdict. `npm run chaos -- --minutes 30` is the long one.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { applyEdit } from '../support/mutants.ts'
import { runChaos } from './chaos.ts'
import { controls } from './controls.ts'
import { faults } from './faults.ts'
import { printReport } from './report.ts'

const struck = [
  'kill-worker',
  'kill-server',
  'stop-worker',
  'kill-postgres',
  'terminate-sessions',
  'cut-reply',
  'lose-notifications',
]

test('under kills, stops, lost replies and a dying Postgres nothing is lost, recorded twice or stuck', async () => {
  const report = await runChaos({
    seed: 3,
    seconds: 10,
    rate: 80,
    workers: 2,
    servers: 1,
    leaseMs: 1_500,
    flows: ['three', 'strict', 'flaky', 'slow'],
    faults: faults.filter((fault) => struck.includes(fault.name)),
    progress: () => {},
  })
  console.log(printReport(report))
  expect(report.findings).toEqual([])
  expect(report.history).toMatchObject({ lost: 0, unfinished: 0, phantom: 0 })
  expect(report.history.acknowledged).toBeGreaterThan(100)
  expect(report.finished).toBe(report.history.landed)
  expect(report.checks).toBeGreaterThan(30)
  expect(report.strikes.filter((strike) => strike.fired).map((strike) => strike.fault)).toEqual(expect.arrayContaining(struck))
}, 120_000)

test('every control still fits the code whose guard it removes', () => {
  for (const { edits } of controls) {
    const texts = new Map<string, string>()
    for (const edit of edits) {
      const path = fileURLToPath(new URL(`../../${edit.file}`, import.meta.url))
      const text = texts.get(edit.file) ?? readFileSync(path, 'utf8')
      texts.set(edit.file, applyEdit(text, edit))
    }
    expect(texts.size).toBeGreaterThan(0)
  }
})
