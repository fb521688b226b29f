// OpenFlow documents as users write them (https://www.openflow.dev), as far as this version runs them.
//   D1. A `Flow` has passed parseFlow (validate.ts): nothing below checks it again.
//   D2. Fields this version does not run are refused by parseFlow with their path, except those that only a
//       user interface reads (summary, notes, groups, assets, …), which are kept as they came.
import type { Json } from '../json.ts'

export type InputTransform = { type: 'static'; value?: Json } | { type: 'javascript'; expr: string }

export interface Retry {
  constant?: { attempts: number; seconds: number }
  exponential?: { attempts: number; multiplier: number; seconds: number; random_factor?: number }
  retry_if?: { expr: string }
}

export interface StopAfterIf {
  expr: string
  skip_if_stopped?: boolean
  /** absent or null: a normal stop; '' : fail with the default text; else fail with this text */
  error_message?: string | null
  error_include_result?: boolean
}

/** How many jobs of one step there are at a time. */
export interface StepLimit {
  concurrent_limit?: number
  concurrency_time_window_s?: number
  /** Which steps count together; absent: those of this module. */
  custom_concurrency_key?: string
}

interface RawScript extends StepLimit {
  type: 'rawscript'
  content: string
  language: string
  input_transforms: Record<string, InputTransform>
  lock?: string | null
  path?: string
  /** Which workers run it. With one, or with a limit, the step is a job of its own. */
  tag?: string | null
}

interface Identity {
  type: 'identity'
}

interface ScriptByPath {
  type: 'script'
  path: string
  /** The version to run, as the API names it; absent: the one deployed when the step begins. */
  hash?: string | null
  /** Which workers run it. */
  tag_override?: string | null
  input_transforms: Record<string, InputTransform>
}

interface FlowByPath {
  type: 'flow'
  path: string
  /** Extension: which workers run it. */
  tag_override?: string | null
  input_transforms: Record<string, InputTransform>
}

interface ForLoop {
  type: 'forloopflow'
  modules: FlowModule[]
  iterator: InputTransform
  skip_failures?: boolean
  parallel?: boolean
  /** Iterations at a time, if parallel; absent: all. A number in older documents. */
  parallelism?: InputTransform | number
  /** Extension: its iterations become jobs, which all workers run, however few they are. */
  spread?: boolean
}

interface WhileLoop {
  type: 'whileloopflow'
  modules: FlowModule[]
  skip_failures?: boolean
}

interface BranchOne {
  type: 'branchone'
  branches: { expr: string; modules: FlowModule[] }[]
  default: FlowModule[]
}

interface BranchAll {
  type: 'branchall'
  branches: { modules: FlowModule[]; skip_failure?: boolean }[]
  parallel?: boolean
}

export type ModuleValue = RawScript | Identity | ScriptByPath | FlowByPath | ForLoop | WhileLoop | BranchOne | BranchAll

/** After a step and before the next: so many answers, or the flow fails. */
export interface Suspend {
  required_events?: number
  /** seconds; default 1,800 */
  timeout?: number
  continue_on_disapprove_timeout?: boolean
  resume_form?: Json
  hide_cancel?: boolean
  user_auth_required?: boolean
  /** Gives a list of groups: only their members count. */
  user_groups_required?: InputTransform
  self_approval_disabled?: boolean
  /** Extension: 'resume' makes the answer the step's result. */
  result?: 'resume' | 'step'
  /** Extension: what the flow goes on with when the time is over. */
  on_timeout?: { value: Json }
}

export interface FlowModule {
  id: string
  summary?: string
  value: ModuleValue
  skip_if?: { expr: string }
  stop_after_if?: StopAfterIf
  /** Of a loop or branchall: asked once, after all. */
  stop_after_all_iters_if?: StopAfterIf
  /** seconds, after the step */
  sleep?: InputTransform | number
  suspend?: Suspend
  retry?: Retry
  continue_on_error?: boolean
  /** seconds */
  timeout?: InputTransform | number
  mock?: { enabled?: boolean; return_value?: Json }
  /** seconds that a result of this code and these arguments is used again */
  cache_ttl?: number
  /** seconds after the end of the job, before what the step came to is deleted */
  delete_after_secs?: number
  /** One call for all steps of a key that begin soon after each other. */
  debouncing?: Debouncing
}

/** A job waits so long, and absorbs the later ones of its key. */
export interface Debouncing {
  debounce_delay_s?: number
  debounce_key?: string
  debounce_args_to_accumulate?: string[]
  max_total_debouncing_time?: number
  max_total_debounces_amount?: number
}

/** When jobs become ready: see turns.ts. Of flows and of scripts. */
export interface Queueing extends Debouncing {
  /** At most so many at a time, and, with a window, so many starts within it. */
  concurrent_limit?: number
  concurrency_time_window_s?: number
  /** Which jobs count together; absent: those of the flow. */
  concurrency_key?: string
  /** Extension: an expression over the arguments. Jobs of one value run one after another, in the order they were accepted. */
  ordering_key?: string
}

export interface FlowValue extends Queueing {
  modules: FlowModule[]
  /** Its steps share a folder, ./shared. */
  same_worker?: boolean
  failure_module?: FlowModule
  /** Makes the flow's input of the event that it was started by. */
  preprocessor_module?: FlowModule
  /** The whole flow is skipped if it gives true. */
  skip_expr?: string
  flow_env?: Record<string, Json>
  /** Extension: 'strict' makes each result durable before the next step starts. Default 'pipelined'. */
  durability?: 'pipelined' | 'strict'
  priority?: number
  /** seconds that the result of this version and these arguments is used again */
  cache_ttl?: number
  /** seconds after the end of the job, before its arguments, result, steps and logs are deleted */
  delete_after_secs?: number
  /** A step whose result whoever waits for the flow gets; the flow goes on. */
  early_return?: string
}

export interface Flow {
  summary: string
  description: string
  value: FlowValue
  schema: Json
  /** Everything else of the document, given back unchanged. */
  tag?: string
  dedicated_worker?: boolean
}

/** Every language a step may be written in, and the runtime that runs it. */
export const languages = {
  bun: 'node',
  deno: 'node',
  nativets: 'node-thread',
  python3: 'python',
  bash: 'bash',
} as const
export type Language = keyof typeof languages
export type RuntimeName = (typeof languages)[Language]

/** Ids that mean something else in OpenFlow. */
export const reservedStepIds = ['failure', 'preprocessor', 'Input'] as const
