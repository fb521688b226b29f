// The canonical flows. Their steps note that they ran (the format of docs/audit.md), and return who ran them.
//   W1. A step's code decides by its number in the job alone, so a step that runs again does the same again.
//   W2. While `<effects>.wait` exists, steps of the harness's own workers stand still after their note: the job is held then.
import type { FlowModule, FlowValue } from '../../src/core/flow/definition.ts'
import type { Json } from '../../src/core/json.ts'

const typescript = `
import { appendFileSync, existsSync } from 'node:fs'
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
export async function main(step: string, effects: string, harness: number, failures: number, holdMs: number, value: any) {
  const id = process.env.WM_JOB_ID!
  const n = parseInt(id.slice(-4), 16) || 1 // a script's only step has its job's id
  const job = process.env.WM_FLOW_JOB_ID || id
  appendFileSync(effects, JSON.stringify({ job, step, n, at: Date.now() }) + '\\n')
  console.log(step + ' runs')
  if (process.ppid === harness) while (existsSync(effects + '.wait')) await pause(15)
  if (n <= failures) throw new Error('not yet: ' + n)
  if (holdMs > 0) await pause(holdMs)
  return { step, n, value: value ?? null, worker: process.ppid }
}
`
// A runner of its own: canceling its calls may end the runner.
const holding = `// holds\n${typescript}`

const python = `
import json, os, time
def main(step: str, effects: str, harness: int, value=None):
    n = int(os.environ["WM_JOB_ID"][-4:], 16)
    with open(effects, "a") as file:
        file.write(json.dumps({"job": os.environ["WM_FLOW_JOB_ID"], "step": step, "n": n, "at": int(time.time() * 1000)}) + "\\n")
    while os.getppid() == harness and os.path.exists(effects + ".wait"):
        time.sleep(0.015)
    return {"step": step, "n": n, "value": value, "worker": os.getppid()}
`

interface StepOptions {
  failures?: number
  holdMs?: number
  value?: string
  more?: Partial<FlowModule>
  language?: 'bun' | 'python3'
}

function step(id: string, options: StepOptions = {}): FlowModule {
  const { failures = 0, holdMs = 0, value, more = {}, language = 'bun' } = options
  const expr = (text: string) => ({ type: 'javascript' as const, expr: text })
  const fixed = (of: Json) => ({ type: 'static' as const, value: of })
  const input_transforms = {
    step: fixed(id),
    effects: expr('flow_input.effects'),
    harness: expr('flow_input.harness'),
    ...(language === 'bun' ? { failures: fixed(failures), holdMs: fixed(holdMs) } : {}),
    value: value === undefined ? fixed(null) : expr(value),
  }
  const content = language === 'python3' ? python : holdMs > 0 ? holding : typescript
  return { id, value: { type: 'rawscript', language, content, input_transforms }, ...more }
}

const same = (id: string, more: Partial<FlowModule> = {}): FlowModule => ({ id, value: { type: 'identity' }, ...more })

const three = [step('a'), step('b', { language: 'python3', value: 'results.a.n' }), step('c', { value: 'results.b' })]
const retry = (attempts: number, seconds: number) => ({ retry: { constant: { attempts, seconds } } })

export const flows = {
  three: { modules: three },
  strict: { modules: three, durability: 'strict' },
  retry: { modules: [step('a', { failures: 2, more: retry(2, 0) }), step('b', { value: 'results.a.n' })] },
  /** Waits longer than limits.parkAfterMs: the job is given back until then. */
  parks: { modules: [step('a', { failures: 1, more: retry(1, 1.05) }), step('b', { value: 'results.a.n' })] },
  /** Two waits at a time, whose ends are kept for the job; and bodies with steps. */
  nested: {
    modules: [
      step('a'),
      {
        id: 'l',
        value: {
          type: 'forloopflow',
          iterator: { type: 'static', value: [1, 2] },
          modules: [step('b', { value: 'flow_input.iter.value' })],
        },
      },
      {
        id: 'p',
        value: {
          type: 'branchall',
          parallel: true,
          branches: [1.05, 1.3].map((seconds, n) => ({
            modules: [same(`s${n}`, { sleep: { type: 'static', value: seconds } }), same(`e${n}`)],
          })),
        },
      },
      step('c', { value: 'results.l.length' }),
    ],
  },
  cached: { modules: [step('a', { more: { cache_ttl: 3_600 } }), step('b', { value: 'results.a.n' })] },
  turns: { modules: [step('a'), step('b', { value: 'results.a.n' })], ordering_key: 'flow_input.effects' },
  fails: { modules: [step('a', { failures: 99 })], failure_module: step('failure') },
  cancel: { modules: [step('a', { holdMs: 600_000 })] },
} satisfies Record<string, FlowValue>

/** Waits between its steps for somebody's answer. */
export const approval: FlowValue = {
  modules: [step('a', { more: { suspend: { required_events: 1, timeout: 600 } } }), step('c', { value: 'resume' })],
}

export type FlowName = keyof typeof flows

export const script = { language: 'bun', content: typescript }

export const scriptArgs = (effects: string, harness: number): Record<string, Json> => ({
  step: 'script',
  effects,
  harness,
  failures: 0,
  holdMs: 0,
  value: null,
})
