// Jobs that wait hold nothing, and go on once.
import { expect, test } from 'vitest'
import { sendSignal } from '../../src/store/signals.ts'
import { give, same } from '../flows/cases.ts'
import { testEngine } from '../support/engine.ts'

const flows = 1_000
const racing = 32
const together = 20

test(`${flows} flows wait on a worker with one slot, others run meanwhile; then ${racing} racing answers each, and each goes on once`, async () => {
  const engine = await testEngine()
  const asks = same('a', { suspend: { required_events: 1, timeout: 3_600 } })
  const waits = await engine.deploy('slots/waits', [asks, same('b')], {}, false)
  const other = await engine.deploy('slots/other', [give('a', '1')], {}, false)
  const first = await engine.work()
  const { pool } = engine.db
  const count = async (query: string): Promise<number> => Number((await pool.query<{ n: string }>(query)).rows[0]!.n)
  const becomes = async (query: string, wanted: number): Promise<void> => {
    while ((await count(query)) !== wanted) await new Promise((resolve) => setTimeout(resolve, 20))
  }

  const ids = await Promise.all(Array.from({ length: flows }, (_, i) => engine.start(waits, { i })))
  await becomes(`select count(*) as n from job where state = 'waiting'`, flows)
  await expect.poll(() => first.worker.state().held).toBe(0)
  await first.stop()
  const { worker } = await engine.work([], { concurrency: 1 })
  for (let i = 0; i < 5; i++) expect(await engine.run(other)).toMatchObject({ status: 'success', result: 1 })
  await expect.poll(() => worker.state().held).toBe(0)

  const send = (jobId: string) =>
    sendSignal(pool, {
      workspaceId: 'main',
      jobId,
      step: 1,
      resumeId: 7,
      approver: null,
      account: null,
      approved: true,
      payload: JSON.stringify(jobId),
    })
  const taken: number[] = []
  for (let from = 0; from < flows; from += together) {
    const some = ids.slice(from, from + together)
    const races = some.map((id) => Promise.all(Array.from({ length: racing }, () => send(id))))
    taken.push(...(await Promise.all(races)).map((race) => race.filter(Boolean).length))
  }
  expect(taken).toEqual(ids.map(() => 1))
  await becomes(`select count(*) as n from job_done where status = 'success' and version_id = ${waits.versionId}`, flows)

  // Once: of each job the answer and the step behind it were recorded one time, and nothing is left of its wait.
  const { rows } = await pool.query<{ steps: string }>(`select steps from job_done where version_id = ${waits.versionId}`)
  const told = rows.map(({ steps }) => (JSON.parse(steps) as { k: string; s?: string }[]).map(({ k, s }) => s ?? k).join())
  expect(new Set(told)).toEqual(new Set(['a,signal,b']))
  expect(
    await count('select (select count(*) from signal) + (select count(*) from job_wait) + (select count(*) from job) as n'),
  ).toBe(0)
}, 120_000)
