// A pool with code given as text, and calls as promises.
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { UserError } from '../../src/core/errors.ts'
import type { Language, RuntimeName } from '../../src/core/flow/definition.ts'
import { defaultLimits, type Limits } from '../../src/core/limits.ts'
import type { RunnerEvent } from '../../src/runner/group.ts'
import { createRunnerPool } from '../../src/runner/pool.ts'
import type { Artifact, Call, CallTrace, RunnerPool, RunnerSpec } from '../../src/runner/pool_types.ts'

export interface Answer {
  ok: boolean
  value?: unknown
  error?: UserError
  ms: number
}

/** One call and all that is heard of it. */
export class Heard implements Call {
  readonly scope: Record<string, string>
  readonly args: string
  readonly jobId: string
  readonly stepJobId: string
  readonly token: string
  readonly timeoutMs: number
  readonly trace: CallTrace | null
  readonly logId: string
  readonly answer: Promise<Answer>
  log = ''
  stream = ''
  percents: number[] = []
  answers = 0
  /** Called before the pool goes on. */
  onFailed = (): void => {}
  #settle!: (answer: Answer) => void
  #watchers: { holds: () => boolean; resolve: () => void }[] = []

  constructor(args: unknown, options: Partial<CallOptions>) {
    this.scope = options.scope ?? noScope
    this.args = JSON.stringify(args)
    this.jobId = options.jobId ?? 'job'
    this.stepJobId = options.stepJobId ?? 'step'
    this.token = options.token ?? ''
    this.timeoutMs = options.timeoutMs ?? 60_000
    this.trace = options.trace ?? null
    this.logId = this.stepJobId
    this.answer = new Promise((resolve) => (this.#settle = resolve))
  }

  succeeded(value: string, ms: number): void {
    this.answers++
    this.#settle({ ok: true, value: JSON.parse(value), ms })
  }

  failed(error: UserError, ms: number): void {
    this.answers++
    this.onFailed()
    this.#settle({ ok: false, error, ms })
  }

  logged(text: string): void {
    this.log += text
    this.#heard()
  }

  progressed(percent: number): void {
    this.percents.push(percent)
    this.#heard()
  }

  streamed(text: string): void {
    this.stream += text
    this.#heard()
  }

  /** Resolves once the log holds this text. */
  logs(text: string): Promise<void> {
    return new Promise((resolve) => {
      this.#watchers.push({ holds: () => this.log.includes(text), resolve })
      this.#heard()
    })
  }

  #heard(): void {
    for (const watcher of this.#watchers) if (watcher.holds()) watcher.resolve()
    this.#watchers = this.#watchers.filter((watcher) => !watcher.holds())
  }
}

const noScope = {}

export interface CallOptions {
  scope: Record<string, string>
  jobId: string
  stepJobId: string
  token: string
  timeoutMs: number
  trace: CallTrace | null
}

export interface Harness {
  pool: RunnerPool
  events: RunnerEvent[]
  home: string
  spec(code: string, options?: { name?: string; params?: string[]; lock?: string }): RunnerSpec
  call(spec: RunnerSpec, args: unknown, options?: Partial<CallOptions>): Heard
  /** Resolves with the next event of this kind that comes from now on. */
  next(kind: RunnerEvent['kind']): Promise<RunnerEvent>
  pids(spec: RunnerSpec): number[]
  close(): Promise<void>
}

export function createHarness(
  runtime: RuntimeName,
  options: { limits?: Partial<Limits>; policy?: 'pinned' | 'shared'; environment?: Record<string, string> } = {},
): Harness {
  const home = mkdtempSync(join(tmpdir(), 'millrace-test-'))
  const artifacts = new Map<string, Artifact>()
  const events: RunnerEvent[] = []
  let watchers: { kind: string; resolve(event: RunnerEvent): void }[] = []
  const pool = createRunnerPool({
    limits: { ...defaultLimits, cancelGraceMs: 300, ...options.limits },
    home,
    artifacts: { load: async (key) => artifacts.get(key)! },
    policy: options.policy ?? 'pinned',
    environment: options.environment,
    report(event) {
      events.push(event)
      const called = watchers.filter((watcher) => watcher.kind === event.kind)
      watchers = watchers.filter((watcher) => watcher.kind !== event.kind)
      for (const watcher of called) watcher.resolve(event)
    },
  })
  return {
    pool,
    events,
    home,
    spec(code, { name = 'contract/step', params = ['what', 'value'], lock } = {}) {
      const key = createHash('sha256').update(`${code}${lock}`).digest('hex')
      artifacts.set(key, { key, language: languageOf[runtime], content: code, lock: lock ?? null })
      return { key, runtime, language: languageOf[runtime], artifactKey: key, params, sourceName: name, sharesFolder: false }
    },
    call(spec, args, callOptions = {}) {
      const heard = new Heard(args, callOptions)
      pool.call(spec, heard)
      return heard
    },
    next: (kind) => new Promise((resolve) => watchers.push({ kind, resolve })),
    pids: (spec) => pool.stats().find((stats) => stats.key === spec.key)?.pids ?? [],
    async close() {
      await pool.close()
      rmSync(home, { recursive: true, force: true })
    },
  }
}

const languageOf: Record<RuntimeName, Language> = { node: 'bun', 'node-thread': 'nativets', python: 'python3', bash: 'bash' }

export function lineOf(code: string, mark: string): number {
  return code.split('\n').findIndex((line) => line.includes(mark)) + 1
}
