// The runners of one key and the calls that wait for them.
//   G1. HOT. A call goes to the runner with the most room, or to the queue's end; a frame of results draws from its head.
//   G2. A runner that dies is replaced alone: at once if it had served a call, later and later if they keep dying before that.
//   G3. When a runner died while several calls ran, none is blamed: they run again, and after a second such death one at a
//       time in a runner of their own, where the guilty one shows itself.
//   G4. Calls never wait for code that cannot be loaded: they fail with the reason.
import { EngineError, type UserError } from '../core/errors.ts'
import type { PreparedCode } from './artifacts.ts'
import { canceledError } from './failures.ts'
import type { Call, PoolStats, RunnerSpec } from './pool_types.ts'
import { Entry, Runner, type RunnerOwner } from './runner.ts'

/** Deaths in a row before `ready`, after which waiting calls fail and, for a while, new ones do too. */
const startFailuresMax = 3
/** By the number of deaths in a row of runners that had served nothing. */
const backoffMs = [0, 0, 50, 200, 1_000, 5_000] as const
const retryStartMs = 5_000
const suspectAfterCrashes = 2
/** Runners of one key that have one call at a time. */
const sharingRunnersMax = 4

export type RunnerEvent =
  | { kind: 'ready'; key: string; pid: number; startMs: number }
  /** `inDoubt`: the steps whose calls were under way. */
  | { kind: 'died'; key: string; source: string; pid: number; error: UserError; restartInMs: number; inDoubt: string[] }
  | { kind: 'broken'; key: string; error: UserError }

export interface GroupOptions {
  spec: RunnerSpec
  /** Calls that a runner takes even if they are slow. */
  windowMin: number
  prepare(spec: RunnerSpec): Promise<PreparedCode>
  /** Makes a runner and starts it; its owner hears of it from now on. */
  start(spec: RunnerSpec, code: PreparedCode, owner: RunnerOwner): Runner
  report(event: RunnerEvent): void
}

interface Waiter {
  runners: number
  resolve(): void
  reject(error: EngineError): void
}

export class Group implements RunnerOwner {
  readonly spec: RunnerSpec
  readonly runners: Runner[] = []
  /** Grows with use over all groups: who has the smallest is released first. */
  usedAt = 0
  replicas = 1
  restarts = 0
  readonly #options: GroupOptions
  #queue: Entry[] = []
  #head = 0
  #suspects: Entry[] = []
  #aloneStarting = false
  #starting = 0
  #startFailures = 0
  #startFailedMs = 0
  #barrenDeaths = 0
  #lastError: UserError | null = null
  #broken = false
  #timer: NodeJS.Timeout | null = null
  #closed = false
  #leaving: (() => void)[] | null = null
  #waiters: Waiter[] = []

  constructor(options: GroupOptions) {
    this.#options = options
    this.spec = options.spec
  }

  get queued(): number {
    return this.#queue.length - this.#head + this.#suspects.length
  }

  get inFlight(): number {
    let sum = 0
    for (const runner of this.runners) sum += runner.entries.size
    return sum
  }

  /** Calls its runners can have in hand; 0 if there are none. What is still starting counts as if all were slow. */
  get capacity(): number {
    let sum = 0
    let calls = this.queued
    for (const runner of this.runners) {
      sum += runner.window
      calls += runner.entries.size
    }
    return calls === 0 ? 0 : Math.max(sum, this.replicas * this.#options.windowMin)
  }

  /** Its runners but the one for suspects. */
  get #shared(): Runner[] {
    return this.runners.filter(isShared)
  }

  get idle(): boolean {
    return this.queued === 0 && this.#starting === 0 && this.inFlight === 0
  }

  /** HOT. */
  call(call: Call): void {
    const entry = new Entry(call)
    if (this.#head === this.#queue.length) {
      const runner = this.#roomiest()
      if (runner !== null) {
        runner.dispatch(entry)
        return
      }
    }
    this.#queue.push(entry)
    if (this.spec.sharesFolder && this.replicas < sharingRunnersMax && this.runners.length >= this.replicas) this.replicas += 1
    else if (this.runners.some(isShared)) return
    this.#fill()
  }

  #roomiest(): Runner | null {
    let best: Runner | null = null
    let bestRoom = 0
    for (const runner of this.runners) {
      const room = runner.room()
      if (room > bestRoom) {
        best = runner
        bestRoom = room
      }
    }
    return best
  }

  // ---- what its runners tell

  hasRoom(runner: Runner): void {
    if (runner.alone) {
      this.#examine(runner)
      return
    }
    let room = runner.room()
    while (room > 0 && this.#head < this.#queue.length) {
      runner.dispatch(this.#queue[this.#head]!)
      this.#head++
      room = runner.room()
    }
    if (this.#head === this.#queue.length) {
      this.#queue = []
      this.#head = 0
      if (this.#leaving !== null) this.#leaveIfIdle()
    } else if (this.#head > 1_024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
  }

  ready(runner: Runner): void {
    this.#broken = false
    this.#startFailures = 0
    const startMs = Math.round(performance.now() - runner.startedMs)
    this.#options.report({ kind: 'ready', key: this.spec.key, pid: runner.pid, startMs })
    this.#settleWaiters()
    this.hasRoom(runner)
  }

  died(runner: Runner, error: UserError, again: Entry[], inDoubt: string[]): void {
    this.runners.splice(this.runners.indexOf(runner), 1)
    this.#takeBack(again)
    if (this.#closed || (this.#leaving !== null && this.queued === 0)) {
      this.#leaveIfIdle()
      return
    }
    if (runner.alone) {
      if (!runner.wasReady) this.#failSuspects(error)
      if (this.#suspects.length > 0) void this.#startAlone()
      return
    }
    if (this.#suspects.length > 0) void this.#startAlone()
    this.#barrenDeaths = runner.served > 0 ? 0 : this.#barrenDeaths + 1
    this.restarts++
    if (!runner.wasReady) this.#startFailed(error)
    if (runner.broken !== null) this.#cannotLoad(runner.broken)
    const restartInMs = this.#fill()
    const { key, sourceName: source } = this.spec
    if (!this.#broken) this.#options.report({ kind: 'died', key, source, pid: runner.pid, error, restartInMs, inDoubt })
    for (const other of this.runners) this.hasRoom(other)
  }

  #takeBack(again: Entry[]): void {
    if (again.length === 0) return
    const innocent = again.filter((entry) => entry.crashes < suspectAfterCrashes)
    this.#suspects.push(...again.filter((entry) => entry.crashes >= suspectAfterCrashes))
    this.#queue = [...innocent, ...this.#queue.slice(this.#head)]
    this.#head = 0
  }

  // ---- suspects

  #examine(runner: Runner): void {
    if (runner.state !== 'ready' || runner.entries.size > 0) return
    const suspect = this.#suspects.shift()
    if (suspect !== undefined) runner.dispatch(suspect)
    else runner.stop()
    if (this.#leaving !== null) this.#leaveIfIdle()
  }

  /** Never rejects. */
  async #startAlone(): Promise<void> {
    if (this.#aloneStarting || this.#closed || this.runners.some((runner) => runner.alone)) return
    this.#aloneStarting = true
    try {
      const runner = this.#options.start(this.spec, await this.#options.prepare(this.spec), this)
      runner.alone = true
      this.runners.push(runner)
    } catch (error) {
      this.#failSuspects({ name: 'RunnerExit', message: (error as Error).message })
    }
    this.#aloneStarting = false
  }

  #failSuspects(error: UserError): void {
    const suspects = this.#suspects
    this.#suspects = []
    for (const suspect of suspects) suspect.fail(error, 0)
  }

  // ---- starting

  async warm(replicas: number): Promise<void> {
    this.replicas = Math.max(this.replicas, replicas)
    this.#broken = false
    this.#startFailures = 0
    await new Promise<void>((resolve, reject) => {
      this.#waiters.push({ runners: replicas, resolve, reject })
      this.#settleWaiters()
      this.#fill()
    })
  }

  #settleWaiters(): void {
    const ready = this.#shared.filter((runner) => runner.state === 'ready').length
    for (const waiter of this.#waiters) if (waiter.runners <= ready) waiter.resolve()
    this.#waiters = this.#waiters.filter((waiter) => waiter.runners > ready)
  }

  /** Starts what is missing, now or after the back-off. Returns the delay. */
  #fill(): number {
    if (this.#closed || this.#timer !== null) return 0
    const missing = this.replicas - this.#shared.length - this.#starting
    if (missing <= 0) return 0
    if (this.#startFailures >= startFailuresMax && performance.now() - this.#startFailedMs < retryStartMs) {
      this.#cannotLoad(this.#lastError!)
    }
    // Broken code is not tried again until someone asks for it.
    if (this.#broken && this.queued === 0 && this.#waiters.length === 0) return 0
    const delayMs = backoffMs[Math.min(this.#barrenDeaths, backoffMs.length - 1)]!
    if (delayMs === 0) {
      for (let i = 0; i < missing; i++) void this.#start()
      return 0
    }
    this.#timer = setTimeout(() => {
      this.#timer = null
      const now = this.replicas - this.#shared.length - this.#starting
      for (let i = 0; i < now; i++) void this.#start()
    }, delayMs)
    return delayMs
  }

  /** Never rejects. */
  async #start(): Promise<void> {
    this.#starting++
    try {
      const code = await this.#options.prepare(this.spec)
      this.#starting--
      if (!this.#closed) this.runners.push(this.#options.start(this.spec, code, this))
    } catch (error) {
      this.#starting--
      const { name, message } = error as Error
      const failure = { name: error instanceof EngineError ? error.code : name, message }
      this.#startFailed(failure)
      this.#cannotLoad(failure)
    }
  }

  #startFailed(error: UserError): void {
    this.#startFailures++
    this.#startFailedMs = performance.now()
    this.#lastError = error
  }

  /** No call will succeed: those that wait fail, unless other runners of this code work. */
  #cannotLoad(error: UserError): void {
    const waiters = this.#waiters
    this.#waiters = []
    const at = this.spec.sourceName
    for (const waiter of waiters) {
      const text = error.message.startsWith(at) ? error.message : `${at}: the code cannot be loaded: ${error.message}`
      waiter.reject(new EngineError('E_CODE_INVALID', text, { at, cause: error }))
    }
    if (this.#shared.some((runner) => runner.state === 'ready')) return
    this.#broken = true
    this.#options.report({ kind: 'broken', key: this.spec.key, error })
    const entries = this.#queue.slice(this.#head)
    this.#queue = []
    this.#head = 0
    for (const entry of entries) entry.fail(error, 0)
    if (this.#leaving !== null) this.#leaveIfIdle()
  }

  // ---- ending

  /** True if the call was found here. */
  cancel(call: Call, reason: string): boolean {
    const suspect = this.#suspects.findIndex((entry) => entry.call === call)
    if (suspect !== -1) {
      this.#suspects.splice(suspect, 1)[0]!.fail(canceledError(reason), 0)
      return true
    }
    for (let i = this.#head; i < this.#queue.length; i++) {
      const entry = this.#queue[i]!
      if (entry.call !== call) continue
      this.#queue.splice(i, 1)
      entry.fail(canceledError(reason), 0)
      return true
    }
    for (const runner of this.runners) {
      for (const entry of runner.entries.values()) {
        if (entry.call !== call) continue
        runner.cancel(entry, reason)
        return true
      }
    }
    return false
  }

  tick(nowMs: number): void {
    for (const runner of this.runners) runner.tick(nowMs)
  }

  /** Resolves once its calls are over and its runners have ended. */
  release(): Promise<void> {
    return new Promise((resolve) => {
      ;(this.#leaving ??= []).push(resolve)
      this.#leaveIfIdle()
    })
  }

  #leaveIfIdle(): void {
    if (this.inFlight + this.queued > 0) return
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    for (const runner of this.runners) runner.stop()
    if (this.runners.length > 0) return
    for (const left of this.#leaving ?? []) left()
    this.#leaving = []
  }

  stats(): PoolStats {
    return {
      key: this.spec.key,
      runtime: this.spec.runtime,
      runners: this.runners.filter((runner) => runner.state === 'ready').length,
      inFlight: this.inFlight,
      queued: this.queued,
      restarts: this.restarts,
      pids: this.runners.map((runner) => runner.pid),
    }
  }

  /** Ends all by force; calls under way get no answer. */
  close(): Promise<void> {
    this.#queue = []
    this.#head = 0
    this.#suspects = []
    for (const runner of this.runners) {
      for (const entry of runner.entries.values()) entry.answered = true
      runner.kill(canceledError('the pool is closed'), true)
    }
    const left = this.release()
    this.#closed = true
    return left
  }
}

function isShared(runner: Runner): boolean {
  return !runner.alone
}
