// The error handler of a workspace, on a real worker: started once for each failure that it is to hear of, and for no other.
import { afterEach, beforeAll, expect, test } from 'vitest'
import type { FlowModule } from '../../src/core/flow/definition.ts'
import type { Json } from '../../src/core/json.ts'
import { createToken } from '../../src/store/accounts.ts'
import { cancelJob } from '../../src/store/jobs.ts'
import { fail, give } from '../flows/cases.ts'
import { testEngine, type Engine } from '../support/engine.ts'
import { poison } from '../support/poison.ts'
import { testApi, type Answer, type Api } from './api.ts'

let engine: Engine
let api: Api

beforeAll(async () => {
  engine = await testEngine({ afterwardsMs: 20 })
  api = await testApi({}, engine)
  await engine.work()
  await engine.script('f/test/handler', 'export const main = (job_id: string, more?: string) => ({ job_id, more })')
  await deploy('f/test/fails', [fail('a')])
})

afterEach(() => set({}))

const set = (body: Record<string, Json>): Promise<Answer> => api.post('workspaces/edit_error_handler', body)
const toScript = { path: 'script/f/test/handler' }

async function deploy(path: string, modules: FlowModule[], more: Record<string, Json> = {}): Promise<void> {
  const { status } = await api.post('flows/create', { path, summary: '', value: { modules }, ...more } as never)
  expect(status).toBe(201)
}

const start = async (what: string, query = ''): Promise<string> => (await api.post(`jobs/run/${what}${query}`, {})).body

async function childrenOf(id: string): Promise<{ id: string; args: Record<string, Json> }[]> {
  const { rows } = await engine.db.pool.query<{ id: string; args: string }>(
    'select id, args from job where parent_id = $1 union all select id, args from job_done where parent_id = $1',
    [id],
  )
  return rows.map((row) => ({ id: row.id, args: JSON.parse(row.args) as Record<string, Json> }))
}

/** Every failure so far was looked at. */
async function handled(): Promise<void> {
  while ((await engine.db.pool.query('select from failure where not missed')).rows.length > 0)
    await new Promise((resolve) => setTimeout(resolve, 5))
}

async function handlersOf(id: string): Promise<{ id: string; args: Record<string, Json> }[]> {
  await engine.done(id)
  await handled()
  return childrenOf(id)
}

test('a failed job starts it, once, with what failed', async () => {
  expect((await set({ ...toScript, extra_args: { more: 'yes', path: 'not this one' } })).status).toBe(200)
  const id = await start('f/f/test/fails')
  const [handler, ...others] = await handlersOf(id)
  expect(others).toEqual([])
  expect(handler!.args).toEqual({
    workspace_id: 'main',
    job_id: id,
    path: 'f/test/fails',
    is_flow: true,
    email: 'admin@millrace.local',
    started_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as string,
    error: expect.objectContaining({ name: 'TypeError', message: 'a failed', step_id: 'a' }) as object,
    more: 'yes',
  })
  expect((await engine.done(handler!.id)).result).toEqual({ job_id: id, more: 'yes' })
})

test('it may be a flow; a script that fails starts it too', async () => {
  await deploy('f/test/handling', [give('a', 'flow_input.error.message')])
  await engine.script('f/test/throws', 'export function main() { throw new Error("thrown") }')
  await set({ path: 'flow/f/test/handling' })
  const [handler] = await handlersOf(await start('p/f/test/throws'))
  expect(handler!.args).toMatchObject({ path: 'f/test/throws', is_flow: false })
  expect((await engine.done(handler!.id)).result).toBe('thrown')
})

test('successes, jobs of other jobs and previews do not start it', async () => {
  await deploy('f/test/fine', [give('a', '1')])
  await set(toScript)
  const preview = await api.post('jobs/run/preview', { content: 'export function main() { throw 1 }', language: 'bun', args: {} })
  const ids = [await start('f/f/test/fine'), await start('f/f/test/fails', `?parent_job=${crypto.randomUUID()}`), preview.body]
  for (const id of ids) expect(await handlersOf(id)).toEqual([])
})

test('a handler that fails starts nothing, nor does one that was started as any other job', async () => {
  await engine.script('f/test/bad_handler', 'export function main() { throw new Error("worse") }')
  await set({ path: 'script/f/test/bad_handler' })
  const [handler] = await handlersOf(await start('f/f/test/fails'))
  expect(await handlersOf(handler!.id)).toEqual([])
  expect(await handlersOf(await start('p/f/test/bad_handler'))).toEqual([])
})

test('what is muted does not start it', async () => {
  await deploy('f/test/muted', [fail('a')], { ws_error_handler_muted: true })
  await deploy('u/admin/own', [fail('a')])
  await set({ ...toScript, muted_on_user_path: true })
  expect(await handlersOf(await start('f/f/test/muted'))).toEqual([])
  expect(await handlersOf(await start('f/u/admin/own'))).toEqual([])
  await set(toScript)
  expect(await handlersOf(await start('f/u/admin/own'))).toHaveLength(1)
})

test.each([false, true])('canceled jobs start it unless it is muted for them: %s', async (muted) => {
  await deploy(`f/test/sleeps_${muted}`, [give('a', '1', { sleep: { type: 'static', value: 600 } }), give('b', '2')])
  await set({ error_handler: toScript.path, error_handler_muted_on_cancel: muted })
  const waiting = await start(`f/f/test/sleeps_${muted}`)
  while ((await engine.db.pool.query(`select from job where id = $1 and state = 'parked'`, [waiting])).rows.length === 0)
    await new Promise((resolve) => setTimeout(resolve, 5))
  expect(await cancelJob(engine.db.pool, { workspaceId: 'main', id: waiting, by: 'me', reason: 'enough' })).toBe('canceled')
  expect(await handlersOf(waiting)).toHaveLength(muted ? 0 : 1)
})

test('a job that is poison starts it', async () => {
  await set(toScript)
  const id = await start('f/f/test/fails', '?tag=nobodys')
  await poison(engine.db, id)
  const [handler, ...others] = await handlersOf(id)
  expect(others).toEqual([])
  expect(handler!.args).toMatchObject({ job_id: id, error: { name: 'PoisonJob' } })
})

test('one that is not deployed is waited for', async () => {
  await set({ path: 'script/f/test/later' })
  const id = await start('f/f/test/fails')
  await engine.done(id)
  while ((await engine.db.pool.query('select from failure where missed and job_id = $1', [id])).rows.length === 0)
    await new Promise((resolve) => setTimeout(resolve, 5))
  expect(await childrenOf(id)).toEqual([])
  await engine.script('f/test/later', 'export const main = (job_id: string) => job_id')
  await engine.db.pool.query('update failure set due_at = clock_timestamp(), missed = false')
  const [handler] = await handlersOf(id)
  expect((await engine.done(handler!.id)).result).toBe(id)
})

test('a handler that limits its jobs gets them one after another', async () => {
  const modules = [give('a', 'flow_input.job_id')]
  await deploy('f/test/limited', modules, { value: { modules, concurrent_limit: 1 } as never })
  await set({ path: 'flow/f/test/limited' })
  const ids = await Promise.all(Array.from({ length: 10 }, () => start('f/f/test/fails')))
  for (const id of ids) {
    const [handler, ...others] = await handlersOf(id)
    expect(others).toEqual([])
    expect((await engine.done(handler!.id)).result).toBe(id)
  }
})

test('the settings are shown as they were set, in both forms, and taken back', async () => {
  const handler = { path: 'flow/f/test/x', extra_args: { a: 1 }, muted_on_cancel: true, muted_on_user_path: false }
  await set(handler)
  expect((await api.get('workspaces/get_settings')).json).toMatchObject({
    workspace_id: 'main',
    name: 'Main',
    error_handler: handler,
    error_handler_extra_args: { a: 1 },
    error_handler_muted_on_cancel: true,
  })
  await set({ error_handler: null })
  expect((await api.get('workspaces/get_settings')).json).not.toHaveProperty('error_handler')
})

const nameless: Record<string, Json>[] = [{ path: 'f/test/handler' }, { path: 'script/' }, { error_handler: 'resource/f/x' }]
test.each(nameless)('%j is refused', async (body) => {
  const answer = await set(body)
  expect([answer.status, answer.body]).toEqual([400, expect.stringContaining('names no handler')])
})

test('only an admin of the workspace sets it', async () => {
  await api.post('/api/users/create', { email: 'dev@example.org' })
  await api.post('workspaces/add_user', { email: 'dev@example.org' })
  const token = await createToken(engine.db.pool, { label: 'test', email: 'dev@example.org' })
  expect((await api.post('workspaces/edit_error_handler', toScript, { token })).status).toBe(403)
})
