// The runner pool: a worker's warm runners, by key. Pinned: they stay until released; shared: the least recently used go.
//   P1. HOT. Per call: one Map.get. Per turn of the event loop: one frame per runner that has something to say.
//   P2. One timer watches all runners; it runs only while there are any.
import type { Limits } from '../core/limits.ts'
import { createArtifactCache, type PreparedCode } from './artifacts.ts'
import { Group, type RunnerEvent } from './group.ts'
import type { Artifact, Call, PoolStats, RunnerPool, RunnerSpec } from './pool_types.ts'
import { Runner, type RunnerOwner } from './runner.ts'
import { runtimes } from './runtimes.ts'
import { startProcess, sweepFolders } from './transport/process.ts'
import { startThread } from './transport/thread.ts'

const tickMs = 100

export interface RunnerPoolOptions {
  limits: Limits
  /** Where code and packages are cached: `<home>/cache`. */
  home: string
  artifacts: { load(key: string): Promise<Artifact> }
  policy: 'pinned' | 'shared'
  /** Variables that every runner starts with, so that SDKs which read them at load find them (BASE_INTERNAL_URL, …). */
  environment?: Record<string, string>
  report?(event: RunnerEvent): void
}

export function createRunnerPool(options: RunnerPoolOptions): RunnerPool {
  sweepFolders()
  return new Pool(options)
}

class Pool implements RunnerPool {
  readonly #options: RunnerPoolOptions
  readonly #prepare: (spec: RunnerSpec) => Promise<PreparedCode>
  readonly #groups = new Map<string, Group>()
  readonly #leaving = new Set<Group>()
  #dirty: Runner[] = []
  #uses = 0
  #timer: NodeJS.Timeout | null = null

  constructor(options: RunnerPoolOptions) {
    this.#options = options
    const cache = createArtifactCache({ home: options.home, load: (key) => options.artifacts.load(key) })
    this.#prepare = (spec) => cache.prepare(spec)
  }

  call(spec: RunnerSpec, call: Call): void {
    const group = this.#groups.get(spec.key) ?? this.#add(spec)
    group.usedAt = ++this.#uses
    group.call(call)
  }

  async warm(spec: RunnerSpec, replicas: number): Promise<void> {
    const group = this.#groups.get(spec.key) ?? this.#add(spec)
    group.usedAt = ++this.#uses
    await group.warm(replicas)
  }

  cancel(call: Call, reason: string): void {
    for (const group of this.#groups.values()) if (group.cancel(call, reason)) return
    for (const group of this.#leaving) if (group.cancel(call, reason)) return
  }

  async release(key: string): Promise<void> {
    const group = this.#groups.get(key)
    if (group === undefined) return
    this.#groups.delete(key)
    this.#leaving.add(group)
    await group.release()
    this.#leaving.delete(group)
  }

  stats(): PoolStats[] {
    return [...this.#groups.values(), ...this.#leaving].map((group) => group.stats())
  }

  capacity(): number {
    let sum = 0
    for (const group of this.#groups.values()) sum += group.capacity
    return sum
  }

  async close(): Promise<void> {
    const groups = [...this.#groups.values(), ...this.#leaving]
    this.#groups.clear()
    await Promise.all(groups.map((group) => group.close()))
    this.#leaving.clear()
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  #add(spec: RunnerSpec): Group {
    const group = new Group({
      spec,
      windowMin: spec.sharesFolder ? 1 : runtimes[spec.runtime].windowMin,
      prepare: this.#prepare,
      start: (of, code, owner) => this.#start(of, code, owner),
      report: (event) => this.#options.report?.(event),
    })
    this.#groups.set(spec.key, group)
    if (this.#options.policy === 'shared') this.#makeRoom(group)
    this.#timer ??= setInterval(() => this.#tick(), tickMs).unref()
    return group
  }

  #start(spec: RunnerSpec, code: PreparedCode, owner: RunnerOwner): Runner {
    const { limits, environment = {} } = this.#options
    const runtime = runtimes[spec.runtime]
    const runner = new Runner({ spec, runtime, limits, owner, dirty: (one) => this.#schedule(one) })
    const settings = {
      ...code,
      params: spec.params,
      entry: spec.entry ?? '',
      source: spec.sourceName,
      memoryMib: limits.runnerMemoryMib,
      resultBytesMax: limits.resultBytesMax,
      logBytesMax: limits.logBytesMax,
      sharesFolder: spec.sharesFolder,
    }
    const start = runtime.transport === 'process' ? startProcess : startThread
    runner.attach(start({ runtime, settings, environment, events: runner }))
    return runner
  }

  #schedule(runner: Runner): void {
    if (this.#dirty.length === 0) process.nextTick(flushAll, this)
    this.#dirty.push(runner)
  }

  /** Called by flushAll only. */
  flush(): void {
    const dirty = this.#dirty
    this.#dirty = []
    for (const runner of dirty) runner.flush()
  }

  #tick(): void {
    const nowMs = performance.now()
    for (const group of this.#groups.values()) group.tick(nowMs)
    for (const group of this.#leaving) group.tick(nowMs)
    if (this.#options.policy === 'shared') this.#makeRoom(null)
    if (this.#groups.size + this.#leaving.size > 0) return
    clearInterval(this.#timer!)
    this.#timer = null
  }

  /** Releases idle groups, the least recently used first, until the bound holds. Those at work are never released. */
  #makeRoom(newest: Group | null): void {
    while (this.#groups.size > this.#options.limits.sharedRunnersMax) {
      let oldest: Group | null = null
      for (const group of this.#groups.values()) {
        if (group !== newest && group.idle && (oldest === null || group.usedAt < oldest.usedAt)) oldest = group
      }
      if (oldest === null) return
      void this.release(oldest.spec.key)
    }
  }
}

function flushAll(pool: Pool): void {
  pool.flush()
}
