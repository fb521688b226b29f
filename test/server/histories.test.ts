// Histories of jobs that are looked at again and again.
import { expect, test } from 'vitest'
import { printRecord, type JobRecord } from '../../src/core/flow/records.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import { flowStatusOf } from '../../src/server/flow_status.ts'
import { createHistories } from '../../src/server/histories.ts'
import type { JobRow } from '../../src/store/job_reads.ts'
import { driven, planOf } from '../core/flow/drive.ts'
import { each, same } from '../flows/cases.ts'

const modules = [each('l', 'flow_input.items', [same('a')]), same('z')]
const args = { items: Array.from({ length: 2_000 }, (_, i) => i) }
const { records } = driven({ plan: planOf(modules), args })

/** As Postgres prints a journal, and a finished job's steps. */
const textOf = (some: readonly JobRecord[], between = ', '): string =>
  `[${some.map((record) => printRecord(record)).join(between)}]`

const rowOf = (steps: string, more: Partial<JobRow> = {}): JobRow =>
  ({
    id: '01a20555-2c4b-7000-b7ca-3658ce450000',
    versionId: '1',
    state: 'running',
    status: null,
    startedAt: new Date(0),
    part: null,
    args: JSON.stringify(args),
    result: null,
    steps,
    ...more,
  }) as JobRow

function histories() {
  const row = {
    id: '1',
    workspaceId: 'main',
    path: 'f/a',
    kind: 'flow',
    tag: 'flow',
    priority: 0,
    value: JSON.stringify({ modules }),
    built: '{"steps":{}}',
  }
  const on = { query: async () => ({ rows: [row] }) } as never
  return createHistories({ on, limits: defaultLimits })
}

const iterations = async (from: ReturnType<typeof histories>, job: JobRow): Promise<number> => {
  const history = await from.of(job)
  expect(history.broken).toBeNull()
  return flowStatusOf(history, history.root, job).modules[0]!.flow_jobs!.length
}

test('that of a large job goes on with what has come since', async () => {
  const all = histories()
  const first = rowOf(textOf(records.slice(0, 1_500)))
  const then = rowOf(textOf(records.slice(0, 1_800)))
  const history = await all.of(first)
  expect(await iterations(all, first)).toBe(1_500)
  expect(await all.of(then)).toBe(history)
  expect(await iterations(all, then)).toBe(1_800)
  expect(await iterations(all, then)).toBe(1_800)
})

test('one that is not the same and more, or is over, is told anew', async () => {
  const all = histories()
  const history = await all.of(rowOf(textOf(records.slice(0, 1_800))))
  const shorter = rowOf(textOf(records.slice(0, 1_700)))
  expect(await all.of(shorter)).not.toBe(history)
  expect(await iterations(all, shorter)).toBe(1_700)
  const over = rowOf(textOf(records, ','), { state: 'done', status: 'success', result: '1' })
  expect(await iterations(all, over)).toBe(2_000)
})
