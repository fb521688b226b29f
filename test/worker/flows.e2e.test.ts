// Flows through a real worker and real runners: what a user's document gives.
import { beforeAll, describe, expect, test, vi } from 'vitest'
import type { FlowModule, FlowValue } from '../../src/core/flow/definition.ts'
import type { Json } from '../../src/core/json.ts'
import { code, testEngine, ts, type Deployed, type Engine } from '../support/engine.ts'

interface Example {
  name: string
  modules: FlowModule[]
  more?: Partial<FlowValue>
  args?: Json
  status?: string
  result: unknown
}

const add = 'export function main(a: number, b: number = 100) { return a + b }'
const fails = 'export function main(what: string) { throw new TypeError("bad " + what) }'
const input = (expr: string) => ({ what: expr })

const examples: Example[] = [
  {
    name: 'three steps, each with the results of the ones before',
    modules: [
      ts('a', add, { a: 'flow_input.x', b: 'flow_input.y' }),
      ts('b', add, { a: 'results.a', b: 'flow_input.x' }),
      ts('c', add, { a: 'results.a', b: 'results.b' }),
    ],
    args: { x: 1, y: 2 },
    result: 7,
  },
  {
    name: 'TypeScript, Python, Bash and threads in one flow',
    modules: [
      ts('a', 'export async function main(n: number) { return { n: n + 1 } }', { n: 'flow_input.n' }),
      code('b', 'python3', 'def main(x):\n    return {"n": x["n"] * 10}', { x: 'results.a' }),
      code('c', 'bash', 'n="$1"\necho "{\\"n\\": $((n + 5))}"', { n: 'results.b.n' }),
      code('d', 'nativets', 'export function main(x: { n: number }) { return x.n * 2 }', { x: 'results.c' }),
    ],
    args: { n: 1 },
    result: 50,
  },
  {
    name: 'static inputs, defaults of main, and expressions that need JavaScript',
    modules: [
      {
        id: 'a',
        value: { type: 'rawscript', language: 'bun', content: add, input_transforms: { a: { type: 'static', value: 5 } } },
      },
      ts('b', add, { a: 'results.a * 2 + flow_input.list.filter((n) => n > 1).length', b: '0' }),
    ],
    args: { list: [1, 2, 3] },
    result: 212,
  },
  {
    name: 'missing properties are null',
    modules: [ts('a', 'export const main = (x: unknown) => [x]', { x: 'flow_input.no.such.thing' })],
    result: [null],
  },
  { name: 'flow_env', modules: [ts('a', add, { a: 'flow_env.n', b: '1' })], more: { flow_env: { n: 41 } }, result: 42 },
  {
    name: 'identity passes on',
    modules: [ts('a', add, { a: '1', b: '2' }), { id: 'b', value: { type: 'identity' } }],
    result: 3,
  },
  {
    name: 'a mocked step is not run',
    modules: [
      ts('a', fails, input('"x"'), { mock: { enabled: true, return_value: { fake: true } } }),
      ts('b', 'export const main = (x: any) => x.fake', { x: 'results.a' }),
    ],
    result: true,
  },
  {
    name: 'a failing step fails the flow with name, message and step',
    modules: [ts('a', fails, input('"input"')), ts('b', add, { a: '1' })],
    status: 'failure',
    result: {
      error: expect.objectContaining({
        name: 'TypeError',
        message: 'bad input',
        step_id: 'a',
        stack: expect.stringContaining('a.ts:1') as string,
      }) as unknown,
    },
  },
  {
    name: 'continue_on_error',
    modules: [
      ts('a', fails, input('"x"'), { continue_on_error: true }),
      ts('b', 'export const main = (e: any) => e.error.message', { e: 'results.a' }),
    ],
    result: 'bad x',
  },
  {
    name: 'a retry that succeeds',
    modules: [
      ts(
        'a',
        'let calls = 0\nexport function main() { if (++calls < 3) throw new Error("not yet"); return calls }',
        {},
        { retry: { constant: { attempts: 5, seconds: 0 } } },
      ),
    ],
    result: 3,
  },
  {
    name: 'retry_if stops retrying',
    modules: [
      ts('a', fails, input('"x"'), {
        retry: { constant: { attempts: 5, seconds: 0 }, retry_if: { expr: 'error.name !== "TypeError"' } },
      }),
    ],
    status: 'failure',
    result: { error: expect.objectContaining({ message: 'bad x' }) as unknown },
  },
  {
    name: 'failure_module sees the error and gives the result',
    modules: [ts('a', fails, input('"x"'))],
    more: {
      failure_module: ts('failure', 'export const main = (e: any) => ({ handled: e.message, step: e.step_id })', { e: 'error' }),
    },
    status: 'failure',
    result: { handled: 'bad x', step: 'a' },
  },
  {
    name: 'stop_after_if',
    modules: [ts('a', add, { a: 'flow_input.x', b: '0' }, { stop_after_if: { expr: 'result > 5' } }), ts('b', add, { a: '1' })],
    args: { x: 6 },
    result: 6,
  },
  {
    name: 'stop_after_if with skip_if_stopped marks the job skipped',
    modules: [
      ts('a', add, { a: '6', b: '0' }, { stop_after_if: { expr: 'result > 5', skip_if_stopped: true } }),
      ts('b', add, { a: '1' }),
    ],
    status: 'skipped',
    result: 6,
  },
  {
    name: 'skip_if',
    modules: [
      ts('a', add, { a: '1', b: '1' }),
      ts('b', fails, input('"x"'), { skip_if: { expr: 'results.a === 2' } }),
      ts('c', add, { a: 'results.b', b: '1' }),
    ],
    result: 3,
  },
  {
    name: 'a time-out, as a number of seconds or an expression',
    modules: [
      ts(
        'a',
        'export const main = () => new Promise((resolve) => setTimeout(resolve, 60_000))',
        {},
        { timeout: 0.2, continue_on_error: true },
      ),
      ts(
        'b',
        'export const main = () => new Promise((resolve) => setTimeout(resolve, 60_000))',
        {},
        { timeout: { type: 'javascript', expr: 'flow_input.s' }, continue_on_error: true },
      ),
      ts('c', 'export const main = (a: any, b: any) => [a.error.name, b.error.name]', { a: 'results.a', b: 'results.b' }),
    ],
    args: { s: 0.2 },
    result: ['TimeoutError', 'TimeoutError'],
  },
  {
    name: 'an expression that throws fails its step',
    modules: [ts('a', add, { a: 'flow_input.x.y.z()' })],
    status: 'failure',
    result: { error: expect.objectContaining({ name: 'ExpressionError', step_id: 'a' }) as unknown },
  },
  { name: 'no modules: the arguments', modules: [], args: { x: [1] }, result: { x: [1] } },
]

describe.each(['dedicated', 'shared'])('on a %s worker', (kind) => {
  let engine: Engine
  const flows = new Map<string, Deployed>()

  beforeAll(async () => {
    engine = await testEngine()
    const deployed = await Promise.all(
      examples.map((example, index) => engine.deploy(`example/f${index}`, example.modules, example.more)),
    )
    examples.forEach((example, index) =>
      flows.set(example.name, kind === 'shared' ? { ...deployed[index]!, tag: 'flow' } : deployed[index]!),
    )
    const { worker } = await engine.work(kind === 'shared' ? [] : deployed)
    await vi.waitUntil(() => worker.state().ready, { timeout: 50_000 }) // its runners are warm
  }, 60_000)

  test.each(examples)('$name', async ({ name, args, status, result }) => {
    const done = await engine.run(flows.get(name)!, args)
    expect(done.result).toEqual(result)
    expect(done.status).toBe(status ?? 'success')
  })
})
