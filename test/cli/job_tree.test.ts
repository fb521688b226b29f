import { expect, test } from 'vitest'
import { treeText } from '../../src/cli/job_tree.ts'
import type { JobTree, StepTree } from '../../src/client/client.ts'

const step = (id: string, more: Partial<StepTree> = {}): StepTree => ({
  id,
  type: 'Success',
  job: `job-${id}`,
  duration_ms: 3,
  ...more,
})
const list = (label: string, success: boolean | null, steps: StepTree[]): JobTree => ({
  job: `job-${label}`,
  label,
  success,
  duration_ms: 1_234,
  steps,
})

test('a tree of steps, iterations and branches, in columns', () => {
  const error = { name: 'TypeError', message: 'no\u001b[31m such\nthing' }
  const inside = [
    list('#0', true, [step('b')]),
    list('#1', false, [step('b', { type: 'Failure', error, failed_retries: ['x', 'y'] })]),
  ]
  const waits = step('d', { type: 'WaitingForEvents', count: 2, duration_ms: null })
  const text = treeText(list('', null, [step('a', { skipped: true }), step('l', { inside, duration_ms: 12_345 }), waits]))
  expect(text.split('\n')).toEqual([
    'STEP   STATE                                          TOOK     ID',
    'a      Success (skipped)                              3 ms     job-a',
    'l      Success                                        12.3 s   job-l',
    '  #0   Success                                        1234 ms  job-#0',
    '    b  Success                                        3 ms     job-b',
    '  #1   Failure                                        1234 ms  job-#1',
    '    b  Failure (try 3; TypeError: no\\u001b[31m such)  3 ms     job-b',
    'd      WaitingForEvents (2 to come)                            job-d',
  ])
})

test('of many iterations those that matter are shown, the rest is counted', () => {
  const lists = Array.from({ length: 50 }, (_, i) => list(`#${i}`, i === 37 ? false : i === 49 ? null : true, []))
  const lines = treeText(list('', null, [step('l', { inside: lists })]))
  const shown = [...lines.matchAll(/#(\d+) /g)].map(([, n]) => Number(n))
  expect(shown).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 37, 49])
  expect(lines).toContain('… 40 more')
})
