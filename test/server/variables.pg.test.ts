// Variables and resources over HTTP: the shapes that Windmill's SDKs and CLI read and write, who may, and what is kept of a secret.
import { beforeAll, describe, expect, test } from 'vitest'
import { createToken } from '../../src/store/accounts.ts'
import { createJobTokens } from '../../src/store/job_tokens.ts'
import { createSecrets } from '../../src/store/secrets.ts'
import { identity, testApi, type Api } from './api.ts'

let api: Api
const canary = 'canary-7f3a "quoted"'
const admin = 'admin@millrace.local'

beforeAll(async () => {
  api = await testApi()
  await api.deploy('f/test/flow', [identity('a')])
})

const remove = (url: string) => api.ask('DELETE', url)
const tokenOf = (scopes: string[]) => createToken(api.db.pool, { label: 'test', email: admin, scopes })

describe('a variable', () => {
  test('is made, read, changed and deleted', async () => {
    const body = { path: 'f/vars/plain', value: 'one', is_secret: false, description: 'a text' }
    expect(await api.post('variables/create', body)).toMatchObject({ status: 201, body: 'variable f/vars/plain created' })
    expect((await api.get('variables/exists/f/vars/plain')).json).toBe(true)
    expect((await api.get('variables/get_value/f/vars/plain')).json).toBe('one')
    expect((await api.post('variables/update/f/vars/plain', { value: 'two' })).status).toBe(200)
    expect((await api.get('variables/get/f/vars/plain')).json).toMatchObject({
      ...body,
      value: 'two',
      workspace_id: 'main',
      extra_perms: {},
    })
    expect((await api.post('variables/update/f/vars/plain', { path: 'f/vars/plain', description: 'new' })).status).toBe(200)
    expect((await api.get('variables/get/f/vars/plain')).json).toMatchObject({ value: 'two', description: 'new' })
    expect((await remove('variables/delete/f/vars/plain')).status).toBe(200)
    expect((await api.get('variables/exists/f/vars/plain')).json).toBe(false)
  })

  test('that is a secret is sealed in the database, shown where it is asked for, and in no list', async () => {
    const path = 'f/vars/secret'
    expect((await api.post('variables/create', { path, value: canary, is_secret: true, description: '' })).status).toBe(201)
    expect((await api.get(`variables/get_value/${path}`)).json).toBe(canary)
    expect((await api.get(`variables/get/${path}`)).json).toMatchObject({ value: canary, is_secret: true })
    expect((await api.get(`variables/get/${path}?decrypt_secret=false`)).json).toMatchObject({ value: null, is_secret: true })
    const list = await api.get('variables/list?path_start=f/vars/')
    expect(list.json).toMatchObject([{ path, value: null, is_secret: true }])
    const { rows } = await api.db.pool.query('select value from variable where path = $1', [path])
    expect(JSON.stringify(rows)).not.toContain('canary')
    expect((await api.post(`variables/update/${path}`, { value: canary + 2 })).status).toBe(200)
    expect((await api.get(`variables/get_value/${path}`)).json).toBe(canary + 2)
    expect(api.logged.join()).not.toContain('canary')
  })

  test('becomes a secret, or none, only with its value', async () => {
    const path = 'f/vars/turns'
    await api.post('variables/create', { path, value: 'a', is_secret: true })
    expect(await api.post(`variables/update/${path}`, { is_secret: false })).toMatchObject({
      status: 400,
      json: { error: { code: 'E_INVALID', at: '$.value' } },
    })
    expect((await api.post(`variables/update/${path}`, { is_secret: false, value: 'b' })).status).toBe(200)
    expect((await api.get('variables/list?path_start=f/vars/turns')).json).toMatchObject([{ value: 'b', is_secret: false }])
  })

  test('that was read sealed is written again sealed, at its own path only', async () => {
    const path = 'f/vars/sealed'
    await api.post('variables/create', { path, value: canary, is_secret: true })
    const { value } = (await api.get(`variables/get/${path}?decrypt_secret=false&include_encrypted=true`)).json as {
      value: string
    }
    expect(value).not.toContain('canary')
    await remove(`variables/delete/${path}`)
    const again = { path, value, is_secret: true }
    expect((await api.post('variables/create?already_encrypted=true', again)).status).toBe(201)
    expect((await api.get(`variables/get_value/${path}`)).json).toBe(canary)
    const elsewhere = { ...again, path: 'f/vars/elsewhere' }
    expect(await api.post('variables/create?already_encrypted=true', elsewhere)).toMatchObject({ status: 400 })
  })

  test.each([
    ['create', { path: 'f/../x', value: '' }, '$.path'],
    ['create', { path: 'f/vars/number', value: 1 }, '$.value'],
    ['update/f/vars/a', { path: 'f/vars/b' }, '$.path'],
  ])('%s %j is refused', async (route, body, at) => {
    expect(await api.post(`variables/${route}`, body)).toMatchObject({ status: 400, json: { error: { at } } })
  })

  test('that is there is not made again; one that is not is not found', async () => {
    await api.post('variables/create', { path: 'f/vars/twice', value: '' })
    expect((await api.post('variables/create', { path: 'f/vars/twice', value: '' })).status).toBe(409)
    expect((await api.post('variables/update/f/vars/none', { value: '' })).status).toBe(404)
    for (const route of ['get', 'get_value']) expect((await api.get(`variables/${route}/f/vars/none`)).status).toBe(404)
    expect((await remove('variables/delete/f/vars/none')).status).toBe(404)
  })
})

test('a sealed value differs each time, and opens for its workspace and path only', async () => {
  const secrets = createSecrets(api.db.pool)
  const place = { workspaceId: 'main', path: 'f/a' }
  const sealed = await Promise.all([secrets.seal(place, canary), secrets.seal(place, canary)])
  expect(new Set(sealed).size).toBe(2)
  expect(await createSecrets(api.db.pool).open(place, sealed[0])).toBe(canary)
  const broken = `v1.${sealed[0][3] === 'A' ? 'B' : 'A'}${sealed[0].slice(4)}`
  for (const [where, text] of [
    [{ ...place, workspaceId: 'other' }, sealed[0]],
    [{ ...place, path: 'f/b' }, sealed[0]],
    [place, broken],
    [place, 'v1.'],
    [place, ''],
  ] as const)
    await expect(secrets.open(where, text)).rejects.toMatchObject({ code: 'E_INVALID' })
})

describe('a resource', () => {
  test('is made, read, changed and deleted', async () => {
    const body = { path: 'f/res/db', value: { host: 'h', port: 1 }, resource_type: 'postgresql', description: 'a database' }
    expect(await api.post('resources/create', body)).toMatchObject({ status: 201, body: 'resource f/res/db created' })
    expect((await api.get('resources/get/f/res/db')).json).toMatchObject({ ...body, workspace_id: 'main' })
    expect((await api.post('resources/update_value/f/res/db', { value: [null] })).status).toBe(200)
    expect((await api.get('resources/get_value/f/res/db')).json).toEqual([null])
    expect((await api.post('resources/update/f/res/db', { path: 'f/res/db', resource_type: 'mysql' })).status).toBe(200)
    expect((await api.get('resources/get/f/res/db')).json).toMatchObject({ value: [null], resource_type: 'mysql' })
    expect((await api.post('resources/create', body)).status).toBe(409)
    expect((await api.post('resources/create?update_if_exists=true', body)).status).toBe(201)
    expect((await api.get('resources/get/f/res/db')).json).toMatchObject(body)
    expect((await remove('resources/delete/f/res/db')).status).toBe(200)
    expect((await api.get('resources/exists/f/res/db')).json).toBe(false)
    for (const route of ['get', 'get_value', 'get_value_interpolated'])
      expect((await api.get(`resources/${route}/f/res/db`)).status).toBe(404)
  })

  test('is listed by type', async () => {
    await api.post('resources/create', { path: 'f/list/a', value: 1, resource_type: 'state' })
    await api.post('resources/create', { path: 'f/list/b', value: 2, resource_type: 's3' })
    const paths = async (query: string) =>
      ((await api.get(`resources/list?path_start=f/list/${query}`)).json as { path: string }[]).map(({ path }) => path)
    expect(await paths('')).toEqual(['f/list/a', 'f/list/b'])
    expect(await paths('&resource_type=s3,other')).toEqual(['f/list/b'])
    expect(await paths('&resource_type_exclude=s3')).toEqual(['f/list/a'])
    expect(await paths('&per_page=1&page=2')).toEqual(['f/list/b'])
    expect(await paths('&per_page=1&page=0')).toEqual(['f/list/a'])
  })

  test('has what it names in place where that is asked for', async () => {
    await api.post('variables/create', { path: 'f/res/password', value: canary, is_secret: true })
    await api.post('resources/create', { path: 'f/res/inner', value: { password: '$var:f/res/password' } })
    await api.post('resources/create', { path: 'f/res/outer', value: [{ db: '$res:f/res/inner' }] })
    expect((await api.get('resources/get_value/f/res/outer')).json).toEqual([{ db: '$res:f/res/inner' }])
    expect((await api.get('resources/get_value_interpolated/f/res/outer')).json).toEqual([{ db: { password: canary } }])
    await api.post('resources/create', { path: 'f/res/circle', value: '$res:f/res/circle' })
    expect(await api.get('resources/get_value_interpolated/f/res/circle')).toMatchObject({
      status: 400,
      json: { error: { message: 'resource f/res/circle → resource f/res/circle: it names itself' } },
    })
  })
})

describe('who may', () => {
  test('scopes name variables and resources by their paths, and what a resource names counts', async () => {
    await api.post('variables/create', { path: 'f/who/secret', value: canary, is_secret: true })
    await api.post('resources/create', { path: 'f/who/db', value: { password: '$var:f/who/secret' } })
    const token = await tokenOf(['resources:read:f/who/*'])
    expect((await api.get('resources/get/f/who/db', { token })).status).toBe(200)
    expect((await api.get('resources/get/f/res/inner', { token })).status).toBe(403)
    expect((await api.post('resources/update_value/f/who/db', { value: 1 }, { token })).status).toBe(403)
    expect((await api.get('variables/get_value/f/who/secret', { token })).status).toBe(403)
    expect(await api.get('resources/get_value_interpolated/f/who/db', { token })).toMatchObject({
      status: 403,
      json: { error: { message: expect.stringContaining('variables:read:f/who/secret') } },
    })
    const both = await tokenOf(['resources:read', 'variables:read:f/who/*'])
    expect((await api.get('resources/get_value_interpolated/f/who/db', { token: both })).status).toBe(200)
  })

  test('arguments name only what the token of the caller may read', async () => {
    const token = await tokenOf(['jobs:run:flows:f/test/flow', 'variables:read:f/open/*'])
    const run = (args: string, route = 'run/f') => api.post(`jobs/${route}/f/test/flow`, args, { token })
    for (const args of ['{"a":["$var:f/who/secret"]}', '{"a":"\\u0024var:f/who/secret"}', '{"a":"$res:f/open/x"}'])
      expect(await run(args)).toMatchObject({ status: 403, json: { error: { code: 'E_FORBIDDEN' } } })
    expect(await run('[{"a":1},{"a":"$var:f/who/secret"}]', 'run_batch/f')).toMatchObject({
      status: 403,
      json: { error: { at: '$[1]' } },
    })
    expect((await run('{"a":"$var:f/open/x","b":"costs $var:f/who/secret"}')).status).toBe(201)
    expect((await api.post('jobs/run/f/f/test/flow', { a: '$var:f/who/secret' })).status).toBe(201)
  })

  test('an operator reads; code of a job that an operator started writes too', async () => {
    const email = 'op@example.org'
    await api.post('/api/users/create', { email })
    await api.post('workspaces/add_user', { email, operator: true })
    const token = await createToken(api.db.pool, { label: 'test', email })
    const body = { path: 'f/who/state', value: 1, resource_type: 'state' }
    expect((await api.post('resources/create', body, { token })).status).toBe(403)
    const jobId = (await api.post('jobs/run/f/f/test/flow', {}, { token })).body
    const ofJob = (await createJobTokens(api.db)).issue({ jobId, workspaceId: 'main', email, ttlMs: 60_000 })
    expect((await api.post('resources/create', body, { token: ofJob })).status).toBe(201)
    expect((await api.post('flows/create', { path: 'f/x', value: { modules: [] } }, { token: ofJob })).status).toBe(403)
  })
})
