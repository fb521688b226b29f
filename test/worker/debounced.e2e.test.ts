// Steps that are debounced: which call runs in whose place, over jobs and workers, and what becomes of the others when one of them goes.
import { existsSync } from 'node:fs'
import { beforeAll, expect, test } from 'vitest'
import { auditDatabase } from '../../src/store/audit.ts'
import { cancelJob } from '../../src/store/jobs.ts'
import type { Debouncing, FlowModule } from '../../src/core/flow/definition.ts'
import { give, script } from '../flows/cases.ts'
import { testEngine, ts, type Deployed, type Engine } from '../support/engine.ts'

let engine: Engine
beforeAll(async () => {
  engine = await testEngine()
  await engine.work()
  await engine.work()
})

const hour = 3_600
/** Begins once `amount` others were absorbed. */
const debouncing = (amount: number): Debouncing => ({
  debounce_delay_s: hour,
  max_total_debounces_amount: amount,
  debounce_args_to_accumulate: ['x'],
})

const deploy = (path: string, step: FlowModule): Promise<Deployed> =>
  engine.deploy(path, [step, give('b', '[results.a.length, flow_input.n]')], {}, false)

const start = (flow: Deployed, count: number, from = 0): Promise<string[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => engine.start(flow, { n: from + i })))

async function rowsOf<Row extends object>(query: string, ...values: unknown[]): Promise<Row[]> {
  return (await engine.db.pool.query<Row>(query, values)).rows
}

async function becomes(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 10))
}

/** So many steps of these jobs wait for a call. */
const waiting = (ids: string[], count: number): Promise<void> =>
  becomes(
    async () => (await rowsOf('select from turn join job on job.id = job_id where parent_id = any ($1)', ids)).length === count,
  )

/** The calls that ran in the place of steps of these jobs. */
const callsOf = (ids: string[]): Promise<{ id: string; status: string; args: string }[]> =>
  rowsOf(
    `select distinct on (call.id) call.id, call.status, call.args from job_done part join job_done call
         on call.id = (part.steps -> 0 ->> 'job')::uuid
      where part.parent_id = any ($1)`,
    ids,
  )

const cancel = (id: string) => cancelJob(engine.db.pool, { workspaceId: 'main', id, by: 'me', reason: 'enough' })

test('jobs of a flow share one call of a debounced step, and each goes on with its result', async () => {
  const flow = await deploy('debounced/shared', give('a', '[flow_input.n]', { debouncing: debouncing(7) }))
  const ids = await start(flow, 8)
  const done = await Promise.all(ids.map((id) => engine.done(id)))
  expect(done.map(({ result }) => result)).toEqual(ids.map((_, n) => [8, n]))
  const calls = await callsOf(ids)
  expect(calls).toMatchObject([{ status: 'success' }])
  const { x } = JSON.parse(calls[0]!.args) as { x: number[] }
  expect(x.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
}, 30_000)

test('steps of several flows share the call of a script that debounces; jobs of it that were started are others', async () => {
  const document = { content: 'export const main = (x: number[]) => x', language: 'bun', ...debouncing(3) }
  await engine.script('f/debounced', document)
  const step = script('a', 'f/debounced', { x: '[flow_input.n]' })
  const flows = [await deploy('debounced/one', step), await deploy('debounced/two', step)]
  const ids = (await Promise.all(flows.map((flow, i) => start(flow, 2, 2 * i)))).flat()
  const done = await Promise.all(ids.map((id) => engine.done(id)))
  expect(done.map(({ result }) => result)).toEqual(ids.map((_, n) => [4, n]))
  expect(await callsOf(ids)).toHaveLength(1)
}, 30_000)

test('a job that is canceled takes its step out, and the call that its step has begun runs for the others', async () => {
  const flow = await deploy('debounced/canceled', give('a', '[flow_input.n]', { debouncing: debouncing(3) }))
  const first = await start(flow, 1)
  await waiting(first, 1)
  const second = await start(flow, 1, 1)
  await waiting([...first, ...second], 2)
  await cancel(first[0]!)
  expect(await engine.done(first[0]!)).toMatchObject({ status: 'canceled' })
  await waiting([...first, ...second], 1)
  const others = [...second, ...(await start(flow, 2, 2))]
  const done = await Promise.all(others.map((id) => engine.done(id)))
  expect(done.map(({ result }) => result)).toEqual(others.map((_, i) => [4, i + 1]))
}, 30_000)

test('a call that is canceled by hand fails the steps that wait for it', async () => {
  const flow = await deploy('debounced/by_hand', give('a', '[flow_input.n]', { debouncing: debouncing(9) }))
  const ids = await start(flow, 2)
  await waiting(ids, 2)
  const [call] = await rowsOf<{ joins_id: string }>(
    'select distinct joins_id from turn join job on job.id = job_id where parent_id = any ($1)',
    ids,
  )
  expect(await cancel(call!.joins_id)).toBe('asked')
  const done = await Promise.all(ids.map((id) => engine.done(id)))
  for (const one of done) expect(one).toMatchObject({ status: 'failure', result: { error: { name: 'Canceled', step_id: 'a' } } })
}, 30_000)

test('a worker that dies of it, and those that hold the jobs which wait, change nothing', async () => {
  const dies = `import { existsSync, writeFileSync } from 'node:fs'
export function main(x: number[], mark: string) {
  if (existsSync(mark)) return x
  writeFileSync(mark, '')
  return new Promise(() => {})
}`
  const step = ts('a', dies, { x: '[flow_input.n]', mark: 'flow_input.mark' }, { debouncing: debouncing(2), timeout: 60 })
  const flow = await engine.deploy('debounced/dies', [step, give('b', 'results.a.length')], {}, false)
  const mark = `${engine.home}/begun`
  const ids = await Promise.all([0, 1, 2].map((n) => engine.start(flow, { n, mark })))
  const holder = async (): Promise<number> => {
    const [call] = await rowsOf<{ worker_id: number }>(
      `select call.worker_id from turn join job call on call.id = joins_id join job part on part.id = job_id where part.parent_id = any ($1)`,
      ids,
    )
    return call!.worker_id
  }
  await becomes(() => Promise.resolve(existsSync(mark)))
  await engine.db.pool.query(`update worker set state = 'dead', stopped_at = clock_timestamp() where id = $1`, [await holder()])
  const done = await Promise.all(ids.map((id) => engine.done(id)))
  expect(done.map(({ result }) => result)).toEqual([3, 3, 3])
}, 60_000)

test('the audit finds nothing', async () => {
  const scope = { lostMax: engine.limits.lostMax, retentionDays: 30, rowsMax: 5, settleMs: 100 }
  const { outcomes } = await auditDatabase(engine.db, scope)
  const wrong = outcomes.filter(({ status }) => status === 'violated' || status === 'failed')
  expect(wrong.map((one) => JSON.stringify(one))).toEqual([])
}, 30_000)
