// Failpoints around calls of user code and their results: `runner.call`, `runner.result` (see store/failpoints.ts).
import type { UserError } from '../core/errors.ts'
import type { JsonText } from '../core/json.ts'
import type { ScopeEnvironment } from '../core/wire/messages.ts'
import type { Failpoints } from '../store/failpoints.ts'
import type { Call, RunnerPool } from './pool_types.ts'

export function poolWithFailpoints(pool: RunnerPool, points: Failpoints): RunnerPool {
  const watched = new WeakMap<Call, Call>()
  return {
    call(spec, call) {
      const watching = new WatchedCall(call, points)
      watched.set(call, watching)
      points.reach('runner.call', 'before')
      pool.call(spec, watching)
      points.reach('runner.call', 'after')
    },
    cancel: (call, reason) => pool.cancel(watched.get(call) ?? call, reason),
    warm: (spec, replicas) => pool.warm(spec, replicas),
    release: (key) => pool.release(key),
    capacity: () => pool.capacity(),
    stats: () => pool.stats(),
    close: () => pool.close(),
  }
}

class WatchedCall implements Call {
  readonly scope: ScopeEnvironment
  readonly args: JsonText
  readonly jobId: string
  readonly stepJobId: string
  readonly token: string
  readonly timeoutMs: number
  readonly folder: string
  readonly #call: Call
  readonly #points: Failpoints

  constructor(call: Call, points: Failpoints) {
    this.scope = call.scope
    this.args = call.args
    this.jobId = call.jobId
    this.stepJobId = call.stepJobId
    this.token = call.token
    this.timeoutMs = call.timeoutMs
    this.folder = call.folder ?? ''
    this.#call = call
    this.#points = points
  }

  succeeded(value: JsonText, ms: number): void {
    this.#points.reach('runner.result', 'before')
    this.#call.succeeded(value, ms)
    this.#points.reach('runner.result', 'after')
  }

  failed(error: UserError, ms: number): void {
    this.#points.reach('runner.result', 'before')
    this.#call.failed(error, ms)
    this.#points.reach('runner.result', 'after')
  }

  get checkpoint(): JsonText | null {
    return this.#call.checkpoint ?? null
  }

  asked(asks: JsonText, ms: number): void {
    this.#points.reach('runner.result', 'before')
    this.#call.asked!(asks, ms)
    this.#points.reach('runner.result', 'after')
  }

  checkpointed(key: string, value: JsonText, kept: () => void): void {
    this.#points.reach('runner.result', 'before')
    this.#call.checkpointed!(key, value, kept)
    this.#points.reach('runner.result', 'after')
  }

  logged(text: string): void {
    this.#call.logged(text)
  }

  progressed(percent: number): void {
    this.#call.progressed(percent)
  }

  streamed(text: string): void {
    this.#call.streamed(text)
  }
}
