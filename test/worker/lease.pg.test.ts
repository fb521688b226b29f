import { pino } from 'pino'
import { expect, test } from 'vitest'
import { defaultLimits } from '../../src/core/limits.ts'
import { systemClock } from '../../src/store/clock.ts'
import { takeLease } from '../../src/worker/lease.ts'
import { createCounters } from '../../src/worker/report.ts'
import { testDatabase } from '../support/database.ts'

const db = await testDatabase()

test('a heartbeat that is due while the first one still connects does not connect beside it', async () => {
  let connections = 0
  let due = () => {}
  const lease = await takeLease({
    db: {
      ...db,
      async connect(options) {
        connections += 1
        const made = await db.connect(options)
        due()
        return made
      },
    },
    clock: {
      ...systemClock,
      every(_ms, work) {
        due = work
        return { cancel: () => {}, unref: () => {} }
      },
    },
    limits: defaultLimits,
    name: 'slow',
    host: 'here',
    version: '0.0.0',
    tags: [],
    counters: createCounters(),
    held: () => 0,
    lost: () => {},
    log: pino({ level: 'silent' }),
  })
  await lease.stop()
  expect(connections).toBe(1)
})
