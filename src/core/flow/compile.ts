// A plan made of a checked flow and its built code. Done once per version and process; pure, given a sandbox.
import { compileExpression, compileTransform } from '../expr/compile.ts'
import type { Expression, Sandbox } from '../expr/expression.ts'
import { assert } from '../errors.ts'
import { languages, type FlowModule, type FlowValue } from './definition.ts'
import type { Built, Plan, PlanStep, RunnableKind } from './plan.ts'

export interface Version {
  id: string
  workspaceId: string
  path: string
  kind: RunnableKind
  value: FlowValue
  built: Built
}

/** `value` has passed parseFlowValue, so no expression in it fails to compile. */
export function compilePlan(version: Version, sandbox: Sandbox): Plan {
  const { value, built } = version
  const steps = value.modules.map((module, index) => planStep(module, index, `$.value.modules[${index}]`, built, sandbox))
  const failure = value.failure_module
    ? planStep(value.failure_module, steps.length, '$.value.failure_module', built, sandbox)
    : null
  return {
    versionId: version.id,
    workspaceId: version.workspaceId,
    path: version.path,
    kind: version.kind,
    steps: failure ? [...steps, failure] : steps,
    root: { steps: steps.map((step) => step.index) },
    failure,
    flowEnv: JSON.stringify(value.flow_env ?? {}),
    strict: value.durability === 'strict',
  }
}

function planStep(module: FlowModule, index: number, at: string, built: Built, sandbox: Sandbox): PlanStep {
  const { skip_if: skipIf, stop_after_if: stop, retry } = module
  return {
    index,
    id: module.id,
    run: runOf(module, built),
    inputs: inputsOf(module, at, sandbox),
    skipIf: skipIf ? compileExpression(skipIf.expr, sandbox, 'before', `${at}.skip_if.expr`) : null,
    stopAfterIf: stop
      ? {
          expression: compileExpression(stop.expr, sandbox, 'after', `${at}.stop_after_if.expr`),
          skipIfStopped: stop.skip_if_stopped ?? false,
          errorMessage: stop.error_message ?? null,
          includeResult: stop.error_include_result ?? false,
        }
      : null,
    retry: retry && (retry.constant?.attempts || retry.exponential?.attempts) ? retry : null,
    retryIf: retry?.retry_if ? compileExpression(retry.retry_if.expr, sandbox, 'after', `${at}.retry.retry_if.expr`) : null,
    continueOnError: module.continue_on_error ?? false,
    timeout: timeoutOf(module, at, sandbox),
  }
}

function runOf(module: FlowModule, built: Built): PlanStep['run'] {
  if (module.mock?.enabled) return { kind: 'mock', value: JSON.stringify(module.mock.return_value ?? null) }
  if (module.value.type === 'identity') return { kind: 'identity' }
  const step = Object.hasOwn(built.steps, module.id) ? built.steps[module.id] : undefined
  assert(step, `step ${module.id} was not built`)
  return { kind: 'code', runtime: languages[step.language], built: step }
}

function inputsOf(module: FlowModule, at: string, sandbox: Sandbox): PlanStep['inputs'] {
  if (module.mock?.enabled || module.value.type === 'identity') return []
  return Object.entries(module.value.input_transforms).map(([name, transform]) => ({
    name,
    expression: compileTransform(transform, sandbox, 'before', `${at}.value.input_transforms.${name}`),
  }))
}

function timeoutOf(module: FlowModule, at: string, sandbox: Sandbox): Expression | null {
  const { timeout } = module
  if (timeout === undefined) return null
  const transform = typeof timeout === 'number' ? { type: 'static' as const, value: timeout } : timeout
  return compileTransform(transform, sandbox, 'after', `${at}.timeout`)
}
