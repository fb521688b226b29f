// Scripts as workflows over HTTP, with the real windmill-client: on shared and dedicated workers, approvals by URL, tasks of plain
// scripts, and what becomes of a workflow whose worker or runner dies.
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Json } from '../../src/core/json.ts'
import { auditDatabase } from '../../src/store/audit.ts'
import { testEngine, type Engine } from '../support/engine.ts'
import { startProgram, type Program } from '../support/processes.ts'
import { testApi, type Answer, type Api } from './api.ts'

const client = `import { getApprovalUrls, parallel, sleep, step, task, taskScript, waitForApproval, workflow } from 'windmill-client@1.818.0'
`
let engine: Engine
let api: Api
let baseUrl: string

beforeAll(async () => {
  engine = await testEngine()
  api = await testApi({}, { db: engine.db, home: engine.home })
  baseUrl = await api.app.listen({ port: 0, host: '127.0.0.1' })
  await engine.work([], { baseUrl })
}, 60_000)

async function deploy(name: string, content: string, more: Record<string, Json> = {}): Promise<void> {
  const document = { path: `f/wac/${name}`, summary: '', description: '', content: client + content, language: 'bun', ...more }
  const answer = await api.post('scripts/create', document)
  expect([answer.status, answer.body]).toEqual([201, expect.any(String)])
}

const start = async (name: string, args: Json = {}): Promise<string> => (await api.post(`jobs/run/p/f/wac/${name}`, args)).body

async function resultOf(name: string, args: Json = {}): Promise<Json> {
  return (await engine.done(await start(name, args))).result
}

/** The job once it waits. */
async function waiting(id: string): Promise<Answer['json']> {
  for (;;) {
    const job = (await api.get(`jobs_u/get/${id}`)).json
    if (job.suspend === 1) return job
    if (job.type === 'CompletedJob') throw new Error(`job ${id} is over: ${JSON.stringify(job.result)}`)
    await pause(5)
  }
}

const local = (url: string): string => url.slice(new URL(url).origin.length)
const post = (url: string, body?: Json): Promise<Answer> => api.post(local(url), body, { token: null })

const sum = `const add = task(async function add(a: number, b: number) { return a + b })
export const main = workflow(async (x: number, times = 2) => {
  let total = 0
  for (let i = 0; i < times; i++) total = await add(total, x)
  return { total, at: await step('at', () => new Date(0)) }
})`

describe('a script that is a workflow', () => {
  test('has the parameters of its function, runs, and tells how its tasks went', async () => {
    await deploy('sum', sum)
    expect((await api.get('scripts/get/p/f/wac/sum')).json.schema).toMatchObject({
      properties: { x: { type: 'number' }, times: { type: 'number', default: 2 } },
      required: ['x'],
    })
    const id = await start('sum', { x: 5, times: 3 })
    expect((await engine.done(id)).result).toEqual({ total: 15, at: '1970-01-01T00:00:00.000Z' })
    const job = (await api.get(`jobs_u/get/${id}`)).json
    expect(job.flow_status).toBeUndefined()
    const tasks = Object.values(job.workflow_as_code_status as Record<string, { key: string; duration_ms: number }>)
    expect(tasks).toMatchObject(['add', 'add_2', 'add_3'].map((key) => ({ name: 'add', key, duration_ms: expect.any(Number) })))
    const [task] = Object.keys(job.workflow_as_code_status)
    expect((await api.get(`jobs_u/get/${task}`)).json).toMatchObject({ success: true, args: { a: 0, b: 5 }, result: 5 })
    await expect.poll(async () => (await api.get(`jobs_u/get/${id}`)).json.logs).toContain('--- WAC: add ---')
    expect((await api.get(`jobs_u/get/${id}`)).json.logs).not.toContain('WM_WAC_STEP')
  })

  test('runs on a dedicated worker, and as a preview', async () => {
    await deploy('bound', sum, { dedicated_worker: true })
    const worker = await engine.work([{ versionId: '', tag: 'main:f/wac/bound' }], { baseUrl })
    expect(await resultOf('bound', { x: 1 })).toMatchObject({ total: 2 })
    await worker.stop()
    const { body: id } = await api.post('jobs/run/preview', { content: client + sum, language: 'bun', args: { x: 2 } })
    expect((await engine.done(id)).result).toMatchObject({ total: 4 })
  })

  test('many at a time in one runner do not see each other', async () => {
    await deploy(
      'many',
      `const echo = task(async function echo(x: number) { await new Promise((done) => setTimeout(done, x % 7)); return x })
       export const main = workflow(async (x: number) => {
         const seen = [await echo(x), await step('own', () => x), ...(await parallel([x, x + 1], echo))]
         return [...seen, await step('last', async () => { await new Promise((done) => setTimeout(done, x % 5)); return x })]
       })`,
    )
    const ids = await Promise.all(Array.from({ length: 40 }, (_, x) => start('many', { x })))
    const results = await Promise.all(ids.map(async (id) => (await engine.done(id)).result))
    expect(results).toEqual(ids.map((_, x) => [x, x, x, x + 1, x]))
  })

  test('its log keeps what every round has printed', async () => {
    await deploy(
      'talks',
      `const say = task(async function say(x: string) { console.log('task ' + x) })
       export const main = workflow(async () => { await say('a'); await step('s', () => console.log('inline')); await say('b'); console.log('the end') })`,
    )
    const id = await start('talks')
    await engine.done(id)
    const logs = async () => (await api.get(`jobs_u/get/${id}`)).json.logs as string
    await expect.poll(logs).toContain('the end') // what is printed is stored in its order
    expect(await logs()).toMatch(/task a[^]*inline|inline[^]*task a/)
    expect((await logs()).match(/the end/g)).toHaveLength(1)
  })
})

describe('approvals by URL', () => {
  const manager = `export const main = workflow(async () => {
    const urls = await step('urls', () => getApprovalUrls('manager', 'bob'))
    const later = await step('later', () => getApprovalUrls('other'))
    const first = await waitForApproval({ key: 'manager', timeout: 60, form: { schema: { properties: { n: { type: 'number' } } } }, description: 'May it?' })
    const second = await waitForApproval({ key: 'other' })
    return { first, second: second.value }
  })`

  /** The URLs that an inline step got. */
  async function urlsOf(id: string, key: string): Promise<{ resume: string; cancel: string; approvalPage: string }> {
    const { rows } = await engine.db.pool.query<{ v: string }>(
      "select record ->> 'v' as v from job_journal where job_id = $1 and record ->> 'key' = $2",
      [id, key],
    )
    return JSON.parse(rows[0]!.v) as { resume: string; cancel: string; approvalPage: string }
  }

  test('each answers its own approval, while that waits, and once', async () => {
    await deploy('asks', manager)
    const id = await start('asks')
    await waiting(id)
    const [first, later] = [await urlsOf(id, 'urls'), await urlsOf(id, 'later')]
    const early = await post(later.resume, '"too early"')
    expect([early.status, early.json.error.code]).toEqual([409, 'E_CONFLICT'])
    expect((await api.get(`jobs_u/flow/approval_info/${id}`)).json).toMatchObject({
      description: 'May it?',
      form_schema: { properties: { n: { type: 'number' } } },
      approval_conditions: { self_approval_disabled: false },
    })
    const page = await api.get(local(first.approvalPage), { token: null })
    expect([page.status, page.body]).toEqual([200, expect.stringContaining('May it?')])
    expect((await post(first.resume, { n: 1 })).status).toBe(201)
    await expect.poll(async () => (await post(first.resume, { n: 2 })).status).toBe(409)
    await waiting(id)
    expect((await post(later.resume, '"second"')).status).toBe(201)
    expect((await engine.done(id)).result).toEqual({
      first: { value: { n: 1 }, approver: 'bob', approved: true },
      second: 'second',
    })
    expect((await post(later.resume, '"late"')).status).toBe(409)
  })

  test('a refusal is told to the body', async () => {
    await deploy(
      'refused',
      `export const main = workflow(async () => {
      await step('urls', () => getApprovalUrls())
      return await waitForApproval()
    })`,
    )
    const id = await start('refused')
    await waiting(id)
    expect((await post((await urlsOf(id, 'urls')).cancel)).status).toBe(201)
    expect((await engine.done(id)).result).toEqual({ value: null, approver: 'anonymous', approved: false })
  })

  test('a key that was changed is no signature', async () => {
    const id = await start('asks')
    await waiting(id)
    const { resume } = await urlsOf(id, 'later')
    expect((await post(resume.replace('step_key=other', 'step_key=manager'))).status).toBe(403)
    expect((await post(resume.replace('step_key=other', ''))).status).toBe(403)
    await api.post(`jobs_u/queue/cancel/${id}`, { reason: 'enough' })
  })
})

describe('a flow with a workflow in it', () => {
  const modules = (content: string): Json[] => [
    { id: 'a', value: { type: 'rawscript', language: 'bun', content, input_transforms: { x: { type: 'static', value: 4 } } } },
    { id: 'b', value: { type: 'identity' } },
  ]

  test('shows what the workflow asked for, and starts again behind it', async () => {
    await api.deploy('f/wac/flow', modules(client + sum))
    const { body: id } = await api.post('jobs/run/f/f/wac/flow', {})
    await engine.done(id)
    const tree = (await api.get(`jobs_u/tree/${id}`)).json
    expect(tree.steps[0]).toMatchObject({
      id: 'a',
      type: 'Success',
      inside: [
        { label: 'add', success: true },
        { label: 'add_2', success: true },
      ],
    })
    const step = (await api.get(`jobs_u/get/${tree.steps[0].job}`)).json
    expect(step).toMatchObject({ success: true, result: { total: 8 } })
    expect(Object.values(step.workflow_as_code_status as object)).toHaveLength(2)
    const { body: again } = await api.post(`jobs/restart/f/${id}`, { step_id: 'b' })
    const done = await engine.done(again)
    expect(done).toMatchObject({ status: 'success', result: { total: 8 } })
    expect(done.steps.map(({ k, s }) => `${k} ${s}`)).toEqual(['ok a', 'ok b'])
  })

  test('is canceled in the middle', async () => {
    await deploy(
      'slow',
      'export const main = workflow(async () => { await task(async function long() { await new Promise(() => {}) })() })',
    )
    const id = await start('slow')
    await expect.poll(async () => (await api.get(`jobs_u/get/${id}`)).json.workflow_as_code_status).toBeDefined()
    await api.post(`jobs_u/queue/cancel/${id}`, { reason: 'enough' })
    expect((await engine.done(id)).status).toBe('canceled')
  })
})

describe('a task with a limit', () => {
  test('is a job of its own, shown with its arguments, its output and its error', async () => {
    await deploy(
      'limited',
      `const half = task(async function half(n: number) {
         console.log('halves ' + n)
         if (n % 2 === 1) throw new RangeError(n + ' is odd')
         return n / 2
       }, { concurrency_limit: 5 })
       export const main = workflow(async (n: number) => {
         const first = await half(n)
         try { await half(first) } catch (e) { return [first, e.result.error.name, e.child_job_id] }
       })`,
    )
    const id = await start('limited', { n: 6 })
    const { result } = await engine.done(id)
    expect(result).toEqual([3, 'RangeError', expect.any(String)])
    const job = (await api.get(`jobs_u/get/${id}`)).json
    expect(Object.values(job.workflow_as_code_status as object)).toMatchObject([
      { name: 'half', key: 'half', duration_ms: expect.any(Number) },
      { name: 'half', key: 'half_2', duration_ms: expect.any(Number) },
    ])
    const [first, second] = Object.keys(job.workflow_as_code_status)
    const shown = (await api.get(`jobs_u/get/${first}`)).json
    expect(shown).toMatchObject({ parent_job: id, success: true, args: { n: 6 }, result: 3, is_flow_step: true })
    expect((await api.get(`jobs_u/get/${second}`)).json).toMatchObject({
      success: false,
      result: { error: { name: 'RangeError' } },
    })
    await expect.poll(async () => (await api.get(`jobs_u/get_logs/${first}`)).body).toContain('halves 6')
    // The body knows it by the workflow's own id, as a task that is no job.
    const known = (await api.get(`jobs_u/get/${(result as string[])[2]}`)).json
    expect(known).toMatchObject({ success: false, args: { n: 3 } })
  })

  test('asks for the URLs of an approval of its workflow', async () => {
    await deploy(
      'limited_asks',
      `const urls = task(async function urls() { return await getApprovalUrls('boss', 'bob') }, { concurrency_limit: 5 })
       export const main = workflow(async () => {
         const { resume } = await urls()
         await step('resume', () => resume)
         return await waitForApproval({ key: 'boss' })
       })`,
    )
    const id = await start('limited_asks')
    const asked = async () =>
      engine.db.pool.query<{ v: string }>(
        "select record ->> 'v' as v from job_journal where job_id = $1 and record ->> 'key' = 'resume'",
        [id],
      )
    await expect.poll(async () => (await asked()).rowCount).toBe(1)
    const [resume] = (await asked()).rows
    await expect.poll(async () => (await post(resume!.v, { ok: 1 })).status).toBe(201) // refused until it waits
    expect((await engine.done(id)).result).toEqual({ value: { ok: 1 }, approver: 'bob', approved: true })
  })
})

describe('a task of a script that is no workflow', () => {
  const plain = `export async function hello(name: string, times: number) { return 'Hello '.repeat(times) + name + (process.env.WM_FLOW_JOB_ID ? '!' : '?') }
export async function main() { return [await task(hello)('BAR', 1), await task(hello)('FOO', 2)] }`

  test('is a job of its own, of the same version', async () => {
    await deploy('plain', plain)
    const id = await start('plain')
    expect((await engine.done(id)).result).toEqual(['Hello BAR!', 'Hello Hello FOO!'])
    const { rows } = await engine.db.pool.query('select count(*)::int as n from job_done where parent_id = $1', [id])
    expect(rows).toEqual([{ n: 2 }])
  })

  test('what is not there is told', async () => {
    await deploy('plain_too', plain)
    const id = await start('plain_too')
    const ask = (job: string, entry: string): Promise<Answer> =>
      api.post(`jobs/run/workflow_as_code/${job}/${entry}`, { args: {} })
    const unknown = await ask(id, 'nobody')
    expect([unknown.status, unknown.json.error.at, unknown.json.error.message]).toEqual([
      400,
      'entrypoint',
      expect.stringContaining('exports no function "nobody"'),
    ])
    expect((await ask('01890000-0000-7000-8000-000000000000', 'hello')).status).toBe(404)
    await engine.done(id)
  })
})

describe('what dies', () => {
  const home = mkdtempSync(join(tmpdir(), 'millrace-workflows-'))
  afterAll(() => rmSync(home, { recursive: true, force: true }))

  const written = `import { appendFileSync, existsSync } from 'node:fs'
const write = (file: string, line: string) => appendFileSync(file, line + '\\n')
const mark = task(async function mark(file: string) { write(file, 'mark'); return 2 })
const hold = task(async function hold(file: string) {
  write(file, 'hold')
  while (!existsSync(file + '.go')) await new Promise((done) => setTimeout(done, 10))
  return 3
})
export const main = workflow(async (file: string) => {
  const first = await step('first', () => { write(file, 'first'); return 1 })
  const [marked, held] = await Promise.all([mark(file), hold(file)])
  return [first, marked, held, await step('last', () => { write(file, 'last'); return 4 })]
})`

  async function startWorker(): Promise<Program> {
    const worker = startProgram([process.execPath, 'dist/cli/main.js', 'worker', '--dedicated', 'main:f/wac/survives'], {
      env: { DATABASE_URL: engine.db.url, MILLRACE_HOME: home, MILLRACE_LOG_LEVEL: 'info', MILLRACE_TOKEN: 'unused' },
    })
    while (!/worker ready/.test(worker.errors())) await once(worker.child.stderr!, 'data')
    return worker
  }

  test('a workflow goes on where its worker left it: what was recorded does not run again', async () => {
    await deploy('survives', written, { dedicated_worker: true })
    const file = join(home, 'lines')
    const lines = (): string[] => (existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [])
    const first = await startWorker()
    const id = await start('survives', { file })
    const journaled = async (): Promise<number> =>
      (await engine.db.pool.query("select from job_journal where job_id = $1 and record ->> 'k' = 'ok'", [id])).rowCount ?? 0
    await expect.poll(journaled, { timeout: 30_000 }).toBe(1)
    await expect.poll(lines).toEqual(['first', 'mark', 'hold'])
    first.kill('SIGKILL')
    await first.ended
    writeFileSync(`${file}.go`, '')
    const second = await startWorker()
    expect((await engine.done(id)).result).toEqual([1, 2, 3, 4])
    expect(lines()).toEqual(['first', 'mark', 'hold', 'hold', 'last'])
    second.kill('SIGTERM')
    await second.ended
  })
})

test('the audit finds nothing in all of this', async () => {
  const { outcomes } = await auditDatabase(engine.db, {
    lostMax: engine.limits.lostMax,
    retentionDays: 30,
    rowsMax: 5,
    settleMs: 0,
  })
  expect(outcomes.filter(({ status }) => status === 'violated' || status === 'failed')).toEqual([])
})
