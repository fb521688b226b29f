import { beforeAll, expect, test } from 'vitest'
import type { Sandbox } from '../../../src/core/expr/expression.ts'
import { createSandbox } from '../../../src/core/expr/sandbox.ts'
import { compilePlan } from '../../../src/core/flow/compile.ts'
import type { BuiltStep, Plan } from '../../../src/core/flow/plan.ts'
import { parseFlowValue } from '../../../src/core/flow/validate.ts'
import { defaultLimits } from '../../../src/core/limits.ts'
import { scopeOf } from '../expr/scope.ts'
import { step } from './documents.ts'

let sandbox: Sandbox
beforeAll(async () => {
  sandbox = await createSandbox({ timeMs: 60_000, memoryBytes: 16 << 20 })
})

const built = (language: BuiltStep['language']): BuiltStep => ({ artifactKey: 'k', language, params: ['x'], wantsToken: false })

function planOf(value: Record<string, unknown>, steps: Record<string, BuiltStep>): Plan {
  const version = { id: 'v', workspaceId: 'main', path: 'f/a/b', kind: 'flow' as const, built: { steps } }
  return compilePlan({ ...version, value: parseFlowValue(value, defaultLimits) }, sandbox)
}

test('a plan holds the steps in order, the failure module last', () => {
  const modules = [
    step('a'),
    { id: 'b', value: { type: 'identity' } },
    step('c', { mock: { enabled: true, return_value: { m: 1 } } }),
    step('d', {}, { language: 'nativets' }),
  ]
  const plan = planOf(
    { modules, failure_module: step('failure', {}, { language: 'python3' }), flow_env: { K: 1 }, durability: 'strict' },
    { a: built('bun'), d: built('nativets'), failure: built('python3') },
  )
  expect(plan.steps.map((each) => [each.index, each.id, each.run.kind])).toEqual([
    [0, 'a', 'code'],
    [1, 'b', 'identity'],
    [2, 'c', 'mock'],
    [3, 'd', 'code'],
    [4, 'failure', 'code'],
  ])
  expect(plan.root).toEqual({ steps: [0, 1, 2, 3] })
  expect(plan.failure).toBe(plan.steps[4])
  expect(plan.steps.map((each) => (each.run.kind === 'code' ? each.run.runtime : null))).toEqual([
    'node',
    null,
    null,
    'node-thread',
    'python',
  ])
  expect(plan.steps[2]!.run).toEqual({ kind: 'mock', value: '{"m":1}' })
  expect([plan.flowEnv, plan.strict, plan.versionId, plan.path]).toEqual(['{"K":1}', true, 'v', 'f/a/b'])
})

test('a flow of no modules is a plan of no steps, pipelined', () => {
  expect(planOf({ modules: [] }, {})).toMatchObject({
    steps: [],
    root: { steps: [] },
    failure: null,
    strict: false,
    flowEnv: '{}',
  })
})

test('inputs, conditions and the time-out are expressions over the scope', () => {
  const module = step(
    'a',
    {
      skip_if: { expr: 'previous_result > 3' },
      stop_after_if: { expr: 'result == 4', error_message: '', error_include_result: true },
      retry: { constant: { attempts: 1, seconds: 2 }, retry_if: { expr: 'error.name == "Busy"' } },
      timeout: 30,
    },
    { input_transforms: { x: { type: 'javascript', expr: 'flow_input.x' }, y: { type: 'static', value: 'flow_input.x' } } },
  )
  const [a] = planOf({ modules: [module] }, { a: built('bun') }).steps
  const scope = scopeOf({ flow_input: { x: 1 }, previous_result: 4, error: { name: 'Busy' } })
  expect(a!.inputs.map(({ name, expression }) => [name, expression.value(scope)])).toEqual([
    ['x', 1],
    ['y', 'flow_input.x'],
  ])
  expect(a!.skipIf!.value(scope)).toBe(true)
  expect(a!.stopAfterIf).toMatchObject({ skipIfStopped: false, errorMessage: '', includeResult: true })
  expect(a!.stopAfterIf!.expression.value(scope)).toBe(true)
  expect(a!.retry).toMatchObject({ constant: { attempts: 1, seconds: 2 } })
  expect(a!.retryIf!.value(scope)).toBe(true)
  expect(a!.timeout!.value(scope)).toBe(30)
})

test('what a module does not set is null', () => {
  const [a] = planOf({ modules: [step('a', { retry: { constant: { attempts: 0 } } })] }, { a: built('bun') }).steps
  expect(a).toMatchObject({
    skipIf: null,
    stopAfterIf: null,
    retry: null,
    retryIf: null,
    continueOnError: false,
    timeout: null,
    inputs: [],
  })
})

test('a step that was not built is a bug, named', () => {
  expect(() => planOf({ modules: [step('constructor')] }, {})).toThrow('step constructor was not built')
})
