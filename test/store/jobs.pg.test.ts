// The queue's statements: who may write what, and what comes back when they may not.
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { defaultLimits } from '../../src/core/limits.ts'
import type { Database } from '../../src/store/db.ts'
import { run } from '../../src/store/db.ts'
import { createEnqueuer } from '../../src/store/enqueuer.ts'
import {
  appendJournal,
  cancelJob,
  claimJobs,
  finishJobs,
  newJobId,
  readJournal,
  reapWorkers,
  releaseJobs,
  settleClaims,
  wakeDueJobs,
  workerLockClass,
  type NewJob,
} from '../../src/store/jobs.ts'
import { testDatabase } from '../support/database.ts'

let db: Database
let versionId: string

beforeAll(async () => {
  db = await testDatabase()
  const { rows } = await db.pool.query(
    `insert into flow_version (workspace_id, path, kind, tag, value, built, content_hash, created_by)
     values ('main', 'a/b', 'flow', 't', '{}', '{}', 'x', 'me') returning id`,
  )
  versionId = (rows[0] as { id: string }).id
})

const hourMs = 3_600_000

/** Workers 1 to 8 live. */
beforeEach(async () => {
  await db.pool.query('truncate job, job_done, job_journal, job_key, worker restart identity')
  for (let id = 1; id <= 8; id++) await registerWorker(hourMs)
})

function newJob(more: Partial<NewJob> = {}): NewJob {
  return { id: newJobId(), workspaceId: 'main', versionId, tag: 't', priority: 0, args: '{"x":1}', createdBy: 'me', ...more }
}

async function enqueue(...jobs: NewJob[]): Promise<string[]> {
  const enqueuer = createEnqueuer({ db, limits: defaultLimits })
  const ids = await enqueuer.enqueue(jobs)
  await enqueuer.close()
  return ids
}

async function registerWorker(leaseMs: number): Promise<number> {
  const [row] = await run<{ id: number }>(db.pool, 'register_worker', ['w', ['t'], 'host', 1, '0', leaseMs])
  return row!.id
}

const claim = (workerId: number, jobsMax = 10, tag = 't') => claimJobs(db.pool, { workerId, tag, jobsMax })
const finished = (jobs: { id: string; epoch: number }[], result = '{"ok":true}') =>
  `[${jobs.map((job) => `{"id":"${job.id}","epoch":${job.epoch},"status":"success","result":${result},"steps":[]}`).join(',')}]`
const later = (ms: number) => new Date(Date.now() + ms)
const count = async (table: string) => Number((await db.pool.query(`select count(*)::integer as n from ${table}`)).rows[0].n)

test('jobs are claimed by priority, then in the order they were accepted, each once', async () => {
  const jobs = [newJob(), newJob(), newJob({ priority: 5 })]
  await enqueue(...jobs)
  const first = await claim(1, 2)
  const second = await claim(2, 2)
  expect(first.map((job) => job.id).sort()).toEqual([jobs[2]!.id, jobs[0]!.id].sort())
  expect(second.map((job) => job.id)).toEqual([jobs[1]!.id])
  expect(first[0]).toMatchObject({ epoch: 1, args: '{"x":1}', lost: 0, journaled: false })
})

test('jobs of a claim whose answer was lost go back to the queue, and that claim takes nothing more', async () => {
  await enqueue(newJob(), newJob(), newJob())
  const [known] = await claim(1, 1)
  const [lost] = await claim(1, 1) // nobody heard of it
  const back = await settleClaims(db.pool, { workerId: 1, round: 1, known: [known!] })
  expect(back).toEqual([{ id: lost!.id, tag: 't' }])
  expect(await claim(1, 1)).toEqual([]) // of round 0: it was still on its way
  const again = await claimJobs(db.pool, { workerId: 1, tag: 't', jobsMax: 10, round: 1 })
  expect(again.map((job) => [job.id === lost!.id, job.epoch, job.lost])).toContainEqual([true, 3, 0])
  expect(await finishJobs(db.pool, 1, finished([known!]))).toEqual([])
})

test('a request to end a round of claims, long on its way, ends no later one', async () => {
  await enqueue(newJob())
  expect(await settleClaims(db.pool, { workerId: 1, round: 2, known: [] })).toEqual([])
  expect(await run(db.pool, 'end_claim_round', [1, 1])).toEqual([])
  expect(await claimJobs(db.pool, { workerId: 1, tag: 't', jobsMax: 1, round: 2 })).toHaveLength(1)
})

test('an old question of what a worker does not know, long on its way, takes nothing of what it was given since', async () => {
  await enqueue(newJob(), newJob())
  const [first] = await claimJobs(db.pool, { workerId: 1, tag: 't', jobsMax: 1 })
  for (const round of [1, 2]) expect(await settleClaims(db.pool, { workerId: 1, round, known: [first!] })).toEqual([])
  await claimJobs(db.pool, { workerId: 1, tag: 't', jobsMax: 1, round: 2 })
  expect(await run(db.pool, 'give_back_unknown', [1, '[]', 1])).toEqual([])
  expect(await run(db.pool, 'give_back_unknown', [1, '[]', 2])).toHaveLength(2)
})

test('a parked job waits by the clock of the database, and tells whoever claims it that it has', async () => {
  await enqueue(newJob())
  const [job] = await claim(1)
  expect(job!.waited).toBe(false)
  const parked = { id: job!.id, epoch: job!.epoch, parkMs: 60_000 }
  await releaseJobs(db.pool, 1, [parked])
  expect(await wakeDueJobs(db.pool, { jobsMax: 10 })).toEqual([])
  const { rows } = await db.pool.query('select run_at - clock_timestamp() as left from job')
  expect((rows[0] as { left: { seconds: number } }).left.seconds).toBeGreaterThan(50)
  expect(await wakeDueJobs(db.pool, { jobsMax: 10, now: later(61_000) })).toEqual(['t'])
  const [woken] = await claim(2)
  expect(woken!.waited).toBe(true)
  await releaseJobs(db.pool, 2, [{ id: woken!.id, epoch: woken!.epoch, parkMs: null }])
  expect((await claim(3))[0]!.waited).toBe(false)
})

test('a claim after an id finds what was accepted later, of any priority, and nothing before', async () => {
  const jobs = [newJob({ priority: 5 }), newJob(), newJob({ priority: 5 }), newJob()]
  await enqueue(...jobs)
  const found = await claimJobs(db.pool, { workerId: 1, tag: 't', jobsMax: 10, after: jobs[1]!.id })
  expect(found.map((job) => job.id).sort()).toEqual([jobs[2]!.id, jobs[3]!.id])
  expect(await claim(1)).toHaveLength(2)
})

test('two claimers at once never get the same job', async () => {
  await enqueue(...Array.from({ length: 200 }, () => newJob()))
  const batches = await Promise.all(Array.from({ length: 8 }, (_, worker) => claim(worker + 1, 50)))
  const ids = batches.flat().map((job) => job.id)
  expect(ids).toHaveLength(200)
  expect(new Set(ids).size).toBe(200)
})

test('finishing moves a job to job_done with its arguments, result and steps', async () => {
  const [id] = await enqueue(newJob())
  const jobs = await claim(1)
  expect(await finishJobs(db.pool, 1, finished(jobs))).toEqual([])
  expect(await count('job')).toBe(0)
  const { rows } = await db.pool.query('select id, status, args, result, steps, worker_id from job_done')
  expect(rows).toEqual([{ id, status: 'success', args: '{"x":1}', result: '{"ok":true}', steps: '[]', worker_id: 1 }])
})

test('a worker that lost a job cannot finish it or give it back, and is told which', async () => {
  await enqueue(newJob())
  const [stale] = await claim(1)
  const release = () => releaseJobs(db.pool, 1, [{ id: stale!.id, epoch: stale!.epoch, parkMs: null }])
  expect(await release()).toEqual({ tags: ['t'], strangers: [] })
  expect(await release()).toEqual({ tags: [], strangers: [stale!.id] })
  const [fresh] = await claim(2)
  expect(fresh!.epoch).toBeGreaterThan(stale!.epoch + 1) // the release spent one too
  expect(await finishJobs(db.pool, 1, finished([stale!], '"stale"'))).toEqual([stale!.id])
  expect(await finishJobs(db.pool, 2, finished([fresh!], '"fresh"'))).toEqual([])
  expect((await db.pool.query('select result from job_done')).rows).toEqual([{ result: '"fresh"' }])
})

test('finishing twice records once', async () => {
  await enqueue(newJob())
  const jobs = await claim(1)
  await finishJobs(db.pool, 1, finished(jobs))
  expect(await finishJobs(db.pool, 1, finished(jobs))).toEqual([jobs[0]!.id])
  expect(await count('job_done')).toBe(1)
})

test('a journal is kept for its holder only, in order, and goes with the job', async () => {
  await enqueue(newJob())
  const [job] = await claim(1)
  const entry = (n: number, epoch: number) => `{"id":"${job!.id}","epoch":${epoch},"n":${n},"record":{"k":"wake","s":"a${n}"}}`
  expect(await appendJournal(db.pool, 1, `[${entry(2, 1)},${entry(1, 1)}]`)).toEqual([])
  expect(await appendJournal(db.pool, 1, `[${entry(3, 7)}]`)).toEqual([job!.id])
  expect(await appendJournal(db.pool, 2, `[${entry(3, 1)}]`)).toEqual([job!.id])
  expect((await readJournal(db.pool, 1, [job!])).map((row) => row.n)).toEqual([1, 2])
  // Whoever does not hold the job (any more) reads nothing of it.
  expect(await readJournal(db.pool, 2, [job!])).toEqual([])
  expect(await readJournal(db.pool, 1, [{ ...job!, epoch: job!.epoch + 1 }])).toEqual([])
  await finishJobs(db.pool, 1, finished([job!]))
  expect(await count('job_journal')).toBe(0)
})

test('a worker past its lease is declared dead and its jobs go back, with a new epoch and one loss more', async () => {
  const dead = await registerWorker(1_000)
  const alive = await registerWorker(hourMs)
  await enqueue(newJob(), newJob())
  const [lost] = await claim(dead, 1)
  const [kept] = await claim(alive, 1)
  const reaped = await reapWorkers(db.pool, { hintAfterMs: 500, lostMax: 3, now: later(5_000) })
  expect(reaped).toEqual({ workers: [dead], jobs_back: 1, jobs_poisoned: 0, back_ids: [lost!.id], poison_ids: null, tags: ['t'] })
  const [again] = await claim(1)
  expect(again).toMatchObject({ id: lost!.id, epoch: 3, lost: 1 })
  expect(await finishJobs(db.pool, dead, finished([lost!]))).toEqual([lost!.id])
  expect(await finishJobs(db.pool, alive, finished([kept!]))).toEqual([])
})

test('a worker that was declared dead claims nothing more, so that none of its jobs is left behind', async () => {
  const dead = await registerWorker(1_000)
  await enqueue(newJob())
  await run(db.pool, 'declare_dead', [later(5_000), workerLockClass, 500])
  expect(await claim(dead)).toEqual([])
  expect(await claim(1)).toHaveLength(1)
})

test('jobs of a dead worker are given back even if who declared it dead died before doing so', async () => {
  const dead = await registerWorker(1_000)
  await enqueue(newJob())
  await claim(dead)
  await run(db.pool, 'declare_dead', [later(5_000), workerLockClass, 500])
  expect(await reapWorkers(db.pool, { hintAfterMs: 500, lostMax: 3 })).toMatchObject({ workers: [dead], jobs_back: 1 })
})

test('a worker whose connection is gone is dead as soon as it has missed a heartbeat; one that holds its lock is not', async () => {
  const workerId = await registerWorker(hourMs)
  const connection = await db.connect({ name: 'worker' })
  await run(connection, 'worker_locked', [workerId, workerLockClass])
  await enqueue(newJob())
  await claim(workerId)
  // Beyond the 5 s for which a database that was just started does not look at locks.
  const reap = () => reapWorkers(db.pool, { hintAfterMs: 500, lostMax: 3, now: later(20_000) })
  expect((await reap()).workers).toBeNull()
  const { rows } = await connection.query('select pg_backend_pid() as pid')
  await connection.end()
  await backendGone((rows[0] as { pid: number }).pid)
  expect(await reap()).toMatchObject({ workers: [workerId], jobs_back: 1 })
})

async function backendGone(pid: number): Promise<void> {
  while ((await db.pool.query('select from pg_stat_activity where pid = $1', [pid])).rows.length > 0) {
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test('a job lost too often is poison: it fails, is kept, and takes its journal along', async () => {
  await enqueue(newJob())
  const workers: number[] = []
  for (let loss = 0; loss <= 3; loss++) {
    const workerId = await registerWorker(1_000)
    workers.push(workerId)
    const [job] = await claim(workerId)
    if (loss === 3)
      await appendJournal(db.pool, workerId, `[{"id":"${job!.id}","epoch":${job!.epoch},"n":1,"record":{"k":"wake","s":"a"}}]`)
    const reaped = await reapWorkers(db.pool, { hintAfterMs: 500, lostMax: 3, now: later(5_000) })
    expect(reaped).toMatchObject(loss < 3 ? { jobs_back: 1, jobs_poisoned: 0 } : { jobs_back: 0, jobs_poisoned: 1 })
  }
  const { rows } = await db.pool.query('select status, lost, result, steps from job_done')
  expect(rows).toHaveLength(1)
  expect(rows[0]).toMatchObject({ status: 'failure', lost: 4, steps: '[{"k":"wake","s":"a"}]' })
  const told = { name: 'w', host: 'host', pid: 1, died_at: expect.any(String) as string }
  expect(JSON.parse((rows[0] as { result: string }).result)).toEqual({
    error: {
      name: 'PoisonJob',
      message: 'the worker running it died 4 times',
      workers: workers.map((workerId) => ({ id: workerId, ...told })),
    },
  })
  expect(await count('job_journal')).toBe(0)
})

test('whoever waits for a job that turns out to be poison is told by the statement that gives it up', async () => {
  const client = await db.connect({ name: 'waiting server' })
  const heard: string[] = []
  client.on('notification', (message) => heard.push(message.payload ?? ''))
  await client.query('listen millrace_done_77')
  const [id] = await enqueue(newJob({ waiter: 77 }))
  const workerId = await registerWorker(1_000)
  await claim(workerId)
  expect(await reapWorkers(db.pool, { hintAfterMs: 500, lostMax: 0, now: later(5_000) })).toMatchObject({ jobs_poisoned: 1 })
  await client.query('select 1')
  expect(heard).toEqual([`${id} failure`])
  await client.end()
})

test('a parked job is not claimed before its time, and is after', async () => {
  await enqueue(newJob({ runAtMs: Date.now() + 60_000 }))
  expect(await claim(1)).toEqual([])
  expect(await wakeDueJobs(db.pool, { jobsMax: 10 })).toEqual([])
  expect(await wakeDueJobs(db.pool, { jobsMax: 10, now: later(61_000) })).toEqual(['t'])
  expect(await claim(1)).toHaveLength(1)
})

test('a wait may end at a fraction of a millisecond', async () => {
  const [id] = await enqueue(newJob())
  const [job] = await claim(1)
  await releaseJobs(db.pool, 1, [{ id: id!, epoch: job!.epoch, parkMs: 60_000.25 }])
  const { rows } = await db.pool.query('select state from job')
  expect(rows).toEqual([{ state: 'parked' }])
})

test('canceling ends a job that waits, asks for one that runs, and leaves a finished one as it is', async () => {
  const [waiting, running] = [newJob({ priority: -1 }), newJob()]
  await enqueue(waiting, running)
  const [job] = await claim(1, 1)
  const cancel = (id: string, workspaceId = 'main') => cancelJob(db.pool, { workspaceId, id, by: 'me', reason: 'enough' })
  expect(await cancel(waiting.id)).toBe('canceled')
  expect(await cancel(waiting.id)).toBe('finished')
  expect(await cancel(running.id)).toBe('asked')
  expect(await cancel(running.id, 'other')).toBe('missing')
  expect(await cancel(newJobId())).toBe('missing')
  const { rows } = await db.pool.query('select status, canceled_by, canceled_reason, result from job_done where id = $1', [
    waiting.id,
  ])
  expect(rows[0]).toMatchObject({ status: 'canceled', canceled_by: 'me', canceled_reason: 'enough' })
  const [asked] = await run<{ id: string }>(db.pool, 'canceled_jobs', [1])
  expect(asked!.id).toBe(job!.id)
})

test('a key starts one job, however many ask at once', async () => {
  const enqueuer = createEnqueuer({ db, limits: defaultLimits })
  const asked = Array.from({ length: 20 }, () => enqueuer.enqueue([newJob({ key: 'order-7' })]))
  const ids = new Set((await Promise.all(asked)).flat())
  expect(ids.size).toBe(1)
  expect(await count('job')).toBe(1)
  const [other] = await enqueuer.enqueue([newJob({ key: 'order-8' })])
  expect(ids.has(other!)).toBe(false)
  await enqueuer.close()
})

test('a batch with the same key twice gives the same id twice', async () => {
  const ids = await enqueue(newJob({ key: 'a' }), newJob({ key: 'b' }), newJob({ key: 'a' }))
  expect(ids[0]).toBe(ids[2])
  expect(new Set(ids).size).toBe(2)
})

test('requests that arrive together share an insert, and ids come back in order', async () => {
  const enqueuer = createEnqueuer({ db, limits: defaultLimits })
  const jobs = Array.from({ length: 300 }, () => newJob())
  const ids = await Promise.all(jobs.map((job) => enqueuer.enqueue([job])))
  expect(ids.flat()).toEqual(jobs.map((job) => job.id))
  expect(await count('job')).toBe(300)
  const { rows } = await db.pool.query('select count(distinct xmin::text)::integer as commits from job')
  expect((rows[0] as { commits: number }).commits).toBeLessThan(20)
  await enqueuer.close()
})

test('one request with an id already used fails alone', async () => {
  const enqueuer = createEnqueuer({ db, limits: defaultLimits })
  const first = newJob()
  await enqueuer.enqueue([first])
  const outcomes = await Promise.allSettled([
    enqueuer.enqueue([newJob()]),
    enqueuer.enqueue([first]),
    enqueuer.enqueue([newJob()]),
  ])
  expect(outcomes.map((outcome) => outcome.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  await enqueuer.close()
})

test('a full queue refuses, stores nothing, and says when to come back', async () => {
  const enqueuer = createEnqueuer({ db, limits: { ...defaultLimits, queueJobsMax: 3 } })
  await enqueuer.enqueue([newJob(), newJob(), newJob()])
  await expect(enqueuer.enqueue([newJob()])).rejects.toMatchObject({ code: 'E_QUEUE_FULL', details: { retryAfterS: 5 } })
  expect(await count('job')).toBe(3)
  await enqueuer.close()
})

test('a commit that tells names finished jobs of ours to the servers whose callers wait, and no others', async () => {
  const [mine, quiet, stale] = [newJob({ waiter: 77 }), newJob(), newJob({ waiter: 77 })]
  await enqueue(mine, quiet, stale)
  const jobs = await claim(1)
  await releaseJobs(db.pool, 1, [{ id: stale.id, epoch: 1, parkMs: null }])
  const listener = await db.connect({ name: 'server' })
  const heard: string[] = []
  listener.on('notification', (message) => heard.push(message.payload!))
  await listener.query('listen millrace_done_77')
  expect(await finishJobs(db.pool, 1, finished(jobs), true)).toEqual([stale.id])
  await listener.query('select 1')
  await listener.end()
  expect(heard).toEqual([`${mine.id} success {"ok":true}`])
})
