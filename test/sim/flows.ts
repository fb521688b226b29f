// The flows of the simulation, what their steps give, and what their jobs must come to.
//   F1. The outcome of attempt n of a step is a function of (job, step, n, arguments): running it again gives the same.
//   F2. `expected` interprets a flow as its reader would, step by step; it shares nothing with the machine.
import type { FlowModule, FlowValue } from '../../src/core/flow/definition.ts'
import type { Built } from '../../src/core/flow/plan.ts'
import type { Version } from './memory.ts'

export const workspace = 'main'
export const flowPath = 'sim'
export const tag = 'main:flow/sim'

interface FlowArgs {
  x: number
  bad?: boolean
  skip?: boolean
  stop?: boolean
}

export interface SimFlow {
  name: string
  value: FlowValue
  /** Arguments with which every branch of it is taken now and then. */
  args: (whole: (below: number) => number) => FlowArgs
}

function step(id: string, expr: string, more: Partial<FlowModule> = {}): FlowModule {
  const input_transforms = { p: { type: 'javascript' as const, expr } }
  return { id, value: { type: 'rawscript', language: 'bun', content: '', input_transforms }, ...more }
}

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
]

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
  const modules = [...value.modules, ...(value.failure_module ? [value.failure_module] : [])]
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
  const fails = stepId.startsWith('flaky') ? hash(call.jobId + n) % 2 === 0 : stepId.startsWith('bad') && args === '{"p":true}'
  if (fails) return { ok: false, error: { name: 'Error', message: `${stepId} failed at ${n}` } }
  return { ok: true, value: JSON.stringify([stepId, hash(stepId + args)]) }
}

export interface Expected {
  status: string
  result: string
  /** Attempts, in order: the ok or err records that must be there. */
  attempts: { n: number; step: string; ok: boolean; /** Wait before it, at least. */ waitMs: number }[]
}

/** What a job of this flow comes to when nobody cancels it. */
export function expected(flow: SimFlow, jobId: string, argsText: string): Expected {
  const args = JSON.parse(argsText) as Record<string, unknown>
  const results: Record<string, unknown> = {}
  const attempts: Expected['attempts'] = []
  let previous: unknown = args

  /** Runs a step with its retries; null if it failed for good. */
  function runStep(module: FlowModule): { ok: boolean; value: unknown } {
    const transforms = (module.value as { input_transforms: Record<string, { expr: string }> }).input_transforms
    const [root, name] = transforms['p']!.expr.split('.') as [string, string]
    const p = (root === 'results' ? results[name] : args[name]) ?? null
    const { constant, exponential } = module.retry ?? {}
    const more = constant?.attempts ?? exponential?.attempts ?? 0
    for (let failures = 0; ; failures++) {
      const n = attempts.length + 1
      const outcome = outcomeOf({ jobId, stepId: module.id, n, args: JSON.stringify({ p }) })
      const seconds = failures === 0 ? 0 : (constant?.seconds ?? (exponential?.seconds ?? 0) ** failures)
      const waitMs = seconds * 1_000 * (exponential?.random_factor ? 1 - exponential.random_factor / 100 : 1)
      attempts.push({ n, step: module.id, ok: outcome.ok, waitMs })
      if (outcome.ok) return { ok: true, value: JSON.parse(outcome.value) }
      if (failures >= more) return { ok: false, value: { error: { ...outcome.error, step_id: module.id } } }
    }
  }

  for (const module of flow.value.modules) {
    if (module.skip_if && args['skip'] === true) {
      results[module.id] = previous
      continue
    }
    const { ok, value } = runStep(module)
    results[module.id] = value
    if (!ok && !module.continue_on_error) {
      const last = flow.value.failure_module ? runStep(flow.value.failure_module).value : value
      return { status: 'failure', result: JSON.stringify(last), attempts }
    }
    previous = value
    if (ok && module.stop_after_if && args['stop'] === true) break
  }
  return { status: 'success', result: JSON.stringify(previous), attempts }
}
