import { expect, test } from 'vitest'
import { defaultLimits } from '../../src/core/limits.ts'
import { createMetrics } from '../../src/server/metrics.ts'
import { createQueueWatch } from '../../src/server/watch.ts'
import { openDatabase } from '../../src/store/db.ts'
import { createEnqueuer } from '../../src/store/enqueuer.ts'

test('while the database is away a scrape is answered: with what this process knows, and nothing made up', async () => {
  const db = openDatabase({ url: 'postgres://nobody:x@127.0.0.1:9/none', name: 'test' })
  const enqueuer = createEnqueuer({ db, limits: defaultLimits })
  const stages = () => [{ name: 'waiters', fill: 1, limit: 10 }]
  const metrics = createMetrics({ db, enqueuer, watch: createQueueWatch({ reads: db.pool }), waiting: () => 1, stages })
  metrics.accepted(3)
  metrics.refused('E_DATABASE')
  const text = await metrics.text()
  await enqueuer.close()
  await db.close()
  const lines = text.split('\n')
  for (const line of [
    'millrace_database_up 0',
    'millrace_accept_jobs_total 3',
    'millrace_accept_refusals_total{code="E_DATABASE"} 1',
    'millrace_answer_waiting_callers 1',
    'millrace_stage_fill{stage="waiters"} 1',
    'millrace_stage_limit{stage="waiters"} 10',
  ])
    expect(lines).toContain(line)
  expect(lines.filter((line) => /^millrace_(queue|workers|database_(notify|xid))/.test(line))).toEqual([])
})
