// Turns and caches, seen from outside: two workers, real runners, and when each step ran.
import { beforeAll, expect, test } from 'vitest'
import type { Json } from '../../src/core/json.ts'
import { testEngine, ts, type Deployed, type Done, type Engine } from '../support/engine.ts'
import { mostAtOnce, type Span } from '../support/overlap.ts'

let engine: Engine
beforeAll(async () => {
  engine = await testEngine()
  await engine.work()
  await engine.work()
})

/** Says when it ran. */
const timed = (inputs: Record<string, string> = {}) =>
  ts(
    'a',
    `export async function main(account = '', n = 0) {
      const from = performance.timeOrigin + performance.now()
      await new Promise((resolve) => setTimeout(resolve, 15))
      return { account, n, from, to: performance.timeOrigin + performance.now() }
    }`,
    inputs,
  )

interface Ran extends Span {
  account: string
  n: number
}

const ranOf = (done: readonly Done[]) => done.map((job) => job.result as unknown as Ran)

test('never more jobs of a flow run than its limit, on two workers', async () => {
  const flow = await engine.deploy('around/limited', [timed()], { concurrent_limit: 3 }, false)
  const workers = new Set<number | null>()
  while (workers.size < 2) {
    const ids = await Promise.all(Array.from({ length: 60 }, () => engine.start(flow)))
    const done = await Promise.all(ids.map((id) => engine.done(id)))
    expect(done.every((job) => job.status === 'success')).toBe(true)
    expect(mostAtOnce(ranOf(done))).toBeLessThanOrEqual(3)
    for (const job of done) workers.add(job.worker_id) // one of them may be quicker with all of a round
  }
}, 60_000)

test('jobs of one key run one after another in the order they were accepted, keys beside each other', async () => {
  const inputs = { account: 'flow_input.account', n: 'flow_input.n' }
  const flow = await engine.deploy('around/ordered', [timed(inputs)], { ordering_key: 'flow_input.account' }, false)
  const ids: string[] = []
  for (let n = 0; n < 20; n++) {
    for (const account of ['ann', 'ben', 'cat']) ids.push(await engine.start(flow, { account, n }))
  }
  const ran = ranOf(await Promise.all(ids.map((id) => engine.done(id))))
  for (const account of ['ann', 'ben', 'cat']) {
    const own = ran.filter((one) => one.account === account)
    expect(mostAtOnce(own)).toBe(1)
    expect(own.sort((a, b) => a.from - b.from).map(({ n }) => n)).toEqual([...Array(20).keys()])
  }
  expect(mostAtOnce(ran)).toBeGreaterThan(1)
}, 60_000)

test('a window lets so many begin, and the next ones when it is over', async () => {
  const flow = await engine.deploy('around/window', [timed()], { concurrent_limit: 2, concurrency_time_window_s: 1 }, false)
  const ids = await Promise.all(Array.from({ length: 6 }, () => engine.start(flow)))
  await Promise.all(ids.map((id) => engine.done(id)))
  const { rows } = await engine.db.pool.query<{ s: number }>(
    'select extract(epoch from started_at)::float8 as s from job_done where id = any ($1) order by 1',
    [ids],
  )
  for (let i = 2; i < ids.length; i++) expect(rows[i]!.s - rows[i - 2]!.s).toBeGreaterThanOrEqual(1)
}, 60_000)

test('calls that come together are one job, with the elements of all', async () => {
  const step = ts('a', 'export const main = (items: number[], last: number) => ({ items, last })', {
    items: 'flow_input.items',
    last: 'flow_input.last',
  })
  const more = { debounce_delay_s: 3_600, max_total_debounces_amount: 9, debounce_args_to_accumulate: ['items'] }
  const flow = await engine.deploy('around/debounced', [step], more, false)
  const ids: string[] = []
  for (let n = 0; n < 10; n++) ids.push(await engine.start(flow, { items: [n], last: n }))
  expect(new Set(ids).size).toBe(1)
  expect((await engine.done(ids[0]!)).result).toEqual({ items: [...Array(10).keys()], last: 9 })
}, 30_000)

const dice = ts('a', 'export const main = (x: unknown) => Math.random()', { x: 'flow_input.x' })
const marks = (done: Done): (string | undefined)[] => done.steps.map((record) => (record['cached'] ? 'cached' : record.k))

/** Runs it, and waits until what it came to is kept: that is beside its end. */
async function runAndKeep(flow: Deployed, args: Json): Promise<Done> {
  const kept = async () => (await engine.db.pool.query('select from result_cache')).rows.length
  const before = await kept()
  const done = await engine.run(flow, args)
  await expect.poll(kept).toBe(before + 1)
  return done
}

test('a flow with cache_ttl gives an earlier result for the same arguments, and says so', async () => {
  const flow = await engine.deploy('around/cached', [dice], { cache_ttl: 60 }, false)
  const first = await runAndKeep(flow, { x: 1 })
  const again = await engine.run(flow, { x: 1 })
  const other = await engine.run(flow, { x: 2 })
  expect(again.result).toBe(first.result)
  expect(other.result).not.toBe(first.result)
  expect([marks(first), marks(again), marks(other)]).toEqual([['ok'], ['cached'], ['ok']])
  const redeployed = await engine.deploy('around/cached', [dice], { cache_ttl: 60 }, false)
  expect((await engine.run(redeployed, { x: 1 })).result).not.toBe(first.result)
}, 30_000)

test('a cached result is used until its time is over', async () => {
  const step = { ...dice, cache_ttl: 3_600 }
  const flow = await engine.deploy('around/expires', [step], {}, false)
  const first = await runAndKeep(flow, { x: 1 })
  const again = await engine.run(flow, { x: 1 })
  expect(again.result).toBe(first.result)
  expect(marks(again)).toEqual(['cached'])
  await engine.db.pool.query('update result_cache set expires_at = clock_timestamp()')
  const later = await engine.run(flow, { x: 1 })
  expect(later.result).not.toBe(first.result)
  expect(marks(later)).toEqual(['ok'])
}, 30_000)

test('a script keeps what it is told to keep', async () => {
  const document: Record<string, Json> = {
    content: 'export const main = (x: number) => Math.random()',
    language: 'bun',
    cache_ttl: 60,
  }
  const flow = await engine.deploy(
    'around/by_path',
    [
      { id: 'a', value: { type: 'script', path: 'around/kept', input_transforms: { x: { type: 'static', value: 1 } } } },
      { id: 'b', value: { type: 'script', path: 'around/kept', input_transforms: { x: { type: 'static', value: 1 } } } },
      ts('c', 'export const main = (a: number, b: number) => a === b', { a: 'results.a', b: 'results.b' }),
    ],
    {},
    false,
  )
  await engine.script('around/kept', document)
  expect((await engine.run(flow)).result).toBe(true)
}, 30_000)
