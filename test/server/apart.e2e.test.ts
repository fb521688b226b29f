// Steps that are jobs of their own, as the API shows them.
import { beforeAll, expect, test } from 'vitest'
import type { FlowModule } from '../../src/core/flow/definition.ts'
import { jobIdOf, stepIdOf } from '../../src/core/job/ids.ts'
import { withValue } from '../flows/cases.ts'
import { testEngine, ts, type Done, type Engine } from '../support/engine.ts'
import { testApi, type Api } from './api.ts'

let engine: Engine
let api: Api

beforeAll(async () => {
  engine = await testEngine()
  api = await testApi({ waitResultMs: 20_000 }, { db: engine.db, home: engine.home })
  await engine.work()
})

const apart = (module: FlowModule): FlowModule => withValue(module, { concurrent_limit: 50 })
const said = (id: string, expr: string): FlowModule =>
  ts(id, 'export function main(x: unknown) { console.log("saw " + JSON.stringify(x)); return x }', { x: expr })

async function run(path: string, modules: FlowModule[], args = {}): Promise<Done> {
  return engine.run(await engine.deploy(path, modules, {}, false), args)
}

/** The job that a step is. */
async function partOf(id: string, step: number): Promise<string> {
  const { rows } = await engine.db.pool.query<{ id: string }>(
    'select id from job_done where parent_id = $1 and parent_step = $2 and part is not null',
    [id, step],
  )
  return rows[0]!.id
}

test('the flow says which job a step is; result and output are found under that and under the step’s own id', async () => {
  const { id } = await run('apart/shown', [said('a', '1'), apart(said('b', '{ y: results.a }')), said('c', 'results.b.y')])
  const part = await partOf(id, 2)
  const { json } = await api.get(`jobs_u/get/${id}`)
  expect(json).toMatchObject({
    flow_status: { modules: [{ job: stepIdOf(id, 1) }, { type: 'Success', job: part }, { type: 'Success' }] },
  })
  const job = await api.get(`jobs_u/get/${part}`)
  expect(job.json).toMatchObject({
    parent_job: id,
    is_flow_step: true,
    flow_step_id: 'b',
    args: { x: { y: 1 } },
    result: { y: 1 },
  })
  const step = await api.get(`jobs_u/get/${stepIdOf(id, 2)}`)
  expect(step.json).toMatchObject({ success: true, result: { y: 1 } })
  for (const at of [part, stepIdOf(id, 2)])
    await expect.poll(async () => (await api.get(`jobs_u/get_logs/${at}`)).body).toContain('saw {"y":1}')
  expect((await api.get(`jobs_u/tree/${id}`)).json).toMatchObject({
    steps: [{ id: 'a' }, { id: 'b', type: 'Success', job: part }, {}],
  })
})

test('a debounced step says which job ran in its place, and shows what that has printed', async () => {
  const step = { ...said('b', 'flow_input.x'), debouncing: { debounce_delay_s: 0.05 } }
  const done = await run('apart/debounced', [step, said('c', 'results.b')], { x: 7 })
  expect(done.result).toBe(7)
  const part = await partOf(done.id, 1)
  const { json } = await api.get(`jobs_u/get/${part}`)
  expect(json).toMatchObject({ parent_job: done.id, success: true, result: 7, debounced_into: expect.any(String) as string })
  await expect.poll(async () => (await api.get(`jobs_u/get_logs/${part}`)).body).toContain('saw 7')
  const call = (await api.get(`jobs_u/get/${json.debounced_into}`)).json
  expect(call).toMatchObject({ success: true, result: 7, args: { x: 7 } })
  expect(call.parent_job).toBeNull()
  const flow = (await api.get(`jobs_u/get/${done.id}`)).json
  expect(flow.flow_status.modules[0]).toMatchObject({ id: 'b', type: 'Success', job: part })
})

test('a step that is a job may be the one that the flow answers with', async () => {
  const answer = apart(said('answer', '{ x: flow_input.x }'))
  const rest = ts('rest', 'export const main = () => "the rest"')
  const more = { early_return: 'answer' }
  await engine.deploy('apart/early', [{ ...answer, sleep: { type: 'static', value: 3_600 } }, rest], more, false)
  const { status, json } = await api.post('jobs/run_wait_result/f/apart/early', { x: 7 })
  expect([status, json]).toEqual([200, { x: 7 }])
})

test('a job starts again behind a step that is a job, and from it; the step’s job does not', async () => {
  const modules = [said('a', '1'), apart(said('b', '[results.a, Math.random()]')), said('c', 'results.b')]
  const old = await run('apart/again', modules)
  const kept = await api.post(`jobs/restart/f/${old.id}`, { step_id: 'c' })
  expect(await engine.done(kept.body)).toMatchObject({ status: 'success', result: old.result })
  expect((await api.get(`jobs_u/get/${kept.body}`)).json).toMatchObject({
    flow_status: { modules: [{}, { job: await partOf(old.id, 2) }, {}] },
  })
  const anew = await api.post(`jobs/restart/f/${old.id}`, { step_id: 'b' })
  const again = await engine.done(anew.body)
  expect(again.status).toBe('success')
  expect(again.result).not.toEqual(old.result)
  expect(await partOf(anew.body, 2)).not.toBe(await partOf(old.id, 2))
  const refused = await api.post(`jobs/restart/f/${await partOf(old.id, 2)}`, { step_id: 'b' })
  expect([refused.status, refused.json]).toMatchObject([400, { error: { message: expect.stringContaining(old.id) } }])
})

test('one step alone is tried with its tag and its limit', async () => {
  const value = { modules: [said('a', '1'), apart(said('b', 'results.a'))] }
  const tried = await api.post('jobs/run/preview_flow', JSON.stringify({ value, only: 'b', results: { a: 5 } }))
  expect(await engine.done(tried.body)).toMatchObject({ status: 'success', result: 5 })
})

test('an approval that is asked for inside of such a step is one of the flow', async () => {
  const asks = {
    ...apart(ts('ask', 'export const main = () => process.env.WM_JOB_ID')),
    suspend: { required_events: 1, timeout: 60 },
  }
  const flow = await engine.deploy('apart/asks', [asks, said('after', 'resume')], {}, false)
  const id = await engine.start(flow)
  for (;;) {
    const { rows } = await engine.db.pool.query('select from job_wait where job_id = $1 and wanted is not null', [id])
    if (rows.length > 0) break
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  // As the SDK asks for it, under the id that the code sees.
  const part = await partOf(id, 1)
  expect((await api.get(`jobs_u/get/${part}`)).json).toMatchObject({ result: stepIdOf(part, 1) })
  const urls = (await api.get(`jobs/resume_urls/${stepIdOf(part, 1)}/7`)).json as { resume: string }
  expect(urls.resume).toContain(`/jobs_u/resume/${stepIdOf(id, 1)}/7/`)
  const path = new URL(urls.resume).pathname.replace('/api/w/main/', '')
  expect((await api.post(path, { ok: true })).status).toBe(201)
  expect(await engine.done(jobIdOf(id))).toMatchObject({ status: 'success', result: { ok: true } })
})
