// Error handlers under kill -9: 500 jobs fail, a worker is killed among them, and each failure has started its handler once.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { setErrorHandler } from '../../src/store/failures.ts'
import { fail } from '../flows/cases.ts'
import { testEngine } from '../support/engine.ts'
import { startProgram, type Program } from '../support/processes.ts'

const failures = 500
const home = mkdtempSync(join(tmpdir(), 'millrace-errors-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

test('500 jobs fail while a worker is killed: 500 handlers run, one for each', async () => {
  const engine = await testEngine()
  const startWorker = async (): Promise<Program> => {
    const worker = startProgram([process.execPath, 'dist/cli/main.js', 'worker'], {
      env: { DATABASE_URL: engine.db.url, MILLRACE_HOME: home, MILLRACE_LOG_LEVEL: 'info', MILLRACE_TOKEN: 'unused' },
    })
    while (!/worker ready/.test(worker.errors())) await once(worker.child.stderr!, 'data')
    return worker
  }
  const count = async (question: string): Promise<number> => {
    const { rows } = await engine.db.pool.query<{ n: number }>(`select count(*)::integer as n from ${question}`)
    return rows[0]!.n
  }
  const flow = await engine.deploy('errors/fails', [fail('a')], {}, false)
  await engine.script('errors/handler', 'export const main = (job_id: string) => job_id')
  const handler = { path: 'script/errors/handler', extra_args: null, muted_on_cancel: false, muted_on_user_path: false }
  await setErrorHandler(engine.db.pool, 'main', handler)
  const first = await startWorker()
  const ids = await Promise.all(Array.from({ length: failures }, () => engine.start(flow)))
  // The first handlers have run: the others are under way, or not started yet.
  while ((await count('job_done where parent_id is not null')) === 0) continue
  first.kill('SIGKILL')
  const second = await startWorker()
  const unfinished = '(select id from job union all select job_id from failure) as either' // at one moment
  while ((await count(unfinished)) > 0) await new Promise((resolve) => setTimeout(resolve, 20))
  second.kill('SIGTERM')
  await second.ended
  const { rows } = await engine.db.pool.query<{ parent_id: string; result: string; status: string }>(
    'select parent_id, result, status from job_done where parent_id is not null',
  )
  expect(rows.map((row) => row.parent_id).sort()).toEqual([...ids].sort())
  expect(rows.every((row) => row.status === 'success' && row.result === `"${row.parent_id}"`)).toBe(true)
}, 120_000)
