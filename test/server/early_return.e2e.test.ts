// A flow with early_return: whoever waits gets the result of that step, and the flow goes on.
import { beforeAll, expect, test } from 'vitest'
import type { FlowModule, FlowValue } from '../../src/core/flow/definition.ts'
import { testEngine, ts, type Engine } from '../support/engine.ts'
import { testApi, type Api } from './api.ts'

let engine: Engine
let api: Api

beforeAll(async () => {
  engine = await testEngine()
  api = await testApi({ waitResultMs: 20_000 }, { db: engine.db, home: engine.home })
  await engine.work()
})

const long = { type: 'static', value: 3_600 } as const
const answer = (more: Partial<FlowModule> = {}) =>
  ts('answer', 'export const main = (x: number) => ({ x })', { x: 'flow_input.x' }, more)
const rest = ts('rest', 'export const main = () => "the rest"')

async function ask(path: string, modules: FlowModule[], more: Partial<FlowValue> = {}) {
  await engine.deploy(path, modules, { early_return: 'answer', ...more }, false)
  return api.post(`jobs/run_wait_result/f/${path}`, { x: 1 })
}

const active = async (path: string) => {
  const { rows } = await engine.db.pool.query(
    'select job.id from job join flow_version v on v.id = job.version_id where v.path = $1',
    [path],
  )
  return rows.map((row: { id: string }) => row.id)
}

test('the answer comes while the flow goes on', async () => {
  const { status, json } = await ask('early/sleeps', [answer({ sleep: long }), rest])
  expect([status, json]).toEqual([200, { x: 1 }])
  expect(await active('early/sleeps')).toHaveLength(1)
})

test('the flow’s own result is that of its last step', async () => {
  const pause = { type: 'static', value: 0.3 } as const
  const { json } = await ask('early/goes_on', [answer({ sleep: pause }), rest])
  expect(json).toEqual({ x: 1 })
  const { rows } = await engine.db.pool.query(
    `select id from job where version_id = (select version_id from flow where path = 'early/goes_on')
     union select id from job_done where version_id = (select version_id from flow where path = 'early/goes_on')`,
  )
  expect((await engine.done((rows[0] as { id: string }).id)).result).toBe('the rest')
})

test('a flow that fails before it comes to that step answers with its failure', async () => {
  const fails = ts('fails', 'export const main = () => { throw new Error("no") }')
  const { status, json } = await ask('early/fails', [fails, answer()])
  expect([status, json]).toMatchObject([422, { error: { message: 'no' } }])
})

test('a flow that does not come to that step answers when it is over', async () => {
  const { status, json } = await ask('early/skips', [answer({ skip_if: { expr: 'true' } }), rest])
  expect([status, json]).toEqual([200, 'the rest'])
})

test('where that step is the last one, or every result is durable first, nothing differs', async () => {
  expect((await ask('early/last', [rest, answer()])).json).toEqual({ x: 1 })
  expect((await ask('early/strict', [answer({ sleep: long }), rest], { durability: 'strict' })).json).toEqual({ x: 1 })
})

test('a step of a sub-flow that has the same id is not meant', async () => {
  await engine.deploy('early/inner', [ts('answer', 'export const main = () => "inner"')], {}, false)
  const inner: FlowModule = { id: 'inner', value: { type: 'flow', path: 'early/inner', input_transforms: {} } }
  expect((await ask('early/outer', [inner, answer({ sleep: long }), rest])).json).toEqual({ x: 1 })
})

test('a large result is answered too, and a retried step by its success', async () => {
  const large = ts('answer', 'export const main = () => "x".repeat(20_000)', {}, { sleep: long })
  expect((await ask('early/large', [large, rest])).json).toBe('x'.repeat(20_000))
  const code = `let tries = 0
    export function main() { if (++tries < 2) throw new Error('not yet'); return tries }`
  const retry = { constant: { attempts: 3, seconds: 0 } }
  expect((await ask('early/retried', [ts('answer', code, {}, { sleep: long, retry }), rest])).json).toBe(2)
})
