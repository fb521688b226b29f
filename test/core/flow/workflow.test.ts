// Workflows in the machine: what a round asks for, when the next one begins, and that every beginning of a journal leads to the same.
import { describe, expect, test } from 'vitest'
import { planOfPart } from '../../../src/core/flow/apart.ts'
import { advance, fold, open } from '../../../src/core/flow/machine.ts'
import type { JobRecord } from '../../../src/core/flow/records.ts'
import { parseRecord, printRecord } from '../../../src/core/flow/records.ts'
import type { Effect, MachineLimits } from '../../../src/core/flow/state.ts'
import {
  checkpointText,
  parseAsks,
  parseTaskArgs,
  printTaskArgs,
  type Ask,
  type TaskAsk,
} from '../../../src/core/flow/workflow.ts'
import { defaultLimits } from '../../../src/core/limits.ts'
import { planOf } from './drive.ts'

const plan = planOf([{ id: 'w', value: { type: 'identity' } }])
const plans = () => plan
const jobId = '01890000-0000-7000-8000-000000000000'
const at = { s: 'w', at: 1, ms: 2 }

const task = (key: string, more: Partial<TaskAsk> = {}): TaskAsk => ({ kind: 'task', key, name: key, args: {}, ...more })
const round = (asks: Ask[], n = 1): JobRecord => ({ k: 'round', n, ...at, asks })
const ok = (n: number, v: unknown): JobRecord => ({ k: 'ok', n, ...at, v: JSON.stringify(v) })
const err = (n: number, message: string): JobRecord => ({ k: 'err', n, ...at, e: { name: 'Error', message, code: 7 } })

/** The effects of each record. */
function driven(records: JobRecord[], limits: MachineLimits = defaultLimits) {
  const effects: Effect[] = []
  const state = open(plan, '{}', limits, plans, effects)
  const told = [shown(effects.splice(0))]
  for (const record of records) {
    advance(state, record, effects)
    told.push(shown(effects.splice(0)))
  }
  return {
    state,
    told,
    checkpoint: state.root.workflow && (JSON.parse(checkpointText(state.root.workflow, jobId, null)) as object),
  }
}

function shown(effects: Effect[]): unknown[] {
  return effects.map((effect) => {
    if (effect.e === 'finish') return `finish ${effect.status} ${effect.result}`
    if (effect.e === 'quit') return 'quit'
    return `${effect.e} ${effect.cursor.n}`
  })
}

describe('rounds', () => {
  test('what a round asks for runs at once; the next one begins when all are over, with what they came to', () => {
    const { told, checkpoint } = driven([
      { k: 'inline', n: 1, s: 'w', at: 1, key: 'now', v: '"x"' },
      round([task('a'), task('b'), task('c', { kind: 'script', path: 'f/x' })]),
      ok(3, 'B'),
      err(2, 'no A'),
      ok(4, 'C'),
      ok(1, 'end'),
    ])
    expect(told).toEqual([['start 1'], [], ['start 2', 'start 3', 'start 4'], [], [], ['start 1'], ['finish success "end"']])
    expect(checkpoint).toEqual({
      completed_steps: {
        now: 'x',
        b: 'B',
        a: {
          __wmill_error: true,
          message: 'no A',
          step_key: 'a',
          child_job_id: '01890000-0000-7000-8000-000000000002',
          result: { error: { name: 'Error', message: 'no A', extra: { code: 7 } } },
        },
        c: 'C',
      },
    })
  })

  test('a sleep and an approval', () => {
    const { told, checkpoint } = driven([
      round([{ kind: 'sleep', key: 'sleep', ms: 5 }]),
      { k: 'wake', c: 2, s: 'w' },
      round([{ kind: 'approval', key: 'boss', timeout: 60, by: 'anyone' }]),
      { k: 'signal', seq: 1, n: 3, id: 1, approver: 'bob', approved: false, v: '[1]' },
    ])
    expect(told).toEqual([['start 1'], ['sleep 2'], ['start 1'], ['wait 3'], ['start 1']])
    expect(checkpoint).toEqual({ completed_steps: { sleep: null, boss: { value: [1], approver: 'bob', approved: false } } })
  })

  test('an approval that is not answered in time is none', () => {
    const asked = round([{ kind: 'approval', key: 'boss', timeout: 60, by: 'anyone' }])
    const { told, checkpoint } = driven([asked, { k: 'wake', c: 2, s: 'w' }])
    expect(told).toEqual([['start 1'], ['wait 2'], ['start 1']])
    expect(checkpoint).toEqual({ completed_steps: { boss: { value: null, approver: null, approved: false } } })
  })

  test('tasks that are jobs beside one that is not: the next round begins when all are over', () => {
    const apart = { tag: 'gpu', turns: null }
    const ended = { id: 0, approver: null, approved: true } as const
    const failure = { how: 'failed', error: { name: 'TypeError', message: 'no b', step_id: 'x' }, at: 1, ms: 2 }
    const records: JobRecord[] = [
      round([task('a', { apart }), task('b', { apart }), task('c')]),
      { k: 'spread', c: 2, s: 'w', n: 2, jobs: 1, job: jobId },
      { k: 'spread', c: 3, s: 'w', n: 3, jobs: 1, job: jobId },
      { k: 'signal', seq: 1, n: -2, ...ended, v: '{"end":{"how":"done","at":1,"ms":2},"result":[1.0]}' },
      { k: 'signal', seq: 2, n: -3, ...ended, v: `{"end":${JSON.stringify(failure)},"result":{"error":{}}}` },
      ok(4, 'C'),
    ]
    const { told, checkpoint } = driven(records)
    expect(told).toEqual([['start 1'], ['start 2', 'start 3', 'start 4'], ['wait 2'], ['wait 3'], [], [], ['start 1']])
    expect(checkpoint).toMatchObject({ completed_steps: { a: [1], b: { message: 'no b', step_key: 'b' }, c: 'C' } })
    const stored = records.map((record) => parseRecord(printRecord(record))!)
    const { outstanding } = fold(plan, '{}', stored.slice(0, 4), defaultLimits, plans)
    expect(shown(outstanding)).toEqual(['wait 3', 'start 4'])
  })

  test('the job of a task is called with what its workflow is, and told which task it is', () => {
    const given = {
      args: '{"x":1.50}',
      name: 'a',
      input: '{"n":12345678901234567890}',
      checkpoint: '{"completed_steps":{"b":[1.0]}}',
    }
    const stored = printTaskArgs(given)
    const effects: Effect[] = []
    const { root } = open(planOfPart(plan, 'w////task'), stored, defaultLimits, plans, effects, null, 'w////task')
    expect(shown(effects)).toEqual(['start 1'])
    expect([root.flowInputText(), root.task]).toEqual([given.input, given])
    expect(parseTaskArgs('{}')).toEqual({ args: '{}', name: '', input: '{}', checkpoint: '{}' })
  })

  test('a workflow that never ends has had all the steps that a job may have', () => {
    const records = Array.from({ length: 4 }, (_, i) => [round([task(`t${i}`)]), ok(i + 2, null)]).flat()
    const { told } = driven(records, { ...defaultLimits, stepsMax: 4 })
    expect(told.flat().at(-1)).toContain('a job may start at most 4 steps')
  })

  test('every beginning of the journal folds to the same', () => {
    const records = [
      { k: 'inline', n: 1, s: 'w', at: 1, key: 'now', v: '12345678901234567890' } as JobRecord,
      round([task('a', { args: { args: [1], v: 2 } }), task('b')]),
      ok(2, 1),
      err(3, 'bad'),
      round([{ kind: 'approval', key: 'boss', timeout: 60, by: 'other', description: ',"v":1' }]),
      { k: 'signal', seq: 1, n: 1, id: 1, approver: null, approved: true, v: 'null', by: 'eve' } as JobRecord,
      round([{ kind: 'sleep', key: 's', ms: 5 }]),
      { k: 'wake', c: 5, s: 'w' } as JobRecord,
      ok(1, 'end'),
    ]
    const stored = records.map((record) => parseRecord(printRecord(record))!)
    expect(stored).toEqual(records)
    for (let n = 0; n <= records.length; n++) {
      const { state } = driven(records.slice(0, n))
      const { state: again, outstanding } = fold(plan, '{}', stored.slice(0, n), defaultLimits, plans)
      expect(again.root.workflow).toEqual(state.root.workflow)
      const running = [state.root, ...state.inside.values()].filter(({ phase }) => phase !== 'inside' && phase !== 'over')
      expect(outstanding.filter(({ e }) => e !== 'finish')).toHaveLength(n === records.length ? 0 : running.length)
    }
  })
})

describe('what the client asks for', () => {
  const parsed = (info: object): unknown => parseAsks(JSON.stringify(info), defaultLimits)
  const step = { name: 'n', script: 'n', key: 'n', args: { x: 1 }, dispatch_type: 'inline' }

  test('tasks, with their options', () => {
    expect(
      parsed({
        mode: 'parallel',
        steps: [
          { ...step, timeout: 3, cache_ttl: 60 },
          { ...step, dispatch_type: 'flow', script: 'f/a' },
          { ...step, priority: 5 },
        ],
      }),
    ).toEqual([
      { kind: 'task', key: 'n', name: 'n', args: { x: 1 }, timeout: 3, cache_ttl: 60 },
      { kind: 'flow', key: 'n', name: 'n', path: 'f/a', args: { x: 1 } },
      { kind: 'task', key: 'n', name: 'n', args: { x: 1 } }, // it waits for no worker
    ])
  })

  test.each([
    [{ tag: 'gpu' }, { tag: 'gpu', turns: null }],
    [
      { tag: 'gpu', priority: -7 },
      { tag: 'gpu', turns: null, priority: -7 },
    ],
    [{ concurrent_limit: 2 }, { tag: null, turns: { key: null, order: null, jobsMax: 2, windowMs: null, debounce: null } }],
    [
      {
        concurrent_limit: 1,
        concurrency_key: 'k-$args[x]',
        concurrency_time_window_s: 1.5,
        dispatch_type: 'flow',
        script: 'f/a',
      },
      { tag: null, turns: { key: 'k-$args[x]', order: null, jobsMax: 1, windowMs: 1_500, debounce: null } },
    ],
    [{ tag: '', priority: 0, concurrent_limit: 0, concurrency_key: null }, undefined],
  ])('what makes it a job of its own: %j', (options, apart) => {
    const [ask] = parsed({ mode: 'sequential', steps: [{ ...step, ...options }] }) as TaskAsk[]
    expect(ask!.apart).toEqual(apart)
  })

  test.each([
    [{ ...step, tag: 'a b' }, 'task "n": tag "a b" has to be up to 100 characters'],
    [{ ...step, tag: 7 }, 'task "n": tag 7 has to be'],
    [{ ...step, concurrent_limit: 1.5 }, 'task "n": concurrency_limit is 1.5; it must be a whole number from 1 to'],
    [{ ...step, concurrency_key: 'k' }, 'task "n": concurrency_key does nothing without concurrency_limit'],
    [{ ...step, concurrency_time_window_s: 5 }, 'task "n": concurrency_time_window_s does nothing without concurrency_limit'],
    [{ ...step, concurrent_limit: 1, concurrency_key: '$flow' }, 'task "n": concurrency_key "$flow": $flow is not known'],
    [{ ...step, concurrent_limit: 1, concurrency_time_window_s: -1 }, 'task "n": concurrency_time_window_s is -1'],
    [{ ...step, priority: 1e6 }, 'task "n": priority is 1000000; it must be a whole number'],
    [{ ...step, dispatch_type: 'flow', script: 'f/a', timeout: 3 }, 'task "n": a flow has no timeout of its own'],
    [{ ...step, timeout: 0 }, 'task "n": timeout is 0'],
    [{ ...step, dispatch_type: 'script', script: './helper.ts' }, 'task "n": "./helper.ts" is a file'],
  ])('refused: %j', (bad, message) => {
    expect(parsed({ mode: 'sequential', steps: [bad] })).toMatchObject({
      name: 'WorkflowError',
      message: expect.stringContaining(message),
    })
  })

  test('what this engine does not know', () => {
    expect(parsed({ mode: 'dance', steps: [] })).toMatchObject({ message: expect.stringContaining('"dance"') })
  })
})
