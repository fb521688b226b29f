// The promise under kill -9: 20,000 events run, the worker that holds some of them is killed, a second one finishes them all.
// No event lost, none recorded twice. Prints the counts.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newJobId } from '../../src/store/jobs.ts'
import { code, testEngine, ts, type Deployed, type Engine } from '../support/engine.ts'
import { startProgram, type Program } from '../support/processes.ts'

const events = 20_000
let engine: Engine
let flow: Deployed
const home = mkdtempSync(join(tmpdir(), 'millrace-kill-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

beforeAll(async () => {
  engine = await testEngine()
  flow = await engine.deploy('kill/three', [
    ts('a', 'export const main = (n: number) => ({ n, a: n + 1 })', { n: 'flow_input.n' }),
    code('b', 'python3', 'def main(x):\n    return {"n": x["n"], "b": x["a"] * 2}', { x: 'results.a' }),
    ts('c', 'export const main = (x: any) => ({ n: x.n, c: x.b + 1 })', { x: 'results.b' }),
  ])
})

async function startWorker(): Promise<Program> {
  const worker = startProgram([process.execPath, 'dist/cli/main.js', 'worker', '--dedicated', flow.tag], {
    env: { DATABASE_URL: engine.db.url, MILLRACE_HOME: home, MILLRACE_LOG_LEVEL: 'info', MILLRACE_TOKEN: 'unused' },
  })
  while (!/worker ready/.test(worker.errors())) await once(worker.child.stderr!, 'data')
  return worker
}

async function number(question: string): Promise<number> {
  const { rows } = await engine.db.pool.query(question, [flow.versionId])
  return Number((rows[0] as { n: string }).n)
}

test('kill -9 of a worker while 20,000 events run: another one finishes them, none lost, none recorded twice', async () => {
  const first = await startWorker()
  const ids = await engine.enqueuer.enqueue(
    Array.from({ length: events }, (_, n) => ({
      id: newJobId(),
      workspaceId: 'main',
      versionId: flow.versionId,
      tag: flow.tag,
      priority: 0,
      args: `{"n":${n}}`,
      createdBy: 'test',
    })),
  )
  while ((await number('select count(*) as n from job_done where version_id = $1')) < events / 5) continue
  first.kill('SIGKILL')
  const killedMs = performance.now()
  const held = await number("select count(*) as n from job where version_id = $1 and state = 'running'")
  const doneBefore = await number('select count(*) as n from job_done where version_id = $1')
  const second = await startWorker()
  let againMs: number | null = null
  while ((await number('select count(*) as n from job where version_id = $1')) > 0) {
    if (againMs === null && (await number('select count(*) as n from job_done where version_id = $1 and lost > 0')) > 0) {
      againMs = performance.now() - killedMs
    }
  }
  const { rows } = await engine.db.pool.query(
    `select id, status, result, lost, (select count(*)::integer from json_array_elements(steps)) as records
       from job_done where version_id = $1`,
    [flow.versionId],
  )
  const done = rows as { id: string; status: string; result: string; lost: number; records: number }[]
  const byId = new Map(done.map((row) => [row.id, row]))
  const missing = ids.filter((id) => !byId.has(id))
  const wrong = ids.filter((id, n) => {
    const row = byId.get(id)
    return row && (row.status !== 'success' || row.records !== 3 || row.result !== `{"n":${n},"c":${(n + 1) * 2 + 1}}`)
  })
  const counts = {
    events,
    recordedBeforeTheKill: doneBefore,
    heldWhenKilled: held,
    takenOver: done.filter((row) => row.lost > 0).length,
    firstTakenOverResultAfterMs: againMs === null ? null : Math.round(againMs),
    recorded: done.length,
    missing: missing.length,
    recordedTwice: done.length - byId.size,
    wrong: wrong.length,
    leftInTheJournal: await number('select count(*) as n from job_journal where $1::bigint is not null'),
  }
  console.log(counts)
  expect(counts).toMatchObject({ recorded: events, missing: 0, recordedTwice: 0, wrong: 0, leftInTheJournal: 0 })
  expect(counts.takenOver).toBeGreaterThan(0)
  second.kill('SIGTERM')
  expect(await second.ended).toBe(0)
}, 120_000)
