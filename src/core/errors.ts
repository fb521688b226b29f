// Every error this engine raises: its code, its HTTP status and whether asking again can help.
//   E1. What is thrown on purpose is an EngineError. Anything else that is thrown is a bug of ours (HTTP 500).
//   E2. A failure of user code is never thrown: it is a UserError, a value that becomes the step's result.

/** code → [HTTP status, can the same request succeed later?] */
export const errorCodes = {
  E_INVALID: [400, false], // a request that does not say what it should; `at` names the place
  E_JSON: [400, false], // a body that is not JSON, too deep, or not storable
  E_FLOW_INVALID: [400, false], // an OpenFlow document with a fault; `at` is the JSON path
  E_CODE_INVALID: [400, false], // a step's code that does not build; `at` is the JSON path, file and line
  E_UNAUTHORIZED: [401, false],
  E_FORBIDDEN: [403, false],
  E_NOT_FOUND: [404, false],
  E_CONFLICT: [409, false],
  E_TOO_LARGE: [413, false],
  E_UNSUPPORTED_TYPE: [415, false],
  E_QUEUE_FULL: [429, true],
  E_RUN_FAILED: [422, false],
  E_BUSY: [503, true],
  E_DATABASE: [503, true],
  E_DATABASE_VERSION: [500, false],
  E_SETUP: [500, false], // something this machine lacks; the message says what to install or set
  E_RUNNER: [500, true],
} as const satisfies Record<string, readonly [status: number, retry: boolean]>

export type ErrorCode = keyof typeof errorCodes

export interface ErrorDetails {
  /** Where the fault is: a JSON path (`$.value.modules[2].id`), a `file:line:column`, a header's or option's name. */
  at?: string
  /** What would have been accepted. */
  allowed?: readonly string[]
  /** Seconds after which the same request may succeed. */
  retryAfterS?: number
  cause?: unknown
}

export class EngineError extends Error {
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'EngineError'
    this.code = code
    this.details = details
  }

  get status(): number {
    return errorCodes[this.code][0]
  }
}

/** A failure of user code, as recorded in the step's result under `error` (the shape Windmill clients read). */
export interface UserError {
  name: string
  message: string
  stack?: string
  step_id?: string
  [extra: string]: unknown
}

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`)
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
