// The engine in virtual time under seeded faults. `npm run sim` runs more seeds, `npm run sim -- --mutants` prints the table.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildSimulation, seedsToCatch, type Simulation } from './main.ts'
import { mutants } from './mutants.ts'

const seeds = 3_000

let simulation: Simulation

beforeAll(async () => {
  simulation = await buildSimulation(null)
}, 60_000)

afterAll(() => simulation.close())

test(`${seeds} seeds: nothing is lost, recorded twice, wrong or stuck, and no fault is idle`, async () => {
  const { sums, failed } = await simulation.run({ from: 1, count: seeds, twice: 40 })
  expect(failed.map(({ seed, failure }) => `npm run sim -- --seed ${seed}: ${failure}`)).toEqual([])
  expect(sums.seeds).toBe(seeds)
  // A fault that never strikes, or a rare branch that is never taken, proves nothing.
  const drawn = [
    'kill worker',
    'lose host',
    'pause worker',
    'stop worker',
    'kill server',
    'pause server',
    'database outage',
    'cut',
  ]
  const ways = ['notification lost', 'stuck on the way', 'applied after its connection was cut', 'refused']
  const statements = [
    'claim_jobs',
    'finish_jobs',
    'append_journal',
    'keep_waits',
    'release_jobs',
    'give_back_jobs',
    'enqueue_keyed_jobs',
    'send_signal',
    'spread_jobs',
    'finish_waited',
    'enqueue_turns',
  ]
  const branches = [
    'claimed again',
    'finished with a journal',
    'key met again',
    'canceled',
    'answered',
    'finished with answers',
    'spread',
    'joined',
    'joined while it lingered',
    'others have the same turn',
    'in a window of time',
    'in its turn',
  ]
  for (const mark of [...drawn, ...ways, ...statements.map((name) => `reply lost: ${name}`), ...branches]) {
    expect(sums.marks[mark] ?? 0, mark).toBeGreaterThan(10)
  }
}, 240_000)

describe('a planted bug is caught', () => {
  test.each(mutants.map((mutant) => [mutant.name, mutant] as const))(
    '%s',
    async (_name, mutant) => {
      expect(await seedsToCatch(mutant, 1_500)).not.toBeNull()
    },
    240_000,
  )
})
