// The flows of a chaos run, and what each must come to: a pure function of the event's arguments.
//   F1. Every step appends one line to the file of effects before it does anything else, so that executions can be counted.
//   F2. A job's result names the worker whose runner made it, so that the record of a worker that no longer held the job shows.
//   F3. Steps are retried: a runner killed under a call fails that call, not the job.
import type { FlowDocument } from '../../src/client/client.ts'
import type { FlowModule, Retry } from '../../src/core/flow/definition.ts'

export const flowNames = ['three', 'strict', 'flaky', 'parked', 'slow', 'nested'] as const
export type FlowName = (typeof flowNames)[number]

export const tagOf = (flow: FlowName): string => `main:flow/chaos/${flow}`

/** What an event carries. */
export interface Event {
  op: string
  n: number
}

/** What a job's result is, but for `v`, `first`, `job` and `by`, which differ by run. */
export function expectedOf(event: Event): { op: string; x: number } {
  return { op: event.op, x: (event.n * 3 + 1) * 2 }
}

// Steps of equal code share a runner; the two kinds differ, so that a worker has two of Node.
const typescript = (kind: string, effects: string) => `// ${kind}
import { openSync, writeSync } from 'node:fs'
const effects = openSync(${JSON.stringify(effects)}, 'a')
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

export async function main(op: string, x: number, first: number, v: number, ms: number, fails: number, last: boolean) {
  const env = process.env
  const job = env.WM_FLOW_JOB_ID
  const by = env.WM_WORKER_GROUP
  const n = parseInt(env.WM_JOB_ID!.slice(-4), 16)
  writeSync(effects, JSON.stringify({ job, step: env.WM_FLOW_STEP_ID, n, at: Date.now() }) + '\\n')
  if (ms > 0) await sleep(ms)
  if (Math.random() < fails) throw new Error('fails now and then')
  return last ? { op, x: x * 2, first, v, job, by } : { x: x * 3 + 1, v }
}
`

const python = (effects: string) => `import json, os, time
effects = os.open(${JSON.stringify(effects)}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

def main(x):
    env = os.environ
    line = {"job": env["WM_FLOW_JOB_ID"], "step": env["WM_FLOW_STEP_ID"], "n": int(env["WM_JOB_ID"][-4:], 16), "at": int(time.time() * 1000)}
    os.write(effects, (json.dumps(line) + "\\n").encode())
    return x
`

const atOnce: Retry = { constant: { attempts: 30, seconds: 0 } }
/** Longer than a retry may wait in its worker: the job is parked in the database meanwhile. */
const parked: Retry = { constant: { attempts: 30, seconds: 1.5 } }

interface StepOptions {
  ms?: number
  fails?: number
  retry?: Retry
}

export function flowDocument(name: FlowName, options: { effects: string; version: number }): FlowDocument {
  const v = options.version
  const kind = name === 'three' || name === 'flaky' ? 'a' : 'b'
  const code = typescript(kind, options.effects)
  const inputs = (values: Record<string, number | boolean>, exprs: Record<string, string>) => ({
    ...Object.fromEntries(Object.entries(values).map(([key, value]) => [key, { type: 'static' as const, value }])),
    ...Object.fromEntries(Object.entries(exprs).map(([key, expr]) => [key, { type: 'javascript' as const, expr }])),
  })
  const step = (id: string, last: boolean, { ms = 0, fails = 0, retry = atOnce }: StepOptions = {}): FlowModule => ({
    id,
    retry,
    value: {
      type: 'rawscript',
      language: 'bun',
      content: code,
      input_transforms: inputs(
        { v, ms, fails, last },
        last
          ? { op: 'flow_input.op', x: name === 'three' ? 'results.b' : 'results.a.x', first: 'results.a.v' }
          : { op: 'flow_input.op', x: 'flow_input.n', first: '0' },
      ),
    },
  })
  const middle: FlowModule = {
    id: 'b',
    retry: atOnce,
    value: {
      type: 'rawscript',
      language: 'python3',
      content: python(options.effects),
      input_transforms: inputs({}, { x: 'results.a.x' }),
    },
  }
  // Four iterations, two at a time, beside a branch that sleeps long enough to be parked.
  const parallel: FlowModule = {
    id: 'p',
    value: {
      type: 'branchall',
      parallel: true,
      branches: [
        {
          modules: [
            {
              id: 'l',
              value: {
                type: 'forloopflow',
                iterator: { type: 'static', value: [1, 2, 3, 4] },
                parallel: true,
                parallelism: 2,
                modules: [middle],
              },
            },
          ],
        },
        {
          modules: [
            { id: 'w', value: { type: 'identity' }, sleep: { type: 'static', value: 1.5 } },
            { id: 'z', value: { type: 'identity' } },
          ],
        },
      ],
    },
  }
  const modules = {
    three: () => [step('a', false), middle, step('c', true)],
    strict: () => [step('a', false), step('c', true)],
    flaky: () => [step('a', false, { fails: 0.3 }), step('c', true, { fails: 0.2 })],
    parked: () => [step('a', false), step('c', true, { fails: 0.4, retry: parked })],
    nested: () => [step('a', false), parallel, step('c', true)],
    slow: () => [step('a', false, { ms: 400 }), step('c', true, { ms: 800 })],
  }[name]()
  return {
    summary: `chaos: ${name}`,
    value: { modules: modules as never, ...(name === 'strict' ? { durability: 'strict' } : {}) },
    dedicated_worker: true,
  }
}
