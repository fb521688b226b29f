// Groups of a workspace, as clients call their routes.
import { beforeAll, describe, expect, test } from 'vitest'
import { createToken } from '../../src/store/accounts.ts'
import { testApi, type Answer, type Api } from './api.ts'

let api: Api
let dev: string

beforeAll(async () => {
  api = await testApi()
  for (const email of ['dev@x.org', 'ops@x.org', 'out@x.org']) await api.post('/api/users/create', { email })
  for (const email of ['dev@x.org', 'ops@x.org']) await api.post('workspaces/add_user', { email })
  dev = await createToken(api.db.pool, { label: 'dev', email: 'dev@x.org' })
})

const change = (what: string, name: string, username: string): Promise<Answer> => api.post(`groups/${what}/${name}`, { username })
const remove = (name: string): Promise<Answer> => api.ask('DELETE', `groups/delete/${name}`)
const group = (name: string): Promise<Answer> => api.get(`groups/get/${name}`)
const codeOf = ({ status, json }: Answer): unknown => [status, json.error.code, json.error.at]

test('a group is made, gets members, loses them, and is taken away', async () => {
  const made = await api.post('groups/create', { name: 'ops', summary: 'On call' })
  expect([made.status, made.body]).toEqual([200, 'Created group ops'])
  expect((await change('adduser', 'ops', 'ops')).status).toBe(200)
  expect((await change('adduser', 'ops', 'dev')).body).toBe('Added dev to group ops')
  expect((await change('adduser', 'ops', 'dev')).status).toBe(200)
  const ops = { workspace_id: 'main', name: 'ops', summary: 'On call', members: ['dev', 'ops'], extra_perms: {} }
  expect((await group('ops')).json).toEqual(ops)
  expect((await change('removeuser', 'ops', 'ops')).status).toBe(200)
  expect((await api.post('groups/update/ops', { summary: 'Day and night' })).status).toBe(200)
  expect((await api.get('groups/list')).json).toMatchObject([
    { name: 'all', members: ['dev', 'ops'] },
    { name: 'ops', summary: 'Day and night', members: ['dev'] },
  ])
  expect((await remove('ops')).status).toBe(200)
  expect(codeOf(await group('ops'))).toEqual([404, 'E_NOT_FOUND', 'name'])
  expect((await api.get('groups/listnames')).json).toEqual(['all'])
})

test('whoever asks is told their own groups; who leaves the workspace leaves them', async () => {
  for (const name of ['b', 'a', 'others']) await api.post('groups/create', { name })
  for (const name of ['a', 'b']) await change('adduser', name, 'dev')
  expect((await api.get('groups/listnames?only_member_of=true', { token: dev })).json).toEqual(['all', 'a', 'b'])
  expect((await api.get('users/whoami', { token: dev })).json.groups).toEqual(['all', 'a', 'b'])
  expect((await api.get('users/whoami')).json.groups).toEqual(['all'])
  expect((await api.get('groups/list?per_page=2&page=2')).json).toMatchObject([{ name: 'b' }, { name: 'others' }])
  await api.ask('DELETE', 'users/delete/dev')
  await api.post('workspaces/add_user', { email: 'dev@x.org' })
  expect((await api.get('users/whoami', { token: dev })).json.groups).toEqual(['all'])
  expect((await group('a')).json.members).toEqual([])
})

test('a workspace has its own groups', async () => {
  await api.post('/api/workspaces/create', { id: 'second' })
  await api.post('groups/create', { name: 'here' })
  expect((await api.get('/api/w/second/groups/listnames')).json).toEqual(['all'])
  expect((await api.post('/api/w/second/groups/create', { name: 'here' })).status).toBe(200)
  expect(codeOf(await api.post('/api/w/second/groups/adduser/here', { username: 'dev' }))).toEqual([
    404,
    'E_NOT_FOUND',
    '$.username',
  ])
})

describe('is refused', () => {
  beforeAll(async () => {
    await api.post('groups/create', { name: 'there' })
  })

  test('what is not there: a group, a member of the workspace, a member of the group', async () => {
    for (const answer of [await api.post('groups/update/none', {}), await remove('none'), await change('adduser', 'none', 'dev')])
      expect(codeOf(answer)).toEqual([404, 'E_NOT_FOUND', 'name'])
    expect(codeOf(await change('removeuser', 'none', 'dev'))).toEqual([404, 'E_NOT_FOUND', 'name'])
    expect(codeOf(await change('adduser', 'there', 'out'))).toEqual([404, 'E_NOT_FOUND', '$.username'])
    expect(codeOf(await change('removeuser', 'there', 'dev'))).toEqual([404, 'E_NOT_FOUND', '$.username'])
  })

  test('a name that is taken, or cannot be one', async () => {
    for (const name of ['there', 'all'])
      expect(codeOf(await api.post('groups/create', { name }))).toEqual([409, 'E_CONFLICT', '$.name'])
    for (const name of ['', 'a b', 'a/b', 'x'.repeat(51)])
      expect(codeOf(await api.post('groups/create', { name }))).toEqual([400, 'E_INVALID', '$.name'])
  })

  test('a change of the group that contains everybody', async () => {
    expect((await group('all')).json).toMatchObject({ name: 'all', members: ['dev', 'ops'] })
    const changes = [await api.post('groups/update/all', {}), await remove('all'), await change('adduser', 'all', 'dev')]
    for (const answer of [...changes, await change('removeuser', 'all', 'dev')])
      expect(codeOf(answer)).toEqual([400, 'E_INVALID', 'name'])
  })

  test('a change by a member who is no admin: they could let themselves approve', async () => {
    const as = { token: dev }
    const changes = [
      await api.post('groups/create', { name: 'mine' }, as),
      await api.post('groups/update/there', {}, as),
      await api.post('groups/adduser/there', { username: 'dev' }, as),
      await api.post('groups/removeuser/there', { username: 'dev' }, as),
      await api.ask('DELETE', 'groups/delete/there', as),
    ]
    for (const answer of changes) expect(codeOf(answer)).toEqual([403, 'E_FORBIDDEN', undefined])
    expect((await api.get('groups/get/there', as)).status).toBe(200)
    const reads = await createToken(api.db.pool, { label: 'x', email: 'dev@x.org', scopes: ['jobs:read'] })
    expect(codeOf(await api.get('groups/list', { token: reads }))).toEqual([403, 'E_FORBIDDEN', 'authorization'])
  })
})
