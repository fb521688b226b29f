// Starting jobs: what is answered, and what is stored by then.
import { beforeAll, describe, expect, test } from 'vitest'
import { isUuid, stepNumberOf } from '../../src/core/job/ids.ts'
import type { Json } from '../../src/core/json.ts'
import { identity, testApi, type Api } from './api.ts'

let api: Api

beforeAll(async () => {
  api = await testApi()
  await api.deploy('f/test/flow', [identity('a')])
  const script = {
    path: 'f/test/script',
    content: 'export function main(x: number) { return x }',
    language: 'bun',
    summary: '',
    description: '',
  }
  await api.post('scripts/create', script)
})

async function stored(id: string): Promise<Record<string, unknown>> {
  const columns =
    'args::text as args, state::text as state, tag, run_at, parent_id, created_by, waiter, version_id::integer as version'
  const { rows } = await api.db.pool.query(`select ${columns} from job where id = $1`, [id])
  return rows[0] as Record<string, unknown>
}

const run = 'jobs/run/f/f/test/flow'

describe('one job', () => {
  test('is stored when 201 and its id are answered', async () => {
    const answer = await api.post(run, '{"n": 1.0, "big": 12345678901234567890}')
    expect(answer).toMatchObject({ status: 201, headers: { 'content-type': 'text/plain; charset=utf-8' } })
    expect(isUuid(answer.body) && stepNumberOf(answer.body) === 0).toBe(true)
    expect(await stored(answer.body)).toMatchObject({
      args: '{"n": 1.0, "big": 12345678901234567890}',
      state: 'ready',
      tag: 'flow',
      created_by: 'admin',
      run_at: null,
    })
  })

  test('of a script goes to its language, by path or by hash', async () => {
    const { hash } = (await api.get('scripts/get/p/f/test/script')).json as { hash: string }
    for (const url of ['jobs/run/p/f/test/script', `jobs/run/h/${hash}`]) {
      const answer = await api.post(url, { x: 1 })
      expect(answer).toMatchObject({ status: 201 })
      expect((await stored(answer.body))['tag']).toBe('bun')
    }
  })

  test('of a version keeps running that version', async () => {
    const before = ((await api.get('flows/get/f/test/flow')).json as { version_id: number }).version_id
    expect((await api.post('flows/update/f/test/flow', { value: { modules: [identity('b')] } })).status).toBe(200)
    const current = await stored((await api.post(run, {})).body)
    const old = await stored((await api.post(`jobs/run/fv/${before}`, {})).body)
    expect(old['version']).toBe(before)
    expect(current['version']).toBeGreaterThan(before)
  })

  test.each([
    ['wrap_body', `${run}?wrap_body=true`, '[1,2]', 'application/json', { body: [1, 2] }],
    ['raw', `${run}?raw=true`, '{"a":1}', 'application/json', { a: 1, raw_string: '{"a":1}' }],
    ['raw of another type', `${run}?raw=true`, '<a/>', 'application/xml', { raw_string: '<a/>' }],
    ['include_header', `${run}?include_header=X-Sign,Nope`, '{"a":1}', 'application/json', { a: 1, x_sign: 's', nope: null }],
    ['include_query', `${run}?include_query=who&who=me`, '{}', 'application/json', { who: 'me' }],
    ['a form', run, 'a=1&b=2', 'application/x-www-form-urlencoded', { a: '1', b: '2' }],
    ['no body', run, '', 'application/json', {}],
  ])('takes its arguments as asked: %s', async (_name, url, body, type, args) => {
    const answer = await api.post(url, body, { type, headers: { 'x-sign': 's' } })
    expect(answer).toMatchObject({ status: 201 })
    expect(JSON.parse((await stored(answer.body))['args'] as string)).toEqual(args)
  })

  test('may be parked, go elsewhere, and have a parent', async () => {
    const parent = (await api.post(run, {})).body
    const answer = await api.post(`${run}?scheduled_for=2030-01-02T03:04:05Z&tag=other&parent_job=${parent}`, {})
    expect(await stored(answer.body)).toMatchObject({
      state: 'parked',
      run_at: new Date('2030-01-02T03:04:05Z'),
      tag: 'other',
      parent_id: parent,
    })
    expect(await stored((await api.post(`${run}?scheduled_in_secs=60`, {})).body)).toMatchObject({ state: 'parked' })
    expect((await api.get(`jobs_u/get_root_job_id/${answer.body}`)).json).toBe(parent)
  })

  test('of one key is started once, and found by a job id of the caller', async () => {
    const named = await Promise.all([1, 2, 3].map(() => api.post(run, {}, { headers: { 'idempotency-key': 'order 1' } })))
    expect(new Set(named.map((answer) => answer.body)).size).toBe(1)
    const mine = '0190aaaa-bbbb-4ccc-8ddd-eeeeffff0123'
    const first = await api.post(`${run}?job_id=${mine}`, {})
    expect((await api.post(`${run}?job_id=${mine}`, {})).body).toBe(first.body)
    expect(((await api.get(`jobs_u/get/${mine}`)).json as { id: string }).id).toBe(first.body)
  })

  test('is not started beyond its queue limit', async () => {
    await api.post(`${run}?tag=narrow`, {})
    expect((await api.post(`${run}?tag=narrow&queue_limit=2`, {})).status).toBe(201)
    expect(await api.post(`${run}?tag=narrow&queue_limit=2`, {})).toMatchObject({ status: 429, headers: { 'retry-after': '1' } })
  })

  test('of a preview runs what came with it', async () => {
    const flow = await api.post('jobs/run/preview_flow', { value: { modules: [identity('x')] }, args: { a: 1 } })
    expect(flow).toMatchObject({ status: 201 })
    expect((await api.get(`jobs_u/get/${flow.body}`)).json).toMatchObject({
      job_kind: 'flowpreview',
      raw_flow: { modules: [{ id: 'x' }] },
      args: { a: 1 },
    })
    const code = await api.post('jobs/run/preview', {
      content: 'def main(x):\n    return x',
      language: 'python3',
      args: { x: 1 },
    })
    expect((await api.get(`jobs_u/get/${code.body}`)).json).toMatchObject({
      job_kind: 'preview',
      language: 'python3',
      raw_code: 'def main(x):\n    return x',
    })
  })
})

describe('a batch', () => {
  const batch = 'jobs/run_batch/f/f/test/flow'

  test.each([
    ['an array', 'application/json', '[{"i":0}, [1] ,{"i":2.50}]'],
    ['lines', 'application/x-ndjson', '{"i":0}\n[1]\n{"i":2.50}\n'],
  ])('as %s gives the ids in order', async (_name, type, body) => {
    const answer = await api.post(batch, body, { type })
    expect(answer).toMatchObject({ status: 201, headers: { 'content-type': 'application/json; charset=utf-8' } })
    const ids = answer.json as string[]
    const args = await Promise.all(ids.map(async (id) => (await stored(id))['args']))
    expect(args).toEqual(['{"i":0}', '{"body":[1]}', '{"i":2.50}'])
    expect([...ids].sort()).toEqual(ids)
  })

  test('of nothing starts nothing', async () => {
    expect((await api.post(batch, '[]')).json).toEqual([])
  })

  test('of one key is started once', async () => {
    const ask = { headers: { 'idempotency-key': 'batch 1' } }
    const [first, again] = [await api.post(batch, '[{"i":1},{"i":2}]', ask), await api.post(batch, '[{"i":1},{"i":2}]', ask)]
    expect(first.json).toHaveLength(2)
    expect(again.json).toEqual(first.json)
  })

  test('of equal jobs is added for measuring', async () => {
    const rawscript = { content: 'export const main = () => 1', language: 'bun' }
    const bodies: Json[] = [{ kind: 'noop' }, { kind: 'flow', path: 'f/test/flow' }, { kind: 'rawscript', rawscript }]
    for (const body of bodies) {
      const answer = await api.post('jobs/add_batch_jobs/3', body)
      expect(answer).toMatchObject({ status: 201 })
      expect(answer.json).toHaveLength(3)
    }
    expect((await api.post('jobs/add_batch_jobs/3', { kind: 'magic' })).json).toMatchObject({
      error: { code: 'E_INVALID', at: '$.kind' },
    })
  })
})

test('a deploy by another process is seen as soon as it is heard', async () => {
  const other = await testApi({}, api)
  await api.deploy('f/test/moving', [identity('a')])
  const version = async (): Promise<unknown> => (await stored((await other.post('jobs/run/f/f/test/moving', {})).body))['version']
  const before = await version()
  await api.post('flows/update/f/test/moving', { value: { modules: [identity('b')] } })
  await expect.poll(version, { timeout: 2_500, interval: 20 }).not.toBe(before)
  await api.ask('DELETE', 'flows/delete/f/test/moving')
  await expect
    .poll(async () => (await other.post('jobs/run/f/f/test/moving', {})).status, { timeout: 2_500, interval: 20 })
    .toBe(404)
})
