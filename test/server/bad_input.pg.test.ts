// Whatever is wrong with a request, the answer is a 4xx that says what, and where.
import { beforeAll, describe, expect, test } from 'vitest'
import type { Json } from '../../src/core/json.ts'
import { createToken } from '../../src/store/accounts.ts'
import { identity, step, testApi, type Api, type Ask } from './api.ts'

let api: Api
let full: Api

beforeAll(async () => {
  api = await testApi({ bodyBytesMax: 20_000 })
  await api.deploy('f/test/flow', [identity('a')])
  full = await testApi({ queueJobsMax: 0 }, api)
})

interface Case {
  name: string
  url: string
  body?: Json | string
  ask?: Ask
  method?: 'GET' | 'POST'
  status: number
  code: string
  at?: string | RegExp
}

const flow = (...modules: Json[]): Json => ({ path: 'f/test/bad', summary: '', value: { modules } })
const main = 'export function main() { return 1 }'
const code = (more: Record<string, Json>): Json => ({
  id: 'a',
  value: { type: 'rawscript', language: 'bun', content: main, input_transforms: {}, ...more },
})
const nested = (depth: number): string => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth)
const run = 'jobs/run/f/f/test/flow'
const batch = 'jobs/run_batch/f/f/test/flow'

const cases: Case[] = [
  {
    name: 'an unknown module type',
    url: 'flows/create',
    body: flow({ id: 'a', value: { type: 'teleport' } }),
    status: 400,
    code: 'E_FLOW_INVALID',
    at: '$.value.modules[0].value.type',
  },
  {
    name: 'an unknown language',
    url: 'flows/create',
    body: flow(code({ language: 'cobol' })),
    status: 400,
    code: 'E_FLOW_INVALID',
    at: '$.value.modules[0].value.language',
  },
  {
    name: 'code without main',
    url: 'flows/create',
    body: flow(code({ content: 'export const x = 1' })),
    status: 400,
    code: 'E_CODE_INVALID',
    at: /^\$\.value\.modules\[0\]\.value\.content/,
  },
  {
    name: 'code that does not parse',
    url: 'flows/create',
    body: flow(code({ content: 'export function main( {' })),
    status: 400,
    code: 'E_CODE_INVALID',
    at: /^\$\.value\.modules\[0\]\.value\.content/,
  },
  {
    name: 'two steps of one id',
    url: 'flows/create',
    body: flow(identity('a'), identity('a')),
    status: 400,
    code: 'E_FLOW_INVALID',
    at: '$.value.modules[1].id',
  },
  {
    name: 'a reserved step id',
    url: 'flows/create',
    body: flow(identity('failure')),
    status: 400,
    code: 'E_FLOW_INVALID',
    at: '$.value.modules[0].id',
  },
  {
    name: 'a transform that does not parse',
    url: 'flows/create',
    body: flow(step('a', main, { x: 'results.(' })),
    status: 400,
    code: 'E_FLOW_INVALID',
    at: /^\$\.value\.modules\[0\]\.value\.input_transforms\.x/,
  },
  {
    name: 'a flow without a path',
    url: 'flows/create',
    body: { value: { modules: [] } },
    status: 400,
    code: 'E_INVALID',
    at: '$.path',
  },
  {
    name: 'a flow without a value',
    url: 'flows/create',
    body: { path: 'f/test/x' },
    status: 400,
    code: 'E_INVALID',
    at: '$.value',
  },
  {
    name: 'a flow that exists already',
    url: 'flows/create',
    body: { path: 'f/test/flow', value: { modules: [] } },
    status: 409,
    code: 'E_CONFLICT',
    at: '$.path',
  },
  {
    name: 'an update of a flow that does not exist',
    url: 'flows/update/f/test/none',
    body: { value: { modules: [identity('a')] } },
    status: 404,
    code: 'E_NOT_FOUND',
  },
  {
    name: 'an update under another name',
    url: 'flows/update/f/test/flow',
    body: { path: 'f/test/other', value: { modules: [] } },
    status: 400,
    code: 'E_INVALID',
    at: '$.path',
  },
  {
    name: 'a NUL in a flow',
    url: 'flows/create',
    body: '{"path":"f/a/b","summary":"\\u0000","value":{}}',
    status: 400,
    code: 'E_JSON',
    at: '$.summary',
  },
  {
    name: 'a script in an unknown language',
    url: 'jobs/run/preview',
    body: { content: main, language: 'cobol' },
    status: 400,
    code: 'E_INVALID',
    at: '$.language',
  },
  {
    name: 'a script without code',
    url: 'jobs/run/preview',
    body: { language: 'bun' },
    status: 400,
    code: 'E_INVALID',
    at: '$.content',
  },
  {
    name: 'a preview that is no flow',
    url: 'jobs/run/preview_flow',
    body: { value: { modules: 1 } },
    status: 400,
    code: 'E_FLOW_INVALID',
    at: '$.value.modules',
  },
  {
    name: 'a preview with arguments that are none',
    url: 'jobs/run/preview_flow',
    body: { value: { modules: [] }, args: 3 },
    status: 400,
    code: 'E_INVALID',
    at: '$.args',
  },

  { name: 'arguments nested too deeply', url: run, body: nested(300), status: 400, code: 'E_JSON', at: /^\$\.a\.a\.a/ },
  {
    name: 'a document nested too deeply',
    url: 'flows/create',
    body: nested(300),
    status: 400,
    code: 'E_JSON',
    at: /^\$\.a\.a\.a/,
  },
  { name: 'a body over the limit', url: run, body: { a: 'x'.repeat(20_000) }, status: 413, code: 'E_TOO_LARGE', at: 'body' },
  { name: 'invalid JSON', url: run, body: '{"a":1,}', status: 400, code: 'E_JSON', at: '$ line 1, column 8' },
  {
    name: 'invalid JSON of a document',
    url: 'flows/create',
    body: '{"path"',
    status: 400,
    code: 'E_JSON',
    at: '$ line 1, column 8',
  },
  { name: 'a NUL in arguments', url: run, body: '{"a":["\\u0000"]}', status: 400, code: 'E_JSON', at: '$.a[0]' },
  { name: 'a NUL in a name of arguments', url: run, body: '{"a\\u0000":1}', status: 400, code: 'E_JSON', at: /^\$\[key/ },
  { name: 'half a surrogate pair', url: run, body: '{"a":"\\udc00"}', status: 400, code: 'E_JSON', at: '$.a' },
  { name: 'a NUL in the URL', url: 'jobs/run/f/f/test/%00', body: {}, status: 400, code: 'E_INVALID', at: 'url' },
  {
    name: 'a body of a type nobody reads',
    url: run,
    body: 'x',
    ask: { type: 'image/png' },
    status: 415,
    code: 'E_UNSUPPORTED_TYPE',
    at: 'content-type',
  },
  {
    name: 'a document that is not JSON',
    url: 'flows/create',
    body: 'a: 1',
    ask: { type: 'application/yaml' },
    status: 415,
    code: 'E_UNSUPPORTED_TYPE',
    at: 'content-type',
  },

  { name: 'no token', url: run, body: {}, ask: { token: null }, status: 401, code: 'E_UNAUTHORIZED', at: 'authorization' },
  {
    name: 'a wrong token',
    url: run,
    body: {},
    ask: { token: 'wrong' },
    status: 401,
    code: 'E_UNAUTHORIZED',
    at: 'authorization',
  },
  {
    name: 'a forged job token',
    url: run,
    body: {},
    ask: { token: 'jt_WyJhIiwibWFpbiIsImFkbWluIiw5OTk5OTk5OTk5OTk5XQ_00' },
    status: 401,
    code: 'E_UNAUTHORIZED',
  },
  {
    name: 'a header that is no bearer token',
    url: run,
    body: {},
    ask: { headers: { authorization: 'Basic eA==' } },
    status: 401,
    code: 'E_UNAUTHORIZED',
    at: 'authorization',
  },
  {
    name: 'a workspace that does not exist',
    url: '/api/w/nowhere/jobs/run/f/f/test/flow',
    body: {},
    status: 404,
    code: 'E_NOT_FOUND',
    at: 'url',
  },
  { name: 'a flow that does not exist', url: 'jobs/run/f/f/test/none', body: {}, status: 404, code: 'E_NOT_FOUND', at: 'url' },
  { name: 'a script that does not exist', url: 'jobs/run/p/f/test/none', body: {}, status: 404, code: 'E_NOT_FOUND', at: 'url' },
  {
    name: 'a hash that does not exist',
    url: 'jobs/run/h/0123456789abcdef',
    body: {},
    status: 404,
    code: 'E_NOT_FOUND',
    at: 'url',
  },
  { name: 'a version that does not exist', url: 'jobs/run/fv/999999', body: {}, status: 404, code: 'E_NOT_FOUND', at: 'url' },
  { name: 'a route that does not exist', url: 'jobs/runs/f/x', body: {}, status: 404, code: 'E_NOT_FOUND', at: 'url' },
  {
    name: 'a job that does not exist',
    method: 'GET',
    url: 'jobs_u/get/01a20555-2c4b-7000-b7ca-3658ce450000',
    status: 404,
    code: 'E_NOT_FOUND',
    at: 'id',
  },
  { name: 'an id that is none', method: 'GET', url: 'jobs_u/get/42', status: 400, code: 'E_INVALID', at: 'id' },

  {
    name: 'a time that is none',
    url: `${run}?scheduled_for=soon`,
    body: {},
    status: 400,
    code: 'E_INVALID',
    at: 'query.scheduled_for',
  },
  {
    name: 'a delay that is none',
    url: `${run}?scheduled_in_secs=-1`,
    body: {},
    status: 400,
    code: 'E_INVALID',
    at: 'query.scheduled_in_secs',
  },
  { name: 'a job id that is none', url: `${run}?job_id=mine`, body: {}, status: 400, code: 'E_INVALID', at: 'query.job_id' },
  { name: 'a parent that is none', url: `${run}?parent_job=x`, body: {}, status: 400, code: 'E_INVALID', at: 'query.parent_job' },
  { name: 'a tag that is none', url: `${run}?tag=a%20b`, body: {}, status: 400, code: 'E_INVALID', at: 'query.tag' },
  {
    name: 'a key that is too long',
    url: run,
    body: {},
    ask: { headers: { 'idempotency-key': 'x'.repeat(256) } },
    status: 400,
    code: 'E_INVALID',
    at: 'idempotency-key',
  },
  {
    name: 'a queue limit that is reached',
    url: `${run}?queue_limit=0`,
    body: {},
    status: 429,
    code: 'E_QUEUE_FULL',
    at: 'query.queue_limit',
  },
  {
    name: 'a filter that is none',
    method: 'GET',
    url: 'jobs/list?created_after=never',
    status: 400,
    code: 'E_INVALID',
    at: 'query.created_after',
  },
  {
    name: 'a page that is none',
    method: 'GET',
    url: 'jobs/list?per_page=0',
    status: 400,
    code: 'E_INVALID',
    at: 'query.per_page',
  },

  { name: 'a batch that is no array', url: batch, body: { a: 1 }, status: 400, code: 'E_JSON', at: '$' },
  { name: 'a batch with a broken element', url: batch, body: '[{"a":1},{"a":}]', status: 400, code: 'E_JSON', at: /^\$\[1\]/ },
  { name: 'a batch with a NUL', url: batch, body: '[{"a":1},{"a":"\\u0000"}]', status: 400, code: 'E_JSON', at: '$[1].a' },
  {
    name: 'a batch with a broken line',
    url: batch,
    body: '{"a":1}\nnope',
    ask: { type: 'application/x-ndjson' },
    status: 400,
    code: 'E_JSON',
    at: /^line 2/,
  },
  {
    name: 'a batch of another type',
    url: batch,
    body: 'a',
    ask: { type: 'text/csv' },
    status: 415,
    code: 'E_UNSUPPORTED_TYPE',
    at: 'content-type',
  },
  {
    name: 'a scope that is none',
    url: '/api/users/tokens/create',
    body: { label: 'x', scopes: ['all of it'] },
    status: 400,
    code: 'E_INVALID',
    at: '$.scopes[0]',
  },
  {
    name: 'a workspace id that cannot be one',
    url: '/api/workspaces/create',
    body: { id: 'Bad Id', name: 'x' },
    status: 400,
    code: 'E_INVALID',
    at: '$.id',
  },
  {
    name: 'a workspace that exists',
    url: '/api/workspaces/create',
    body: { id: 'main', name: 'x' },
    status: 409,
    code: 'E_CONFLICT',
    at: '$.id',
  },
  { name: 'a body that is no object', url: '/api/workspaces/create', body: '[]', status: 400, code: 'E_INVALID', at: '$' },
]

const placeLike = (at: string | RegExp): string => (typeof at === 'string' ? at : (expect.stringMatching(at) as string))

describe('a request is refused with its code and place for', () => {
  test.each(cases)('$name', async ({ url, body, ask, method = 'POST', status, code: expected, at }) => {
    const answer = await api.ask(method, url, { ...ask, ...(body === undefined ? {} : { body }) })
    const error = {
      code: expected,
      message: expect.stringMatching(/.{10}/) as string,
      ...(at === undefined ? {} : { at: placeLike(at) }),
    }
    expect(answer).toMatchObject({ status, json: { error } })
    expect(answer.body).not.toMatch(/node_modules|src\/|at async|stack/)
  })

  test('a full queue, with the time to come back', async () => {
    const answer = await full.post(run, {})
    expect(answer).toMatchObject({ status: 429, headers: { 'retry-after': '5' } })
    expect(answer.json).toMatchObject({ error: { code: 'E_QUEUE_FULL' } })
  })

  test('a batch over the limit of jobs', async () => {
    const small = await testApi({ batchJobsMax: 2 }, api)
    const answer = await small.post(batch, '[1,2,3]')
    expect(answer).toMatchObject({ status: 413, json: { error: { code: 'E_TOO_LARGE', at: '$[2]' } } })
  })
})

test('nothing of a refused batch is stored', async () => {
  await api.post(batch, '[{"a":1},{"a":2},{"a":"\\u0000"}]')
  const { rows } = await api.db.pool.query('select count(*)::integer as n from job')
  expect(rows).toEqual([{ n: 0 }])
})

test('a route that is nearly right names those near it', async () => {
  const answer = await api.get('jobs_u/fetch/x')
  expect((answer.json as { error: { allowed: string[] } }).error.allowed).toContain('/api/w/:ws/jobs_u/get/:id')
})

test('what nobody foresaw is a 500 with an id that the log explains', async () => {
  const token = await createToken(api.db.pool, { label: 'x', email: 'admin@millrace.local' })
  await api.db.pool.query('alter table token rename column scopes to scopes_')
  try {
    const answer = await api.get('/api/users/whoami', { token })
    expect(answer.status).toBe(500)
    const { id, code: given } = (answer.json as { error: { id: string; code: string } }).error
    expect(given).toBe('E_INTERNAL')
    expect(answer.body).not.toContain('scopes')
    expect(api.logged.some((line) => line.includes(id) && line.includes('scopes'))).toBe(true)
  } finally {
    await api.db.pool.query('alter table token rename column scopes_ to scopes')
  }
})
