// Variables, resources and states from within steps, by the real windmill-client; and where the values of secrets come to stand.
import { beforeAll, expect, test } from 'vitest'
import type { Json } from '../../src/core/json.ts'
import { stepIdOf } from '../../src/core/job/ids.ts'
import { testEngine, type Done, type Engine } from '../support/engine.ts'
import { step, testApi, type Api } from './api.ts'

const canary = 'canary-52c1'
let engine: Engine
let api: Api

beforeAll(async () => {
  engine = await testEngine({ journalAfterMs: 0 })
  api = await testApi({}, { db: engine.db, home: engine.home })
  const baseUrl = await api.app.listen({ port: 0, host: '127.0.0.1' })
  await engine.work([], { baseUrl })
  await api.post('variables/create', { path: 'f/kept/key', value: canary, is_secret: true })
  await api.post('resources/create', { path: 'f/kept/db', value: { host: 'h', key: '$var:f/kept/key' }, resource_type: 'db' })
}, 60_000)

async function run(path: string, args: Json = {}): Promise<Done> {
  return engine.done((await api.post(`jobs/run/f/${path}`, args)).body)
}

const client = (body: string): string =>
  `import * as wmill from 'windmill-client@1.818.0'\nexport async function main() {\n${body}\n}`

test('a step reads and writes variables and resources', async () => {
  const content = client(`
    const before = [await wmill.getVariable('f/kept/key'), await wmill.getResource('f/kept/db'), await wmill.getResource('f/kept/none', true)]
    for (const value of ['new', 'newer']) await wmill.setVariable('f/kept/made', value, true, 'by a step')
    for (const value of [{ a: 1 }, { a: ['$var:f/kept/made'] }]) await wmill.setResource(value, 'f/kept/written', 'thing')
    return [...before, await wmill.getVariable('f/kept/made'), await wmill.getResource('f/kept/written')]`)
  await api.deploy('f/kept/reads', [step('a', content)])
  const expected = [canary, { host: 'h', key: canary }, null, 'newer', { a: ['newer'] }]
  expect((await run('f/kept/reads')).result).toEqual(expected)
  expect((await api.get('variables/get/f/kept/made')).json).toMatchObject({ is_secret: true, description: 'by a step' })
  expect((await api.get('resources/get/f/kept/written')).json).toMatchObject({ resource_type: 'thing' })
})

test('a step has a state from one job to the next, and each step its own', async () => {
  const count = client(`
    const n = ((await wmill.getState()) ?? 0) + 1
    await wmill.setState(n)
    return n`)
  const flow = [
    step('once', count),
    step('more', count),
    step('again', count, {}),
    step('all', 'export const main = (x: any) => x', { x: 'results' }),
  ]
  await api.deploy('f/kept/counts', flow)
  await run('f/kept/counts')
  expect((await run('f/kept/counts')).result).toEqual({ once: 2, more: 2, again: 2 })
  expect((await api.get('resources/get_value/f/kept/counts/once_user')).json).toBe(2)
  await api.post('scripts/create', { path: 'f/kept/script', content: count, language: 'bun' })
  for (const n of [1, 2]) expect((await engine.done((await api.post('jobs/run/p/f/kept/script', {})).body)).result).toBe(n)
})

/** The requests of Python's `wmill`, which is not on the registry that the tests may use. */
const wmill = `
import json, os, urllib.error, urllib.request

def ask(path, body=None):
    url = f"{os.environ['BASE_INTERNAL_URL']}/api/w/{os.environ['WM_WORKSPACE']}/{path}"
    headers = {"Authorization": "Bearer " + os.environ["WM_TOKEN"], "Content-Type": "application/json"}
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
            return json.loads(text) if "json" in answer.headers["Content-Type"] else text.decode()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise

def set_variable(path, value, is_secret):
    if ask("variables/get/" + path) is None:
        return ask("variables/create", {"path": path, "value": value, "is_secret": is_secret, "description": ""})
    return ask("variables/update/" + path, {"value": value})

def set_resource(value, path, resource_type):
    if ask("resources/get/" + path) is None:
        return ask("resources/create", {"path": path, "value": value, "resource_type": resource_type})
    return ask("resources/update_value/" + path, {"value": value})

get_variable = lambda path: ask("variables/get_value/" + path)
get_resource = lambda path: ask("resources/get_value_interpolated/" + path)
`

test('the same from Python', async () => {
  const content = `${wmill}
def main():
    before = [get_variable("f/kept/key"), get_resource("f/kept/db"), get_resource("f/kept/none")]
    for value in ["new", "newer"]:
        set_variable("f/kept/from_python", value, True)
        set_resource({"a": value}, "f/kept/python_wrote", "thing")
    state = os.environ["WM_STATE_PATH"]
    n = (get_resource(state) or 0) + 1
    set_resource(n, state, "state")
    return before + [get_variable("f/kept/from_python"), get_resource("f/kept/python_wrote"), n]
`
  const module = { id: 'a', value: { type: 'rawscript', language: 'python3', content, input_transforms: {} } }
  await api.deploy('f/kept/python', [module])
  const expected = [canary, { host: 'h', key: canary }, null, 'newer', { a: 'newer' }]
  expect((await run('f/kept/python')).result).toEqual([...expected, 1])
  expect((await run('f/kept/python')).result).toEqual([...expected, 2])
})

test('a secret that steps are given stands in no table, no log and no answer, as long as no code returns it', async () => {
  const unseen = 'canary-90be'
  await api.post('variables/create', { path: 'f/unseen/key', value: unseen, is_secret: true })
  await api.post('resources/create', { path: 'f/unseen/db', value: { host: 'h', key: '$var:f/unseen/key' } })
  const length = (id: string, input: Json): Json => {
    const one = step(id, 'export const main = (x: any) => JSON.stringify(x).length') as { value: object }
    return { ...one, value: { ...one.value, input_transforms: { x: input } } }
  }
  const fixed = (value: Json): Json => ({ type: 'static', value })
  const expr = (text: string): Json => ({ type: 'javascript', expr: text })
  await api.deploy('f/kept/inner', [length('i', expr('flow_input.key'))])
  const inner = (input: Json): Json => ({ type: 'flow', path: 'f/kept/inner', input_transforms: { key: input } })
  const loop = {
    type: 'forloopflow',
    iterator: expr('[1, 2]'),
    parallel: true,
    spread: true,
    modules: [length('l', fixed('$var:f/unseen/key'))],
  }
  const modules = [
    length('static', fixed({ a: '$res:f/unseen/db' })),
    length('variable', expr('variable("f/unseen/key")')),
    length('computed', expr('[resource("f/unseen/db"), 1]')),
    length('env', expr('flow_env.key')),
    length('argument', expr('flow_input.key')),
    { id: 'flow_static', value: inner(fixed('$var:f/unseen/key')) },
    { id: 'flow_variable', value: inner(expr('variable("f/unseen/key")')) },
    { id: 'flow_env', value: inner(expr('flow_env.key')) },
    { id: 'loop', value: loop, skip_if: { expr: 'variable("f/unseen/key").length < 3' } },
    length('failing', fixed(['$var:f/unseen/key', '$var:f/kept/none'])),
  ] as unknown as Json[]
  await api.deploy('f/kept/given', modules, { flow_env: { key: '$var:f/unseen/key' } })
  const done = await run('f/kept/given', { key: '$var:f/unseen/key' })
  expect(done).toMatchObject({ status: 'failure', result: { error: { step_id: 'failing', name: 'LookupError' } } })
  const whole = JSON.stringify(unseen).length
  const gave = Object.fromEntries(done.steps.filter(({ k }) => k === 'ok').map(({ s, v }) => [s, v]))
  expect(gave).toMatchObject({ variable: whole, env: whole, argument: whole, i: whole })

  expect((await api.get(`jobs_u/get/${stepIdOf(done.id, 1)}`)).json).toMatchObject({ args: { x: { a: '$res:f/unseen/db' } } })
  const answers = await Promise.all(
    ['jobs_u/get', 'jobs_u/tree', 'jobs_u/get_logs'].map((route) => api.get(`${route}/${done.id}`)),
  )
  expect(answers.map(({ body }) => body).join()).not.toContain(unseen)
  expect(api.logged.join()).not.toContain(unseen)
  const tables = ['job', 'job_done', 'job_journal', 'job_log', 'signal', 'flow_version', 'result_cache', 'variable', 'resource']
  for (const table of tables) {
    const { rows } = await engine.db.pool.query(`select 1 from ${table} t where t::text like '%${unseen}%'`)
    expect([table, rows.length]).toEqual([table, 0])
  }
})

test('a change is seen by jobs that are started a moment later, without another deploy', async () => {
  await api.post('variables/create', { path: 'f/kept/changes', value: 'old' })
  await api.deploy('f/kept/sees', [step('a', 'export const main = (x: any) => x', { x: 'variable("f/kept/changes")' })])
  expect((await run('f/kept/sees')).result).toBe('old')
  await api.post('variables/update/f/kept/changes', { value: 'new' })
  await expect.poll(async () => (await run('f/kept/sees')).result, { timeout: 10_000 }).toBe('new')
})
