// delete_after_secs, on a real worker and through the API: what is left, what stays, and what can still be done with it.
import { beforeAll, expect, test } from 'vitest'
import type { FlowModule, FlowValue } from '../../src/core/flow/definition.ts'
import { deletedText } from '../../src/core/flow/deletion.ts'
import { stepIdOf } from '../../src/core/job/ids.ts'
import type { Json } from '../../src/core/json.ts'
import { auditDatabase, setRecording } from '../../src/store/audit.ts'
import { deleteDue } from '../../src/store/deletions.ts'
import { cancelJob } from '../../src/store/jobs.ts'
import { sendSignal } from '../../src/store/signals.ts'
import { each, flow, give, script } from '../flows/cases.ts'
import { testEngine, ts, type Deployed, type Engine } from '../support/engine.ts'
import { poison } from '../support/poison.ts'
import { testApi, type Api } from './api.ts'

let engine: Engine
let api: Api

beforeAll(async () => {
  engine = await testEngine({ partItemsMax: 2, partsAtOnceMax: 2 })
  api = await testApi({}, engine)
  await engine.work()
})

const deploy = (path: string, modules: FlowModule[], more: Partial<FlowValue> = {}): Promise<Deployed> =>
  engine.deploy(path, modules, more, false)

/** Prints it, and gives it on. */
const secret = (id: string, more: Partial<FlowModule> = {}) =>
  ts(id, 'export function main(x: unknown) { console.log(x); return x }', { x: 'flow_input.x' }, more)

/** Everything the database has of a job. */
async function kept(id: string): Promise<{ text: string; deleted: string | null; result: Json; steps: Json[]; logs: string }> {
  const { rows } = await engine.db.pool.query<{ row: string; deleted: string | null; result: string; steps: string }>(
    'select to_json(d)::text as row, deleted, result, steps from job_done d where id = $1 or parent_id = $1 order by id',
    [id],
  )
  const logs = await engine.db.pool.query<{ content: string }>('select content from job_log where id between $1 and $2', [
    id,
    `${id.slice(0, 32)}ffff`,
  ])
  const job = rows[0]!
  return {
    text: rows.map(({ row }) => row).join(),
    deleted: job.deleted,
    result: JSON.parse(job.result) as Json,
    steps: JSON.parse(job.steps) as Json[],
    logs: logs.rows.map(({ content }) => content).join(''),
  }
}

/** So many seconds later. */
async function later(seconds: number): Promise<void> {
  while ((await deleteDue(engine.db.pool, { jobsMax: 2, now: new Date(Date.now() + seconds * 1_000) })) > 0);
}

/** So many steps have printed it, and that is stored. */
async function logged(id: string, steps = 1): Promise<void> {
  while ((await kept(id)).logs.split('secret').length <= steps) await new Promise((resolve) => setTimeout(resolve, 5))
}

async function waits(id: string): Promise<void> {
  while ((await engine.db.pool.query(`select from job where id = $1 and state = 'waiting'`, [id])).rows.length === 0)
    await new Promise((resolve) => setTimeout(resolve, 5))
}

const args = { x: 'secret' }

test('arguments, result, steps and logs of a flow go; what ran is still shown', async () => {
  const { status } = await api.post('flows/create', {
    path: 'f/test/whole',
    summary: '',
    value: { delete_after_secs: 600, modules: [secret('a'), secret('b')] } as never,
  })
  expect(status).toBe(201)
  const answer = await api.post('jobs/run_wait_result/f/f/test/whole', args)
  expect(answer.json).toBe('secret')
  const { rows } = await engine.db.pool.query<{ id: string }>('select job_id as id from deletion')
  const { id } = rows[0]!
  await logged(id, 2)
  await later(300)
  expect((await kept(id)).text).toContain('secret')
  await later(601)
  const left = await kept(id)
  expect(left).toMatchObject({ deleted: 'all', result: deletedText, logs: '' })
  expect(left.text).not.toContain('secret')
  expect((await api.get(`jobs_u/get/${id}`)).json).toMatchObject({
    deleted: true,
    success: true,
    args: {},
    result: deletedText,
    flow_status: {
      modules: [
        { type: 'Success', id: 'a' },
        { type: 'Success', id: 'b' },
      ],
    },
  })
  const listed = async (list: string) => ((await api.get(list)).json as Json[]).find((job) => (job as { id: string }).id === id)
  for (const list of ['jobs/list', 'jobs/list?order_desc=false', 'jobs/completed/list']) {
    expect(await listed(list)).toMatchObject({ deleted: true, success: true })
  }
  expect((await engine.db.pool.query('select from deletion')).rows).toEqual([])
  const restart = await api.post(`jobs/restart/f/${id}`, { step_id: 'b' })
  expect(restart.status).toBe(409)
  expect(restart.body).toContain('delete_after_secs')
  const replay = await api.post('jobs/replay', { ids: [id] })
  expect(replay.body).toContain('its arguments were deleted')
})

test('of one step: its result and its logs, and those alone', async () => {
  const made = await deploy('f/test/step', [
    secret('a', { delete_after_secs: 30 }),
    give('b', '"open"'),
    give('c', '[results.b]'),
  ])
  const { id } = await engine.run(made, args)
  await logged(id)
  await later(31)
  const left = await kept(id)
  expect(left).toMatchObject({ deleted: 'some', result: ['open'], logs: '' })
  expect(left.steps).toMatchObject([{ s: 'a', v: deletedText, gone: true }, { s: 'b', v: 'open' }, { s: 'c' }])
  expect((await api.get(`jobs_u/get/${id}`)).json).toMatchObject({ deleted: false, args, result: ['open'] })
  for (const [step, deleted] of [true, false].entries()) {
    expect((await api.get(`jobs_u/get/${stepIdOf(id, step + 1)}`)).json).toMatchObject({ deleted, success: true })
  }
  const restart = await api.post(`jobs/restart/f/${id}`, { step_id: 'b' })
  expect([restart.status, restart.body]).toEqual([409, expect.stringContaining('what step a came to was deleted')])
  const again = await api.post(`jobs/restart/f/${id}`, { step_id: 'a' })
  expect(again.status).toBe(201)
  expect(await engine.done(again.body)).toMatchObject({ status: 'success', result: ['open'] })
})

test('of a loop: its items and all that is inside of it', async () => {
  const inside = ts('i', 'export const main = (x: string) => "secret " + x', { x: 'flow_input.iter.value' })
  const made = await deploy('f/test/loop', [
    { ...each('l', '["secret", "secret"]', [inside]), delete_after_secs: 30 },
    give('b', 'results.l.length'),
  ])
  const { id } = await engine.run(made)
  await later(31)
  const left = await kept(id)
  expect(left).toMatchObject({ deleted: 'some', result: 2 })
  expect(left.text).not.toContain('secret')
  expect((await api.get(`jobs_u/get/${id}`)).json).toMatchObject({
    flow_status: { modules: [{ id: 'l', type: 'Success' }, { id: 'b' }] },
  })
})

test('of a spread loop: its parts go too', async () => {
  const made = await deploy(
    'f/test/spread',
    [each('l', '["secret", "secret", "secret"]', [give('i', 'flow_input.iter.value')], { spread: true }), give('b', '1')],
    { delete_after_secs: 30 },
  )
  const { id } = await engine.run(made, args)
  await later(31)
  expect((await kept(id)).text).not.toContain('secret')
  expect((await api.get(`jobs_u/get/${id}`)).json).toMatchObject({
    flow_status: { modules: [{ id: 'l', type: 'Success' }, { id: 'b' }] },
  })
})

test('of a sub-flow whose loop is spread, by a rule of the flow around it', async () => {
  await deploy('f/test/spreads', [each('l', 'flow_input.items', [give('i', 'flow_input.iter.value')], { spread: true })])
  const inner = { ...flow('f', 'f/test/spreads', { items: 'flow_input.items' }), delete_after_secs: 30 }
  const made = await deploy('f/test/around', [inner, give('b', 'results.f.length')])
  const { id, steps } = await engine.run(made, { items: ['1', '2', '3'] })
  expect(steps.some(({ k }) => k === 'spread')).toBe(true)
  await later(31)
  const { rows } = await engine.db.pool.query<{ result: string }>(
    'select result from job_done where parent_id = $1 order by parent_slot',
    [id],
  )
  expect(rows.map(({ result }) => JSON.parse(result) as Json)).toEqual([[deletedText, deletedText], [deletedText]])
})

test('a sub-flow and a script bring their own rules', async () => {
  await deploy('f/test/inner', [give('i', 'flow_input.x')], { delete_after_secs: 30 })
  await engine.script('f/test/script', {
    content: 'export const main = (x: string) => x',
    language: 'bun',
    delete_after_use: true,
  })
  const made = await deploy('f/test/outer', [
    flow('f', 'f/test/inner', { x: '"secret " + flow_input.y' }),
    script('s', 'f/test/script', { x: '"secret " + flow_input.y' }),
    give('e', 'flow_input.y'),
  ])
  const { id } = await engine.run(made, { y: 'open' })
  await later(6)
  const first = await kept(id)
  expect(first.steps.find((record) => (record as { s?: string }).s === 's')).toMatchObject({ v: deletedText })
  expect(first.text).toContain('secret')
  await later(31)
  const left = await kept(id)
  expect(left.text).not.toContain('secret')
  expect(left).toMatchObject({ deleted: 'some', result: 'open' })
})

test('what a workflow has come to is deleted where a task that is a job was given it', async () => {
  await engine.script('f/test/gives', { content: "export const main = () => 'secret'", language: 'bun', delete_after_use: true })
  const content = `import { task, taskScript, workflow } from 'windmill-client@1.818.0'
    const seen = task(async function seen(x: number) { return x }, { concurrency_limit: 9 })
    export const main = workflow(async () => { await taskScript('f/test/gives')(); return await seen(7) })`
  const { id } = await engine.run(await deploy('f/test/workflow', [ts('w', content)]))
  expect((await kept(id)).text).toContain('secret')
  await later(6)
  expect(await kept(id)).toMatchObject({ deleted: 'some', result: 7, text: expect.not.stringContaining('secret') })
  const { rows } = await engine.db.pool.query<{ id: string }>('select id from job_done where parent_id = $1', [id])
  const part = (await api.get(`jobs_u/get/${rows[0]!.id}`)).json
  expect(part).toMatchObject({ deleted: true, success: true, args: {}, result: deletedText })
}, 30_000)

test('a script deployed with delete_after_use is deleted as a job too', async () => {
  const hash = await engine.script('f/test/alone', {
    content: 'export const main = (x: string) => x',
    language: 'bun',
    delete_after_use: true,
  })
  const { body: id } = await api.post(`jobs/run/h/${hash}`, args)
  expect((await engine.done(id)).result).toBe('secret')
  await later(6)
  expect(await kept(id)).toMatchObject({ deleted: 'all', result: deletedText })
})

test('a job that is canceled while it waits is deleted as any other', async () => {
  const made = await deploy('f/test/waits', [secret('a', { suspend: { required_events: 1 } }), give('b', '1')], {
    delete_after_secs: 30,
  })
  const id = await engine.start(made, args)
  await waits(id)
  expect(await cancelJob(engine.db.pool, { workspaceId: 'main', id, by: 'me', reason: 'enough' })).toBe('canceled')
  await later(31)
  const left = await kept(id)
  expect(left.text).not.toContain('secret')
  expect(left.result).toEqual({ error: { name: 'Canceled', message: deletedText } })
})

test('a job that waits inside of a sub-flow with such a rule goes on, and is deleted', async () => {
  await deploy('f/test/asks', [give('i', 'flow_input.x', { suspend: { required_events: 1 } }), give('j', 'results.i')], {
    delete_after_secs: 30,
  })
  const made = await deploy('f/test/asking', [flow('f', 'f/test/asks', { x: '"secret " + 1' }), give('b', '"open"')])
  const id = await engine.start(made)
  await waits(id)
  const answer = { workspaceId: 'main', jobId: id, step: 0, resumeId: 1, approver: null, account: null, approved: true }
  await sendSignal(engine.db.pool, { ...answer, payload: '"secret"' })
  expect(await engine.done(id)).toMatchObject({ status: 'success', result: 'open' })
  await later(31)
  expect((await kept(id)).text).not.toContain('secret')
})

test('a worker deletes what is due by itself, after whoever waits has the result', async () => {
  await api.deploy('f/test/used', [secret('a')] as never, { delete_after_use: true })
  expect((await api.post('jobs/run_wait_result/f/f/test/used', args)).json).toBe('secret')
  const left = async () => {
    const { rows } = await engine.db.pool.query<{ n: number }>(
      `select count(*)::integer as n from job_done d join flow_version v on v.id = d.version_id
        where v.path = 'f/test/used' and d.deleted is distinct from 'all'`,
    )
    return rows[0]!.n
  }
  expect(await left()).toBe(1)
  while ((await left()) > 0) await new Promise((resolve) => setTimeout(resolve, 50))
}, 30_000)

test('several workers that look at the same time delete a job once', async () => {
  const made = await deploy('f/test/twice', [secret('a', { delete_after_secs: 20 })], { delete_after_secs: 30 })
  const { id } = await engine.run(made, args)
  for (const seconds of [21, 31]) {
    const now = new Date(Date.now() + seconds * 1_000)
    await Promise.all(Array.from({ length: 8 }, () => deleteDue(engine.db.pool, { jobsMax: 10, now })))
  }
  const last = await kept(id)
  expect(last).toMatchObject({ deleted: 'all', result: deletedText })
  expect(last.text).not.toContain('secret')
})

test('the audit knows of it', async () => {
  await setRecording(engine.db, 'on')
  const made = await deploy('f/test/audited', [secret('a'), secret('b', { delete_after_secs: 5 })], {
    delete_after_secs: 30,
    durability: 'strict',
  })
  const { id } = await engine.run(made, args)
  await later(6)
  await later(31)
  expect((await kept(id)).deleted).toBe('all')
  const scope = { lostMax: engine.limits.lostMax, retentionDays: 30, rowsMax: 20, settleMs: 0 }
  const { outcomes } = await auditDatabase(engine.db, scope)
  expect(outcomes.filter(({ status }) => status === 'violated' || status === 'failed')).toEqual([])
  await setRecording(engine.db, 'off')
})

test('where nothing says so, nothing is deleted of a job that is canceled while it waits, or is poison', async () => {
  const made = await deploy('f/test/waits_on', [secret('a', { suspend: { required_events: 1 } }), give('b', '1')])
  const canceled = await engine.start(made, args)
  await waits(canceled)
  expect(await cancelJob(engine.db.pool, { workspaceId: 'main', id: canceled, by: 'me', reason: 'enough' })).toBe('canceled')
  const other = await engine.deploy('f/test/lost', [secret('a')], {}, true)
  const lost = await engine.start(other, args)
  await poison(engine.db, lost)
  expect((await engine.done(lost)).result).toMatchObject({ error: { name: 'PoisonJob' } })
  await later(3_600)
  for (const id of [canceled, lost]) expect(await kept(id)).toMatchObject({ deleted: null })
  expect((await kept(canceled)).text).toContain('secret')
})
