// The flows of the simulation, what their steps give, and what their jobs must come to.
//   F1. The outcome of attempt n of a step is a function of (job, step, n, arguments): running it again gives the same.
//   F2. `expected` interprets a flow as its reader would, step by step; it shares nothing with the machine.
//   F3. Steps named ask… are answered by whoever stands around (answersTo), steps named quiet… by nobody.
//   F4. Where bodies run in parallel the numbers of attempts depend on who was first: only what a job comes to is expected.
import type { FlowModule, FlowValue } from '../../src/core/flow/definition.ts'
import { modulesOf } from '../../src/core/flow/modules.ts'
import type { Built } from '../../src/core/flow/plan.ts'
import { partIdOf } from '../../src/store/parts.ts'
import type { Turn } from '../../src/store/turns.ts'
import type { Version } from './memory.ts'

export const workspace = 'main'
export const flowPath = 'sim'
export const tag = 'main:flow/sim'

/** Items that a part has in the simulation, and parts that are ready at a time. */
export const partItems = 2
export const partsAtOnce = 2

export interface FlowArgs {
  x: number
  bad?: boolean
  skip?: boolean
  stop?: boolean
  items?: number[]
}

export interface SimFlow {
  name: string
  value: FlowValue
  /** Arguments with which every branch of it is taken now and then. */
  args: (whole: (below: number) => number) => FlowArgs
  anyOrder?: boolean
  /** What its jobs wait for before they run. */
  turn?: (args: FlowArgs) => Turn
  /** Numbers of steps that wait, where they are not those that `expected` counts; 0: answered through their job. */
  numbers?: Record<string, number>
}

function step(id: string, expr: string, more: Partial<FlowModule> = {}): FlowModule {
  const input_transforms = { p: { type: 'javascript' as const, expr } }
  return { id, value: { type: 'rawscript', language: 'bun', content: '', input_transforms }, ...more }
}

function loop(id: string, modules: FlowModule[], more: object = {}): FlowModule {
  return { id, value: { type: 'forloopflow', iterator: { type: 'javascript', expr: 'flow_input.items' }, modules, ...more } }
}

const spread = { spread: true }

/** A step that is a job of its own. */
function apart(module: FlowModule, concurrent_limit: number): FlowModule {
  return { ...module, value: { ...module.value, concurrent_limit } as FlowModule['value'] }
}

const isApart = ({ value }: FlowModule): boolean => value.type === 'rawscript' && value.concurrent_limit !== undefined

/** A step that fails for some items, whoever runs it and when. */
const odd = (id: string): FlowModule => step(id, 'flow_input.iter.value')

const itemsOf = (whole: (below: number) => number): FlowArgs => ({
  x: whole(9),
  stop: whole(2) === 0,
  items: Array.from({ length: whole(6) }, () => whole(1_000)),
})

const plain = (whole: (below: number) => number): FlowArgs => ({ x: whole(1_000) })
const three = [step('a', 'flow_input.x'), step('b', 'results.a'), step('c', 'results.b')]

export const flows: readonly SimFlow[] = [
  { name: 'three steps', value: { modules: three }, args: plain },
  { name: 'three strict steps', value: { modules: three, durability: 'strict' }, args: plain },
  {
    name: 'retries at once, then parked',
    value: {
      modules: [
        step('a', 'flow_input.x'),
        step('flaky_b', 'results.a', { retry: { constant: { attempts: 2, seconds: 0 } } }),
        step('flaky_c', 'results.flaky_b', {
          retry: { exponential: { attempts: 2, multiplier: 1, seconds: 1.5, random_factor: 20 } },
          continue_on_error: true,
        }),
        step('d', 'results.flaky_c'),
      ],
    },
    args: plain,
  },
  {
    name: 'strict retries that park, with a failure module',
    value: {
      modules: [
        step('a', 'flow_input.x'),
        step('flaky_b', 'results.a', { retry: { constant: { attempts: 1, seconds: 2 } } }),
        step('c', 'results.flaky_b'),
      ],
      failure_module: step('failure', 'flow_input.x'),
      durability: 'strict',
    },
    args: plain,
  },
  {
    name: 'skips and stops',
    value: {
      modules: [
        step('a', 'flow_input.x', { skip_if: { expr: 'flow_input.skip' } }),
        step('bad_b', 'flow_input.bad', { stop_after_if: { expr: 'flow_input.stop' } }),
        step('c', 'results.bad_b'),
      ],
    },
    args: (whole) => ({ x: whole(1_000), bad: whole(4) === 0, skip: whole(2) === 0, stop: whole(3) === 0 }),
  },
  {
    name: 'one after another, by key, with a retry that parks',
    value: {
      modules: [
        step('a', 'flow_input.x'),
        step('flaky_b', 'results.a', { retry: { constant: { attempts: 2, seconds: 1.2 } }, continue_on_error: true }),
      ],
      ordering_key: 'flow_input.x',
    },
    args: (whole) => ({ x: whole(2) }),
    turn: ({ x }) => ({ key: `order ${x}`, max: 1 }),
  },
  {
    name: 'two within three seconds',
    value: { modules: [step('a', 'flow_input.x'), step('b', 'results.a')], concurrent_limit: 2, concurrency_time_window_s: 3 },
    args: plain,
    turn: () => ({ key: 'limit', max: 2, window: 3_000 }),
  },
  {
    name: 'a loop of two steps, a branch and a retry that parks',
    value: {
      modules: [
        step('a', 'flow_input.x'),
        loop(
          'l',
          [
            step('b', 'flow_input.iter.value'),
            {
              id: 'o',
              value: {
                type: 'branchone',
                branches: [
                  {
                    expr: 'flow_input.stop',
                    modules: [step('flaky_c', 'results.b', { retry: { constant: { attempts: 3, seconds: 1 } } })],
                  },
                ],
                default: [step('d', 'results.b')],
              },
            },
          ],
          { skip_failures: true },
        ),
        step('e', 'results.l'),
      ],
    },
    args: itemsOf,
  },
  {
    name: 'parallel loops in parallel branches, strict',
    value: {
      durability: 'strict',
      modules: [
        {
          id: 'p',
          value: {
            type: 'branchall',
            parallel: true,
            branches: [
              {
                modules: [
                  loop('l', [odd('odd_b'), step('c', 'results.odd_b')], { parallel: true, parallelism: 2, skip_failures: true }),
                ],
              },
              { modules: [step('d', 'flow_input.x', { sleep: { type: 'static', value: 2 } }), step('e', 'results.d')] },
            ],
          },
        },
        step('f', 'results.p'),
      ],
    },
    args: itemsOf,
    anyOrder: true,
  },
  {
    name: 'two answers, then a time that passes',
    value: {
      modules: [
        step('a', 'flow_input.x'),
        step('ask_b', 'results.a', { suspend: { required_events: 2, timeout: 600 } }),
        step('flaky_c', 'resume', { retry: { constant: { attempts: 5, seconds: 0 } } }),
        step('quiet_d', 'results.a', { suspend: { required_events: 1, timeout: 1.5, on_timeout: { value: 5 } } }),
        step('e', 'results.quiet_d'),
      ],
    },
    args: plain,
  },
  {
    name: 'an answer of a group to whatever waits, strict',
    value: {
      modules: [
        step('a', 'flow_input.x'),
        step('ask_b', 'results.a', {
          suspend: { required_events: 1, timeout: 600, user_groups_required: { type: 'static', value: ['ops'] } },
        }),
        step('c', 'resume'),
      ],
      durability: 'strict',
    },
    args: plain,
    numbers: { ask_b: 0 },
  },
  {
    name: 'parallel branches that wait',
    value: {
      modules: [
        step('a', 'flow_input.x'),
        {
          id: 'p',
          value: {
            type: 'branchall',
            parallel: true,
            branches: [
              { modules: [step('ask_b', 'results.a', { suspend: { required_events: 2, timeout: 600 } }), step('c', 'resume')] },
              { modules: [step('ask_d', 'results.a', { suspend: { required_events: 1, timeout: 600 } }), step('e', 'resume')] },
              { modules: [step('f', 'flow_input.x', { sleep: { type: 'static', value: 1.5 } }), step('g', 'results.f')] },
            ],
          },
        },
        step('h', 'results.p'),
      ],
    },
    args: plain,
    anyOrder: true,
    // The branches begin in one go: 2 is p, and each branch has a number of its own before its first step's.
    numbers: { ask_b: 4, ask_d: 6 },
  },
  {
    name: 'a parallel loop over several jobs',
    value: {
      modules: [
        step('a', 'flow_input.x'),
        loop('l', [odd('odd_b'), step('c', 'results.odd_b')], { ...spread, parallel: true, skip_failures: true }),
        step('d', 'results.l'),
      ],
    },
    args: itemsOf,
    anyOrder: true,
  },
  {
    name: 'a loop over several jobs, one after another, that may fail',
    value: {
      modules: [loop('l', [step('b', 'flow_input.iter.value'), odd('odd_c')], spread), step('d', 'results.l')],
    },
    args: itemsOf,
    anyOrder: true,
  },
  {
    name: 'steps that are jobs of their own, so many at a time',
    value: {
      modules: [
        step('a', 'flow_input.x'),
        apart(step('flaky_b', 'results.a', { retry: { constant: { attempts: 2, seconds: 1 } }, continue_on_error: true }), 1),
        loop('l', [apart(odd('odd_c'), 2), step('d', 'results.odd_c')], { parallel: true, skip_failures: true }),
        step('e', 'results.l'),
      ],
    },
    args: itemsOf,
    anyOrder: true,
  },
]

/** Answers to a step that waits: all of them approve, or the first one refuses. */
function answersTo(jobId: string, module: FlowModule): { approved: boolean; v: number; count: number } {
  const v = hash(`answer to ${module.id} of ${jobId}`) % 1_000
  const approved = v % 8 > 0
  return { approved, v, count: approved ? module.suspend!.required_events! : 1 }
}

export interface SimAnswer {
  n: number
  id: number
  approved: boolean
  v: number
}

/** All that are sent to a job. */
export function answersOf(flow: SimFlow, jobId: string, args: string): SimAnswer[] {
  const asking = modulesOf(flow.value, '$').filter(({ module }) => module.suspend && module.id.startsWith('ask'))
  if (asking.length === 0) return []
  const { attempts } = expected(flow, jobId, args)
  return asking.flatMap(({ module }) => {
    const { approved, v, count } = answersTo(jobId, module)
    const n = flow.numbers?.[module.id] ?? attempts?.findLast((attempt) => attempt.step === module.id)?.n
    return n === undefined ? [] : Array.from({ length: count }, (_, id) => ({ n, id, approved, v }))
  })
}

/** Those of steps alone; they come first. */
export const flatFlows = flows.slice(
  0,
  flows.findIndex(({ value }) => value.modules.some((module) => module.value.type !== 'rawscript' || module.suspend)),
)

export const versions: readonly Version[] = flows.map((flow, index) => ({
  id: String(index + 1),
  workspaceId: workspace,
  path: flowPath,
  kind: 'flow',
  tag,
  priority: 0,
  value: JSON.stringify(flow.value),
  built: JSON.stringify(builtOf(flow.value)),
}))

function builtOf(value: FlowValue): Built {
  const modules = modulesOf(value, '$')
    .map(({ module }) => module)
    .filter((module) => module.value.type === 'rawscript')
  const built = (id: string) => ({ artifactKey: id, language: 'bun' as const, params: ['p'], wantsToken: false })
  return { steps: Object.fromEntries(modules.map(({ id }) => [id, built(id)])) }
}

function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 0
}

export type Outcome = { ok: true; value: string } | { ok: false; error: { name: string; message: string } }

export function outcomeOf(call: { jobId: string; stepId: string; n: number; args: string }): Outcome {
  const { stepId, n, args } = call
  const isBad = stepId.startsWith('bad') && args === '{"p":true}'
  const isOdd = stepId.startsWith('odd') && hash(args) % 3 === 0
  const fails = stepId.startsWith('flaky') ? hash(call.jobId + n) % 2 === 0 : isBad || isOdd
  if (fails) return { ok: false, error: { name: 'Error', message: isOdd ? `${stepId} failed` : `${stepId} failed at ${n}` } }
  return { ok: true, value: JSON.stringify([stepId, hash(stepId + args)]) }
}

export interface Expected {
  status: string
  result: string
  /** Attempts, in order: the ok or err records that must be there. */
  /** Null where they depend on who was first (F4). */
  attempts: { n: number; step: string; ok: boolean; /** Wait before it, at least. */ waitMs: number }[] | null
}

/** What a job of this flow comes to when nobody cancels it. */
export function expected(flow: SimFlow, jobId: string, argsText: string): Expected {
  const args = JSON.parse(argsText) as Record<string, unknown>
  const attempts: NonNullable<Expected['attempts']> = []
  let number = 0
  /** The wait behind the last attempt. */
  let pausedMs = 0

  interface Place {
    input: Record<string, unknown>
    results: Record<string, unknown>
    previous: unknown
    outer: Place | null
    resume?: unknown
  }

  function see(expr: string, place: Place): unknown {
    const [root, ...keys] = expr.split('.') as [string, ...string[]]
    if (root === 'results') {
      for (let at: Place | null = place; at; at = at.outer) if (Object.hasOwn(at.results, keys[0]!)) return at.results[keys[0]!]
      return null
    }
    if (root === 'resume') return place.resume ?? null
    let at: unknown = place.input
    for (const key of keys) at = (at as Record<string, unknown> | null | undefined)?.[key]
    return at ?? null
  }

  /** Runs a step with its retries. */
  function runStep(module: FlowModule, place: Place): { ok: boolean; value: unknown } {
    const transforms = (module.value as { input_transforms: Record<string, { expr: string }> }).input_transforms
    const p = see(transforms['p']!.expr, place)
    const { constant, exponential } = module.retry ?? {}
    const more = constant?.attempts ?? exponential?.attempts ?? 0
    for (let failures = 0; ; failures++) {
      const n = ++number
      const ran = isApart(module) ? { jobId: partIdOf(jobId, n, 0), n: 1 } : { jobId, n }
      const outcome = outcomeOf({ ...ran, stepId: module.id, args: JSON.stringify({ p }) })
      const seconds = failures === 0 ? 0 : (constant?.seconds ?? (exponential?.seconds ?? 0) ** failures)
      const waitMs = seconds * 1_000 * (exponential?.random_factor ? 1 - exponential.random_factor / 100 : 1)
      attempts.push({ n, step: module.id, ok: outcome.ok, waitMs: waitMs + pausedMs })
      pausedMs = 0
      if (outcome.ok) return { ok: true, value: JSON.parse(outcome.value) }
      if (failures >= more) return { ok: false, value: { error: { ...outcome.error, step_id: module.id } } }
    }
  }

  /** A body of a step: it has a number of its own. */
  function runBody(modules: readonly FlowModule[], outer: Place, input = outer.input): { ok: boolean; value: unknown } {
    number += 1
    return runList(modules, { input, results: {}, previous: outer.previous, outer })
  }

  function runModule(module: FlowModule, place: Place): { ok: boolean; value: unknown } {
    const { value } = module
    switch (value.type) {
      case 'forloopflow': {
        number += 1
        const list: unknown[] = []
        for (const [index, item] of (args['items'] as unknown[]).entries()) {
          const end = runBody(value.modules, place, { ...place.input, iter: { index, value: item } })
          if (!end.ok && !value.skip_failures) return end
          list.push(end.value)
        }
        return { ok: true, value: list }
      }
      case 'branchone': {
        number += 1
        const branch = value.branches.find(({ expr }) => see(expr, place))
        return runBody(branch?.modules ?? value.default, place)
      }
      case 'branchall': {
        number += 1
        const ends = value.branches.map((branch) => runBody(branch.modules, place))
        return { ok: ends.every((end) => end.ok), value: ends.map((end) => end.value) }
      }
      default:
        return runStep(module, place)
    }
  }

  /** What a step that waits comes to. */
  function waitAfter(module: FlowModule, value: unknown, place: Place): { ok: boolean; value: unknown } {
    const { timeout, on_timeout } = module.suspend!
    delete place.resume
    if (module.id.startsWith('quiet')) {
      pausedMs = timeout! * 1_000
      return { ok: true, value: on_timeout!.value }
    }
    const { approved, v } = answersTo(jobId, module)
    const error = { name: 'SuspendedDisapproved', message: 'the approval was refused', step_id: module.id }
    if (!approved) return { ok: false, value: { error } }
    place.resume = v
    return { ok: true, value }
  }

  function runList(modules: readonly FlowModule[], place: Place): { ok: boolean; value: unknown } {
    for (const module of modules) {
      if (module.skip_if && args['skip'] === true) {
        place.results[module.id] = place.previous
        continue
      }
      const end = runModule(module, place)
      const { ok, value } = end.ok && module.suspend ? waitAfter(module, end.value, place) : end
      place.results[module.id] = value
      if (!ok && !module.continue_on_error) return { ok, value }
      place.previous = value
      if (ok && module.stop_after_if && args['stop'] === true) break
    }
    return { ok: true, value: place.previous }
  }

  const top: Place = { input: args, results: {}, previous: args, outer: null }
  const { ok, value } = runList(flow.value.modules, top)
  const last = !ok && flow.value.failure_module ? runStep(flow.value.failure_module, top).value : value
  return { status: ok ? 'success' : 'failure', result: JSON.stringify(last), attempts: flow.anyOrder ? null : attempts }
}

/** What a part comes to, by its arguments, when nobody cancels it: its loop over its items, or its step. */
export function expectedPart(flow: SimFlow, { id, part, args }: { id: string; part: string; args: string }): Expected {
  const stepId = stepApart(part)
  if (stepId !== null) {
    const outcome = outcomeOf({ jobId: id, stepId, n: 1, args })
    if (outcome.ok) return { status: 'success', result: outcome.value, attempts: null }
    return { status: 'failure', result: JSON.stringify({ error: { ...outcome.error, step_id: stepId } }), attempts: null }
  }
  const module = flow.value.modules.find((one) => one.id === part)!
  return expected({ ...flow, value: { modules: [module] } }, id, args)
}

/** The step that a part is; null: it is iterations of a loop. */
export function stepApart(part: string): string | null {
  return part.includes('/') ? part.slice(0, part.indexOf('/')) : null
}
