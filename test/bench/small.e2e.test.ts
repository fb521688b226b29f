// Every benchmark case once, tiny: that none rots. Figures are only looked at for being there.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { cases } from '../../bench/cases.ts'
import type { CaseResult } from '../../bench/result.ts'

const folder = mkdtempSync(join(tmpdir(), 'millrace-bench-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const run = (args: string[]) =>
  promisify(execFile)(process.execPath, ['--import', 'tsx', 'bench/run.ts', ...args], {
    env: { ...process.env, DATABASE_URL: '' },
  })

test('every case runs and gives its figures, by name', async () => {
  const file = join(folder, 'out.json')
  const { stdout } = await run(['--small', '--json', file])
  const results = JSON.parse(readFileSync(file, 'utf8')) as CaseResult[]
  expect(results.map((result) => result.name)).toEqual(cases.map((one) => one.name))
  expect(results.filter((result) => !result.jobsPerSecond)).toEqual([])
  expect(results.filter((result) => result.name.startsWith('drain-') && !(result.floorRatio && result.rssMiB))).toEqual([])
  expect(stdout).toContain('drain-3-typescript')
}, 180_000)

test('a case that does not exist is refused with the names of those that do', async () => {
  await expect(run(['--only', 'nonsense'])).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining('idle-latency') as string,
  })
})
