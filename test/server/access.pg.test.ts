// Who may do what: tokens, scopes, members, and the first admin.
import { statSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { createToken, ensureAdmin } from '../../src/store/accounts.ts'
import { createJobTokens } from '../../src/store/job_tokens.ts'
import { scopesAllow } from '../../src/server/scopes.ts'
import { identity, testApi, type Api } from './api.ts'

let api: Api
const admin = 'admin@millrace.local'

beforeAll(async () => {
  api = await testApi()
  await api.deploy('f/test/flow', [identity('a')])
  for (const [email, rights] of [
    ['dev@example.org', {}],
    ['op@example.org', { operator: true }],
    ['out@example.org', null],
  ] as const) {
    await api.post('/api/users/create', { email })
    if (rights) await api.post('workspaces/add_user', { email, ...rights })
  }
})

const run = 'jobs/run/f/f/test/flow'
const tokenOf = (email: string, more: Partial<Parameters<typeof createToken>[1]> = {}): Promise<string> =>
  createToken(api.db.pool, { label: 'test', email, ...more })

describe('a token', () => {
  test('is taken from the header, the query, or the cookie', async () => {
    expect((await api.get('/api/users/whoami')).json).toMatchObject({ email: admin, super_admin: true })
    expect((await api.get(`/api/users/whoami?token=${api.token}`, { token: null })).status).toBe(200)
    expect((await api.get('/api/users/whoami', { token: null, headers: { cookie: `a=b; token=${api.token}` } })).status).toBe(200)
  })

  test('is made, listed without its text, used, and taken back at once', async () => {
    const made = await api.post('/api/users/tokens/create', { label: 'ci', scopes: ['flows:read'] })
    expect(made).toMatchObject({ status: 201, headers: { 'content-type': 'text/plain; charset=utf-8' } })
    const token = made.body
    expect(token).toMatch(/^[0-9a-f]{64}$/)
    const { rows } = await api.db.pool.query('select 1 from token where hash = sha256($1::bytea)', [token])
    expect(rows).toHaveLength(1)
    const list = (await api.get('/api/users/tokens/list')).json as { token_prefix: string; label: string }[]
    expect(list.find((one) => one.label === 'ci')).toMatchObject({ token_prefix: token.slice(0, 10), scopes: ['flows:read'] })
    expect(JSON.stringify(list)).not.toContain(token)
    expect((await api.get('flows/list', { token })).status).toBe(200)
    expect((await api.ask('DELETE', `/api/users/tokens/delete/${token.slice(0, 10)}`)).status).toBe(200)
    expect((await api.get('flows/list', { token })).status).toBe(401)
  })

  test('ends with its time', async () => {
    const token = await tokenOf(admin, { expiresAt: new Date(Date.now() - 1_000) })
    expect((await api.get('/api/users/whoami', { token })).status).toBe(401)
  })

  test('that only reads changes nothing, and runs nothing by a GET either', async () => {
    const token = await tokenOf(admin, { readOnly: true })
    expect((await api.get('flows/list', { token })).status).toBe(200)
    expect(await api.post(run, {}, { token })).toMatchObject({ status: 403, json: { error: { code: 'E_FORBIDDEN' } } })
    expect((await api.get('jobs/run_wait_result/f/f/test/flow', { token })).status).toBe(403)
  })

  test('for one workspace opens no other', async () => {
    await api.post('/api/workspaces/create', { id: 'second', name: 'Second' })
    const token = await tokenOf(admin, { workspaceId: 'second' })
    expect((await api.get('/api/w/second/flows/list', { token })).status).toBe(200)
    expect((await api.get('flows/list', { token })).status).toBe(403)
    expect((await api.post('/api/users/tokens/create', { label: 'more' }, { token })).status).toBe(403)
  })

  test('with scopes does what they say and no more', async () => {
    const token = await tokenOf(admin, { scopes: ['jobs:run:flows:f/test/*', 'jobs:read'] })
    const id = (await api.post(run, {}, { token })).body
    expect((await api.get(`jobs_u/get/${id}`, { token })).status).toBe(200)
    expect((await api.post(`jobs_u/queue/cancel/${id}`, {}, { token })).status).toBe(403)
    expect((await api.post('jobs/run/f/f/other/flow', {}, { token })).status).toBe(403)
    expect((await api.post('jobs/run/preview_flow', { value: { modules: [] } }, { token })).status).toBe(403)
    expect((await api.get('flows/list', { token })).json).toMatchObject({
      error: { code: 'E_FORBIDDEN', message: expect.stringContaining('flows:read') as string },
    })
  })
})

test.each([
  ['flows:read', 'flows:read', true],
  ['flows:write', 'flows:read', true],
  ['flows:read', 'flows:write', false],
  ['jobs:run', 'jobs:run:flows:f/a/b', true],
  ['jobs:run', 'jobs:read', false],
  ['jobs:run:flows', 'jobs:run:flows:f/a/b', true],
  ['jobs:run:flows', 'jobs:run:scripts:f/a/b', false],
  ['jobs:run:*:f/a/*', 'jobs:run:scripts:f/a/b', true],
  ['jobs:run:flows:f/a/b', 'jobs:run:flows:f/a/bc', false],
  ['jobs:run:flows:f/a.b', 'jobs:run:flows:f/axb', false],
  ['*', 'flows:write', true],
])('scope %s and %s: %s', (scope, wanted, allowed) => {
  const [domain, action, kind, path] = wanted.split(':')
  expect(scopesAllow([scope], { domain: domain!, action: action!, kind, path })).toBe(allowed)
})

describe('a member', () => {
  test('who develops deploys and runs, and is no admin', async () => {
    const token = await tokenOf('dev@example.org')
    expect((await api.get('users/whoami', { token })).json).toMatchObject({
      username: 'dev',
      is_admin: false,
      is_super_admin: false,
    })
    expect((await api.post(run, {}, { token })).status).toBe(201)
    expect((await api.post('flows/create', { path: 'f/dev/flow', value: { modules: [identity('a')] } }, { token })).status).toBe(
      201,
    )
    expect((await api.post('workspaces/add_user', { email: 'out@example.org' }, { token })).status).toBe(403)
    expect((await api.post('/api/workspaces/create', { id: 'theirs' }, { token })).status).toBe(403)
  })

  test('who operates runs what is deployed and changes nothing', async () => {
    const token = await tokenOf('op@example.org')
    expect((await api.post(run, {}, { token })).status).toBe(201)
    expect((await api.post('jobs/run/preview_flow', { value: { modules: [] } }, { token })).status).toBe(403)
    expect((await api.ask('DELETE', 'flows/delete/f/test/flow', { token })).status).toBe(403)
  })

  test('of nothing sees a workspace as if it did not exist', async () => {
    const token = await tokenOf('out@example.org')
    const answer = await api.get('flows/list', { token })
    expect(answer).toMatchObject({ status: 404, json: { error: { code: 'E_NOT_FOUND' } } })
    expect((await api.get('/api/workspaces/list', { token })).json).toEqual([])
  })

  test('who is removed is out at once', async () => {
    const token = await tokenOf('dev@example.org')
    expect((await api.get('flows/list', { token })).status).toBe(200)
    expect((await api.ask('DELETE', 'users/delete/dev')).status).toBe(200)
    expect((await api.get('flows/list', { token })).status).toBe(404)
  })
})

test("a job's token acts as its account, in its workspace, until it ends", async () => {
  const tokens = await createJobTokens(api.db)
  const [one, again] = [tokens, await createJobTokens(api.db)]
  const what = { jobId: '01a20555-2c4b-7000-b7ca-3658ce450000', workspaceId: 'main', email: 'admin' }
  const token = one.issue({ ...what, ttlMs: 60_000 })
  expect(again.verify(token)).toMatchObject(what)
  expect((await api.get('users/whoami', { token })).json).toMatchObject({ email: admin })
  expect((await api.get('/api/w/second/flows/list', { token })).status).toBe(403)
  expect((await api.get('users/whoami', { token: one.issue({ ...what, ttlMs: -1 }) })).status).toBe(401)
  expect(one.verify(`${token.slice(0, -1)}${token.endsWith('0') ? '1' : '0'}`)).toBeNull()
})

test('the first admin token is made once, kept for its owner alone, and found again', async () => {
  const home = mkdtempSync(join(tmpdir(), 'millrace-admin-'))
  try {
    const first = await ensureAdmin(api.db, { home })
    expect(first).toMatchObject({ isNew: true, file: join(home, 'admin-token') })
    expect(statSync(first.file!).mode & 0o777).toBe(0o600)
    expect(readFileSync(first.file!, 'utf8').trim()).toBe(first.token)
    expect(await ensureAdmin(api.db, { home })).toEqual({ ...first, isNew: false })
    expect((await api.get('/api/users/whoami', { token: first.token })).json).toMatchObject({ username: 'admin' })
    await expect(ensureAdmin(api.db, { home, token: 'short' })).rejects.toMatchObject({ code: 'E_SETUP' })
  } finally {
    rmSync(home, { recursive: true })
  }
})
