// What the engine and a runtime say to each other (docs/runtime-protocol.md is the specification).
//   W1. A message is an array whose first element is its type. A frame carries an array of messages.
//   W2. Arguments and results are JSON *text* inside the message, whatever the frame's codec: printed once, parsed where used.
//   W3. A result is matched by call id, never by position. Call ids grow within one runner.

export const protocolVersion = 1

/** Names of the environment of one call that do not change between calls of one step and identity. */
export type ScopeEnvironment = Record<string, string>

export type ToRuntime =
  /** Defines scope `scope`: environment shared by many calls. Sent before the first call that names it. */
  | [type: 'scope', scope: number, environment: ScopeEnvironment]
  /**
   * Run `main` with the named arguments. The ids and `token` are '' when the code cannot see its environment. What follows them
   * is there only if the job belongs to a trace, or if this is a further round of a workflow, or one of its tasks.
   */
  | [
      type: 'call',
      id: number,
      scope: number,
      args: string,
      jobId: string,
      stepJobId: string,
      token: string,
      traceparent?: string,
      tracestate?: string,
      checkpoint?: string,
    ]
  /** The result of this inline step of a workflow is kept. */
  | [type: 'kept', id: number, key: string]
  /** The call is no longer wanted: answer it with an error now; stop it if the language can. */
  | [type: 'cancel', id: number, reason: string]
  /** Finish nothing more, exit 0. */
  | [type: 'stop']

export interface ReadyInfo {
  protocol: number
  language: string
  version: string
  pid: number
}

export interface RuntimeError {
  name: string
  message: string
  stack?: string
  [extra: string]: unknown
}

export type FromRuntime =
  | [type: 'ready', info: ReadyInfo]
  /** This call, and every call before it, has begun. For a runtime that does not write the progress cell. */
  | [type: 'begin', id: number]
  /** `ms`: how long `main` ran. */
  | [type: 'ok', id: number, value: string, ms: number]
  | [type: 'error', id: number, error: RuntimeError, ms: number]
  /** A round of a workflow is over: it asks for these, as JSON (core/flow/workflow.ts), and is called again when they are there. */
  | [type: 'round', id: number, asks: string, ms: number]
  /** An inline step of a workflow gave this value. The body goes on when the engine has answered `kept`. */
  | [type: 'checkpoint', id: number, value: string, key: string]
  /** A piece of the call's console output; id 0 is output outside any call. */
  | [type: 'log', id: number, text: string]
  | [type: 'progress', id: number, percent: number]
  | [type: 'stream', id: number, text: string]
  /** The code could not be loaded: no call will ever work. Sent instead of `ready`. */
  | [type: 'broken', error: RuntimeError]
