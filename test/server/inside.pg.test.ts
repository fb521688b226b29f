// What is inside of a job that really ran: its tree, and everything that its ids lead to.
import { beforeAll, expect, test } from 'vitest'
import { stepIdOf } from '../../src/core/job/ids.ts'
import { code, testEngine, ts, type Deployed, type Engine } from '../support/engine.ts'
import { choose, each, flow, give, repeat, same } from '../flows/cases.ts'
import { testApi, type Api } from './api.ts'

let engine: Engine
let api: Api
let nested: Deployed

const says = (id: string) =>
  ts(id, 'export function main(x: number) { console.log("has", x); return x + 1 }', { x: 'flow_input.iter.value' })

beforeAll(async () => {
  engine = await testEngine()
  api = await testApi({}, engine)
  await engine.work()
  await engine.deploy('f/test/inner', [give('i', 'flow_input.x')], {}, false)
  nested = await engine.deploy(
    'f/test/nested',
    [
      each('l', '[1, 2, 3]', [says('a')], { parallel: true }),
      choose('c', { 'flow_input.yes': [same('p')] }, [same('q')]),
      flow('f', 'f/test/inner', { x: '41' }),
    ],
    {},
    false,
  )
})

const look = async (id: string) => (await api.get(`jobs_u/get/${id}`)).json as Record<string, any> // oxlint-disable-line typescript/no-explicit-any

test('every id in flow_status leads to what it names', async () => {
  const { id } = await engine.run(nested, { yes: true })
  const job = await look(id)
  expect(job['flow_status']).toMatchObject({
    step: 3,
    modules: [
      { type: 'Success', id: 'l', flow_jobs_success: [true, true, true], iterator: { index: 2, itered: [1, 2, 3] } },
      { type: 'Success', id: 'c', branch_chosen: { type: 'branch', branch: 0 } },
      { type: 'Success', id: 'f' },
    ],
  })
  const [loop, , called] = job['flow_status'].modules as { job: string; flow_jobs: string[] }[]
  const iteration = await look(loop!.flow_jobs[1]!)
  expect(iteration).toMatchObject({
    type: 'CompletedJob',
    parent_job: id,
    job_kind: 'flownode',
    success: true,
    args: { yes: true, iter: { index: 1, value: 2 } },
    result: 3,
    raw_flow: { modules: [{ id: 'a' }] },
    flow_status: { step: 1, modules: [{ type: 'Success', id: 'a' }] },
  })
  const inner = iteration['flow_status'].modules[0].job as string
  expect(await look(inner)).toMatchObject({
    parent_job: loop!.flow_jobs[1],
    flow_step_id: 'a',
    args: { x: 2 },
    language: 'bun',
    result: 3,
  })
  expect((await api.get(`jobs_u/completed/get_result/${loop!.flow_jobs[1]}`)).json).toBe(3)
  expect((await api.get(`jobs_u/completed/get_result_maybe/${inner}`)).json).toEqual({
    completed: true,
    success: true,
    result: 3,
  })
  expect((await api.get(`jobs_u/getupdate/${loop!.flow_jobs[1]}`)).json).toMatchObject({
    completed: true,
    flow_status: { modules: [{ id: 'a' }] },
  })
  await expect.poll(async () => (await api.get(`jobs_u/get_logs/${loop!.flow_jobs[1]}`)).body, { interval: 10 }).toBe('has 2\n')
  expect((await api.get(`jobs_u/get_logs/${inner}`)).body).toBe('has 2\n')
  expect(await look(called!.job)).toMatchObject({
    job_kind: 'flow',
    script_path: 'f/test/inner',
    args: { x: 41 },
    result: 41,
    flow_status: { modules: [{ id: 'i', type: 'Success' }] },
  })
  // The loop itself has a number too.
  expect(await look(stepIdOf(id, 1))).toMatchObject({ flow_step_id: 'l', success: true, result: [2, 3, 4] })
  expect((await api.get(`jobs_u/get/${stepIdOf(id, 900)}`)).status).toBe(404)
})

test('the tree of a flow has it all in one answer', async () => {
  const { id } = await engine.run(nested, {})
  const tree = await api.get(`jobs_u/tree/${id}`)
  expect(tree.json).toMatchObject({
    job: id,
    label: '',
    success: true,
    steps: [
      {
        id: 'l',
        type: 'Success',
        inside: [
          { label: '#0', success: true, steps: [{ id: 'a', duration_ms: expect.any(Number) }] },
          { label: '#1' },
          { label: '#2' },
        ],
      },
      { id: 'c', inside: [{ label: 'default', steps: [{ id: 'q', type: 'Success' }] }] },
      { id: 'f', inside: [{ label: 'flow f/test/inner', steps: [{ id: 'i' }] }] },
    ],
  })
  const [loop] = tree.json.steps as { inside: { job: string }[] }[]
  expect((await api.get(`jobs_u/tree/${loop!.inside[2]!.job}`)).json).toMatchObject({ label: '#2', steps: [{ id: 'a' }] })
  expect(await api.get(`jobs_u/tree/${stepIdOf(id, 1)}`)).toMatchObject({ status: 400 })
})

test('what failed inside says so, with its error', async () => {
  const fails = ts('b', 'export function main(x: number) { if (x === 2) throw new RangeError("two is too many"); return x }', {
    x: 'flow_input.iter.value',
  })
  const deployed = await engine.deploy(
    'f/test/fails',
    [repeat('w', [same('s', { stop_after_if: { expr: 'true' } })]), each('l', '[1, 2]', [fails])],
    {},
    false,
  )
  const { id } = await engine.run(deployed)
  expect((await api.get(`jobs_u/tree/${id}`)).json).toMatchObject({
    success: false,
    steps: [
      { id: 'w', type: 'Success', inside: [{ label: '#0', success: true }] },
      {
        id: 'l',
        type: 'Failure',
        error: { name: 'RangeError', message: 'two is too many' },
        inside: [{ success: true }, { success: false, steps: [{ id: 'b', type: 'Failure', error: { name: 'RangeError' } }] }],
      },
    ],
  })
  const [, loop] = (await look(id))['flow_status'].modules as { flow_jobs: string[] }[]
  expect(await look(loop!.flow_jobs[1]!)).toMatchObject({
    success: false,
    result: { error: { name: 'RangeError', step_id: 'b' } },
  })
})

test('digits of a result stay as they were printed, inside of a loop too', async () => {
  const long = code('a', 'python3', 'def main():\n    return 12345678901234567890')
  const deployed = await engine.deploy('f/test/digits', [each('l', '[1]', [long]), same('b')], {}, false)
  const { id } = await engine.run(deployed)
  for (const n of [2, 3]) {
    expect((await api.get(`jobs_u/completed/get_result/${stepIdOf(id, n)}`)).body).toBe('12345678901234567890')
  }
})
