// A worker of one's own inside the test's process: real Postgres, real runners, the same parts `millrace worker` builds.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll } from 'vitest'
import { createSandbox } from '../../src/core/expr/sandbox.ts'
import type { FlowModule, FlowValue } from '../../src/core/flow/definition.ts'
import { turnRuleOf } from '../../src/core/flow/turns.ts'
import type { Json } from '../../src/core/json.ts'
import { defaultLimits, type Limits } from '../../src/core/limits.ts'
import { createDeployer } from '../../src/deploy/deploy.ts'
import { createRunnerPool } from '../../src/runner/pool.ts'
import type { RunnerPool } from '../../src/runner/pool_types.ts'
import { loadArtifact } from '../../src/store/artifacts.ts'
import type { Database } from '../../src/store/db.ts'
import { createEnqueuer, type Enqueuer } from '../../src/store/enqueuer.ts'
import { createJobTokens } from '../../src/store/job_tokens.ts'
import { newJobId, type NewJob } from '../../src/store/jobs.ts'
import { createTurnMakers, type TurnMaker } from '../../src/store/turns.ts'
import { createWorker, type Worker } from '../../src/worker/worker.ts'
import { testDatabase } from './database.ts'

export interface Done {
  id: string
  status: string
  result: Json
  steps: { k: string; n?: number; s?: string; [field: string]: Json | undefined }[]
  worker_id: number | null
}

export interface Deployed {
  versionId: string
  tag: string
  /** What its jobs wait for before they are ready. */
  turns?: TurnMaker | null
}

export interface Engine {
  db: Database
  home: string
  limits: Limits
  enqueuer: Enqueuer
  deploy(path: string, modules: FlowModule[], more?: Partial<FlowValue>, dedicated?: boolean): Promise<Deployed>
  /** The code of a script, or its document. */
  script(path: string, content: string | Record<string, Json>, language?: string): Promise<string>
  /** Starts a worker for these flows (none: a shared worker). Stopped at the end of the file. */
  work(flows?: Deployed[], options?: WorkOptions): Promise<TestWorker>
  start(flow: Deployed, args?: Json, more?: Partial<NewJob>): Promise<string>
  /** Starts a job and waits for its end. */
  run(flow: Deployed, args?: Json): Promise<Done>
  done(id: string): Promise<Done>
}

export interface WorkOptions {
  limits?: Partial<Limits>
  replicas?: Record<string, number>
  /** Whose jobs it takes; absent: the flows' own, or those that every shared worker takes. */
  tags?: string[]
  /** Jobs held at a time. */
  concurrency?: number
  /** Where user code reaches the API. */
  baseUrl?: string
}

export interface TestWorker {
  worker: Worker
  pool: RunnerPool
  stop(): Promise<void>
}

export async function testEngine(given: Partial<Limits> = {}): Promise<Engine> {
  const db = await testDatabase({ poolMax: 12 })
  const home = mkdtempSync(join(tmpdir(), 'millrace-engine-'))
  const limits = { ...defaultLimits, ...given }
  const deployer = createDeployer({ db, limits, home })
  const enqueuer = createEnqueuer({ db, limits })
  const turnMakers = createTurnMakers(limits)
  const workers: TestWorker[] = []
  const tokens = await createJobTokens(db)
  const sandbox = await createSandbox({ timeMs: limits.expressionMs, memoryBytes: limits.expressionMemoryBytes })
  afterAll(async () => {
    await Promise.all(workers.map((one) => one.stop()))
    await enqueuer.close()
    rmSync(home, { recursive: true, force: true })
  })

  const engine: Engine = {
    db,
    home,
    limits,
    enqueuer,
    async deploy(path, modules, more = {}, dedicated = true) {
      const document = { summary: path, value: { modules, ...more }, dedicated_worker: dedicated }
      const { versionId } = await deployer.deployFlow({ workspaceId: 'main', path, document, by: 'test' })
      const version = { workspaceId: 'main', kind: 'flow', path, versionId } as const
      const turns = await turnMakers.of(turnRuleOf(more), version)
      return { versionId, tag: dedicated ? `main:flow/${path}` : 'flow', turns }
    },
    async script(path, content, language = 'bun') {
      const document = typeof content === 'string' ? { content, language } : content
      const { hash } = await deployer.deployScript({ workspaceId: 'main', path, document, by: 'test' })
      return hash
    },
    async work(flows = [], options = {}) {
      const workerLimits = { ...limits, ...options.limits }
      const policy = flows.length > 0 ? 'pinned' : 'shared'
      const { baseUrl = 'http://127.0.0.1:1' } = options
      const pool = createRunnerPool({
        limits: workerLimits,
        home,
        policy,
        artifacts: { load: (key) => loadArtifact(db.pool, key) },
        environment: { BASE_URL: baseUrl, BASE_INTERNAL_URL: baseUrl, WM_BASE_URL: baseUrl },
      })
      const worker = createWorker({
        db,
        limits: workerLimits,
        pool,
        sandbox,
        tokens,
        bindings: flows.map((flow) => flow.tag),
        tags: options.tags ?? (flows.length > 0 ? [] : ['flow', 'bun', 'python3', 'bash', 'nativets', 'deno']),
        replicas: options.replicas ?? {},
        baseUrl,
        ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
        name: 'test',
        version: '0.0.0',
        log: pino({ level: process.env['TEST_LOG'] ?? 'silent' }),
      })
      const stop = new AbortController()
      const running = worker.run(stop.signal)
      const one: TestWorker = {
        worker,
        pool,
        async stop() {
          stop.abort()
          await running
          await pool.close()
        },
      }
      workers.push(one)
      return one
    },
    async start(flow, args = {}, more = {}) {
      const [id] = await enqueuer.enqueue([
        {
          id: newJobId(),
          workspaceId: 'main',
          versionId: flow.versionId,
          tag: flow.tag,
          priority: 0,
          args: JSON.stringify(args),
          createdBy: 'test',
          ...(flow.turns ? { turn: flow.turns.turnOf(JSON.stringify(args)) } : {}),
          ...more,
        },
      ])
      return id!
    },
    run: async (flow, args) => engine.done(await engine.start(flow, args)),
    async done(id) {
      for (;;) {
        const { rows } = await db.pool.query('select id, status, result, steps, worker_id from job_done where id = $1', [id])
        const row = rows[0] as { id: string; status: string; result: string; steps: string; worker_id: number | null } | undefined
        if (row) return { ...row, result: JSON.parse(row.result) as Json, steps: JSON.parse(row.steps) as Done['steps'] }
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    },
  }
  return engine
}

/** Code that ends once this file is there. */
export const holds = (file: string): string =>
  `import { existsSync } from 'node:fs'
   export const main = async () => {
     while (!existsSync(${JSON.stringify(file)})) await new Promise((resolve) => setTimeout(resolve, 5))
   }`

/** A step of code whose parameters take the expressions given. */
export function code(
  id: string,
  language: string,
  content: string,
  inputs: Record<string, string> = {},
  more: Partial<FlowModule> = {},
): FlowModule {
  const input_transforms = Object.fromEntries(
    Object.entries(inputs).map(([name, expr]) => [name, { type: 'javascript' as const, expr }]),
  )
  return { id, value: { type: 'rawscript', language, content, input_transforms }, ...more }
}

export const ts = (
  id: string,
  content: string,
  inputs: Record<string, string> = {},
  more: Partial<FlowModule> = {},
): FlowModule => code(id, 'bun', content, inputs, more)
