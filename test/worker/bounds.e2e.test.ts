// What a worker holds: its fair share of slow jobs, no more than they weigh, and no log without end.
import { expect, test } from 'vitest'
import { defaultLimits } from '../../src/core/limits.ts'
import { systemClock } from '../../src/store/clock.ts'
import { newJobId } from '../../src/store/jobs.ts'
import { createCommitter } from '../../src/worker/committer.ts'
import { createCounters } from '../../src/worker/report.ts'
import { code, testEngine, ts, type Deployed } from '../support/engine.ts'

const engine = await testEngine()
const silent = { info() {}, warn() {}, error() {}, debug() {} }

const python = (id: string, text: string) => code(id, 'python3', text, { n: 'flow_input.n' })

/** Jobs per worker, of a backlog that comes at once when two workers wait for it. */
async function shares(flow: Deployed, jobs: number): Promise<number[]> {
  const workers = [await engine.work([flow]), await engine.work([flow])]
  await expect.poll(() => workers.every((one) => one.worker.state().ready && one.worker.counters.claims > 0)).toBe(true)
  const ids = await engine.enqueuer.enqueue(
    Array.from({ length: jobs }, (_, n) => ({
      id: newJobId(),
      workspaceId: 'main',
      versionId: flow.versionId,
      tag: flow.tag,
      priority: 0,
      args: JSON.stringify({ n }),
      createdBy: 'test',
    })),
  )
  const done = await Promise.all(ids.map((id) => engine.done(id)))
  await Promise.all(workers.map((one) => one.stop()))
  const counts = new Map<number, number>()
  for (const { worker_id } of done) counts.set(worker_id!, (counts.get(worker_id!) ?? 0) + 1)
  return [...counts.values()]
}

test('two workers share a backlog of slow jobs that run one after another', async () => {
  const slow = await engine.deploy('bounds/one-by-one', [
    python('a', 'import time\ndef main(n):\n    time.sleep(0.03)\n    return n'),
  ])
  const counts = await shares(slow, 60)
  expect(counts).toHaveLength(2)
  expect(Math.min(...counts)).toBeGreaterThanOrEqual(20)
})

test('two workers share a burst of slow jobs that wait side by side', async () => {
  const content = 'export async function main(n: number) { await new Promise((r) => setTimeout(r, 50)); return n }'
  const slow = await engine.deploy('bounds/side-by-side', [ts('a', content, { n: 'flow_input.n' })])
  const counts = await shares(slow, 400)
  expect(counts).toHaveLength(2)
  expect(Math.min(...counts)).toBeGreaterThanOrEqual(120)
})

test('a worker holds as many jobs as they weigh, once it knows', async () => {
  const content = 'export function main(n: number) { return "x".repeat(100_000) }'
  const heavy = await engine.deploy('bounds/heavy', [ts('a', content, { n: 'flow_input.n' })])
  const worker = await engine.work([heavy], { limits: { heldBytesMax: 1_000_000 } })
  const ids = await Promise.all(Array.from({ length: 100 }, (_, n) => engine.start(heavy, { n })))
  await Promise.all(ids.map((id) => engine.done(id)))
  const { window } = worker.worker.state()
  expect(window).toBeLessThanOrEqual(10)
  expect(window).toBeGreaterThanOrEqual(1)
  await worker.stop()
})

test('arguments put together that are larger than a result may be fail their step, which says so', async () => {
  const own = await engine.deploy('bounds/args', [
    ts('a', 'export const main = () => "x".repeat(60_000)'),
    ts('b', 'export const main = (one: string, two: string) => one.length', { one: 'results.a', two: 'results.a' }),
  ])
  const worker = await engine.work([own], { limits: { resultBytesMax: 100_000 } })
  const { status, result } = await engine.run(own)
  expect(status).toBe('failure')
  expect(result).toMatchObject({ error: { name: 'ArgumentsTooLarge', step_id: 'b' } })
  await worker.stop()
})

test('log that the database does not take has a bound; it keeps claims waiting, then has a gap, and says so', async () => {
  const { db } = engine
  const limits = { ...defaultLimits, logBacklogBytesMax: 10_000 }
  let room = 0
  const committer = createCommitter({
    db,
    clock: systemClock,
    limits,
    workerId: 1,
    counters: createCounters(),
    log: silent as never,
    onRoom: () => (room += 1),
  })
  const locker = await db.connect({ name: 'test lock' })
  await locker.query('begin; lock table job_log in access exclusive mode')
  const id = newJobId()
  for (let n = 0; n < 1_000; n++) committer.log({ id, channel: 0, n, text: `line ${n} ${'x'.repeat(90)}\n` })
  expect(committer.logBytes()).toBeGreaterThan(limits.logBacklogBytesMax / 2)
  expect(committer.logBytes()).toBeLessThanOrEqual(limits.logBacklogBytesMax)
  await locker.query('commit')
  await locker.end()
  await committer.drained()
  expect(committer.logBytes()).toBe(0)
  expect(room).toBeGreaterThan(0)
  const { rows } = await db.pool.query<{ content: string }>('select content from job_log where id = $1 order by n', [id])
  const text = rows.map((row) => row.content).join('')
  expect(text).toContain('line 0 ')
  expect(text).toContain('a part of the log is missing here')
  expect(rows.length).toBeLessThan(20) // lines that were printed one by one share rows
  await committer.close()
})

test('ten thousand words about progress are a few writes, the last of which counts', async () => {
  const content = `export async function main() {
    for (let n = 0; n <= 10_000; n++) globalThis.millrace.progress(n / 200)
    return null
  }`
  const chatty = await engine.deploy('bounds/progress', [ts('a', content)])
  const worker = await engine.work([chatty])
  const { id } = await engine.run(chatty)
  const said = () => engine.db.pool.query('select percent from job_progress where id > $1 order by id limit 1', [id])
  await expect.poll(async () => (await said()).rows).toEqual([{ percent: 50 }])
  await worker.stop()
})
