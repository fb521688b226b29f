// Steps that are jobs of their own, seen from outside: which worker runs them, how many at a time, what becomes of them when their job ends.
import { beforeAll, expect, test } from 'vitest'
import { auditDatabase } from '../../src/store/audit.ts'
import { cancelJob } from '../../src/store/jobs.ts'
import { each, flow as callFlow, give, script, withValue } from '../flows/cases.ts'
import { testEngine, ts, type Done, type Engine, type TestWorker } from '../support/engine.ts'
import { mostAtOnce, type Span } from '../support/overlap.ts'

let engine: Engine
let workers: TestWorker[]
beforeAll(async () => {
  engine = await testEngine()
  workers = await Promise.all([engine.work(), engine.work(), engine.work([], { tags: ['gpu'] })])
})

const timedCode = `export async function main(n = 0) {
  const from = performance.timeOrigin + performance.now()
  await new Promise((resolve) => setTimeout(resolve, 15))
  return { n, from, to: performance.timeOrigin + performance.now() }
}`
const timed = (id: string, inputs: Record<string, string> = {}) => ts(id, timedCode, inputs)

interface Ran extends Span {
  n: number
}

interface Part {
  id: string
  tag: string
  status: string | null
  part: string
  parent_step: number
  canceled_by: string | null
}

/** Its parts, active and over. */
async function partsOf(id: string): Promise<Part[]> {
  const { rows } = await engine.db.pool.query<Part>(
    `select id, tag, null as status, part, parent_step, canceled_by from job where parent_id = $1
     union all
     select id, tag, status, part, parent_step, canceled_by from job_done where parent_id = $1 order by parent_step`,
    [id],
  )
  return rows
}

async function becomes(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 10))
}

/** What the audit finds, asked once. */
async function broken(): Promise<string[]> {
  const scope = { lostMax: engine.limits.lostMax, retentionDays: 30, rowsMax: 5, settleMs: 100 }
  const { outcomes } = await auditDatabase(engine.db, scope)
  return outcomes.filter(({ status }) => status === 'violated' || status === 'failed').map((one) => JSON.stringify(one))
}

const workerOf = async (tag: string) =>
  (await engine.db.pool.query<{ id: number }>('select id from worker where $1 = any (tags)', [tag])).rows.map(({ id }) => id)

test.each([true, false])(
  'a step with a tag runs on a worker of that tag (dedicated flow: %s)',
  async (dedicated) => {
    const path = `apart/tag_${dedicated}`
    const modules = [
      give('a', 'flow_input.x'),
      withValue(give('b', 'results.a + 1'), { tag: 'gpu' }),
      give('c', '[results.a, results.b]'),
    ]
    const flow = await engine.deploy(path, modules, {}, dedicated)
    const worker = dedicated ? await engine.work([flow]) : null
    const done = await engine.run(flow, { x: 1 })
    await worker?.stop()
    expect(done).toMatchObject({ status: 'success', result: [1, 2] })
    expect(await partsOf(done.id)).toMatchObject([{ tag: 'gpu', status: 'success', part: 'b/', parent_step: 2 }])
    const { rows } = await engine.db.pool.query('select worker_id from job_done where parent_id = $1', [done.id])
    expect(await workerOf('gpu')).toContain((rows[0] as { worker_id: number }).worker_id)
  },
  30_000,
)

test('a script and a flow by path with tag_override', async () => {
  await engine.script('apart/double', 'export const main = (n: number) => n * 2')
  await engine.deploy('apart/add', [give('i', 'flow_input.n + 1')], {}, false)
  const flow = await engine.deploy(
    'apart/override',
    [
      withValue(script('a', 'apart/double', { n: '4' }), { tag_override: 'gpu' }),
      withValue(callFlow('b', 'apart/add', { n: 'results.a' }), { tag_override: 'gpu' }),
    ],
    {},
    false,
  )
  const done = await engine.run(flow)
  expect(done).toMatchObject({ status: 'success', result: 9 })
  expect((await partsOf(done.id)).map(({ tag, part }) => [tag, part])).toEqual([
    ['gpu', 'a/'],
    ['gpu', '/1'],
  ])
}, 30_000)

test('a step with a limit: never more of it than that, over parallel iterations, jobs and workers', async () => {
  const step = withValue(timed('b', { n: 'flow_input.iter.value' }), { concurrent_limit: 2 })
  const flow = await engine.deploy('apart/limited', [each('l', 'flow_input.items', [step], { parallel: true })], {}, false)
  const items = Array.from({ length: 12 }, (_, i) => i)
  const done = await Promise.all(
    (await Promise.all([1, 2, 3].map(() => engine.start(flow, { items })))).map((id) => engine.done(id)),
  )
  const ran = done.flatMap((job) => job.result as unknown as Ran[])
  expect(done.map(({ status }) => status)).toEqual(['success', 'success', 'success'])
  expect(done.map((job) => (job.result as unknown as Ran[]).map(({ n }) => n))).toEqual([items, items, items])
  expect(mostAtOnce(ran)).toBeLessThanOrEqual(2)
  expect((await engine.db.pool.query('select from turn')).rows).toEqual([])
}, 60_000)

test('a key counts over steps of different flows, with their arguments', async () => {
  const more = { concurrent_limit: 1, custom_concurrency_key: 'apart-$workspace-$args[n]' }
  const deploy = (name: string) =>
    engine.deploy(`apart/key_${name}`, [withValue(timed('b', { n: 'flow_input.n' }), more)], {}, false)
  const [one, two] = [await deploy('one'), await deploy('two')]
  const ids = await Promise.all(
    Array.from({ length: 24 }, (_, i) => engine.start(i % 2 === 0 ? one : two, { n: Math.floor(i / 8) })),
  )
  const ran = (await Promise.all(ids.map((id) => engine.done(id)))).map((job) => job.result as unknown as Ran)
  for (const n of [0, 1, 2]) expect(mostAtOnce(ran.filter((one) => one.n === n))).toBe(1)
  expect(mostAtOnce(ran)).toBeGreaterThan(1)
}, 60_000)

test('a limited script: its own jobs and the steps that name it count together', async () => {
  await engine.script('apart/one_at_a_time', { content: timedCode, language: 'bun', concurrent_limit: 1 })
  const step = script('s', 'apart/one_at_a_time', { n: 'flow_input.iter.value' })
  const flow = await engine.deploy('apart/script', [each('l', '[0, 1, 2, 3]', [step], { parallel: true })], {}, false)
  const ids = await Promise.all([1, 2, 3].map(() => engine.start(flow)))
  const done = await Promise.all(ids.map((id) => engine.done(id)))
  const ran = done.flatMap((job) => job.result as unknown as Ran[])
  expect(ran).toHaveLength(12)
  expect(mostAtOnce(ran)).toBe(1)
}, 60_000)

test('each try has a job, and the failed ones are there to look at', async () => {
  const fails = withValue(ts('a', 'export const main = () => { throw new Error("no") }'), { concurrent_limit: 9 })
  const flow = await engine.deploy('apart/retries', [{ ...fails, retry: { constant: { attempts: 2, seconds: 0 } } }], {}, false)
  const done = await engine.run(flow)
  expect(done).toMatchObject({ status: 'failure', result: { error: { message: 'no', step_id: 'a' } } })
  expect((await partsOf(done.id)).map(({ status, parent_step }) => [status, parent_step])).toEqual([
    ['failure', 1],
    ['failure', 2],
    ['failure', 3],
  ])
}, 30_000)

/** A flow whose step no worker takes. */
async function stuck(path: string, more: object): Promise<string> {
  const flow = await engine.deploy(path, [withValue(give('a', '1'), { tag: 'nobody', ...more })], {}, false)
  const id = await engine.start(flow)
  await becomes(async () => (await partsOf(id)).length === 1)
  return id
}

test.each([
  ['that is ready', {}],
  ['that waits for its turn', { concurrent_limit: 1, custom_concurrency_key: 'stuck' }],
])(
  'the end of a job stops its step %s',
  async (name, more) => {
    const first = await stuck(`apart/${name.replaceAll(' ', '_')}_1`, more)
    const second = await stuck(`apart/${name.replaceAll(' ', '_')}_2`, more)
    const cancel = (id: string) => cancelJob(engine.db.pool, { workspaceId: 'main', id, by: 'me', reason: 'enough' })
    for (const id of [second, first]) {
      await becomes(async () => (await cancel(id)) === 'finished')
      expect(await engine.done(id)).toMatchObject({ status: 'canceled' })
      expect(await partsOf(id)).toMatchObject([{ status: null, canceled_by: 'the job it is a part of' }])
    }
    expect(await broken()).toEqual([])
    const worker = await engine.work([], { tags: ['nobody'] })
    for (const id of [first, second]) await becomes(async () => (await partsOf(id))[0]!.status === 'canceled')
    await worker.stop()
    expect((await engine.db.pool.query('select from turn')).rows).toEqual([])
  },
  30_000,
)

test('a step whose job is canceled by hand fails with that', async () => {
  const id = await stuck('apart/by_hand', {})
  const [part] = await partsOf(id)
  expect(await cancelJob(engine.db.pool, { workspaceId: 'main', id: part!.id, by: 'me', reason: 'enough' })).toBe('asked')
  const worker = await engine.work([], { tags: ['nobody'] })
  expect(await engine.done(id)).toMatchObject({ status: 'failure', result: { error: { name: 'Canceled', step_id: 'a' } } })
  await worker.stop()
  expect(await partsOf(id)).toMatchObject([{ status: 'canceled' }])
}, 30_000)

/** A flow with a workflow in it. */
const workflow = (path: string, text: string, inputs: Record<string, string> = {}) => {
  const client = "import { parallel, task, taskFlow, taskScript, workflow } from 'windmill-client@1.818.0'"
  const code = `${client}\nexport const main = workflow(async (${Object.keys(inputs).join(', ')}) => { ${text} })`
  return engine.deploy(path, [ts('w', code, inputs)], {}, false)
}

test('what a workflow asks for with a tag runs on a worker of that tag, with the priority it says', async () => {
  await engine.script('apart/here', 'export const main = (n: number) => n * 3')
  await engine.deploy('apart/there', [give('i', 'flow_input.n + 1')], {}, false)
  const flow = await workflow(
    'apart/tasks',
    `const gpu = { tag: 'gpu' }
     const there = task(async function there(n: number) { return n + 1 }, { ...gpu, priority: 5 })
     const here = task(async function here(n: number) { return n * 2 }, { priority: 5 })
     return [await there(1), await here(2), await taskScript('apart/here', gpu)({ n: 3 }), await taskFlow('apart/there', gpu)({ n: 4 })]`,
  )
  const done = await engine.run(flow)
  expect(done).toMatchObject({ status: 'success', result: [2, 4, 9, 5] })
  const parts = await partsOf(done.id)
  expect(parts.map(({ tag, part, status }) => [tag, part.split('/').at(-1), status])).toEqual([
    ['gpu', 'task', 'success'],
    ['gpu', '', 'success'],
    ['gpu', '1', 'success'],
  ])
}, 60_000)

test('the priority of a task is that of its job', async () => {
  const flow = await workflow(
    'apart/priority',
    "const some = (priority?: number) => task(async function some() {}, { tag: 'nobody', priority })(); await Promise.all([some(7), some()])",
  )
  const id = await engine.start(flow)
  await becomes(async () => (await partsOf(id)).length === 2)
  const { rows } = await engine.db.pool.query('select priority from job where parent_id = $1 order by parent_step', [id])
  expect(rows).toEqual([{ priority: 7 }, { priority: 0 }])
  await cancelJob(engine.db.pool, { workspaceId: 'main', id, by: 'me', reason: 'enough' })
  expect(await engine.done(id)).toMatchObject({ status: 'canceled' })
  const worker = await engine.work([], { tags: ['nobody'] })
  await becomes(async () => (await partsOf(id)).every(({ status }) => status === 'canceled'))
  await worker.stop()
}, 60_000)

test('a limited task: never more of it than that, over all jobs of its workflow; by a key, over those of one argument', async () => {
  const timing = `const from = performance.timeOrigin + performance.now()
    await new Promise((resolve) => setTimeout(resolve, 15))
    return { n, from, to: performance.timeOrigin + performance.now() }`
  const limited = (path: string, options: string) =>
    workflow(path, `return await parallel([0, 1, 2, 3], task(async function timed(n: number) { ${timing} }, ${options}))`, {
      account: 'flow_input.account',
    })
  const runs = async (path: string, options: string): Promise<(Ran & { account: number })[]> => {
    const flow = await limited(path, options)
    const accounts = [1, 2, 1, 2]
    const ids = await Promise.all(accounts.map((account) => engine.start(flow, { account })))
    const done = await Promise.all(ids.map((id) => engine.done(id)))
    expect(done.map(({ status }) => status)).toEqual(accounts.map(() => 'success'))
    return done.flatMap(({ result }, i) => (result as unknown as Ran[]).map((ran) => ({ ...ran, account: accounts[i]! })))
  }
  expect(mostAtOnce(await runs('apart/tasks_2', '{ concurrency_limit: 2 }'))).toBeLessThanOrEqual(2)
  const keyed = await runs('apart/tasks_key', "{ concurrency_limit: 1, concurrency_key: '$workspace-$args[account]' }")
  for (const account of [1, 2]) expect(mostAtOnce(keyed.filter((one) => one.account === account))).toBe(1)
  expect((await engine.db.pool.query('select from turn')).rows).toEqual([])
}, 60_000)

const claimed = (): number => workers.reduce((sum, { worker }) => sum + worker.counters.jobsClaimed, 0)

test('a thousand iterations of a step that is a job: theirs is not claimed again for each of them', async () => {
  const count = 1_000
  const step = withValue(give('b', 'flow_input.iter.value'), { concurrent_limit: 50 })
  const flow = await engine.deploy(
    'apart/many',
    [
      give('s', `Array.from({ length: ${count} }, (_, i) => i)`),
      each('l', 'results.s', [step], { parallel: true, parallelism: 100 }),
    ],
    {},
    false,
  )
  const before = claimed()
  const beganMs = performance.now()
  const done: Done = await engine.run(flow)
  console.log(`${count} steps that are jobs: ${Math.round(performance.now() - beganMs)} ms`)
  expect(done).toMatchObject({ status: 'success', result: Array.from({ length: count }, (_, i) => i) })
  expect(claimed() - before - count).toBeLessThan(count / 20)
}, 120_000)

test('a job that lingers until its steps are over takes no place of its worker', async () => {
  const items = [1, 2, 3, 4]
  const step = withValue(give('b', 'flow_input.iter.value'), { concurrent_limit: 50 })
  const flow = await engine.deploy('apart/lingers', [each('l', 'flow_input.items', [step], { parallel: true })])
  const limits = { lingerRecordMs: 600_000, parkAfterMs: 600_000 }
  const { worker, stop } = await engine.work([flow], { concurrency: 1, limits })
  expect(await engine.run(flow, { items })).toMatchObject({ status: 'success', result: items })
  expect(worker.counters.jobsClaimed).toBe(1 + items.length)
  await stop()
}, 30_000)

test('the audit finds nothing', async () => {
  expect(await broken()).toEqual([])
}, 30_000)
