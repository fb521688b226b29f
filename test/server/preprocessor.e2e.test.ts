// A flow with a preprocessor: an event goes in, and the flow's input comes out.
import { beforeAll, expect, test } from 'vitest'
import type { FlowModule, FlowValue } from '../../src/core/flow/definition.ts'
import { code, testEngine, ts, type Engine } from '../support/engine.ts'
import { testApi, type Api } from './api.ts'

let engine: Engine
let api: Api

beforeAll(async () => {
  engine = await testEngine()
  api = await testApi({ waitResultMs: 20_000 }, { db: engine.db, home: engine.home })
  await engine.work()
})

const show = ts('show', 'export const main = (input: unknown) => input', { input: 'flow_input' })
const preprocessor = (content: string, language = 'bun') => code('preprocessor', language, content)
const doubles = preprocessor(
  'export async function preprocessor(event: any) { return { twice: event.body.n * 2, kind: event.kind } }',
)

async function deploy(path: string, first: FlowModule, more: Partial<FlowValue> = {}, modules = [show]): Promise<void> {
  await engine.deploy(path, modules, { preprocessor_module: first, ...more }, false)
}
const ask = (path: string, body: object, query = '') =>
  api.post(`jobs/run_wait_result/f/${path}${query}`, body as never, { headers: { 'x-from': 'test' } })

test('its result is the flow’s input', async () => {
  await deploy('pre/doubles', doubles)
  expect((await ask('pre/doubles', { n: 4 })).json).toEqual({ twice: 8, kind: 'webhook' })
})

test('it gets the event: body, query and headers, and nothing secret', async () => {
  await deploy('pre/event', preprocessor('export const preprocessor = (event: object) => ({ event })'))
  const { json } = await ask('pre/event', { n: 4 }, '?x=1')
  expect(json).toMatchObject({ event: { kind: 'webhook', body: { n: 4 }, raw_string: null, query: { x: '1' } } })
  const { headers } = (json as { event: { headers: Record<string, string> } }).event
  expect(headers['x-from']).toBe('test')
  expect(Object.keys(headers)).not.toContain('authorization')
})

test('it is not asked where the caller says so, in previews, nor where the flow is a step', async () => {
  expect((await ask('pre/doubles', { n: 4 }, '?skip_preprocessor=true')).json).toEqual({ n: 4 })
  const value = { modules: [show], preprocessor_module: doubles }
  expect((await api.post('jobs/run_wait_result/preview_flow', { value, args: { n: 4 } } as never)).json).toEqual({ n: 4 })
  const inside: FlowModule = {
    id: 's',
    value: { type: 'flow', path: 'pre/doubles', input_transforms: { n: { type: 'static', value: 5 } } },
  }
  await engine.deploy('pre/outer', [inside], {}, false)
  expect((await ask('pre/outer', {})).json).toEqual({ n: 5 })
})

test('each element of a batch is an event', async () => {
  const { json } = await api.post('jobs/run_batch/f/pre/doubles', [{ n: 1 }, { n: 2 }])
  const done = await Promise.all((json as string[]).map((id) => engine.done(id)))
  expect(done.map((job) => job.result)).toEqual([
    { twice: 2, kind: 'webhook' },
    { twice: 4, kind: 'webhook' },
  ])
})

test('in Python, and by the name main', async () => {
  await deploy('pre/python', preprocessor('def preprocessor(event):\n    return {"n": event["body"]["n"] + 1}', 'python3'))
  expect((await ask('pre/python', { n: 4 })).json).toEqual({ n: 5 })
  await deploy('pre/main', preprocessor('export const main = (event: any) => ({ n: event.body.n + 2 })'))
  expect((await ask('pre/main', { n: 4 })).json).toEqual({ n: 6 })
})

test('a preprocessor that fails, or gives no object, fails the flow, and its failure module hears of it', async () => {
  await deploy('pre/fails', preprocessor('export function preprocessor() { throw new Error("no") }'))
  const failed = await ask('pre/fails', {})
  expect([failed.status, failed.json]).toMatchObject([422, { error: { message: 'no', step_id: 'preprocessor' } }])
  const hears = ts('failure', 'export const main = (name: string) => name', { name: 'error.name' })
  await deploy('pre/number', preprocessor('export const preprocessor = () => 3'), { failure_module: hears })
  expect((await ask('pre/number', {})).json).toBe('PreprocessorError')
})

test('conditions, later steps, also after a wait, see what it gave, not the event', async () => {
  const long = { type: 'static', value: 1.2 } as const
  await deploy('pre/waits', doubles, { skip_expr: 'flow_input.twice > 100', durability: 'strict' }, [
    ts('a', 'export const main = (n: number) => n', { n: 'flow_input.twice' }, { sleep: long }),
    ts('b', 'export const main = (a: number, n: number, p: unknown) => [a, n, p]', {
      a: 'results.a',
      n: 'flow_input.twice',
      p: 'results.preprocessor ?? null',
    }),
  ])
  expect((await ask('pre/waits', { n: 3 })).json).toEqual([6, 6, null])
  expect((await ask('pre/waits', { n: 300 })).json).toMatchObject({ twice: 600 })
})

test('it is shown, and a job started again from a later step keeps what it gave', async () => {
  const two = [ts('a', 'export const main = () => 1'), ts('b', 'export const main = (n: number) => n', { n: 'flow_input.twice' })]
  await deploy('pre/again', doubles, {}, two)
  const id = (await api.post('jobs/run/f/pre/again', { n: 7 })).body
  expect((await engine.done(id)).result).toBe(14)
  const { json } = await api.get(`jobs_u/get/${id}`)
  expect((json as { flow_status: object }).flow_status).toMatchObject({
    step: 2,
    preprocessor_module: { type: 'Success', id: 'preprocessor' },
  })
  const again = (await api.post(`jobs/restart/f/${id}`, { step_id: 'b' })).body
  const done = await engine.done(again)
  expect([done.status, done.result]).toEqual(['success', 14])
  expect(done.steps.map(({ s }) => s)).toEqual(['preprocessor', 'a', 'b'])
})
