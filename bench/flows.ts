// The flows the benchmark runs: small pure steps, each taking the result of the one before.
import type { FlowModule } from '../src/core/flow/definition.ts'

// Each step's code differs, as in a real flow: steps of equal code would share a runner.
const typescript = (step: number) => `export function main(event: { n: number; repo: string; login: string }) {
  return { n: event.n + 1, ok: true, repo: event.repo, login: event.login, tags: ['a', 'b'], step: ${step} }
}
`

const python = (step: number) => `def main(event):
    return {"n": event["n"] + 1, "ok": True, "repo": event["repo"], "login": event["login"], "tags": ["a", "b"], "step": ${step}}
`

const fibonacci = `function fibo(n: number): number {
  return n < 2 ? n : fibo(n - 1) + fibo(n - 2)
}
export function main(n: number) {
  return fibo(n)
}
`

function step(index: number, language: 'bun' | 'python3'): FlowModule {
  const expr = index === 0 ? 'flow_input' : `results.s${index - 1}`
  return {
    id: `s${index}`,
    value: {
      type: 'rawscript',
      language,
      content: language === 'bun' ? typescript(index) : python(index),
      input_transforms: { event: { type: 'javascript', expr } },
    },
  }
}

function fiboSteps(count: number, n: number): FlowModule[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `s${index}`,
    value: {
      type: 'rawscript',
      language: 'bun',
      content: fibonacci,
      input_transforms: { n: { type: 'static', value: n } },
    },
  }))
}

export const benchFlows = {
  ts1: [step(0, 'bun')],
  ts3: [0, 1, 2].map((index) => step(index, 'bun')),
  py3: [0, 1, 2].map((index) => step(index, 'python3')),
  mixed3: [step(0, 'bun'), step(1, 'python3'), step(2, 'bun')],
  asks: [{ ...step(0, 'bun'), suspend: { required_events: 1, timeout: 3_600 } }, step(1, 'bun')],
  fibo10: fiboSteps(40, 10),
  fibo33: fiboSteps(10, 33),
} satisfies Record<string, FlowModule[]>
export type BenchFlow = keyof typeof benchFlows

/** The n-th event: about 100 bytes of JSON. */
export function eventOf(n: number): string {
  return `{"n":${n},"repo":"octo-org/hello-world","login":"user${n % 1000}","action":"opened","title":"An event like many others"}`
}
