// What happens to jobs while the world around them changes: deploys, retries that wait, cancels, workers that come and go.
import { writeFileSync } from 'node:fs'
import { afterEach, beforeAll, expect, test } from 'vitest'
import type { FlowModule } from '../../src/core/flow/definition.ts'
import { cancelJob } from '../../src/store/jobs.ts'
import { sendSignal } from '../../src/store/signals.ts'
import { same } from '../flows/cases.ts'
import { holds, testEngine, ts, type Engine, type TestWorker } from '../support/engine.ts'

let engine: Engine
const workers: TestWorker[] = []

beforeAll(async () => {
  engine = await testEngine({ journalAfterMs: 50, parkAfterMs: 300 })
})

afterEach(async () => {
  await Promise.all(workers.splice(0).map((one) => one.stop()))
})

async function work(...args: Parameters<Engine['work']>): Promise<TestWorker> {
  const one = await engine.work(...args)
  workers.push(one)
  return one
}

/** Waits until the database says so. */
async function until(question: string, values: unknown[] = []): Promise<void> {
  for (;;) {
    const { rows } = await engine.db.pool.query(question, values)
    if (rows.length > 0) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const step = (value: string) => `export const main = () => ${value}`
const waits = (ms: number) => `export const main = () => new Promise((resolve) => setTimeout(() => resolve("waited"), ${ms}))`

test('a flow pushed while events run: jobs of both versions end right', async () => {
  const echo = (version: number) => [
    ts('a', 'export const main = (n: number) => n', { n: 'flow_input.n' }),
    ts('b', `export const main = (n: number) => ({ n, version: ${version} })`, { n: 'results.a' }),
  ]
  const first = await engine.deploy('life/pushed', echo(1))
  await work([first])
  const ids: string[] = []
  const start = async (flow: typeof first, from: number) => {
    for (let n = from; n < from + 200; n += 20) {
      const batch = Array.from({ length: 20 }, (_, i) => engine.start(flow, { n: n + i }))
      ids.push(...(await Promise.all(batch)))
    }
  }
  await start(first, 0)
  const second = await engine.deploy('life/pushed', echo(2))
  await Promise.all([start(first, 200), start(second, 400)])
  await start(second, 600)
  const results = await Promise.all(ids.map((id) => engine.done(id)))
  expect(results.filter((done) => done.status !== 'success')).toEqual([])
  const versions = results.map((done) => done.result as { n: number; version: number })
  expect(versions.filter(({ n, version }) => version !== (n >= 400 ? 2 : 1))).toEqual([])
  expect(results).toHaveLength(800)
})

test('the runners of a version that nobody runs any more stop', async () => {
  const first = await engine.deploy('life/old', [ts('a', step('1'))])
  const { pool } = await work([first])
  await engine.run(first)
  const second = await engine.deploy('life/old', [ts('a', step('2'))])
  expect((await engine.run(second)).result).toBe(2)
  while (pool.stats().some((one) => one.key.startsWith(`${first.versionId}:`)))
    await new Promise((resolve) => setTimeout(resolve, 10))
  expect(pool.stats().map((one) => one.key.split(':')[0])).toEqual([second.versionId])
})

test('a sub-flow pushed while it runs: the job ends on the version it began, the next one has the new one', async () => {
  const goOn = `${engine.home}/go-on`
  const inner = (version: number) => [ts('a', holds(goOn)), ts('b', step(`"version ${version}"`))]
  const outerSteps = [{ id: 's', value: { type: 'flow' as const, path: 'life/inner', input_transforms: {} } }]
  await engine.deploy('life/inner', inner(1), {}, false)
  const outer = await engine.deploy('life/outer', outerSteps)
  const { pool } = await work([outer])
  const id = await engine.start(outer)
  await until("select from job_journal where job_id = $1 and record->>'k' = 'call'", [id])
  const { versionId } = await engine.deploy('life/inner', inner(2), {}, false)
  while (!pool.stats().some((one) => one.key.startsWith(`${versionId}:`))) await new Promise((resolve) => setTimeout(resolve, 5))
  writeFileSync(goOn, '')
  expect((await engine.done(id)).result).toBe('version 1')
  expect((await engine.run(outer)).result).toBe('version 2')
  while (pool.stats().some((one) => !one.key.startsWith(`${versionId}:`))) await new Promise((resolve) => setTimeout(resolve, 5))
})

test('a retry that waits long gives its slot back and goes on from its journal', async () => {
  const flow = await engine.deploy('life/parked', [
    ts('a', 'let calls = 0\nexport const main = () => ++calls'),
    ts(
      'b',
      'let calls = 0\nexport const main = (a: number) => { if (++calls < 2) throw new Error("not yet"); return { a, calls } }',
      { a: 'results.a' },
      {
        retry: { constant: { attempts: 1, seconds: 2 } },
      },
    ),
  ])
  const { worker } = await work([flow])
  const id = await engine.start(flow)
  await until("select from job where id = $1 and state = 'parked' and worker_id is null", [id])
  const done = await engine.done(id)
  expect(done).toMatchObject({ status: 'success', result: { a: 1, calls: 2 } })
  expect(done.steps.map((record) => [record.k, record.s])).toEqual([
    ['ok', 'a'],
    ['err', 'b'],
    ['wake', 'b'],
    ['ok', 'b'],
  ])
  expect(worker.counters.refused).toBe(0)
})

test('canceling a running job stops its step and ends it as canceled', async () => {
  const flow = await engine.deploy('life/canceled', [ts('a', waits(600_000))])
  await work([flow])
  const id = await engine.start(flow)
  await until("select from job where id = $1 and state = 'running'", [id])
  expect(await cancelJob(engine.db.pool, { workspaceId: 'main', id, by: 'me', reason: 'enough' })).toBe('asked')
  expect(await engine.done(id)).toMatchObject({ status: 'canceled', result: { error: { name: 'Canceled', message: 'enough' } } })
  expect((await engine.run(await engine.deploy('life/canceled', [ts('a', step('"next"'))]))).result).toBe('next')
})

test('a stopping worker finishes what runs; the next one takes the rest', async () => {
  const flow = await engine.deploy('life/stopping', [ts('a', waits(20)), ts('b', step('"end"'))])
  const first = await work([flow], { limits: { workerJobsMax: 50 } })
  const ids = await Promise.all(Array.from({ length: 300 }, () => engine.start(flow)))
  await until('select from job_done where version_id = $1', [flow.versionId])
  await first.stop()
  const { rows } = await engine.db.pool.query(
    "select count(*)::integer as running from job where state = 'running' and version_id = $1",
    [flow.versionId],
  )
  expect(rows).toEqual([{ running: 0 }])
  await work([flow])
  const ends = await Promise.all(ids.map((id) => engine.done(id)))
  expect(new Set(ends.map((done) => done.status))).toEqual(new Set(['success']))
})

test('a step still running when the drain ends is given back with what was done before it', async () => {
  const goOn = `${engine.home}/go-on-left`
  const flow = await engine.deploy('life/left', [
    ts('a', 'let calls = 0\nexport const main = () => ++calls'),
    ts('b', holds(goOn)),
    ts('c', step('"c"')),
  ])
  const first = await work([flow], { limits: { drainStepsMs: 0, drainMs: 50 } })
  const id = await engine.start(flow)
  await until('select from job_journal where job_id = $1', [id])
  await first.stop()
  await until("select from job where id = $1 and state = 'ready' and worker_id is null", [id])
  writeFileSync(goOn, '')
  await work([flow])
  const done = await engine.done(id)
  expect(done).toMatchObject({ status: 'success', result: 'c' })
  expect(done.steps.filter((record) => record.s === 'a')).toHaveLength(1)
})

test('a worker that was declared dead comes back under a new id, and what it held is recorded once', async () => {
  const flow = await engine.deploy('life/dead', [ts('a', waits(300)), ts('b', step('"end"'))])
  const { worker } = await work([flow])
  const ids = await Promise.all(Array.from({ length: 50 }, () => engine.start(flow)))
  await until("select from job where version_id = $1 and state = 'running'", [flow.versionId])
  // As another worker would after a missed lease.
  await engine.db.pool.query(
    "update worker set heartbeat_at = heartbeat_at - interval '1 hour', hint_lock = false where state = 'alive'",
  )
  const ends = await Promise.all(ids.map((id) => engine.done(id)))
  expect(new Set(ends.map((done) => done.status))).toEqual(new Set(['success']))
  expect(ends.every((done) => done.steps.length === 2)).toBe(true)
  expect(worker.counters.jobsFinished).toBeGreaterThanOrEqual(50)
})

test('what a branch waits for beside a running one is not begun again when the worker dies', async () => {
  const branch = (...modules: FlowModule[]) => ({ modules })
  const asks = { suspend: { required_events: 1, timeout: 3_600, continue_on_disapprove_timeout: true } }
  const ofGroup = { user_auth_required: true, user_groups_required: { type: 'static' as const, value: ['ops'] } }
  const modules: FlowModule[] = [
    {
      id: 'p',
      value: {
        type: 'branchall',
        parallel: true,
        branches: [
          branch(ts('runs', waits(600_000))),
          branch(same('sleeps', { sleep: { type: 'static', value: 3_600 } }), ts('slept', step('1'))),
          branch(same('asks', { suspend: { ...asks.suspend, ...ofGroup } }), ts('timed_out', step('2'))),
          branch(same('asks_too', asks), ts('answered', step('3'))),
        ],
      },
    },
  ]
  const flow = await engine.deploy('life/beside', modules)
  await work([flow])
  const id = await engine.start(flow)
  const { pool } = engine.db
  const kept = (count: number) => until('select from job_wait where job_id = $1 having count(*) = $2', [id, count])
  await kept(3)
  expect((await pool.query("select wanted, groups from job_wait where job_id = $1 and module_id = 'asks'", [id])).rows).toEqual([
    { wanted: 1, groups: ['ops'] },
  ])
  // An hour passes for two of them.
  await pool.query(
    "update job_wait set until = until - interval '1 hour' where job_id = $1 and module_id is distinct from 'asks_too'",
    [id],
  )
  // Again, where a heartbeat comes first.
  await until(
    `with late as (
       update worker set heartbeat_at = heartbeat_at - interval '1 hour', hint_lock = false
        where id = (select worker_id from job where id = $1 and lost = 0))
     select from job where id = $1 and lost > 0`,
    [id],
  )
  const began = (name: string) => until("select from job_journal where job_id = $1 and record->>'s' = $2", [id, name])
  await Promise.all([began('slept'), began('timed_out')])
  const { rows } = await pool.query<{ step: number }>("select step from job_wait where job_id = $1 and module_id = 'asks_too'", [
    id,
  ])
  const who = { workspaceId: 'main', jobId: id, step: rows[0]!.step, resumeId: 1, approver: null, account: null }
  await sendSignal(pool, { ...who, approved: true, payload: 'null' })
  await began('answered')
  await cancelJob(pool, { workspaceId: 'main', id, by: 'me', reason: 'seen' })
  expect(await engine.done(id)).toMatchObject({ status: 'canceled' })
  expect((await pool.query('select from job_wait')).rows).toEqual([])
}, 30_000)

test('a strict flow has each result durable before the next step starts', async () => {
  const flow = await engine.deploy('life/strict', [ts('a', step('1')), ts('b', waits(600_000))], { durability: 'strict' })
  const { pool } = await work([flow], { limits: { journalAfterMs: 3_600_000 } })
  const id = await engine.start(flow)
  await until("select from job_journal where job_id = $1 and record->>'s' = 'a'", [id])
  await expect.poll(() => pool.stats().some(({ inFlight }) => inFlight > 0)).toBe(true)
  await cancelJob(engine.db.pool, { workspaceId: 'main', id, by: 'me', reason: 'seen' })
  const done = await engine.done(id)
  expect(done.steps.map((record) => record.k)).toEqual(['ok', 'err', 'cancel'])
  await until('select where not exists (select from job_journal where job_id = $1)', [id])
})

test('a killed runner costs the call in doubt only; the others finish and it is warm again', async () => {
  // Each call keeps its runner busy for 2 ms, so there are hundreds still to come when it is killed.
  const busy =
    'export function main(n: number) { for (const end = Date.now() + 2; Date.now() < end; ); return { n, pid: process.pid } }'
  const flow = await engine.deploy('life/killed', [
    ts('a', busy, { n: 'flow_input.n' }, { retry: { constant: { attempts: 3, seconds: 0 } } }),
  ])
  const { pool } = await work([flow])
  const ids = await Promise.all(Array.from({ length: 500 }, (_, n) => engine.start(flow, { n })))
  await until('select from job_done where version_id = $1', [flow.versionId])
  const killed = pool.stats()[0]!.pids[0]!
  process.kill(killed, 'SIGKILL')
  const ends = await Promise.all(ids.map((id) => engine.done(id)))
  expect(ends.map((done) => (done.result as { n: number }).n)).toEqual(ids.map((_, n) => n))
  expect(ends.flatMap((done) => done.steps.filter((record) => record.k === 'err')).length).toBeLessThanOrEqual(1)
  expect(new Set(ends.map((done) => (done.result as { pid: number }).pid)).size).toBe(2)
  expect(pool.stats()[0]).toMatchObject({ restarts: 1, runners: 1 })
})

test('more runners for one step', async () => {
  const flow = await engine.deploy('life/replicas', [ts('a', 'export const main = () => process.pid'), ts('b', step('1'))])
  const { pool } = await work([flow], { replicas: { a: 2 } })
  await engine.run(flow)
  expect(
    pool
      .stats()
      .map((one) => one.runners)
      .sort((a, b) => a - b),
  ).toEqual([1, 2])
})

test('steps of equal code share a runner', async () => {
  const same = 'export const main = () => process.pid'
  const flow = await engine.deploy('life/same', [
    ts('a', same),
    ts('b', same),
    ts('c', 'export const main = (a: number, b: number) => a === b', { a: 'results.a', b: 'results.b' }),
  ])
  const { pool } = await work([flow])
  expect((await engine.run(flow)).result).toBe(true)
  expect(pool.stats()).toHaveLength(2)
})

test('console output of a step is kept under its id, in order', async () => {
  const flow = await engine.deploy('life/logs', [
    ts('a', 'export const main = () => { console.log("hello", 1); console.error("there"); return 1 }'),
    ts('b', step('2')),
  ])
  await work([flow])
  const { id } = await engine.run(flow)
  const stepId = `${id.slice(0, 32)}0001`
  await until("select from job_log where id = $1 having string_agg(content, '') like '%there%'", [stepId])
  const { rows } = await engine.db.pool.query("select string_agg(content, '' order by n) as text from job_log where id = $1", [
    stepId,
  ])
  expect(rows).toEqual([{ text: 'hello 1\nthere\n' }])
})

test('user code knows its job, and its token is good for it', async () => {
  const names = ['WM_JOB_ID', 'WM_FLOW_JOB_ID', 'WM_WORKSPACE', 'WM_FLOW_PATH', 'WM_FLOW_STEP_ID', 'WM_TOKEN']
  const flow = await engine.deploy('life/context', [
    ts('a', `export const main = () => ${JSON.stringify(names)}.map((name) => process.env[name])`),
  ])
  await work([flow])
  const id = await engine.start(flow)
  const [jobId, flowJobId, workspace, path, stepId, token] = (await engine.done(id)).result as string[]
  expect([jobId, flowJobId, workspace, path, stepId]).toEqual([`${id.slice(0, 32)}0001`, id, 'main', 'life/context', 'a'])
  expect(token).toMatch(/^jt_/)
})

test('a result that JSON or Postgres cannot carry does not hurt its neighbours', async () => {
  const flow = await engine.deploy('life/odd', [
    ts(
      'a',
      'export const main = (n: number) => n === 1 ? "nul\\0 and \\ud800" : n === 2 ? (() => { const x: any = {}; x.x = x; return x })() : n',
      { n: 'flow_input.n' },
    ),
  ])
  await work([flow])
  const ends = await Promise.all([0, 1, 2, 3].map((n) => engine.run(flow, { n })))
  expect(ends.map((done) => done.status)).toEqual(['success', 'success', 'failure', 'success'])
  expect(ends[1]!.result).toBe('nul\uFFFD and \uFFFD')
})

test('a result that the database will not take fails its job and holds up no other', async () => {
  const flow = await engine.deploy('life/refused', [
    ts('a', 'export const main = (n: number) => "x".repeat(n)', { n: 'flow_input.n' }),
  ])
  await engine.db.pool.query(
    `alter table job_done add constraint small check (version_id <> ${flow.versionId} or status = 'failure' or length(result::text) < 100)`,
  )
  await work([flow])
  const ids = await Promise.all([1, 200, 2].map((n) => engine.start(flow, { n })))
  const ends = await Promise.all(ids.map((id) => engine.done(id)))
  await engine.db.pool.query('alter table job_done drop constraint small')
  expect(ends.map((done) => done.status)).toEqual(['success', 'failure', 'success'])
  expect(ends[1]!.result).toMatchObject({ error: { name: 'ResultError', message: expect.stringContaining('small') as string } })
})

test('a record that the journal will not take fails its job, which keeps those it took', async () => {
  const flow = await engine.deploy(
    'life/unjournaled',
    [ts('a', step('1')), ts('b', 'export const main = (n: number) => "x".repeat(n)', { n: 'flow_input.n' }), ts('c', step('3'))],
    { durability: 'strict' },
  )
  await engine.db.pool.query('alter table job_journal add constraint short check (length(record::text) < 150)')
  await work([flow])
  const ids = await Promise.all([1, 200, 2].map((n) => engine.start(flow, { n })))
  const ends = await Promise.all(ids.map((id) => engine.done(id)))
  await engine.db.pool.query('alter table job_journal drop constraint short')
  expect(ends.map((done) => done.status)).toEqual(['success', 'failure', 'success'])
  expect(ends[1]!.result).toMatchObject({ error: { name: 'ResultError', message: expect.stringContaining('short') as string } })
  expect(ends[1]!.steps.map((record) => record.s)).toEqual(['a'])
})

test('a job that the database will not take back fails, and keeps the records that were durable', async () => {
  const flow = await engine.deploy('life/unparked', [
    ts('a', 'export const main = () => { throw new Error("no") }', {}, { retry: { constant: { attempts: 1, seconds: 60 } } }),
  ])
  await engine.db.pool.query(`alter table job add constraint idle check (version_id <> ${flow.versionId} or state <> 'parked')`)
  await work([flow])
  const done = await engine.run(flow)
  await engine.db.pool.query('alter table job drop constraint idle')
  expect(done).toMatchObject({ status: 'failure', result: { error: { message: expect.stringContaining('idle') as string } } })
  expect(done.steps.map((record) => record.k)).toEqual(['err'])
})

test('a job whose end the database will not take keeps the records that were durable', async () => {
  const flow = await engine.deploy('life/unended', [ts('a', step('1')), ts('b', 'export const main = () => "x".repeat(200)')], {
    durability: 'strict',
  })
  const ofThis = `version_id <> ${flow.versionId} or status = 'failure'`
  await engine.db.pool.query(`alter table job_done add constraint small check (${ofThis} or length(result::text) < 100)`)
  await work([flow])
  const done = await engine.run(flow)
  await engine.db.pool.query('alter table job_done drop constraint small')
  expect(done).toMatchObject({ status: 'failure', result: { error: { name: 'ResultError' } } })
  expect(done.steps.map((record) => record.s)).toEqual(['a'])
})

test.each([
  ['decided by retry_if', { constant: { attempts: 1, seconds: 1 }, retry_if: { expr: 'error.message' } }],
  ['of random length', { exponential: { attempts: 1, multiplier: 1, seconds: 1, random_factor: 1 } }],
])('a long wait %s is waited once', async (name, retry) => {
  const flow = await engine.deploy(`life/${name.replaceAll(' ', '_')}`, [
    ts(
      'a',
      'let calls = 0\nexport const main = () => { if (++calls < 2) throw new Error("not yet"); return calls }',
      {},
      { retry },
    ),
  ])
  await work([flow])
  const id = await engine.start(flow)
  const done = await engine.done(id)
  expect(done).toMatchObject({ status: 'success', result: 2 })
  expect(done.steps.map((record) => record.k)).toEqual(['err', 'pick', 'wake', 'ok'])
})
