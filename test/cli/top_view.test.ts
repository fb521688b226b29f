import { expect, test } from 'vitest'
import type { Overview, OverviewWorker } from '../../src/client/client.ts'
import { linesOf, viewOf, type Screen } from '../../src/cli/top_view.ts'

const plain = (text: string): string => text
const screen: Screen = {
  columns: 120,
  rows: Infinity,
  sorting: 'steps/s',
  style: { title: plain, head: plain, faint: plain, bad: plain },
}
const shown = { place: 'http://127.0.0.1:8000', time: '12:00:00', fault: null }

function worker(given: Partial<OverviewWorker>): OverviewWorker {
  return {
    id: 1,
    name: 'host:1',
    tags: ['main:flow/a/b'],
    host: 'host',
    pid: 1,
    version: '0.1.0',
    state: 'alive',
    started_at: '2030-01-01T00:00:00.000Z',
    heartbeat_at: '2030-01-01T00:00:10.000Z',
    silent_s: 0.1,
    jobs_held: 7,
    jobs_done: 0,
    jobs_failed: 0,
    steps_done: 0,
    refused: 0,
    poisoned: 0,
    flows: [],
    ...given,
  }
}

const tag = (name: string, ready: number, oldest: number | null): Overview['tags'][number] => ({
  tag: name,
  ready,
  running: 2,
  parked: 0,
  waiting: 0,
  oldest_ready_s: oldest,
})

const before: Overview = {
  workers: [worker({ jobs_done: 100, steps_done: 300, flows: [{ flow: 'main:flow/a/b', jobs: 100, failed: 0, steps: 300 }] })],
  tags: [],
  counted_s: 0,
}
const now: Overview = {
  workers: [
    worker({
      heartbeat_at: '2030-01-01T00:00:12.000Z',
      jobs_done: 300,
      jobs_failed: 4,
      steps_done: 900,
      flows: [{ flow: 'main:flow/a/b', jobs: 300, failed: 4, steps: 900 }],
    }),
    worker({ id: 2, name: 'host:2', jobs_done: 5_000 }),
    worker({ id: 3, name: 'host:3', state: 'dead', jobs_held: 50 }),
  ],
  tags: [tag('main:flow/a/b', 1_234, 75), tag('python3', 0, null)],
  counted_s: 0.5,
}

test('rates are what grew between two heartbeats of a worker, however far apart the answers are', () => {
  const view = viewOf(before, now)
  expect(view.workers[0]!.per_s).toEqual({ jobs: 100, steps: 300, failed: 2 })
  expect(view.totals).toMatchObject({ workers: 2, held: 14, ready: 1_234, lag_s: 75, jobs: 100, steps: 300, failed: 2 })
  expect(view.flows).toEqual([
    { name: 'main:flow/a/b', queue: now.tags[0], per_s: { jobs: 100, steps: 300, failed: 2 } },
    { name: 'python3', queue: now.tags[1], per_s: null },
  ])
})

test('a worker seen for the first time has no rate, and one whose counters began anew none below zero', () => {
  expect(viewOf(before, now).workers[1]!.per_s).toBeNull()
  expect(viewOf(now, { ...before, workers: [worker({ heartbeat_at: '2030-01-01T00:00:14.000Z' })] }).totals.jobs).toBe(0)
})

test('the lines of a screen', () => {
  const lines = linesOf(viewOf(before, now), shown, screen)
  expect(lines[1]).toBe('2 workers · 300 steps/s · 100 jobs/s · 2 failed/s · lag 75 s · 1,234 ready · 14 held')
  expect(lines.slice(3)).toEqual([
    'WORKER        ID  STATE  HELD  JOBS/S  STEPS/S  FAILED/S  HEARD  TAKES JOBS OF',
    'host:1         1  alive     7     100      300       2.0  0.1 s  main:flow/a/b',
    'host:2         2  alive     7                             0.1 s  main:flow/a/b',
    'host:3         3  dead                                    0.1 s  main:flow/a/b',
    '',
    'FLOW OR TAG    STEPS/S▾  JOBS/S  FAILED/S  READY  RUNNING  PARKED  OLDEST',
    'main:flow/a/b       300     100       2.0  1,234        2       0    75 s',
    'python3                                        0        2       0',
  ])
})

test('nothing is wider or higher than the screen, and names cannot write outside their line', () => {
  const many = Array.from({ length: 50 }, (_, i) =>
    worker({
      id: i,
      name: `${'long-name-'.repeat(20)}\x1b[2J\n\u202e${i}`,
      flows: [{ flow: `main:flow/${i}`, jobs: 1, failed: 0, steps: 1 }],
    }),
  )
  for (const [columns, rows] of [
    [80, 24],
    [40, 10],
    [200, 60],
  ] as const) {
    const lines = linesOf(viewOf(null, { ...now, workers: many }), shown, { ...screen, columns, rows })
    expect(lines.length).toBeLessThanOrEqual(rows)
    for (const line of lines) {
      expect(line.length).toBeLessThanOrEqual(columns)
      // oxlint-disable-next-line no-control-regex
      expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/)
    }
  }
})

test('a server that no longer answers is told in place of the sums', () => {
  const lines = linesOf(viewOf(before, now), { ...shown, fault: 'no server answers' }, screen)
  expect(lines[1]).toBe('no server answers')
  expect(lines[4]).toContain('host:1')
})
