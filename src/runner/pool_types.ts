// What a worker asks of runners. Implemented by pool.ts.
import type { JsonText } from '../core/json.ts'
import type { UserError } from '../core/errors.ts'
import type { Language, RuntimeName } from '../core/flow/definition.ts'
import type { ScopeEnvironment } from '../core/wire/messages.ts'

/** One kind of runner: equal specs are interchangeable. */
export interface RunnerSpec {
  /** `<version>` or `shared`, the runtime and the artifact's key. */
  key: string
  runtime: RuntimeName
  language: Language
  artifactKey: string
  params: string[]
  /** The exported function that is called; absent: `main`. */
  entry?: string | undefined
  /** File name shown in stack traces, e.g. `github/triage/normalise.ts`. */
  sourceName: string
  /** Its calls see the folder that they name as ./shared. So a runner has one call at a time, and there are more runners of it. */
  sharesFolder: boolean
}

/** See core/trace.ts. */
export interface CallTrace {
  readonly traceparent: string
  /** '' if there is none. */
  readonly tracestate: string
}

/**
 * One call of user code. Made and owned by the worker; the pool calls exactly one of `succeeded` and `failed`, once.
 * Its methods are on a prototype: no closures per call.
 */
export interface Call {
  readonly scope: ScopeEnvironment // the same object for every call with equal environment
  readonly args: JsonText
  /** '' where the code cannot see its environment; so are the next two. */
  readonly jobId: string
  readonly stepJobId: string
  readonly token: string
  readonly timeoutMs: number
  /** The trace it belongs to; mostly none. */
  readonly trace?: CallTrace | null
  /** The id of its step, for the log. */
  readonly logId?: string
  /** Of a spec that shares one: see shared_folder.ts. */
  readonly folder?: string
  /** Of a workflow: what its steps have come to so far. */
  readonly checkpoint?: JsonText | null
  succeeded(value: JsonText, ms: number): void
  failed(error: UserError, ms: number): void
  logged(text: string): void
  progressed(percent: number): void
  streamed(text: string): void
  /** A round of a workflow is over, and asks for this. In place of succeeded and failed. */
  asked?(asks: JsonText, ms: number): void
  /** An inline step of a workflow has this result; `kept` is called when it is kept. */
  checkpointed?(key: string, value: JsonText, kept: () => void): void
}

export interface Artifact {
  key: string
  language: string
  content: string
  lock: string | null
}

export interface PoolStats {
  key: string
  runtime: RuntimeName
  runners: number
  inFlight: number
  queued: number
  restarts: number
  pids: number[]
}

export interface RunnerPool {
  /** Makes sure `replicas` runners of this spec are ready. Rejects with EngineError if the code cannot be loaded. */
  warm(spec: RunnerSpec, replicas: number): Promise<void>
  /** HOT. Synchronous. Dispatched at once if a runner has room, else queued. Spawns a runner if none is warm. */
  call(spec: RunnerSpec, call: Call): void
  /** Asks a call to stop: it fails with this reason soon, by force if it must be. No-op if it is over. */
  cancel(call: Call, reason: string): void
  /** Stops the runners of a key once their calls are over. */
  release(key: string): Promise<void>
  stats(): PoolStats[]
  /** Calls that the runners which have any, or are being started for some, can have in hand at a time. */
  capacity(): number
  /** Kills all runners; calls under way get no answer. Drain first. */
  close(): Promise<void>
}
