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

interface RawScript {
  type: 'rawscript'
  content: string
  language: string
  input_transforms: Record<string, InputTransform>
  lock?: string | null
  path?: string
  tag?: string | null
}

interface Identity {
  type: 'identity'
}

export type ModuleValue = RawScript | Identity

export interface FlowModule {
  id: string
  summary?: string
  value: ModuleValue
  skip_if?: { expr: string }
  stop_after_if?: StopAfterIf
  retry?: Retry
  continue_on_error?: boolean
  /** seconds */
  timeout?: InputTransform | number
  mock?: { enabled?: boolean; return_value?: Json }
}

export interface FlowValue {
  modules: FlowModule[]
  failure_module?: FlowModule
  flow_env?: Record<string, Json>
  /** Extension: 'strict' makes each result durable before the next step starts. Default 'pipelined'. */
  durability?: 'pipelined' | 'strict'
  priority?: number
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
