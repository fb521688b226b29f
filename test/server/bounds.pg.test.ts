// Every bound of the server: filled, seen to push back, and seen to recover.
import { once } from 'node:events'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { afterAll, expect, test } from 'vitest'
import type { Limits } from '../../src/core/limits.ts'
import { identity, testApi, type Api } from './api.ts'

const shared = await testApi()
await shared.deploy('f/test/flow', [identity('a')])
const run = 'jobs/run/f/f/test/flow'
const open = async (limits: Partial<Limits>): Promise<Api> => testApi(limits, shared)

const sockets: Socket[] = []
afterAll(() => sockets.forEach((socket) => socket.destroy()))

interface Raw {
  socket: Socket
  /** The status and headers of the answer, once there is one. */
  answer: Promise<string>
}

/** A request of which only the headers are sent, and what of the body is given. */
async function raw(api: Api, options: { path?: string; bytes?: number; body?: string; chunked?: boolean } = {}): Promise<Raw> {
  if (!api.app.server.listening) await api.app.listen({ port: 0, host: '127.0.0.1' })
  const socket = connect({ port: (api.app.server.address() as AddressInfo).port, host: '127.0.0.1' })
  sockets.push(socket)
  await once(socket, 'connect')
  const answer = once(socket, 'data').then(([data]) => String(data))
  answer.catch(() => {})
  const size = options.chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${options.bytes ?? 2}`
  const head = ['Host: x', `Authorization: Bearer ${api.token}`, 'Content-Type: application/json', size]
  socket.write(`POST /api/w/main/${options.path ?? run} HTTP/1.1\r\n${head.join('\r\n')}\r\n\r\n${options.body ?? ''}`)
  return { socket, answer }
}

const queued = async () => Number((await shared.db.pool.query('select count(*)::integer as n from job')).rows[0].n)

/** Until a stage is this full, as the metrics have it. */
async function filled(api: Api, stage: string, fill: number): Promise<void> {
  await expect.poll(async () => (await api.get('/metrics')).body).toContain(`millrace_stage_fill{stage="${stage}"} ${fill}\n`)
}

/** Nothing is inserted into or read from a table until `unlock`. */
async function lock(table: string): Promise<{ unlock(): Promise<void> }> {
  const client = await shared.db.connect({ name: 'test lock' })
  await client.query(`begin; lock table ${table} in access exclusive mode`)
  return {
    async unlock() {
      await client.query('commit')
      await client.end()
    },
  }
}

test('more requests than are answered at a time get 503 and a time to come back, before their bodies are sent', async () => {
  const api = await open({ requestsMax: 1 })
  const first = await raw(api, { body: '{' })
  await filled(api, 'requests', 1)
  const second = await raw(api, { bytes: 5_000_000 }) // none of it follows
  const refusal = await second.answer
  expect(refusal).toMatch(/^HTTP\/1.1 503/)
  expect(refusal).toMatch(/retry-after: 1\r\n/i)
  expect(await api.get('/healthz')).toMatchObject({ status: 200 })
  first.socket.write('}')
  expect(await first.answer).toMatch(/^HTTP\/1.1 201/)
  await filled(api, 'requests', 0)
  expect(await api.post(run, {})).toMatchObject({ status: 201 })
})

test('the bytes of bodies on their way have a bound, and a caller who leaves gives his back', async () => {
  const api = await open({ requestBytesMax: 1_000_000 })
  const large = await raw(api, { bytes: 900_000, body: '{' })
  await expect.poll(async () => (await (await raw(api, { bytes: 200_000 })).answer).startsWith('HTTP/1.1 503')).toBe(true)
  expect(await (await raw(api, { chunked: true })).answer).toMatch(/^HTTP\/1.1 503/)
  expect(await api.post(run, { small: true })).toMatchObject({ status: 201 })
  large.socket.destroy()
  await expect.poll(async () => (await api.post(run, { x: 'x'.repeat(200_000) })).status).toBe(201)
})

test('jobs that cannot be stored fast enough are turned away with 429, and none that was accepted is lost', async () => {
  const api = await open({ pendingBytesMax: 10_000 })
  await api.post(run, {}) // the flow is known from here on
  const before = await queued()
  const { unlock } = await lock('job')
  const waiting = Array.from({ length: 4 }, () => api.post(run, { x: 'x'.repeat(5_000) }))
  await expect
    .poll(async () => (await raw(api, { bytes: 5_000 }).then((one) => one.answer)).startsWith('HTTP/1.1 429'))
    .toBe(true)
  const refused = await api.post(run, {}, { headers: { 'idempotency-key': 'also-a-named-one' } })
  expect(refused).toMatchObject({ status: 429, headers: { 'retry-after': '1' }, json: { error: { code: 'E_QUEUE_FULL' } } })
  await unlock()
  const accepted = (await Promise.all(waiting)).filter((answer) => answer.status === 201)
  expect(accepted.length).toBeGreaterThan(0)
  expect(await queued()).toBe(before + accepted.length)
  expect(await api.post(run, {})).toMatchObject({ status: 201 })
})

test('named jobs on their way to be stored count as well', async () => {
  const api = await open({ pendingBytesMax: 10_000 })
  await api.post(run, {})
  const { unlock } = await lock('job_key')
  const named = (key: string) => api.post(run, { x: 'x'.repeat(8_000) }, { headers: { 'idempotency-key': key } })
  const waiting = [named('one'), named('two')]
  await expect.poll(async () => (await api.post(run, {})).status).toBe(429)
  await unlock()
  expect((await Promise.all(waiting)).map((answer) => answer.status)).toEqual([201, 201])
  expect(await api.post(run, {})).toMatchObject({ status: 201 })
})

test('a tag with as many jobs as it may have takes no more, before the body is read, and takes some again when there is room', async () => {
  await shared.db.pool.query('truncate job')
  const api = await open({ queueJobsMax: 3 })
  const answers = [await api.post(run, {}), await api.post(run, {}), await api.post(run, {})]
  expect(answers.map((answer) => answer.status)).toEqual([201, 201, 201])
  const refusal = await (await raw(api, { bytes: 5_000_000 })).answer
  expect(refusal).toMatch(/^HTTP\/1.1 429/)
  expect(refusal).toMatch(/retry-after: 5\r\n/i)
  expect(await api.post('jobs/run_batch/f/f/test/flow', [{}, {}])).toMatchObject({ status: 429 })
  await shared.db.pool.query('truncate job')
  await expect.poll(async () => (await api.post(run, {})).status, { interval: 100 }).toBe(201)
})

test('callers who wait for results have a bound, and waiting callers count as no requests', async () => {
  const api = await open({ waitersMax: 2, requestsMax: 1, waitResultMs: 60_000 })
  const wait = 'jobs/run_wait_result/f/f/test/flow'
  const first = await raw(api, { path: wait, body: '{}' })
  await filled(api, 'waiters', 1)
  await filled(api, 'requests', 0)
  const second = await raw(api, { path: wait, body: '{}' })
  await filled(api, 'waiters', 2)
  await filled(api, 'requests', 0)
  const third = await (await raw(api, { path: wait, bytes: 5_000_000 })).answer
  expect(third).toMatch(/^HTTP\/1.1 503[\s\S]*retry-after: 1\r\n/i)
  for (const one of [first, second]) one.socket.destroy()
  await filled(api, 'waiters', 0)
  const fourth = await raw(api, { path: wait, body: '{}' })
  await filled(api, 'waiters', 1)
  fourth.socket.destroy()
})

test('event streams have a bound', async () => {
  const api = await open({ streamsMax: 1 })
  const id = (await api.post(run, {})).body
  if (!api.app.server.listening) await api.app.listen({ port: 0, host: '127.0.0.1' })
  const url = `http://127.0.0.1:${(api.app.server.address() as AddressInfo).port}/api/w/main/jobs_u/getupdate_sse/${id}`
  const headers = { authorization: `Bearer ${api.token}` }
  const leave = new AbortController()
  expect((await fetch(url, { headers, signal: leave.signal })).status).toBe(200)
  const refused = await fetch(url, { headers })
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5'])
  leave.abort()
  const admitted = async () => {
    const again = new AbortController()
    const { status } = await fetch(url, { headers, signal: again.signal })
    again.abort()
    return status === 200
  }
  await expect.poll(admitted).toBe(true)
})

test('a read that takes too long is ended, the next ones are refused, and jobs are accepted all the while', async () => {
  const api = await open({ readMs: 2_000, readConnectionsMax: 1, readsWaitingMax: 1 })
  await api.post(run, {})
  const { unlock } = await lock('job_done')
  const reads = Array.from({ length: 4 }, () => api.get('jobs/list'))
  expect(await api.post(run, {})).toMatchObject({ status: 201 })
  const answers = await Promise.all(reads)
  expect(answers.map((answer) => answer.status)).toEqual([503, 503, 503, 503])
  const codes = answers.map((answer) => answer.json.error.message as string)
  expect(codes.filter((text) => text.includes('longer than 2 s'))).toHaveLength(2)
  expect(codes.filter((text) => text.includes('wait to read already'))).toHaveLength(2)
  expect(answers.every((answer) => answer.headers['retry-after'] !== undefined)).toBe(true)
  await unlock()
  expect(await api.get('jobs/list')).toMatchObject({ status: 200 })
})

test('a page has no more rows than a page may have, whatever is asked for', async () => {
  const api = await open({ pageRowsMax: 2 })
  for (let n = 0; n < 3; n++) await api.post(run, {})
  expect((await api.get('jobs/list?per_page=1000000000')).json).toHaveLength(2)
})
