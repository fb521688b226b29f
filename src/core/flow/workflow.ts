// Workflows as code: a step whose code is windmill-client's `workflow()` runs in rounds. A round is one call of the step: the body
// from the top, with the results that there are. It ends with the step's own end, or with what the body asks for next (Ask).
//   W1. What a round asks for is a record; each Ask is a cursor inside of the step, with a number of its own. When all are over, the
//       next round begins.
//   W2. A failed task is a result: the body gets it as an error and decides. So is an approval that is refused, or does not come in time.
//   W3. A task that has a tag or a limit is a job of its own (apart.ts). It is given what the workflow has come to (TaskArgs).
//   W4. What a task option asks for and this engine does not do is refused, by name.
import { messageOf, type UserError } from '../errors.ts'
import { constant } from '../expr/compile.ts'
import { stepIdOf } from '../job/ids.ts'
import { fieldTexts, type Json, type JsonText } from '../json.ts'
import type { Limits } from '../limits.ts'
import { nothingAround, type Answerer, type Apart, type PlanStep, type Suspend } from './plan.ts'
import { keyFault, stepRuleOf, type TurnRule } from './turns.ts'
import { jobsMaxMax, tagPattern } from './validate.ts'

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
  /** It is a job of its own. */
  apart?: Apart
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
  if (ask.kind === 'sleep') return ask
  if (ask.kind !== 'approval') {
    const { apart: _apart, ...rest } = ask // the key of a limit may be made of values
    return { ...rest, args: {} }
  }
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

/** What the job of a task is given. */
export interface TaskArgs {
  /** Of the task; its name and these are what its result is cached by. */
  args: JsonText
  name: string
  /** What the workflow's code is called with. */
  input: JsonText
  checkpoint: JsonText
}

/** As it is stored: the arguments of that job. */
export function printTaskArgs({ args, name, input, checkpoint }: TaskArgs): JsonText {
  return `{"args":${args},"name":${JSON.stringify(name)},"input":${input},"checkpoint":${checkpoint}}`
}

/** Also where it was deleted. */
export function parseTaskArgs(text: JsonText): TaskArgs {
  const fields = fieldTexts(text)
  const field = (name: string): JsonText => fields.get(name) ?? '{}'
  const name = JSON.parse(fields.get('name') ?? '""') as string
  return { args: field('args'), name, input: field('input'), checkpoint: field('checkpoint') }
}

/** What the body gets for an approval, refused ones too. */
export function approvalText(answer: { v: JsonText; approver: string | null; approved: boolean }): JsonText {
  const { v, approver, approved } = answer
  return `{"value":${v},"approver":${JSON.stringify(approver ?? 'anonymous')},"approved":${approved}}`
}

/** And for one that did not come in time. */
const noAnswer = '{"value":null,"approver":null,"approved":false}'

/** The step that an ask is run as; of the workflow's own step it has the id and the place in the plan. */
export function stepOfAsk(ask: Ask, { index, id, run, timeout, deleteS }: PlanStep): PlanStep {
  const step: PlanStep = { ...nothingAround, index, id, run, deleteS }
  if (ask.kind === 'sleep') return { ...step, run: { kind: 'identity' } }
  if (ask.kind === 'approval') return { ...step, run: { kind: 'identity' }, suspend: suspendOf(ask) }
  step.apart = ask.apart ?? null
  if (ask.kind === 'flow') return { ...step, run: { kind: 'flow', path: ask.path! } }
  if (ask.kind === 'script') step.run = { kind: 'script', path: ask.path!, hash: null }
  else step.timeout = timeout
  if (ask.timeout !== undefined) step.timeout = constant(String(ask.timeout))
  if (ask.cache_ttl !== undefined) step.cacheMs = ask.cache_ttl * 1_000
  return step
}

function suspendOf({ by, timeout }: ApprovalAsk): Suspend {
  return { events: 1, by, groups: null, timeoutMs: timeout * 1_000, goesOn: false, onTimeout: noAnswer, resultIsAnswer: true }
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
  timeout?: unknown
  cache_ttl?: unknown
  tag?: unknown
  priority?: unknown
  /** `concurrency_limit` of its options. */
  concurrent_limit?: unknown
  concurrency_key?: unknown
  concurrency_time_window_s?: unknown
}

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
  const ask: TaskAsk = {
    kind: kindOf(step),
    key,
    name: typeof step.name === 'string' ? step.name : key,
    args: step.args as TaskAsk['args'],
  }
  if (ask.kind !== 'task') ask.path = pathOf(step.script, key)
  if (step.timeout !== undefined) ask.timeout = positive(step.timeout, key, 'timeout')
  if (ask.kind === 'flow' && ask.timeout !== undefined) {
    throw new Error(`task "${key}": a flow has no timeout of its own; set timeout on its modules`)
  }
  if (step.cache_ttl !== undefined) ask.cache_ttl = positive(step.cache_ttl, key, 'cache_ttl')
  const apart = apartOf(step, key)
  if (apart !== null) ask.apart = apart
  return ask
}

/** Of a task that stays in its workflow's job the priority says nothing: it waits for no worker. */
function apartOf(step: DispatchedTask, key: string): Apart | null {
  const tag = tagOf(step.tag, key)
  const turns = limitOf(step, key)
  const priority = priorityOf(step.priority, key)
  if (tag === null && turns === null) return null
  return { tag, turns, ...(priority === null ? {} : { priority }) }
}

/** Options that nobody has set. */
function isUnset(value: unknown): value is undefined | null | '' | 0 {
  return value === undefined || value === null || value === '' || value === 0
}

function tagOf(tag: unknown, key: string): string | null {
  if (isUnset(tag)) return null
  if (typeof tag === 'string' && tagPattern.test(tag)) return tag
  throw new Error(`task "${key}": tag ${shown(tag)} has to be up to 100 characters without spaces, commas and colons`)
}

function limitOf(step: DispatchedTask, key: string): TurnRule | null {
  const { concurrent_limit: jobsMax, concurrency_key: template, concurrency_time_window_s: windowS } = step
  if (isUnset(jobsMax)) {
    const alone = isUnset(template) ? (isUnset(windowS) ? null : 'concurrency_time_window_s') : 'concurrency_key'
    if (alone === null) return null
    throw new Error(`task "${key}": ${alone} does nothing without concurrency_limit`)
  }
  return stepRuleOf({
    concurrent_limit: whole(jobsMax, { min: 1, max: jobsMaxMax }, key, 'concurrency_limit'),
    ...(isUnset(template) ? {} : { custom_concurrency_key: templateOf(template, key) }),
    ...(isUnset(windowS) ? {} : { concurrency_time_window_s: positive(windowS, key, 'concurrency_time_window_s') }),
  })
}

function templateOf(template: unknown, key: string): string {
  const fault = typeof template === 'string' ? keyFault(template) : 'it must be text'
  if (fault === undefined) return template as string
  throw new Error(`task "${key}": concurrency_key ${shown(template)}: ${fault}`)
}

function priorityOf(priority: unknown, key: string): number | null {
  return isUnset(priority) ? null : whole(priority, { min: -32_768, max: 32_767 }, key, 'priority')
}

function whole(value: unknown, { min, max }: { min: number; max: number }, key: string, option: string): number {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return value as number
  throw new Error(`task "${key}": ${option} is ${shown(value)}; it must be a whole number from ${min} to ${max}`)
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 100)
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
  throw new Error(`task "${key}": ${option} is ${shown(value)}; it must be a number of seconds above 0`)
}

function secondsOf(value: unknown, key: unknown): number {
  if (typeof value === 'number' && value >= 0) return value
  throw new Error(`"${String(key)}" waits for ${JSON.stringify(value)}; it must be a number of seconds`)
}
