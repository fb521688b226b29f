// Jobs that really run: waiting for results, reading jobs and steps, updates as they happen. A worker and runners of our own.
import { writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { beforeAll, describe, expect, test } from 'vitest'
import { stepIdOf } from '../../src/core/job/ids.ts'
import type { Json } from '../../src/core/json.ts'
import { openDatabase } from '../../src/store/db.ts'
import { startProxy } from '../support/proxy.ts'
import { testEngine, type Engine, type TestWorker } from '../support/engine.ts'
import { identity, step, testApi, type Api } from './api.ts'

let engine: Engine
let api: Api
let worker: TestWorker
let url: string

const holds = `
export async function main(x: string) {
  console.log('began', x)
  while (!(await done(x))) await new Promise((resolve) => setTimeout(resolve, 20))
  console.log('ended', x)
  return x
}
import { existsSync } from 'node:fs'
const done = async (x: string) => existsSync(x)`

beforeAll(async () => {
  engine = await testEngine({ pollMs: 60_000 })
  api = await testApi({ pollMs: 60_000 }, engine)
  await api.app.listen({ host: '127.0.0.1', port: 0 })
  url = `http://127.0.0.1:${(api.app.server.address() as AddressInfo).port}`
  worker = await engine.work()
  const add = 'export function main(a: number, b = 1) { console.log("adding", a); return a + b }'
  const fails = 'export function main() { throw new RangeError("no more") }'
  const shaped = 'export function main(answer: unknown) { return answer }'
  await api.deploy('f/test/add', [step('a', add, { a: 'flow_input.n' }), step('b', add, { a: 'results.a', b: '10' })])
  await api.deploy('f/test/fails', [step('a', add, { a: 'flow_input.n' }), step('b', fails), step('c', add, { a: '1' })])
  await api.deploy('f/test/shaped', [step('a', shaped, { answer: 'flow_input.answer' })])
  await api.deploy('f/test/same', [identity('a')])
  await api.deploy('f/test/holds', [step('a', holds, { x: 'flow_input.x' })])
  const script = { path: 'f/test/script', content: add, language: 'bun', summary: '', description: '' }
  await api.post('scripts/create', script)
})

const wait = (path: string, body: Json | string): ReturnType<Api['post']> => api.post(`jobs/run_wait_result/f/${path}`, body)

describe('waiting for a result', () => {
  test('gives it in the answer, of a flow or a script, by POST or GET', async () => {
    expect(await wait('f/test/add', { n: 1 })).toMatchObject({
      status: 200,
      json: 12,
      headers: { 'content-type': 'application/json; charset=utf-8' },
    })
    expect((await api.post('jobs/run_wait_result/p/f/test/script', { a: 4 })).json).toBe(5)
    const payload = Buffer.from('{"n":5}').toString('base64url')
    expect((await api.get(`jobs/run_wait_result/f/f/test/add?payload=${payload}`)).json).toBe(16)
    const preview = { content: 'export const main = (x: number) => x * 2', language: 'bun', args: { x: 21 } }
    expect((await api.post('jobs/run_wait_result/preview', preview)).json).toBe(42)
    expect(
      (await api.post('jobs/run_wait_result/preview_flow', { value: { modules: [identity('x')] }, args: { q: 1 } })).json,
    ).toEqual({ q: 1 })
  })

  test('gives it as it was written, over many lines or too long for a notification', async () => {
    expect((await wait('f/test/same', '{\n "n": 1.50,\n "m": 2\n}')).body).toBe('{\n "n": 1.50,\n "m": 2\n}')
    const long = { text: 'é'.repeat(20_000) }
    expect((await wait('f/test/same', long)).json).toEqual(long)
  })

  test('many at once get each their own', async () => {
    const numbers = Array.from({ length: 300 }, (_, i) => i)
    const answers = await Promise.all(numbers.map((n) => wait('f/test/add', { n })))
    expect(answers.map((answer) => answer.json as number)).toEqual(numbers.map((n) => n + 11))
  })

  test('a failure is 422 with the error of the step', async () => {
    const answer = await wait('f/test/fails', { n: 1 })
    expect(answer.status).toBe(422)
    expect(answer.json).toMatchObject({ error: { name: 'RangeError', message: 'no more', step_id: 'b' } })
  })

  test('with a key, a second caller gets the result of the first', async () => {
    const ask = { headers: { 'idempotency-key': 'once' } }
    expect((await api.post('jobs/run_wait_result/f/f/test/add', { n: 1 }, ask)).json).toBe(12)
    expect((await api.post('jobs/run_wait_result/f/f/test/add', { n: 100 }, ask)).json).toBe(12)
  })

  const json = { 'content-type': 'application/json; charset=utf-8' }
  test.each([
    ['a status', { windmill_status_code: 202, result: { a: 1 } }, { status: 202, body: '{"a":1}', headers: json }],
    [
      'a type',
      { windmill_content_type: 'text/csv', result: 'a;b' },
      { status: 200, body: 'a;b', headers: { 'content-type': 'text/csv' } },
    ],
    ['no result', { windmill_headers: { 'x-a': 'b' } }, { status: 204, body: '', headers: { 'x-a': 'b' } }],
    ['a status without result', { windmill_status_code: 201 }, { status: 201, body: '' }],
    ['words that only look like it', { 'a "windmill_ b': 1 }, { status: 200, json: { 'a "windmill_ b': 1 }, headers: json }],
    ['a status that is none', { windmill_status_code: 99 }, { status: 422, headers: json }],
    ['a header that cannot be sent', { windmill_headers: { 'a\nb': 'c' } }, { status: 422, headers: json }],
  ])('a result may shape the answer: %s', async (_name, answer, expected) => {
    expect(await wait('f/test/shaped', { answer })).toMatchObject(expected)
  })

  test('a caller who hangs up cancels the job', async () => {
    const flag = `${engine.home}/never`
    const call = httpRequest(`${url}/api/w/main/jobs/run_wait_result/f/f/test/holds`, {
      method: 'POST',
      headers: { authorization: `Bearer ${api.token}`, 'content-type': 'application/json' },
    })
    call.on('error', () => {})
    call.end(JSON.stringify({ x: flag }))
    const running = async (): Promise<string | undefined> =>
      ((await api.get('jobs/queue/list?running=true&script_path_exact=f/test/holds')).json as { id: string }[])[0]?.id
    await expect.poll(running, { interval: 10 }).toBeDefined()
    const id = (await running())!
    call.destroy()
    expect(await engine.done(id)).toMatchObject({ status: 'canceled' })
    expect((await api.get(`jobs_u/get/${id}`)).json).toMatchObject({
      canceled: true,
      canceled_by: 'admin',
      canceled_reason: 'the caller hung up',
    })
  })

  test('goes on over a cut connection to the database; new callers are told to come back', async () => {
    const proxy = await startProxy(engine.db.url)
    const db = openDatabase({ url: proxy.url, name: 'test behind a proxy' })
    const behind = await testApi({ pollMs: 60_000 }, { db, home: engine.home })
    const flag = `${engine.home}/after-the-cut`
    const waiting = behind.post('jobs/run_wait_result/f/f/test/holds', { x: flag })
    const running = async (): Promise<unknown> => (await api.get('jobs/queue/list?running=true')).json
    await expect.poll(running, { interval: 10 }).toHaveLength(1)
    proxy.refuse()
    proxy.cut()
    await expect.poll(async () => (await behind.get('/readyz', { token: null })).status, { interval: 20 }).toBe(503)
    const refused = await behind.post('jobs/run/f/f/test/add', { n: 1 })
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '1' }, json: { error: { code: 'E_DATABASE' } } })
    expect((await behind.get('/healthz', { token: null })).status).toBe(200)
    writeFileSync(flag, '')
    await expect.poll(running, { interval: 10 }).toHaveLength(0) // its end is announced while nobody hears it
    proxy.admit()
    expect((await waiting).json).toBe(flag)
    expect((await behind.post('jobs/run_wait_result/f/f/test/add', { n: 1 })).json).toBe(12)
    await behind.app.close()
    await db.close()
    await proxy.close()
  })
})

describe('a job that is over', () => {
  test('shows its flow, its steps and its result', async () => {
    const id = await engine.start({ ...(await current('f/test/add')), tag: 'flow' }, { n: 1 })
    await engine.done(id)
    const job = (await api.get(`jobs_u/get/${id}`)).json as Record<string, unknown>
    expect(job).toMatchObject({
      type: 'CompletedJob',
      id,
      workspace_id: 'main',
      script_path: 'f/test/add',
      job_kind: 'flow',
      args: { n: 1 },
      success: true,
      result: 12,
      raw_flow: { modules: [{ id: 'a' }, { id: 'b' }] },
      flow_status: {
        step: 2,
        modules: [
          { type: 'Success', id: 'a', job: stepIdOf(id, 1) },
          { type: 'Success', id: 'b', job: stepIdOf(id, 2) },
        ],
        failure_module: { type: 'WaitingForPriorSteps' },
      },
    })
    expect(await api.get(`jobs/completed/get/${id}`)).toMatchObject({ json: job })
    expect((await api.get(`jobs_u/completed/get_result/${id}`)).json).toBe(12)
    expect((await api.get(`jobs_u/completed/get_result_maybe/${id}`)).json).toEqual({
      completed: true,
      success: true,
      result: 12,
    })
    const first = (await api.get(`jobs_u/completed/get/${stepIdOf(id, 1)}`)).json as Record<string, unknown>
    expect(first).toMatchObject({
      type: 'CompletedJob',
      parent_job: id,
      flow_step_id: 'a',
      is_flow_step: true,
      success: true,
      result: 2,
      language: 'bun',
    })
    expect((await api.get(`jobs_u/get/${stepIdOf(id, 2)}`)).json).toMatchObject({ result: 12, flow_step_id: 'b' })
    expect((await api.get(`jobs_u/get/${stepIdOf(id, 3)}`)).status).toBe(404)
    await expect.poll(async () => (await api.get(`jobs_u/get_logs/${id}`)).body, { interval: 10 }).toBe('adding 1\nadding 2\n')
    expect((await api.get(`jobs_u/get_logs/${stepIdOf(id, 2)}`)).body).toBe('adding 2\n')
    expect((await api.get(`jobs_u/getupdate/${stepIdOf(id, 2)}?log_offset=3`)).json).toMatchObject({
      completed: true,
      new_logs: 'ing 2\n',
      log_offset: 9,
    })
  })

  test('that failed shows which step, and what never ran', async () => {
    const id = await engine.start({ ...(await current('f/test/fails')), tag: 'flow' }, { n: 1 })
    await engine.done(id)
    expect((await api.get(`jobs_u/get/${id}`)).json).toMatchObject({
      success: false,
      flow_status: {
        step: 1,
        modules: [{ type: 'Success' }, { type: 'Failure', job: stepIdOf(id, 2) }, { type: 'WaitingForPriorSteps' }],
      },
    })
    expect((await api.get(`jobs_u/completed/get/${stepIdOf(id, 2)}`)).json).toMatchObject({
      success: false,
      result: { error: { name: 'RangeError' } },
    })
    expect((await api.get(`jobs_u/completed/get_result_maybe/${id}`)).json).toMatchObject({ completed: true, success: false })
  })

  test('is not canceled any more', async () => {
    const id = await engine.start({ ...(await current('f/test/same')), tag: 'flow' })
    await engine.done(id)
    expect(await api.post(`jobs_u/queue/cancel/${id}`, {})).toMatchObject({ status: 200, body: `job ${id} is over already` })
  })
})

describe('a job that runs', () => {
  test('tells what is new until it is over, and how far it is', async () => {
    const flag = `${engine.home}/go`
    const id = await engine.start({ ...(await current('f/test/holds')), tag: 'flow' }, { x: flag })
    const stepId = stepIdOf(id, 1)
    const events = eventsOf(`${url}/api/w/main/jobs_u/getupdate_sse/${stepId}?log_offset=0`)
    let said = ''
    for await (const event of events) {
      said += (event as { new_logs?: string }).new_logs ?? ''
      if (said.startsWith('began')) break
    }
    expect((await api.get(`jobs_u/get/${id}`)).json).toMatchObject({
      type: 'QueuedJob',
      running: true,
      flow_status: { step: 0, modules: [{ type: 'InProgress', id: 'a', job: stepId }] },
    })
    expect((await api.get(`jobs_u/get/${stepId}`)).json).toMatchObject({ type: 'QueuedJob', running: true, parent_job: id })
    expect((await api.get(`jobs_u/completed/get/${stepId}`)).status).toBe(404)
    expect((await api.get(`jobs_u/completed/get_result_maybe/${id}?get_started=true`)).json).toEqual({
      completed: false,
      started: true,
      result: null,
    })
    expect((await api.post(`job_metrics/set_progress/${stepId}`, { percent: 40 })).status).toBe(200)
    expect((await api.get(`job_metrics/get_progress/${id}`)).json).toBe(40)
    expect((await api.get(`jobs_u/getupdate/${id}?get_progress=true`)).json).toMatchObject({
      running: true,
      completed: false,
      progress: 40,
    })

    const rest = eventsOf(`${url}/api/w/main/jobs_u/getupdate_sse/${id}?only_result=true`)
    writeFileSync(flag, '')
    const all: unknown[] = []
    for await (const event of rest) all.push(event)
    expect(all.at(-1)).toMatchObject({ type: 'update', completed: true, only_result: flag })
  })

  test('is asked to stop, and ends as canceled', async () => {
    const id = await engine.start({ ...(await current('f/test/holds')), tag: 'flow' }, { x: `${engine.home}/never` })
    await expect
      .poll(async () => ((await api.get(`jobs_u/get/${id}`)).json as { running: boolean }).running, { interval: 10 })
      .toBe(true)
    expect((await api.post(`jobs_u/queue/cancel/${id}`, { reason: 'enough' })).body).toBe(id)
    expect(await engine.done(id)).toMatchObject({ status: 'canceled' })
    expect((await api.get(`jobs_u/get/${id}`)).json).toMatchObject({
      type: 'CompletedJob',
      canceled: true,
      canceled_reason: 'enough',
      success: false,
    })
  })

  test('that nobody knows is told as such', async () => {
    const all: unknown[] = []
    for await (const event of eventsOf(`${url}/api/w/main/jobs_u/getupdate_sse/01a20555-2c4b-7000-b7ca-3658ce450000`))
      all.push(event)
    expect(all).toEqual([{ type: 'notfound' }])
  })
})

async function current(path: string): Promise<{ versionId: string }> {
  const { version_id: version } = (await api.get(`flows/get/${path}`)).json as { version_id: number }
  return { versionId: String(version) }
}

async function* eventsOf(address: string): AsyncGenerator {
  const answer = await fetch(address, { headers: { authorization: `Bearer ${api.token}` } })
  expect(answer.headers.get('content-type')).toBe('text/event-stream')
  let text = ''
  for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) {
    text += piece
    for (let cut = text.indexOf('\n\n'); cut !== -1; cut = text.indexOf('\n\n')) {
      yield JSON.parse(text.slice('data: '.length, cut)) as unknown
      text = text.slice(cut + 2)
    }
  }
}

test('lists and counts find jobs by what they are', async () => {
  const list = async (query: string): Promise<Record<string, unknown>[]> =>
    (await api.get(`jobs/${query}`)).json as Record<string, unknown>[]
  await worker.stop() // what is started from here on stays in the queue
  const waiting = (await api.post('jobs/run/f/f/test/add?scheduled_in_secs=3600', { n: 77, marked: true })).body
  const ready = (await api.post('jobs/run/f/f/test/same?tag=idle', {})).body
  expect((await list('list?per_page=2')).map((job) => job['id'])).toEqual([ready, waiting])
  expect((await list('queue/list?args={"marked":true}')).map((job) => job['id'])).toEqual([waiting])
  expect((await list('queue/list?tag=idle')).map((job) => job['id'])).toEqual([ready])
  expect(await list('queue/list?success=true')).toEqual([])
  const failed = await list('completed/list?success=false&script_path_exact=f/test/fails')
  expect(failed.length).toBeGreaterThan(0)
  expect(failed.every((job) => job['success'] === false && job['script_path'] === 'f/test/fails')).toBe(true)
  expect((await list('list?status=canceled')).every((job) => job['status'] === 'canceled')).toBe(true)
  expect((await list('completed/list?result=12')).length).toBeGreaterThan(0)
  expect((await list('list?script_path_start=f/test/ad')).every((job) => job['script_path'] === 'f/test/add')).toBe(true)
  expect((await list('list?job_kinds=script,preview')).every((job) => job['job_kind'] !== 'flow')).toBe(true)
  const ids = (await list('list?order_desc=false&per_page=1000')).map((job) => job['id'] as string)
  expect(ids).toEqual([...ids].sort())
  expect((await list('list?page=2&per_page=1'))[0]!['id']).toBe(waiting)
  expect(await list('list?created_after=2100-01-01T00:00:00Z')).toEqual([])
  expect((await api.get('jobs/queue/count?tags=idle')).json).toMatchObject({ database_length: 1 })
  expect((await api.get(`jobs/queue/position/${Date.now() + 1_000}`)).json).toEqual({ position: 1 })
  const { database_length: over } = (await api.get('jobs/completed/count')).json as { database_length: number }
  expect(over).toBe(ids.length - 2)
})
