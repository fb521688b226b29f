// Jobs that start again from the middle, on a real worker: what is kept does not run again.
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FlowModule } from '../../src/core/flow/definition.ts'
import { auditDatabase, setRecording } from '../../src/store/audit.ts'
import { sendSignal } from '../../src/store/signals.ts'
import { testEngine, ts, type Done, type Engine } from '../support/engine.ts'
import { each, same } from '../flows/cases.ts'
import { testApi, type Answer, type Api } from './api.ts'

let engine: Engine
let api: Api
let ran: string
let broken: string

/** Notes that it ran; fails while the file `broken` names it. */
const noting = (id: string, inputs: Record<string, string> = {}): FlowModule =>
  ts(
    id,
    `import { appendFileSync, existsSync, readFileSync } from 'node:fs'
export function main(x: unknown) {
  const me = '${id}' + (x ?? '')
  appendFileSync(${JSON.stringify(ran)}, me + '\\n')
  if (existsSync(${JSON.stringify(broken)}) && readFileSync(${JSON.stringify(broken)}, 'utf8') === me) throw new Error(me + ' is broken')
  return me
}`,
    inputs,
  )

beforeAll(async () => {
  engine = await testEngine()
  api = await testApi({}, engine)
  ran = join(engine.home, 'ran')
  broken = join(engine.home, 'broken')
  await engine.work()
  await engine.deploy('f/test/steps', [noting('a'), noting('b'), noting('c')], {}, false)
  await engine.deploy(
    'f/test/loop',
    [noting('a'), each('l', '[1, 2, 3]', [noting('b', { x: 'flow_input.iter.value' })])],
    {},
    false,
  )
})

beforeEach(() => {
  writeFileSync(ran, '')
  rmSync(broken, { force: true })
})

const whatRan = () => readFileSync(ran, 'utf8').trim().split('\n')

async function run(path: string, breaks?: string): Promise<Done> {
  if (breaks !== undefined) writeFileSync(broken, breaks)
  const { body } = await api.post(`jobs/run/f/${path}`, { n: 1 })
  const done = await engine.done(body)
  if (existsSync(broken)) rmSync(broken)
  writeFileSync(ran, '')
  return done
}

async function answer(jobId: string, n: number, approver: string): Promise<void> {
  const signal = { workspaceId: 'main', jobId, step: n, resumeId: 1, approver, account: null, approved: true, payload: '{}' }
  expect(await sendSignal(engine.db.pool, signal)).toBe(true)
}

const restart = (id: string, body: object, query = ''): Promise<Answer> => api.post(`jobs/restart/f/${id}${query}`, body as never)

test('a failed job starts again from the step that failed; what came before is kept', async () => {
  const old = await run('f/test/steps', 'b')
  expect(old).toMatchObject({ status: 'failure' })
  const answer = await restart(old.id, { step_id: 'b' })
  expect(answer.status).toBe(201)
  expect(await engine.done(answer.body)).toMatchObject({ status: 'success', result: 'c' })
  expect(whatRan()).toEqual(['b', 'c'])
  expect((await api.get(`jobs_u/get/${answer.body}`)).json).toMatchObject({
    args: { n: 1 },
    replay_of: old.id,
    flow_status: {
      restarted_from: { flow_job_id: old.id, step_id: 'b' },
      modules: [
        { type: 'Success', id: 'a' },
        { type: 'Success', id: 'b' },
        { type: 'Success', id: 'c' },
      ],
    },
  })
  expect((await api.get(`jobs_u/get/${old.id}`)).json).toMatchObject({ replayed_as: [answer.body], success: false })
})

test('a finished job starts again from an iteration, by either way to ask', async () => {
  const old = await run('f/test/loop')
  const first = await restart(old.id, { step_id: 'l', branch_or_iteration_n: 2 })
  expect(await engine.done(first.body)).toMatchObject({ status: 'success', result: ['b1', 'b2', 'b3'] })
  expect(whatRan()).toEqual(['b3'])
  const second = await api.post(`jobs/restart/f/${old.id}/from/l/1`)
  expect(second.status).toBe(201)
  expect(await engine.done(second.body)).toMatchObject({ result: ['b1', 'b2', 'b3'] })
  expect(whatRan()).toEqual(['b3', 'b2', 'b3'])
  // One that was started again can be, too.
  const third = await restart(second.body, { step_id: 'l', branch_or_iteration_n: 2 })
  expect(await engine.done(third.body)).toMatchObject({ result: ['b1', 'b2', 'b3'] })
})

test('the last step alone runs again, though its value is kept as the result of the job', async () => {
  const old = await run('f/test/steps')
  const answer = await restart(old.id, { step_id: 'c' })
  expect(await engine.done(answer.body)).toMatchObject({ result: 'c' })
  expect(whatRan()).toEqual(['c'])
})

test('who answered is kept, and a later step is answered anew', async () => {
  const waits = { suspend: { required_events: 1 } }
  const path = 'f/test/waits'
  await engine.deploy(path, [same('a', waits), noting('b'), same('c', waits), noting('d')], {}, false)
  const { body: id } = await api.post(`jobs/run/f/${path}`, {})
  await answer(id, 1, 'ada')
  await answer(id, 3, 'bob')
  await engine.done(id)
  writeFileSync(ran, '')
  const { body: fresh } = await restart(id, { step_id: 'b' })
  await expect
    .poll(async () => (await api.get(`jobs_u/get/${fresh}`)).json.flow_status.modules[3], { interval: 20 })
    .toMatchObject({ type: 'WaitingForEvents', id: 'd', count: 1 })
  await answer(fresh, 3, 'eve')
  expect(await engine.done(fresh)).toMatchObject({ status: 'success', result: 'd' })
  expect(whatRan()).toEqual(['b', 'd'])
  expect((await api.get(`jobs_u/get/${fresh}`)).json.flow_status.modules).toMatchObject([
    { id: 'a', approvers: [{ approver: 'ada' }] },
    {},
    { id: 'c', approvers: [{ approver: 'eve' }] },
    {},
  ])
})

test('on the version that is deployed now, if what comes before is the same in it', async () => {
  const path = 'f/test/changing'
  await engine.deploy(path, [noting('a'), noting('b')], {}, false)
  const old = await run(path, 'b')
  const fixed = ts('b', 'export const main = (x: string) => x + " and fixed"', { x: 'results.a' })
  const { versionId } = await engine.deploy(path, [noting('a'), fixed, same('c')], {}, false)
  expect(await engine.done((await restart(old.id, { step_id: 'b', use_latest_version: true })).body)).toMatchObject({
    status: 'success',
    result: 'a and fixed',
  })
  expect(await restart(old.id, { step_id: 'b', flow_version: Number(versionId) })).toMatchObject({ status: 201 })
  expect(await restart(old.id, { step_id: 'c', use_latest_version: true })).toMatchObject({
    status: 409,
    json: { error: { message: expect.stringContaining('step b is not the same in version') } },
  })
  expect(await restart(old.id, { step_id: 'b', flow_version: 999_999 })).toMatchObject({ status: 404 })
})

test('the same key starts it once; a time and a tag are kept to', async () => {
  const old = await run('f/test/steps')
  const key = { headers: { 'idempotency-key': 'again' } }
  const once = await api.post(`jobs/restart/f/${old.id}`, { step_id: 'c' }, key)
  expect((await api.post(`jobs/restart/f/${old.id}`, { step_id: 'c' }, key)).body).toBe(once.body)
  const later = await restart(old.id, { step_id: 'c' }, '?scheduled_in_secs=3600&tag=other')
  expect((await api.get(`jobs_u/get/${later.body}`)).json).toMatchObject({ type: 'QueuedJob', running: false, tag: 'other' })
})

test('what cannot be is refused with what can', async () => {
  const old = await run('f/test/loop', 'b2')
  expect(await restart(old.id, { step_id: 'x' })).toMatchObject({
    status: 400,
    json: { error: { at: '$.step_id', message: expect.stringContaining('its steps are a, l, b') } },
  })
  expect(await restart(old.id, { step_id: 'l', branch_or_iteration_n: 2 })).toMatchObject({
    status: 409,
    json: { error: { at: '$.branch_or_iteration_n', message: expect.stringContaining('0 to 1 were') } },
  })
  expect(await restart('019ac0de-7000-7000-8000-000000000000', { step_id: 'a' })).toMatchObject({ status: 404 })
  const parked = await restart(old.id, { step_id: 'a' }, '?scheduled_in_secs=3600')
  expect(await restart(parked.body, { step_id: 'a' })).toMatchObject({ status: 409 })
  const script = { content: 'export const main = () => 1', language: 'bun' }
  const preview = (await api.post('jobs/run/preview', script)).body
  await engine.done(preview)
  expect(await restart(preview, { step_id: 'a' })).toMatchObject({ status: 400 })
})

test('the queue of a restart has its bound', async () => {
  const old = await run('f/test/steps')
  const small = await testApi({ queueJobsMax: 0 }, engine)
  expect(await small.post(`jobs/restart/f/${old.id}`, { step_id: 'a' })).toMatchObject({ status: 429 })
})

test('the audit, recording, finds nothing wrong with a job whose journal came with it', async () => {
  const old = await run('f/test/loop')
  await setRecording(engine.db, 'on')
  await engine.done((await restart(old.id, { step_id: 'l', branch_or_iteration_n: 1 })).body)
  const scope = { lostMax: engine.limits.lostMax, retentionDays: 30, rowsMax: 20, settleMs: 0 }
  const { recording, outcomes } = await auditDatabase(engine.db, scope)
  expect(recording).not.toBeNull()
  expect(outcomes.filter(({ status }) => status === 'violated' || status === 'failed')).toEqual([])
})
