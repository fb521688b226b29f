// `millrace audit` over a real worker that is killed in the middle: holds, with exit code 0; what is broken by hand is found, with 1.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newJobId } from '../../src/store/jobs.ts'
import { command, stateFolder } from '../e2e/up_support.ts'
import { testEngine, ts, type Deployed, type Engine } from '../support/engine.ts'
import { startProgram, type Program } from '../support/processes.ts'

const events = 2_000
const home = stateFolder()
const folder = mkdtempSync(join(tmpdir(), 'millrace-audit-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const historyFile = join(folder, 'history.ndjson')
const effectsFile = join(folder, 'effects.ndjson')
/** Event 0 does not end before this file is there. */
const goOnFile = join(folder, 'go-on')

let engine: Engine
let flow: Deployed
let ids: string[]

interface Report {
  holds: boolean
  recording: { on: boolean; transitions?: number; refusals?: number }
  history: Record<string, number> | null
  checks: {
    id: string
    says: string
    status: string
    why?: string
    violations: number
    rows: { subject: string; detail: string }[]
  }[]
}

function millrace(...args: string[]) {
  return command(home, args, { env: { DATABASE_URL: engine.db.url } })
}

function audit(...args: string[]): { exitCode: number | null; report: Report; err: string } {
  const { exitCode, out, err } = millrace('audit', '--json', '--settle', '1', ...args)
  return { exitCode, report: JSON.parse(out) as Report, err }
}

async function startWorker(): Promise<Program> {
  const worker = startProgram([process.execPath, 'dist/cli/main.js', 'worker', '--dedicated', flow.tag], {
    env: { DATABASE_URL: engine.db.url, MILLRACE_HOME: home, MILLRACE_LOG_LEVEL: 'info', MILLRACE_TOKEN: 'unused' },
  })
  while (!/worker ready/.test(worker.errors())) await once(worker.child.stderr!, 'data')
  return worker
}

async function count(question: string): Promise<number> {
  const { rows } = await engine.db.pool.query(question)
  return Number((rows[0] as { n: string }).n)
}

const noteEffect = (step: string) =>
  `import { appendFileSync, existsSync } from 'node:fs'
   export const main = async (op: string) => {
     const [job, id] = [process.env.WM_FLOW_JOB_ID, process.env.WM_JOB_ID!]
     appendFileSync(${JSON.stringify(effectsFile)}, JSON.stringify({ job, step: '${step}', n: parseInt(id.slice(32), 16), at: Date.now() }) + '\\n')
     while (op === 'event 0' && !existsSync(${JSON.stringify(goOnFile)})) await new Promise((resolve) => setTimeout(resolve, 5))
     return op
   }`

beforeAll(async () => {
  engine = await testEngine()
  flow = await engine.deploy('audit/two', [
    ts('a', noteEffect('a'), { op: 'flow_input.op' }),
    ts('b', noteEffect('b'), { op: 'results.a' }),
  ])
})

test('audit mode is switched on, and says so', () => {
  expect(millrace('audit', 'record', 'status').out).toBe('audit mode is off, and never was on\n')
  expect(millrace('audit', 'record', 'on').out).toMatch(/^audit mode is on since .*: 0 changes and 0 refusals/)
  expect(JSON.parse(millrace('audit', 'record', 'on', '--json').out)).toMatchObject({ changed: false, on: true })
})

test('after a kill -9 under load every check holds: exit code 0', async () => {
  const first = await startWorker()
  const jobs = Array.from({ length: events }, (_, n) => ({
    id: newJobId(),
    workspaceId: 'main',
    versionId: flow.versionId,
    tag: flow.tag,
    priority: 0,
    args: `{"op":"event ${n}"}`,
    createdBy: 'test',
  }))
  ids = await engine.enqueuer.enqueue(jobs)
  const line = (id: string, n: number) => JSON.stringify({ op: `event ${n}`, kind: 'ok', id })
  writeFileSync(historyFile, `${ids.map(line).join('\n')}\n`)
  while ((await count('select count(*) as n from job_done')) < events / 10) continue
  first.kill('SIGKILL') // while it holds event 0, and what it has taken since
  await first.ended
  writeFileSync(goOnFile, '')
  const second = await startWorker()
  while ((await count('select count(*) as n from job')) > 0) continue

  const { exitCode, report, err } = audit('--history', historyFile, '--effects', effectsFile)
  expect({ exitCode, err }).toEqual({ exitCode: 0, err: '' })
  expect(report.checks.filter((check) => check.status !== 'holds')).toEqual([])
  expect(report).toMatchObject({ holds: true, recording: { on: true } })
  expect(report.history).toMatchObject({ attempted: events, landed: events, finished: events, lost: 0, phantom: 0, recovered: 0 })
  expect(report.recording.transitions).toBeGreaterThan(3 * events)
  second.kill('SIGTERM')
  await second.ended
}, 90_000)

test('without files and audit mode, checks say what they need, and are not passed', () => {
  millrace('audit', 'record', 'off')
  expect(millrace('audit', 'record', 'status').out).toMatch(/^audit mode is off; recorded from .* to .*: \d+ changes/)
  const { exitCode, report } = audit('--since', '1h')
  expect(exitCode).toBe(0)
  expect(report.checks.find((check) => check.id === 'I01')).toMatchObject({ status: 'untold', why: 'needs --history' })
  expect(report.checks.find((check) => check.id === 'I08')).toMatchObject({ status: 'holds' }) // of what was recorded before
})

test('what is broken by hand is found and listed: exit code 1', async () => {
  await engine.db.pool.query('delete from job_done where id = $1', [ids[0]])
  await engine.db.pool.query(`update job_done set steps = '[{"k":"err","n":1,"s":"x","at":1,"ms":1}]' where id = any ($1)`, [
    ids.slice(1, 4),
  ])
  const { exitCode, report } = audit('--history', historyFile, '--rows', '2')
  expect(exitCode).toBe(1)
  expect(report.holds).toBe(false)
  const found = report.checks.filter((check) => check.status === 'violated')
  expect(found.map(({ id, violations }) => [id, violations])).toEqual([
    ['I01', 1],
    ['M14', 1],
    ['M17', 3],
  ])
  expect(found[0]!.rows).toEqual([{ subject: 'event 0', detail: `answered 2xx with job ${ids[0]}, which is not there` }])
  expect(found[2]!.rows).toHaveLength(2)

  const people = millrace('audit', '--settle', '0', '--rows', '1')
  expect(people.exitCode).toBe(1)
  expect(people.out).toMatch(/^M17 +3 +Every step that was recorded/m)
  expect(people.out).toMatch(/M17: Every step.*\n {2}\S+ +step x is not in version \d+\n {2}… and 2 more/)
  expect(people.out).toMatch(/\d+ checks hold, 2 violated, \d+ not asked/)
})

test('a file with a fault in it is refused by its line: exit code 1', () => {
  const broken = join(folder, 'broken.ndjson')
  writeFileSync(broken, '{"op":"x","kind":"ok"}\n{"op":"y","kind":"maybe"}\n')
  const { exitCode, err } = millrace('audit', '--history', broken)
  expect({ exitCode, err }).toEqual({
    exitCode: 1,
    err: expect.stringContaining('line 2: kind must be ok, fail or unknown') as string,
  })
  expect(millrace('audit', '--effects', '/nowhere').err).toMatch(/\/nowhere cannot be read: ENOENT/)
})

test('what was recorded is forgotten when asked', () => {
  expect(millrace('audit', 'record', 'clear').out).toMatch(/: 0 changes and 0 refusals/)
})
