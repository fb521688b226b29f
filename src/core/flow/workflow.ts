// Workflows as code: a step whose code is windmill-client's `workflow()` runs in rounds. A round is one call of the step: the body
// from the top, with the results that there are. It ends with the step's own end, or with what the body asks for next (Ask).
//   W1. What a round asks for is a record; each Ask is a cursor inside of the step, with a number of its own. When all are over, the
//       next round begins.
//   W2. A failed task is a result: the body gets it as an error and decides. An approval that does not come in time fails the step.
//   W3. What a task option asks for and this engine does not do is refused, by name.
import { messageOf, type UserError } from '../errors.ts'
import { constant } from '../expr/compile.ts'
import { stepIdOf } from '../job/ids.ts'
import type { Json, JsonText } from '../json.ts'
import type { Limits } from '../limits.ts'
import { nothingAround, type Answerer, type PlanStep, type Suspend } from './plan.ts'

/** A task: the workflow's own code with this task called in it, or a script or a flow that is deployed. */
export interface TaskAsk {
  kind: 'task' | 'script' | 'flow'
  key: string
  name: string
  /** Of a script or a flow. */
  path?: string
  args: { [name: string]: Json }
  /** Seconds. */
  timeout?: number
  cache_ttl?: number
}

export interface SleepAsk {
  kind: 'sleep'
  key: string
  ms: number
}

export interface ApprovalAsk {
  kind: 'approval'
  key: string
  /** Seconds. */
  timeout: number
  by: Answerer
  form?: Json
  description?: Json
}

/** What a round waits for. The key is what the body finds its result by. */
export type Ask = TaskAsk | SleepAsk | ApprovalAsk

/** What a workflow has come to so far: of one attempt of its step. */
export interface Workflow {
  readonly completed: Map<string, JsonText | FailedTask>
  /** Of those results that are values. */
  chars: number
  rounds: number
  /** Of a step that names a script: the version that its first round ran. */
  version: string | null
  /** What the first round was called with, where it cannot be told again from the records. */
  args: JsonText | null
}

interface FailedTask {
  n: number
  error: UserError
}

export function newWorkflow(): Workflow {
  return { completed: new Map(), chars: 0, rounds: 0, version: null, args: null }
}

export function complete(workflow: Workflow, key: string, result: JsonText | FailedTask): void {
  workflow.completed.set(key, result)
  if (typeof result === 'string') workflow.chars += result.length
}

/** What is left of it once its values are deleted (deletion.ts). */
export function withoutValues(ask: Ask): Ask {
  if ('args' in ask) return { ...ask, args: {} }
  if (ask.kind === 'sleep') return ask
  const { form: _form, description: _description, ...rest } = ask
  return rest
}

/** What the client's WorkflowCtx is made of. `executing`: the task that this call is. */
export function checkpointText({ completed }: Workflow, jobId: string, executing: string | null): JsonText {
  const steps = [...completed].map(([key, result]) => `${JSON.stringify(key)}:${resultText(result, key, jobId)}`)
  const rest = executing === null ? '' : `,"_executing_key":${JSON.stringify(executing)}`
  return `{"completed_steps":{${steps.join(',')}}${rest}}`
}

function resultText(result: JsonText | FailedTask, key: string, jobId: string): JsonText {
  if (typeof result === 'string') return result
  const { name, message, stack, step_id: _step, ...extra } = result.error
  const error = { name, message, stack, ...(Object.keys(extra).length > 0 ? { extra } : {}) }
  const child = stepIdOf(jobId, result.n)
  return JSON.stringify({ __wmill_error: true, message, step_key: key, child_job_id: child, result: { error } })
}

/** What the body gets for an approval, refused ones too. */
export function approvalText(answer: { v: JsonText; approver: string | null; approved: boolean }): JsonText {
  const { v, approver, approved } = answer
  return `{"value":${v},"approver":${JSON.stringify(approver ?? 'anonymous')},"approved":${approved}}`
}

/** The step that an ask is run as; of the workflow's own step it has the id and the place in the plan. */
export function stepOfAsk(ask: Ask, { index, id, run, timeout, deleteS }: PlanStep): PlanStep {
  const step: PlanStep = { ...nothingAround, index, id, run, deleteS }
  switch (ask.kind) {
    case 'sleep':
      return { ...step, run: { kind: 'identity' } }
    case 'approval':
      return { ...step, run: { kind: 'identity' }, suspend: suspendOf(ask) }
    case 'flow':
      return { ...step, run: { kind: 'flow', path: ask.path! } }
    case 'script':
      step.run = { kind: 'script', path: ask.path!, hash: null }
      break
    default:
      step.timeout = timeout
  }
  if (ask.timeout !== undefined) step.timeout = constant(String(ask.timeout))
  if (ask.cache_ttl !== undefined) step.cacheMs = ask.cache_ttl * 1_000
  return step
}

function suspendOf({ by, timeout }: ApprovalAsk): Suspend {
  return { events: 1, by, groups: null, timeoutMs: timeout * 1_000, goesOn: false, onTimeout: null, resultIsAnswer: true }
}

// ── What the client says ──

/** `dispatchInfo` of a StepSuspend of windmill-client. */
interface Dispatch {
  mode?: unknown
  key?: unknown
  steps?: unknown
  seconds?: unknown
  timeout?: unknown
  form?: Json
  self_approval_disabled?: unknown
  description?: Json
}

interface DispatchedTask {
  key?: unknown
  name?: unknown
  script?: unknown
  args?: unknown
  dispatch_type?: unknown
  [option: string]: unknown
}

/** Options that would need the task to be a job of its own. */
const refusedOptions = ['tag', 'priority', 'concurrent_limit', 'concurrency_key', 'concurrency_time_window_s'] as const
const clientNames: Record<string, string> = { concurrent_limit: 'concurrency_limit' }

/** What a round asks for. Throws where that is nothing this engine does. */
export function parseAsks(text: JsonText, { waitMsMax }: Pick<Limits, 'waitMsMax'>): Ask[] | UserError {
  try {
    const info = JSON.parse(text) as Dispatch
    const waitS = (seconds: unknown): number => Math.min(secondsOf(seconds, info.key), waitMsMax / 1_000)
    switch (info.mode) {
      case 'sequential':
      case 'parallel':
        return (info.steps as DispatchedTask[]).map(taskOf)
      case 'sleep':
        return [{ kind: 'sleep', key: String(info.key), ms: waitS(info.seconds) * 1_000 }]
      case 'approval':
        return [approvalOf(info, waitS(info.timeout))]
      default:
        throw new Error(`this version of windmill-client asks for "${String(info.mode)}", which is not known here`)
    }
  } catch (error) {
    return { name: 'WorkflowError', message: messageOf(error) }
  }
}

function approvalOf(info: Dispatch, timeout: number): ApprovalAsk {
  const ask: ApprovalAsk = {
    kind: 'approval',
    key: String(info.key),
    timeout,
    by: info.self_approval_disabled === true ? 'other' : 'anyone',
  }
  if (info.form !== undefined) ask.form = info.form
  if (info.description !== undefined) ask.description = info.description
  return ask
}

function taskOf(step: DispatchedTask): TaskAsk {
  const key = String(step.key)
  const refused = refusedOptions.find((option) => step[option] !== undefined && step[option] !== null)
  if (refused !== undefined) {
    const option = clientNames[refused] ?? refused
    throw new Error(`task "${key}": ${option} is for jobs, and a task runs inside of its workflow's job; leave it out`)
  }
  const ask: TaskAsk = {
    kind: kindOf(step),
    key,
    name: typeof step.name === 'string' ? step.name : key,
    args: step.args as TaskAsk['args'],
  }
  if (ask.kind !== 'task') ask.path = pathOf(step.script, key)
  if (step['timeout'] !== undefined) ask.timeout = positive(step['timeout'], key, 'timeout')
  if (step['cache_ttl'] !== undefined) ask.cache_ttl = positive(step['cache_ttl'], key, 'cache_ttl')
  return ask
}

function kindOf({ dispatch_type: type }: DispatchedTask): TaskAsk['kind'] {
  if (type === 'script' || type === 'flow') return type
  return 'task'
}

function pathOf(path: unknown, key: string): string {
  if (typeof path === 'string' && !/^\.{0,2}\//.test(path)) return path
  throw new Error(`task "${key}": "${String(path)}" is a file; deploy it as a script, and name its path`)
}

function positive(value: unknown, key: string, option: string): number {
  if (typeof value === 'number' && value > 0) return value
  throw new Error(`task "${key}": ${option} is ${JSON.stringify(value)}; it must be a number of seconds above 0`)
}

function secondsOf(value: unknown, key: unknown): number {
  if (typeof value === 'number' && value >= 0) return value
  throw new Error(`"${String(key)}" waits for ${JSON.stringify(value)}; it must be a number of seconds`)
}
