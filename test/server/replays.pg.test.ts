// Poison jobs, listed; failed jobs, started again.
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { createToken } from '../../src/store/accounts.ts'
import { run } from '../../src/store/db.ts'
import { claimJobs, finishJobs, reapWorkers } from '../../src/store/jobs.ts'
import { identity, testApi, type Api } from './api.ts'

let api: Api
const path = 'f/test/flow'
const hourMs = 3_600_000

beforeAll(async () => {
  api = await testApi()
  await api.deploy(path, [identity('a')])
  await api.deploy('f/test/other', [identity('a')])
})

beforeEach(() => api.db.pool.query('truncate job, job_done, job_replay, worker restart identity'))

const start = async (args: object, at = path) => (await api.post(`jobs/run/f/${at}`, args as never)).body
const workerRow = async (leaseMs = hourMs) =>
  (await run<{ id: number }>(api.db.pool, 'register_worker', ['w1', ['flow'], 'host', 1, '0', leaseMs]))[0]!.id

/** Runs what is ready to this end. */
async function finish(status: 'success' | 'failure', result: string): Promise<void> {
  const workerId = await workerRow()
  const jobs = await claimJobs(api.db.pool, { workerId, tag: 'flow', jobsMax: 100 })
  const batch = jobs.map((job) => `{"id":"${job.id}","epoch":${job.epoch},"status":"${status}","result":${result},"steps":[]}`)
  await finishJobs(api.db.pool, workerId, `[${batch.join(',')}]`)
}

/** Everything ready is claimed by a worker that dies of it, too often. */
async function poison(): Promise<void> {
  await claimJobs(api.db.pool, { workerId: await workerRow(1_000), tag: 'flow', jobsMax: 100 })
  await reapWorkers(api.db.pool, { hintAfterMs: 500, lostMax: 0, now: new Date(Date.now() + 5_000) })
}

const listed = async (query = '') => (await api.get(`jobs/poisoned/list${query}`)).json as Record<string, unknown>[]
const job = async (id: string) => (await api.get(`jobs_u/get/${id}`)).json as Record<string, any> // oxlint-disable-line typescript/no-explicit-any

test('the list of poison jobs has them alone, newest first, with how often and which workers', async () => {
  await start({ n: 1 })
  await finish('failure', '{"error":{"name":"PoisonJob","message":"so the user says"}}')
  const first = await start({ n: 2 })
  const second = await start({ n: 3 }, 'f/test/other')
  await poison()
  const jobs = await listed()
  expect(jobs.map((one) => one['id'])).toEqual([second, first])
  expect(jobs[1]).toMatchObject({
    script_path: path,
    lost: 1,
    success: false,
    error: { name: 'PoisonJob', workers: [{ name: 'w1', host: 'host', pid: 1 }] },
  })
  expect((await listed(`?script_path_exact=${path}`)).map((one) => one['id'])).toEqual([first])
  expect(await listed('?per_page=1')).toHaveLength(1)
  expect(await listed(`?created_after=${new Date(Date.now() + hourMs).toISOString()}`)).toEqual([])
  expect(await api.get('jobs/poisoned/list?created_after=soon')).toMatchObject({ status: 400 })
})

test('a poison job starts again with its arguments on what is deployed now, linked both ways', async () => {
  const old = await start({ n: 7 })
  await poison()
  const before = (await job(old))['script_hash'] as string
  const redeployed = { path, value: { modules: [identity('a'), identity('b')] } }
  expect((await api.post(`flows/update/${path}`, redeployed)).status).toBeLessThan(300)
  const answer = await api.post('jobs/replay', { ids: [old] })
  expect(answer).toMatchObject({ status: 201, json: { replayed: [{ replay_of: old }], refused: [] } })
  const [{ id }] = answer.json.replayed as [{ id: string }]
  const fresh = await job(id)
  expect(fresh).toMatchObject({ type: 'QueuedJob', args: { n: 7 }, replay_of: old })
  expect(fresh['script_hash']).not.toBe(before)
  expect((await job(old))['replayed_as']).toEqual([id])
  expect(await listed()).toMatchObject([{ id: old, replayed_as: [id] }])
  const again = await api.post('jobs/replay', { ids: [old], same_version: true })
  expect((await job(again.json.replayed[0].id as string))['script_hash']).toBe(before)
})

test('all poison jobs start again once, also when two ask at the same time', async () => {
  const ids = await Promise.all([1, 2, 3].map((n) => start({ n })))
  await poison()
  const answers = await Promise.all([1, 2].map(() => api.post('jobs/replay', {})))
  const replayed = answers.flatMap((answer) => answer.json.replayed as { replay_of: string }[])
  expect(replayed.map((one) => one.replay_of).sort()).toEqual(ids.sort())
  expect((await api.post('jobs/replay', {})).json).toEqual({ replayed: [], refused: [] })
})

test('jobs that failed by themselves are replayed when that is asked for, by path and time', async () => {
  const failed = await start({ n: 1 })
  await start({ n: 2 }, 'f/test/other')
  await finish('failure', '{"error":{"name":"Error","message":"no"}}')
  expect((await api.post('jobs/replay', { only: 'poisoned' })).json.replayed).toEqual([])
  const later = new Date(Date.now() + hourMs).toISOString()
  expect((await api.post('jobs/replay', { only: 'failed', created_after: later })).json.replayed).toEqual([])
  const answer = await api.post('jobs/replay', { only: 'failed', script_path_exact: path })
  expect(answer.json).toMatchObject({ replayed: [{ replay_of: failed }], refused: [] })
})

test('what cannot be replayed is said job by job, and the others are', async () => {
  const unknown = '019ac0de-7000-7000-8000-000000000000'
  const failed = await start({ n: 1 })
  await finish('failure', '{}')
  const running = await start({ n: 2 })
  await api.deploy('f/test/gone', [identity('a')])
  const gone = await start({ n: 3 }, 'f/test/gone')
  await api.db.pool.query(`update job set state = 'parked', run_at = now() + interval '1 day' where id = $1`, [running])
  await finish('failure', '{}')
  await api.ask('DELETE', 'flows/delete/f/test/gone')
  const { replayed, refused } = (await api.post('jobs/replay', { ids: [unknown, failed, running, gone, failed] })).json
  expect(replayed).toMatchObject([{ replay_of: failed }])
  expect(refused).toEqual([
    { id: unknown, why: 'no such job in this workspace' },
    { id: running, why: 'it is not over yet' },
    { id: gone, why: 'nothing is deployed at f/test/gone any more' },
  ])
  expect(await api.post('jobs/replay', { ids: ['nonsense'] })).toMatchObject({ status: 400, json: { error: { at: '$.ids[0]' } } })
})

test('a replay pushes no queue over its bound', async () => {
  const small = await testApi({ queueJobsMax: 2 }, api)
  const ids = await Promise.all([1, 2, 3].map((n) => start({ n })))
  await finish('failure', '{}')
  const { replayed, refused } = (await small.post('jobs/replay', { ids })).json
  expect(replayed).toHaveLength(2)
  expect(refused).toEqual([{ id: ids[2], why: 'the queue of tag flow is full' }])
  expect(await small.post('jobs/run/f/f/test/flow', {})).toMatchObject({ status: 429 })
})

test('the same asked for as the Windmill API has it', async () => {
  const failed = await start({ n: 1 })
  await finish('failure', '{}')
  const unknown = '019ac0de-7000-7000-8000-000000000000'
  const answer = await api.post('jobs/run/batch_rerun_jobs', {
    job_ids: [failed, unknown],
    script_options_by_path: {},
    flow_options_by_path: { [path]: { use_latest_version: true } },
  })
  const [id, error] = answer.body.split('\n')
  expect(await job(id!)).toMatchObject({ args: { n: 1 }, replay_of: failed })
  expect(error).toBe(`Error: job ${unknown}: no such job in this workspace`)
})

test('what runs on its latest version is said by path', async () => {
  const old = [await start({ n: 1 }), await start({ n: 2 }, 'f/test/other')]
  await finish('failure', '{}')
  for (const at of [path, 'f/test/other']) {
    const changed = { path: at, value: { modules: [identity('a'), identity('c')] } }
    expect((await api.post(`flows/update/${at}`, changed)).status).toBe(200)
  }
  const before = await Promise.all(old.map(async (id) => (await job(id))['script_hash'] as string))
  const flow_options_by_path = { [path]: { use_latest_version: true } }
  const ids = (await api.post('jobs/run/batch_rerun_jobs', { job_ids: old, flow_options_by_path })).body.split('\n')
  const fresh = new Map(
    (await Promise.all(ids.map(job))).map((one) => [one['script_path'] as string, one['script_hash'] as string]),
  )
  expect(fresh.get(path)).not.toBe(before[0])
  expect(fresh.get('f/test/other')).toBe(before[1])
  const changed = { [path]: { input_transforms: { n: { type: 'static', value: 3 } } } }
  expect(await api.post('jobs/run/batch_rerun_jobs', { job_ids: old, flow_options_by_path: changed })).toMatchObject({
    status: 400,
    json: { error: { at: '$.flow_options_by_path["f/test/flow"].input_transforms' } },
  })
})

test('a token for some flows only replays nothing', async () => {
  const token = await createToken(api.db.pool, {
    label: 'test',
    email: 'admin@millrace.local',
    scopes: [`jobs:run:flows:${path}`],
  })
  expect(await api.post('jobs/replay', {}, { token })).toMatchObject({ status: 403 })
})
