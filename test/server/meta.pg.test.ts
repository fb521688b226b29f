// The server about itself, and what is deployed: as documents, and as a description of the API.
import { beforeAll, describe, expect, test } from 'vitest'
import { identity, step, testApi, type Api } from './api.ts'

let api: Api

beforeAll(async () => {
  api = await testApi()
})

describe('the server', () => {
  test('answers without a token where programs look after it', async () => {
    const bare = { token: null }
    expect(await api.get('/api/version', bare)).toMatchObject({
      status: 200,
      body: 'CE v1.818.0',
      headers: { 'content-type': 'text/plain; charset=utf-8' },
    })
    expect(await api.get('/healthz', bare)).toMatchObject({ status: 200, json: { ok: true } })
    expect(await api.get('/readyz', bare)).toMatchObject({ status: 200, json: { ok: true } })
  })

  test('is not ready while the schema is not the one it knows', async () => {
    await api.db.pool.query("update migration set checksum = 'x' || checksum")
    try {
      expect((await api.get('/readyz', { token: null })).status).toBeGreaterThanOrEqual(500)
      expect((await api.get('/healthz', { token: null })).status).toBe(200)
    } finally {
      await api.db.pool.query('update migration set checksum = substr(checksum, 2)')
    }
  })

  test('counts jobs and refusals', async () => {
    await api.deploy('f/meta/counted', [identity('a')])
    await api.post('jobs/run/f/f/meta/counted?tag=counted', {})
    await api.post('jobs/run/f/f/meta/counted', '{')
    const { body } = await api.get('/metrics', { token: null })
    expect(body).toContain('millrace_queue_jobs{tag="counted",state="ready"} 1')
    expect(body).toContain('millrace_accept_jobs_total 1')
    expect(body).toContain('millrace_accept_insert_jobs_count 1')
    expect(body).toMatch(/millrace_accept_refusals_total\{code="E_JSON"\} 1/)
    expect(body).toContain('process_resident_memory_bytes')
  })

  test('describes its routes, each with its path parameters', async () => {
    const { json } = (await api.get('/api/openapi.json', { token: null })) as {
      json: { openapi: string; paths: Record<string, Record<string, { parameters?: { name: string; in: string }[] }>> }
    }
    expect(json.openapi).toBe('3.1.0')
    const run = json.paths['/api/w/{ws}/jobs/run/f/{path}']!['post']!
    expect(run.parameters!.filter((one) => one.in === 'path').map((one) => one.name)).toEqual(['ws', 'path'])
    expect(Object.keys(json.paths)).toEqual(
      expect.arrayContaining(['/healthz', '/api/w/{ws}/flows/create', '/api/w/{ws}/jobs_u/get/{id}']),
    )
    expect(Object.keys(json.paths).some((path) => path.includes('*'))).toBe(false)
  })
})

describe('a flow', () => {
  const document = {
    path: 'f/meta/flow',
    summary: 'A flow',
    description: 'What it does',
    value: { modules: [step('a', 'export const main = (x: number) => x', { x: 'flow_input.x' })] },
    schema: { type: 'object', properties: { x: { type: 'number' } } },
    tag: 'special',
  }

  test('comes back as it was deployed', async () => {
    expect(await api.post('flows/create', document)).toMatchObject({ status: 201, body: 'f/meta/flow' })
    expect((await api.get('flows/get/f/meta/flow')).json).toMatchObject({
      ...document,
      workspace_id: 'main',
      edited_by: 'admin',
      archived: false,
    })
    expect((await api.get('flows/exists/f/meta/flow')).json).toBe(true)
    expect((await api.get('flows/exists/f/meta/none')).json).toBe(false)
    expect((await api.get('flows/list?path_start=f/meta/f&page=0')).json).toMatchObject([
      { path: 'f/meta/flow', summary: 'A flow' },
    ])
    expect((await api.get('flows/list_paths')).json).toContain('f/meta/flow')
  })

  test('is updated, archived and deleted', async () => {
    const update = await api.post('flows/update/f/meta/flow', { ...document, summary: 'Changed' })
    expect(update).toMatchObject({ status: 200, body: 'f/meta/flow' })
    expect((await api.get('flows/get/f/meta/flow')).json).toMatchObject({ summary: 'Changed' })
    expect((await api.post('flows/archive/f/meta/flow', { archived: true })).status).toBe(200)
    expect((await api.post('jobs/run/f/f/meta/flow', {})).status).toBe(404)
    expect((await api.get('flows/exists/f/meta/flow')).json).toBe(false)
    expect((await api.get('flows/list?show_archived=true')).json).toMatchObject([{ path: 'f/meta/flow', archived: true }])
    expect((await api.ask('DELETE', 'flows/delete/f/meta/flow')).status).toBe(200)
    expect((await api.get('flows/get/f/meta/flow')).status).toBe(404)
  })
})

describe('a script', () => {
  const document = {
    path: 'f/meta/script',
    content: 'def main(x: int):\n    return x',
    language: 'python3',
    summary: 'A script',
    description: '',
  }

  test('comes back as it was deployed, with its hash', async () => {
    const made = await api.post('scripts/create', document)
    expect(made).toMatchObject({ status: 201, headers: { 'content-type': 'text/plain; charset=utf-8' } })
    expect(made.body).toMatch(/^[0-9a-f]{16}$/)
    const script = { ...document, hash: made.body, kind: 'script', created_by: 'admin' }
    expect((await api.get('scripts/get/p/f/meta/script')).json).toMatchObject(script)
    expect((await api.get(`scripts/get/h/${made.body}`)).json).toMatchObject(script)
    expect((await api.get('scripts/exists/p/f/meta/script')).json).toBe(true)
    expect((await api.get('scripts/list')).json).toMatchObject([{ path: 'f/meta/script' }])
  })

  test('that did not change is not deployed again, if so asked', async () => {
    const { hash } = (await api.get('scripts/get/p/f/meta/script')).json as { hash: string }
    expect((await api.post('scripts/create?skip_if_noop=true', document)).body).toBe(hash)
    const changed = await api.post('scripts/create?skip_if_noop=true', {
      ...document,
      content: 'def main(x: int):\n    return -x',
    })
    expect(changed.body).not.toBe(hash)
    expect((await api.get(`scripts/get/h/${hash}`)).json).toMatchObject({ content: document.content })
  })

  test('is archived and deleted', async () => {
    expect((await api.post('scripts/archive/p/f/meta/script')).status).toBe(200)
    expect((await api.get('scripts/exists/p/f/meta/script')).json).toBe(false)
    expect((await api.post('scripts/delete/p/f/meta/script')).status).toBe(200)
    expect((await api.get('scripts/get/p/f/meta/script')).status).toBe(404)
  })
})

test('a workspace is made, listed, and has what is deployed to it alone', async () => {
  expect((await api.post('/api/workspaces/exists', { id: 'other' })).json).toBe(false)
  expect((await api.post('/api/workspaces/create', { id: 'other', name: 'Other' })).status).toBe(201)
  expect((await api.post('/api/workspaces/exists', { id: 'other' })).json).toBe(true)
  expect((await api.get('/api/workspaces/list')).json).toMatchObject([{ id: 'main' }, { id: 'other', name: 'Other' }])
  expect((await api.get('/api/workspaces/users')).json).toMatchObject({
    email: 'admin@millrace.local',
    workspaces: [{ id: 'main' }, { id: 'other' }],
  })
  await api.deploy('f/meta/mine', [identity('a')])
  const id = (await api.post('jobs/run/f/f/meta/mine', {})).body
  expect((await api.post('/api/w/other/jobs/run/f/f/meta/mine', {})).status).toBe(404)
  expect((await api.get(`/api/w/other/jobs_u/get/${id}`)).status).toBe(404)
  expect((await api.get('/api/w/other/users/list')).json).toMatchObject([{ username: 'admin', is_admin: true }])
})
