// One warm runner: calls out, results in, and the watch over it.
//   R1. HOT. Per call: one entry, one message, one Map.set and one Map.delete. Frames are made once per turn of the event loop.
//   R2. Every entry leaves once: its call is answered, or it is given back to the group to be dispatched again.
//   R3. What a runtime sends is checked here; beyond this file it is trusted and storable.
import type { UserError } from '../core/errors.ts'
import { storable, storableText } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import { ProtocolFault } from '../core/wire/frames.ts'
import {
  protocolVersion,
  type FromRuntime,
  type ReadyInfo,
  type ScopeEnvironment,
  type ToRuntime,
} from '../core/wire/messages.ts'
import {
  canceledError,
  exitError,
  isDeeper,
  memoryError,
  reportedError,
  stuckError,
  timeoutError,
  tooDeepError,
  tooLargeError,
} from './failures.ts'
import type { Call, RunnerSpec } from './pool_types.ts'
import type { Runtime } from './runtimes.ts'
import type { Exit, Transport } from './transport/transport.ts'

/** A call on its way. */
export class Entry {
  readonly call: Call
  id = 0
  /** When it was first seen to have begun; 0 before. */
  begunMs = 0
  /** Runners that died while it ran. */
  crashes = 0
  logBytes = 0
  streamBytes = 0
  /** Sent to an idle runner in this turn of the event loop. */
  fresh = false
  /** It is to stop: the failure its call gets, and when the runner is killed if it goes on. */
  stopError: UserError | null = null
  stopAtMs = 0
  /** The call has its answer; what its code does still occupies the runner. */
  answered = false

  constructor(call: Call) {
    this.call = call
  }

  fail(error: UserError, ms: number): void {
    if (this.answered) return
    this.answered = true
    this.call.failed(error, ms)
  }
}

function age(entry: Entry): void {
  entry.fresh = false
}

export type RunnerState = 'starting' | 'ready' | 'stopping' | 'dead'

export interface RunnerOwner {
  ready(runner: Runner): void
  /** HOT. Once per frame of results. */
  hasRoom(runner: Runner): void
  /** `error` is why, `again` are the calls to dispatch to another runner, in order; `inDoubt` names the steps that ran. */
  died(runner: Runner, error: UserError, again: Entry[], inDoubt: string[]): void
}

/** Work a runner is given ahead: calls that are slow are not queued where a runner with more room could take them. */
const windowMs = 50
const scopesMax = 1_000
const stderrCharsKept = 8_192
/** What a warm Node process takes besides its heap. */
const memoryHeadroomMib = 96

export interface RunnerOptions {
  spec: RunnerSpec
  runtime: Runtime
  limits: Limits
  owner: RunnerOwner
  /** Sees that flush() is called before this turn of the event loop ends. */
  dirty(runner: Runner): void
}

export class Runner {
  readonly spec: RunnerSpec
  readonly startedMs = performance.now()
  state: RunnerState = 'starting'
  wasReady = false
  /** It runs suspects, one at a time, and nothing else. */
  alone = false
  served = 0
  /** Why the code does not load; set by `broken`. */
  broken: UserError | null = null
  readonly entries = new Map<number, Entry>()
  readonly #runtime: Runtime
  readonly #limits: Limits
  readonly #owner: RunnerOwner
  readonly #dirty: (runner: Runner) => void
  #transport!: Transport
  #out: ToRuntime[] = []
  #bytes = 0
  #window: number
  #averageMs = 0
  #nextId = 0
  #begunTold = 0
  #scopes = new Map<ScopeEnvironment, number>()
  #scope: ScopeEnvironment | null = null
  #scopeId = 0
  #stderr = ''
  #killedFor: UserError | null = null
  #guiltyKnown = false
  #stopDeadlineMs = Infinity
  /** Since when it has calls, runs none, and the last one it began is this. */
  #stuckSinceMs = 0
  #stuckAt = -1

  constructor({ spec, runtime, limits, owner, dirty }: RunnerOptions) {
    this.spec = spec
    this.#runtime = runtime
    this.#limits = limits
    this.#owner = owner
    this.#dirty = dirty
    this.#window = spec.sharesFolder ? 1 : runtime.windowMin // until it is known how fast its calls are
  }

  attach(transport: Transport): void {
    this.#transport = transport
  }

  get pid(): number {
    return this.#transport.pid
  }

  /** Calls it can have in hand. */
  get window(): number {
    return this.#window
  }

  /** Calls it may still be given. */
  room(): number {
    if (this.state !== 'ready' || this.alone || (this.#bytes > this.#limits.runnerArgsBytesMax && this.entries.size > 0)) return 0
    return this.#window - this.entries.size
  }

  /** HOT. */
  dispatch(entry: Entry): void {
    const { call } = entry
    if (this.spec.sharesFolder) this.#share(call.folder!)
    const id = ++this.#nextId
    entry.id = id
    entry.begunMs = 0
    if (this.entries.size === 0) {
      entry.fresh = true
      setImmediate(age, entry)
    }
    this.entries.set(id, entry)
    this.#bytes += call.args.length
    if (this.#out.length === 0) this.#dirty(this)
    const scope = call.scope === this.#scope ? this.#scopeId : this.#define(call.scope)
    const { trace, checkpoint } = call
    if (trace || checkpoint) {
      const message: ToRuntime = ['call', id, scope, call.args, call.jobId, call.stepJobId, call.token]
      message.push(trace?.traceparent ?? '', trace?.tracestate ?? '')
      if (checkpoint) message.push(checkpoint)
      this.#out.push(message)
    } else this.#out.push(['call', id, scope, call.args, call.jobId, call.stepJobId, call.token])
  }

  /** User code may have done anything to the folder that it runs in: then another runner takes the call. */
  #share(folder: string): void {
    try {
      this.#transport.share!(folder)
    } catch (error) {
      this.kill({ name: 'RunnerExit', message: `./shared could not be made: ${(error as Error).message}` }, true)
    }
  }

  flush(): void {
    const messages = this.#out
    if (messages.length === 0 || this.state === 'dead') return
    this.#out = []
    this.#transport.send(messages)
  }

  #define(scope: ScopeEnvironment): number {
    let id = this.#scopes.get(scope)
    if (id === undefined) {
      if (this.#scopes.size === scopesMax) this.#scopes.clear() // numbers are defined anew; order makes that safe
      id = this.#scopes.size + 1
      this.#scopes.set(scope, id)
      this.#out.push(['scope', id, scope])
    }
    this.#scope = scope
    this.#scopeId = id
    return id
  }

  // ---- what the runtime says

  /** HOT. One frame. @throws ProtocolFault, upon which the transport ends the runner */
  received(messages: readonly unknown[]): void {
    let sumMs = 0
    let results = 0
    for (const message of messages) {
      if (!Array.isArray(message)) throw new ProtocolFault('a message that is no list')
      switch (message[0] as FromRuntime[0]) {
        case 'ok': {
          const entry = this.#answered(message[1])
          const ms: unknown = message[3]
          if (typeof message[2] !== 'string' || typeof ms !== 'number') throw new ProtocolFault('`ok` without value and time')
          sumMs += ms
          results++
          this.#succeed(entry, message[2], ms)
          break
        }
        case 'error': {
          const entry = this.#answered(message[1])
          results++
          entry.fail(entry.stopError ?? reportedError(message[2]), Number(message[3]) || 0)
          break
        }
        case 'round': {
          const entry = this.#answered(message[1])
          results++
          this.#asked(entry, String(message[2]), Number(message[3]) || 0)
          break
        }
        case 'checkpoint':
          this.#checkpoint(message[1], String(message[2]), String(message[3]))
          break
        case 'log':
          this.#log(message[1], String(message[2]))
          break
        case 'progress':
          this.entries.get(message[1])?.call.progressed(Math.min(100, Math.max(0, Math.round(Number(message[2]) || 0))))
          break
        case 'stream':
          this.#stream(message[1], String(message[2]))
          break
        case 'begin':
          this.#begunTold = Math.max(this.#begunTold, Number(message[1]) || 0)
          break
        case 'ready':
          this.#ready((message[1] as Partial<ReadyInfo> | null)?.protocol)
          break
        case 'broken':
          this.broken = reportedError(message[1])
          break
        default:
          throw new ProtocolFault(`a message of unknown type ${JSON.stringify(message[0]).slice(0, 40)}`)
      }
    }
    if (results === 0) return
    this.served += results
    this.#fitWindow(sumMs / results)
    this.#owner.hasRoom(this)
  }

  #ready(protocol: unknown): void {
    if (protocol !== protocolVersion) throw new ProtocolFault(`protocol version ${String(protocol)}, not ${protocolVersion}`)
    if (this.state !== 'starting') throw new ProtocolFault('a second `ready`')
    this.state = 'ready'
    this.wasReady = true
    this.#owner.ready(this)
  }

  #answered(id: unknown): Entry {
    const entry = this.entries.get(id as number)
    if (entry === undefined) throw new ProtocolFault(`a result for call ${String(id).slice(0, 20)}, which is not under way`)
    this.entries.delete(entry.id)
    this.#bytes -= entry.call.args.length
    return entry
  }

  #succeed(entry: Entry, value: string, ms: number): void {
    const { resultBytesMax, jsonDepthMax } = this.#limits
    if (entry.stopError !== null) entry.fail(entry.stopError, ms)
    else if (value.length * 3 > resultBytesMax && Buffer.byteLength(value) > resultBytesMax) {
      entry.fail(tooLargeError(`what main of ${this.spec.sourceName} returned`, Buffer.byteLength(value), resultBytesMax), ms)
    } else if (isDeeper(value, jsonDepthMax)) entry.fail(tooDeepError('what main returned', jsonDepthMax), ms)
    else {
      entry.answered = true
      entry.call.succeeded(storable(value), ms)
    }
  }

  #asked(entry: Entry, asks: string, ms: number): void {
    const { jsonDepthMax } = this.#limits
    if (!entry.call.asked) throw new ProtocolFault('a round of what is no workflow')
    if (entry.stopError !== null) entry.fail(entry.stopError, ms)
    else if (isDeeper(asks, jsonDepthMax)) entry.fail(tooDeepError('what the workflow asks for', jsonDepthMax), ms)
    else {
      entry.answered = true
      entry.call.asked(storable(asks), ms)
    }
  }

  #checkpoint(id: unknown, value: string, key: string): void {
    const entry = this.entries.get(id as number)
    if (entry === undefined || entry.answered || entry.stopError !== null) return
    const { jsonDepthMax } = this.#limits
    if (!entry.call.checkpointed) throw new ProtocolFault('an inline step of what is no workflow')
    if (isDeeper(value, jsonDepthMax)) {
      this.#stop(entry, tooDeepError(`what step "${key}" gave`, jsonDepthMax), performance.now())
      return
    }
    entry.call.checkpointed(storableText(key), storable(value), () => {
      if (this.entries.get(entry.id) !== entry) return
      if (this.#out.length === 0) this.#dirty(this)
      this.#out.push(['kept', entry.id, key])
    })
  }

  #log(id: unknown, text: string): void {
    const entry = this.entries.get(id as number)
    if (entry === undefined) {
      if (id === 0) this.#stderr = (this.#stderr + text).slice(-stderrCharsKept)
      return // else the call is over
    }
    const room = this.#limits.logBytesMax - entry.logBytes
    if (room < 0 || entry.answered) return
    let kept = storableText(text)
    const bytes = Buffer.byteLength(kept)
    entry.logBytes += bytes
    if (bytes > room) {
      kept = Buffer.from(kept)
        .subarray(0, room)
        .toString('utf8')
        .replace(/\uFFFD$/, '')
      kept += `\n[the log was cut here: a step may write ${this.#limits.logBytesMax} bytes]\n`
      entry.logBytes = Infinity
    }
    entry.call.logged(kept)
  }

  /** A streamed result is a result: no more of it is kept than of one. */
  #stream(id: unknown, text: string): void {
    const entry = this.entries.get(id as number)
    if (entry === undefined || entry.answered || entry.streamBytes > this.#limits.resultBytesMax) return
    entry.streamBytes += Buffer.byteLength(text)
    if (entry.streamBytes <= this.#limits.resultBytesMax) entry.call.streamed(storableText(text))
    else this.#log(id, `[the stream was cut here: a step may stream ${this.#limits.resultBytesMax} bytes]\n`)
  }

  #fitWindow(ms: number): void {
    const { windowMin, windowMax } = this.#runtime
    if (windowMin === windowMax || this.spec.sharesFolder) return
    this.#averageMs = this.#averageMs === 0 ? ms : this.#averageMs + (ms - this.#averageMs) * 0.2
    this.#window = Math.max(windowMin, Math.min(windowMax, Math.ceil(windowMs / this.#averageMs)))
  }

  /**
   * Output outside the protocol is the log of a call only if it can be of no other: just one is under way, and it was not sent
   * in this turn of the event loop (its predecessor's result and output may be read in one turn).
   */
  printed(text: string): void {
    this.#stderr = (this.#stderr + text).slice(-stderrCharsKept)
    if (this.entries.size !== 1) return
    const [entry] = this.entries.values()
    if (!entry!.fresh) this.#log(entry!.id, text)
  }

  // ---- the watch

  /** Ten times a second: time-outs, calls that do not stop, memory. */
  tick(nowMs: number): void {
    if (this.state === 'starting') {
      if (performance.now() - this.startedMs > this.#limits.runnerStartMs) {
        this.broken = { name: 'RunnerExit', message: `the runner was not ready within ${this.#limits.runnerStartMs / 1000} s` }
        this.kill(this.broken, true)
      }
      return
    }
    if (nowMs > this.#stopDeadlineMs) this.#transport.kill()
    if (this.entries.size > 0) this.#watchCalls(nowMs)
    else this.#stuckAt = -1
    if (this.#runtime.watchMemory && this.#killedFor === null) this.#watchMemory()
  }

  #watchCalls(nowMs: number): void {
    const { begun, oldest } = this.#progress()
    let overdue: UserError | null = null
    let runs = false
    for (const entry of this.entries.values()) {
      if (entry.id > begun) break
      if (entry.id < oldest) continue
      runs = true
      if (entry.begunMs === 0) entry.begunMs = nowMs
      if (entry.stopError === null) {
        if (nowMs - entry.begunMs > entry.call.timeoutMs) this.#stop(entry, timeoutError(entry.call.timeoutMs), nowMs)
      } else if (nowMs > Math.max(entry.stopAtMs, entry.begunMs + this.#limits.cancelGraceMs)) {
        entry.fail(entry.stopError, nowMs - entry.begunMs)
        overdue = entry.stopError
      }
    }
    if (overdue !== null) this.kill(overdue, true)
    this.#watchStuck(runs, begun, nowMs)
  }

  /** Code that goes on after its answer may never let the runtime look for the next call. */
  #watchStuck(runs: boolean, begun: number, nowMs: number): void {
    if (runs || begun !== this.#stuckAt) {
      this.#stuckAt = begun
      this.#stuckSinceMs = nowMs
    } else if (nowMs - this.#stuckSinceMs > this.#limits.runnerStuckMs) {
      this.kill(stuckError(this.#limits.runnerStuckMs), false)
    }
  }

  #watchMemory(): void {
    const { runnerMemoryMib } = this.#limits
    if (this.#transport.memoryBytes() <= (runnerMemoryMib + memoryHeadroomMib) << 20) return
    this.kill(memoryError(runnerMemoryMib), false)
  }

  #stop(entry: Entry, error: UserError, nowMs: number): void {
    entry.stopError = error
    entry.stopAtMs = nowMs + this.#limits.cancelGraceMs
    if (this.#out.length === 0) this.#dirty(this)
    this.#out.push(['cancel', entry.id, error.message])
  }

  /** A call that has not begun has its answer at once; should it begin all the same, its result is dropped. */
  cancel(entry: Entry, reason: string): void {
    if (entry.stopError !== null || entry.answered) return
    const error = canceledError(reason)
    this.#stop(entry, error, performance.now())
    if (entry.id > this.#progress().begun) entry.fail(error, 0)
  }

  #progress(): { begun: number; oldest: number } {
    const { begun, oldest } = this.#transport.progress()
    return { begun: Math.max(begun, this.#begunTold), oldest }
  }

  // ---- the end

  /** Ends it by force. If it is not known which call is guilty, those that ran are in doubt. */
  kill(error: UserError, guiltyKnown: boolean): void {
    this.#guiltyKnown ||= guiltyKnown
    this.#killedFor ??= error
    this.#transport.kill()
  }

  /** Asks it to end; it is killed if it does not. */
  stop(): void {
    if (this.state === 'starting') this.#transport.kill()
    if (this.state !== 'ready') return
    this.state = 'stopping'
    this.#stopDeadlineMs = performance.now() + this.#limits.cancelGraceMs
    this.#transport.send([['stop']])
  }

  exited(exit: Exit): void {
    this.state = 'dead' // before anyone is told: a retry that begins at once goes to another runner
    const error = this.#killedFor ?? exitError(exit, this.#stderr, this.#limits.runnerMemoryMib)
    const { begun, oldest } = this.#progress()
    const unanswered = [...this.entries.values()].filter((entry) => !entry.answered)
    const running = unanswered.filter((entry) => entry.id <= begun && entry.id >= oldest && entry.stopError === null)
    if (!this.#guiltyKnown) {
      for (const entry of running) entry.crashes++
      // Only one was running: it did it, or at least nobody else did.
      if (running.length === 1) running[0]!.fail(error, 0)
    }
    const again: Entry[] = []
    for (const entry of unanswered) {
      if (entry.stopError !== null) entry.fail(entry.stopError, 0)
      else if (entry.crashes >= this.#limits.crashesMax) entry.fail(error, 0)
      else if (!entry.answered) again.push(entry)
    }
    this.entries.clear()
    this.#out = []
    this.#owner.died(
      this,
      this.broken ?? error,
      again,
      running.flatMap((entry) => entry.call.logId ?? []),
    )
  }
}
