// A plan made of a checked flow and its built code. Done once per version and process; pure, given a sandbox.
import { compileExpression, compileTransform, constant } from '../expr/compile.ts'
import type { Expression, Sandbox, Scope } from '../expr/expression.ts'
import type { Place } from '../expr/names.ts'
import { assert, messageOf } from '../errors.ts'
import type { Json, JsonText } from '../json.ts'
import { mayName, NotAtHand, type Look } from '../lookups.ts'
import { languages, type FlowModule, type FlowValue, type InputTransform, type StopAfterIf } from './definition.ts'
import { soonerOf } from './deletion.ts'
import { eventKey } from './event.ts'
import { stepRuleOf, turnRuleOf } from './turns.ts'
import type { Apart, Block, Built, Plan, PlanStep, RunnableKind, Stop, Suspend } from './plan.ts'

export interface Version {
  id: string
  workspaceId: string
  path: string
  kind: RunnableKind
  value: FlowValue
  built: Built
}

/** What a suspend that does not say waits, in seconds. */
const suspendSeconds = 1_800

/** Of a plan that no job runs by. */
const lookNowhere: Look = () => {
  throw new Error('nothing is looked up here')
}

/** `value` has passed parseFlowValue, so no expression in it fails to compile. */
export function compilePlan(version: Version, sandbox: Sandbox, look: Look = lookNowhere): Plan {
  const { value } = version
  const deleteS = soonerOf(null, value.delete_after_secs)
  const flowEnv = JSON.stringify(value.flow_env ?? {})
  const envNames = mayName(flowEnv)
  const planner = new Planner(version.built, sandbox, deleteS, envNames ? value.flow_env : undefined)
  const root = planner.block(value.modules, '$.value.modules')
  const preprocessor = value.preprocessor_module
    ? planner.preprocessor(value.preprocessor_module, '$.value.preprocessor_module')
    : null
  const failure = value.failure_module ? planner.step(value.failure_module, '$.value.failure_module') : null
  return {
    versionId: version.id,
    workspaceId: version.workspaceId,
    path: version.path,
    kind: version.kind,
    steps: planner.steps,
    root,
    skipIf: value.skip_expr ? planner.expression(value.skip_expr, 'before', '$.value.skip_expr') : null,
    failure,
    preprocessor,
    flowEnv,
    envNames,
    look,
    strict: value.durability === 'strict',
    sharesFolder: value.same_worker ?? false,
    turns: turnRuleOf(value),
    alone: version.kind === 'script' || version.kind === 'preview',
    early: value.early_return || null,
    cacheMs: value.cache_ttl ? value.cache_ttl * 1_000 : null,
    deleteS,
    deletes: deleteS !== null || planner.steps.some((step) => step.deleteS !== null),
    isTask: Object.values(version.built.steps).some(({ entry }) => entry !== undefined),
  }
}

class Planner {
  readonly steps: PlanStep[] = []
  readonly #built: Built
  readonly #sandbox: Sandbox
  /** The flow_env, if it names variables or resources. */
  readonly #env: Json | undefined
  /** Of what is around the step that is planned. */
  #deleteS: number | null

  constructor(built: Built, sandbox: Sandbox, deleteS: number | null, env: Json | undefined) {
    this.#built = built
    this.#sandbox = sandbox
    this.#env = env
    this.#deleteS = deleteS
  }

  block(modules: readonly FlowModule[], at: string): Block {
    return { steps: modules.map((module, index) => this.step(module, `${at}[${index}]`).index) }
  }

  step(module: FlowModule, at: string): PlanStep {
    const { skip_if: skipIf, retry } = module
    const step = { index: this.steps.length, id: module.id } as PlanStep
    this.steps.push(step) // before the steps inside it
    const around = this.#deleteS
    const deleteS = (this.#deleteS = soonerOf(around, module.delete_after_secs))
    const run = this.#run(module, `${at}.value`)
    this.#deleteS = around
    return Object.assign(step, {
      run,
      apart: apartOf(module),
      inputs: this.#inputs(module, at),
      skipIf: skipIf ? this.expression(skipIf.expr, 'before', `${at}.skip_if.expr`) : null,
      stopAfterIf: this.#stop(module.stop_after_if, `${at}.stop_after_if`),
      stopAfterAllIf: this.#stop(module.stop_after_all_iters_if, `${at}.stop_after_all_iters_if`),
      sleep: this.#number(module.sleep, 'after', `${at}.sleep`),
      suspend: this.#suspend(module, `${at}.suspend`),
      retry: retry && (retry.constant?.attempts || retry.exponential?.attempts) ? retry : null,
      retryIf: retry?.retry_if ? this.expression(retry.retry_if.expr, 'after', `${at}.retry.retry_if.expr`) : null,
      continueOnError: module.continue_on_error ?? false,
      timeout: this.#number(module.timeout, 'after', `${at}.timeout`),
      cacheMs: module.cache_ttl ? module.cache_ttl * 1_000 : null,
      deleteS,
    } satisfies Omit<PlanStep, 'index' | 'id'>)
  }

  /** Gets the event, whatever its inputs say. */
  preprocessor(module: FlowModule, at: string): PlanStep {
    const expression = this.expression(`flow_input[${JSON.stringify(eventKey)}]`, 'before', at)
    return Object.assign(this.step(module, at), { inputs: [{ name: 'event', expression }] })
  }

  #run(module: FlowModule, at: string): PlanStep['run'] {
    if (module.mock?.enabled) return { kind: 'mock', value: JSON.stringify(module.mock.return_value ?? null) }
    const { value } = module
    switch (value.type) {
      case 'identity':
        return { kind: 'identity' }
      case 'rawscript': {
        const step = Object.hasOwn(this.#built.steps, module.id) ? this.#built.steps[module.id] : undefined
        assert(step, `step ${module.id} was not built`)
        return { kind: 'code', runtime: languages[step.language], built: step }
      }
      case 'script':
        return { kind: 'script', path: value.path, hash: value.hash ?? null }
      case 'flow':
        return { kind: 'flow', path: value.path }
      case 'forloopflow':
        return {
          kind: 'loop',
          iterator: this.#transform(value.iterator, 'before', `${at}.iterator`),
          body: this.block(value.modules, `${at}.modules`),
          skipFailures: value.skip_failures ?? false,
          parallel: value.parallel ?? false,
          parallelism: this.#number(value.parallelism, 'before', `${at}.parallelism`),
          spread: value.spread ?? false,
        }
      case 'whileloopflow':
        return {
          kind: 'loop',
          iterator: null,
          body: this.block(value.modules, `${at}.modules`),
          skipFailures: value.skip_failures ?? false,
          parallel: false,
          parallelism: null,
          spread: false,
        }
      case 'branchone':
        return {
          kind: 'choice',
          branches: value.branches.map((branch, index) => ({
            when: this.expression(branch.expr, 'before', `${at}.branches[${index}].expr`),
            body: this.block(branch.modules, `${at}.branches[${index}].modules`),
          })),
          otherwise: this.block(value.default, `${at}.default`),
        }
      case 'branchall':
        return {
          kind: 'branches',
          branches: value.branches.map((branch, index) => ({
            body: this.block(branch.modules, `${at}.branches[${index}].modules`),
            skipFailure: branch.skip_failure ?? false,
          })),
          parallel: value.parallel ?? false,
        }
    }
  }

  #inputs(module: FlowModule, at: string): PlanStep['inputs'] {
    if (module.mock?.enabled || !('input_transforms' in module.value)) return []
    return Object.entries(module.value.input_transforms).map(([name, transform]) => {
      const expression = this.#transform(transform, 'before', `${at}.value.input_transforms.${name}`)
      // What only names a value goes on as the name, and is resolved where the step's code is called: no record has it.
      const { unresolved, source } = expression
      return { name, expression: unresolved === null ? this.#input(name, expression) : constant(unresolved, source) }
    })
  }

  /** Says which input it is that names what there is not. */
  #input(name: string, expression: Expression): Expression {
    const { lookups, roots } = expression.uses
    if (lookups.length === 0 && !(this.#env !== undefined && roots.includes('flow_env'))) return expression
    const text = (scope: Scope): JsonText => {
      try {
        return expression.text(scope)
      } catch (error) {
        throw error instanceof NotAtHand ? error : new Error(`input "${name}": ${messageOf(error)}`)
      }
    }
    return { ...expression, text }
  }

  #stop(stop: StopAfterIf | undefined, at: string): Stop | null {
    if (!stop) return null
    return {
      expression: this.expression(stop.expr, 'after', `${at}.expr`),
      skipIfStopped: stop.skip_if_stopped ?? false,
      errorMessage: stop.error_message ?? null,
      includeResult: stop.error_include_result ?? false,
    }
  }

  #suspend({ suspend }: FlowModule, at: string): Suspend | null {
    if (!suspend?.required_events) return null
    const { user_groups_required: groups } = suspend
    return {
      events: suspend.required_events,
      // Whoever may not be the one who started it, or has to be in a group, has to say who they are.
      by: suspend.self_approval_disabled ? 'other' : suspend.user_auth_required || groups ? 'member' : 'anyone',
      groups: groups ? this.#transform(groups, 'after', `${at}.user_groups_required`) : null,
      timeoutMs: (suspend.timeout ?? suspendSeconds) * 1_000,
      goesOn: suspend.continue_on_disapprove_timeout ?? false,
      onTimeout: suspend.on_timeout ? JSON.stringify(suspend.on_timeout.value) : null,
      resultIsAnswer: suspend.result === 'resume',
    }
  }

  expression(source: string, place: Place, at: string): Expression {
    return compileExpression(source, this.#sandbox, place, at, this.#env)
  }

  #transform(transform: InputTransform, place: Place, at: string): Expression {
    return compileTransform(transform, this.#sandbox, place, at, this.#env)
  }

  /** A number, or a transform that gives one. */
  #number(value: InputTransform | number | undefined, place: Place, at: string): Expression | null {
    if (value === undefined) return null
    const transform = typeof value === 'number' ? { type: 'static' as const, value } : value
    return this.#transform(transform, place, at)
  }
}

function apartOf({ value, mock, debouncing }: FlowModule): Apart | null {
  if (mock?.enabled) return null
  switch (value.type) {
    case 'rawscript':
      return apartBy(value.tag, stepRuleOf(value, debouncing))
    case 'script':
    case 'flow':
      return apartBy(value.tag_override, stepRuleOf({}, debouncing))
    default:
      return null
  }
}

function apartBy(tag: string | null | undefined, turns: Apart['turns']): Apart | null {
  return tag || turns !== null ? { tag: tag || null, turns } : null
}
