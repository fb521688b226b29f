// Jobs that kill the worker which runs them: found out after exactly lost_max + 1 deaths, and nobody else is taken for one.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { listPoison, replayJobs } from '../../src/store/replays.ts'
import { createTurnMakers } from '../../src/store/turns.ts'
import { newJobId } from '../../src/store/jobs.ts'
import { testEngine, ts } from '../support/engine.ts'
import { startProgram, type Program } from '../support/processes.ts'

const engine = await testEngine()
const home = mkdtempSync(join(tmpdir(), 'millrace-poison-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

const events = 200
const poisonous = new Set([20, 150])

test('each poison job is given up after it has killed lost_max + 1 workers, and every other event is done', async () => {
  const content = `export async function main(n: number) {
    if (${JSON.stringify([...poisonous])}.includes(n)) process.kill(process.ppid, 'SIGKILL')
    await new Promise((resolve) => setTimeout(resolve, 5))
    return n
  }`
  const flow = await engine.deploy('poison/some', [ts('a', content, { n: 'flow_input.n' })])
  const over = new AbortController()
  let deaths = 0
  let worker: Program
  // What a supervisor does: a worker that dies is started again.
  const supervised = (async () => {
    while (!over.signal.aborted) {
      worker = startProgram([process.execPath, 'dist/cli/main.js', 'worker', '--dedicated', flow.tag], {
        env: { DATABASE_URL: engine.db.url, MILLRACE_HOME: home, MILLRACE_LOST_MAX: '2', MILLRACE_TOKEN: 'unused' },
      })
      if ((await worker.ended) === 'SIGKILL') deaths += 1
    }
  })()
  const ids = await engine.enqueuer.enqueue(
    Array.from({ length: events }, (_, n) => ({
      id: newJobId(),
      workspaceId: 'main',
      versionId: flow.versionId,
      tag: flow.tag,
      priority: 0,
      args: `{"n":${n}}`,
      createdBy: 'test',
    })),
  )
  const done = await Promise.all(ids.map((id) => engine.done(id)))
  expect(done.flatMap((job, n) => (job.status === 'success' ? [] : n))).toEqual([...poisonous])

  const list = await listPoison(engine.db.pool, 'main', { limit: 10 })
  expect(list.map((job) => ids.indexOf(job.id)).sort((a, b) => a - b)).toEqual([...poisonous])
  for (const job of list) {
    expect(job.lost).toBe(3)
    const { workers } = JSON.parse(job.error) as { workers: { pid: number }[] }
    expect(new Set(workers.map(({ pid }) => pid)).size).toBe(3)
  }
  expect(deaths).toBeGreaterThanOrEqual(3)

  // The cause is put right, and they are replayed.
  const harmless = await engine.deploy('poison/some', [ts('a', 'export const main = (n: number) => n', { n: 'flow_input.n' })])
  const { replayed } = await replayJobs(engine.db, {
    workspaceId: 'main',
    by: 'test',
    which: { only: 'poisoned' },
    sameVersion: false,
    jobsMax: 100,
    room: () => 100,
    added: () => {},
    allows: () => true,
    turnMakers: createTurnMakers(engine.limits),
  })
  const again = await Promise.all(replayed.map(({ id }) => engine.done(id)))
  expect(new Set(again.map((job) => job.result))).toEqual(poisonous)
  expect(harmless.versionId).not.toBe(flow.versionId)
  over.abort()
  worker!.kill('SIGTERM')
  await supervised
  if (worker!.child.exitCode === null) await once(worker!.child, 'close')
}, 120_000)
