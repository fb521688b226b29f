// Turns through the API: what is deployed with limits is accepted so.
import { beforeAll, expect, test } from 'vitest'
import { testApi, type Api } from './api.ts'

let api: Api
const step = { id: 'a', value: { type: 'identity' } }

beforeAll(async () => {
  api = await testApi()
})

async function deploy(path: string, value: object): Promise<void> {
  const answer = await api.post('flows/create', { path, summary: '', value: { modules: [step], ...value } as never })
  expect(answer.status).toBe(201)
}

/** State by id, in the order they were accepted. */
async function states(ids: readonly string[]): Promise<string[]> {
  const { rows } = await api.db.pool.query('select id, state::text from job where id = any ($1::uuid[])', [ids])
  const found = new Map((rows as { id: string; state: string }[]).map(({ id, state }) => [id, state]))
  return ids.map((id) => found.get(id) ?? 'none')
}

const run = async (path: string, args: object = {}) => (await api.post(`jobs/run/f/${path}`, args as never)).body

test('jobs of a flow with a limit wait for their turn, one by one or in a batch', async () => {
  await deploy('turns/limited', { concurrent_limit: 2 })
  const one = await run('turns/limited')
  const { json } = await api.post('jobs/run_batch/f/turns/limited', [{}, {}, {}])
  expect(await states([one, ...(json as string[])])).toEqual(['ready', 'ready', 'waiting', 'waiting'])
})

test('a key of arguments tells them apart', async () => {
  await deploy('turns/keyed', { concurrent_limit: 1, concurrency_key: 'x-$args[user]' })
  const ids = [
    await run('turns/keyed', { user: 1 }),
    await run('turns/keyed', { user: 2 }),
    await run('turns/keyed', { user: 1 }),
  ]
  expect(await states(ids)).toEqual(['ready', 'ready', 'waiting'])
})

test('an ordering key that cannot be told from the arguments is refused with its place', async () => {
  await deploy('turns/ordered', { ordering_key: 'flow_input.account.toUpperCase()' })
  const ids = [await run('turns/ordered', { account: 'a' }), await run('turns/ordered', { account: 'A' })]
  expect(await states(ids)).toEqual(['ready', 'waiting'])
  const { status, json } = await api.post('jobs/run/f/turns/ordered', {})
  expect([status, json]).toMatchObject([400, { error: { code: 'E_INVALID', at: '$.value.ordering_key' } }])
})

test('a call that is absorbed gets the id of the job that absorbed it', async () => {
  await deploy('turns/debounced', { debounce_delay_s: 60 })
  const first = await run('turns/debounced', { x: 1 })
  expect(await run('turns/debounced', { x: 2 })).toBe(first)
  expect(await states([first])).toEqual(['waiting'])
})

test('a new version with another limit holds for the next job', async () => {
  await deploy('turns/changed', { concurrent_limit: 1 })
  const first = await run('turns/changed')
  await api.post('flows/update/turns/changed', {
    path: 'turns/changed',
    summary: '',
    value: { modules: [step], concurrent_limit: 2 },
  })
  expect(await states([first, await run('turns/changed')])).toEqual(['ready', 'ready'])
  await api.post('flows/update/turns/changed', { path: 'turns/changed', summary: '', value: { modules: [step] } })
  expect(await states([await run('turns/changed')])).toEqual(['ready'])
})

test('a script has limits too, by its path and by its hash', async () => {
  const content = 'export const main = () => 1'
  const created = await api.post('scripts/create', { path: 'turns/script', content, language: 'bun', concurrent_limit: 1 })
  const byPath = (await api.post('jobs/run/p/turns/script', {})).body
  const byHash = (await api.post(`jobs/run/h/${created.body}`, {})).body
  expect(await states([byPath, byHash])).toEqual(['ready', 'waiting'])
  const wrong = await api.post('scripts/create', { path: 'turns/wrong', content, language: 'bun', concurrent_limit: -1 })
  expect([wrong.status, wrong.json]).toMatchObject([400, { error: { at: '$.concurrent_limit' } }])
})

test('a flow that is not deployed is limited as it says', async () => {
  const preview = () =>
    api.post('jobs/run/preview_flow', { value: { modules: [step], concurrent_limit: 1 }, path: 'turns/preview' })
  expect(await states([(await preview()).body, (await preview()).body])).toEqual(['ready', 'waiting'])
})

test('a canceled job passes its turn on, and one that is started again gets in line', async () => {
  await deploy('turns/canceled', { concurrent_limit: 1 })
  const ids = [await run('turns/canceled'), await run('turns/canceled')]
  await api.post(`jobs_u/queue/cancel/${ids[0]}`, { reason: 'enough' })
  expect(await states(ids)).toEqual(['none', 'ready'])
  const { json } = await api.post('jobs/replay', { ids: [ids[0]!] })
  expect(await states([(json as { replayed: { id: string }[] }).replayed[0]!.id])).toEqual(['waiting'])
})

test('a job that waits for its turn is shown as one that waits for a worker', async () => {
  await deploy('turns/shown', { concurrent_limit: 1 })
  await run('turns/shown')
  const { json } = await api.get(`jobs_u/get/${await run('turns/shown')}`)
  expect(json).toMatchObject({ type: 'QueuedJob', running: false, suspend: 0 })
  expect((json as { flow_status: { modules: object[] } }).flow_status.modules[0]).toMatchObject({ type: 'WaitingForExecutor' })
})
