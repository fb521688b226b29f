// What a flow's steps keep for the length of its job.
import { beforeAll, expect, test } from 'vitest'
import { stepIdOf } from '../../src/core/job/ids.ts'
import { run } from '../../src/store/db.ts'
import { claimJobs, finishJobs } from '../../src/store/jobs.ts'
import { identity, testApi, type Api } from './api.ts'

let api: Api
let id: string

beforeAll(async () => {
  api = await testApi()
  await api.deploy('f/test/flow', [identity('a')])
  id = (await api.post('jobs/run/f/f/test/flow', {})).body
})

const url = (key: string, job = id): string => `jobs/flow/user_states/${job}/${key}`

test('a value is kept by its key, named by the job or one of its steps, and seen in flow_status', async () => {
  expect((await api.get(url('at'))).json).toBeNull()
  expect((await api.post(url('at'), '{"page": 3}')).status).toBe(200)
  expect((await api.post(url('name', stepIdOf(id, 1)), '"ada"')).status).toBe(200)
  expect((await api.get(url('at', stepIdOf(id, 1)))).json).toEqual({ page: 3 })
  expect((await api.post(url('at'), '4')).status).toBe(200)
  expect((await api.get(`jobs_u/get/${id}`)).json).toMatchObject({ flow_status: { user_states: { at: 4, name: 'ada' } } })
})

test('a job that is over keeps what it has, and nothing more', async () => {
  const [worker] = await run<{ id: number }>(api.db.pool, 'register_worker', ['w', ['flow'], 'host', 1, '0', 60_000])
  const [job] = await claimJobs(api.db.pool, { workerId: worker!.id, tag: 'flow', jobsMax: 1 })
  const batch = [{ id, epoch: job!.epoch, status: 'success', result: 1, steps: [] }]
  await finishJobs(api.db.pool, worker!.id, JSON.stringify(batch))
  expect((await api.get(url('at'))).json).toBe(4)
  expect(await api.post(url('at'), '5')).toMatchObject({
    status: 404,
    json: { error: { message: expect.stringContaining('Flow job not found') } },
  })
})

test('a job keeps so many values and no more; an unknown job keeps none', async () => {
  const other = (await api.post('jobs/run/f/f/test/flow', {})).body
  await api.db.pool.query(`insert into job_user_state select $1, 'k' || n, 'null' from generate_series(1, 1000) n`, [other])
  expect(await api.post(url('one_more', other), '1')).toMatchObject({ status: 413 })
  expect((await api.post(url('k7', other), '1')).status).toBe(200)
  expect((await api.get(url('at', '019ac0de-7000-7000-8000-000000000000'))).status).toBe(404)
})
