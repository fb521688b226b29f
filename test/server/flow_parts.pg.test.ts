// Parts of flows: up to a step, one step alone, with given results.
import { beforeAll, expect, test } from 'vitest'
import { testEngine, type Engine } from '../support/engine.ts'
import { each, fail, give } from '../flows/cases.ts'
import { testApi, type Api } from './api.ts'

let engine: Engine
let api: Api
const path = 'f/test/parts'

beforeAll(async () => {
  engine = await testEngine()
  api = await testApi({}, engine)
  await engine.work()
  const modules = [
    give('a', 'flow_input.n + 1'),
    each('l', '[1, 2]', [give('b', 'results.a + flow_input.iter.value'), fail('x')]),
    give('c', 'results.l.concat(results.a)'),
  ]
  // On workers of its own: its parts run on shared ones.
  await engine.deploy(path, modules, { failure_module: give('failure', '"failed"') }, true)
})

const run = (part: object) => api.post('jobs/run_wait_result/preview_flow', { path, args: { n: 1 }, ...part })

test('up to a step, and no further: in loops too', async () => {
  expect((await run({ until: 'a' })).json).toBe(2)
  expect((await run({ until: 'b' })).json).toEqual([3, 4])
  const { body } = await api.post('jobs/run/preview_flow', { path, args: { n: 1 }, until: 'b' })
  await engine.done(body)
  const job = (await api.get(`jobs_u/get/${body}`)).json
  expect(job).toMatchObject({
    script_path: path,
    job_kind: 'flowpreview',
    flow_status: { step: 2, modules: [{ id: 'a' }, { id: 'l' }] },
  })
  expect(job.flow_status.modules).toHaveLength(2)
})

test('one step alone, with the results and the iteration that it is to see', async () => {
  expect((await run({ only: 'c', results: { a: 5, l: [1] } })).json).toEqual([1, 5])
  expect((await run({ only: 'b', results: { a: 10 }, args: { n: 0, iter: { index: 0, value: 7 } } })).json).toBe(17)
  expect((await run({ only: 'x' })).json).toMatchObject({ error: { name: 'TypeError', step_id: 'x' } })
})

test('given results are shown as steps that are done', async () => {
  const { body } = await api.post('jobs/run/preview_flow', { path, only: 'c', results: { a: 5, l: [] } })
  await engine.done(body)
  expect((await api.get(`jobs_u/get/${body}`)).json.flow_status.modules).toMatchObject([
    { id: 'a', type: 'Success' },
    { id: 'l', type: 'Success' },
    { id: 'c', type: 'Success' },
  ])
})

test('the rest of a flow, with the result of a step given', async () => {
  expect((await run({ results: { l: ['given'] } })).json).toEqual(['given', 2])
})

test('a part of a flow that is given with the request', async () => {
  const value = { modules: [give('a', '1'), give('b', '2')] }
  expect((await api.post('jobs/run_wait_result/preview_flow', { value, until: 'a' } as never)).json).toBe(1)
})

test.each([
  [{ until: 'z' }, '$.until', 'the flow has no step "z"; its steps are a, l, b, x, c'],
  [{ only: 'failure' }, '$.only', 'the flow has no step "failure"'],
  [{ only: 'c', results: { q: 1 } }, '$.results.q', 'the flow has no step "q"'],
  [{ until: 'a', results: { c: 1 } }, '$.results.c', 'step c comes after a'],
  [{ until: 'a', results: { a: 1 } }, '$.results.a', 'step a is to be run'],
  [{ until: 'a', only: 'b' }, '$.only', 'not both'],
  [{ until: 7 }, '$.until', 'is not the id of a step'],
  [{ only: 'c', results: [1] }, '$.results', 'is not an object'],
])('%j is refused with what there is', async (part, at, message) => {
  expect(await run(part)).toMatchObject({ status: 400, json: { error: { at, message: expect.stringContaining(message) } } })
})
