// `millrace worker`: builds the parts of one worker, and runs it until it is asked to drain.
import { hostname } from 'node:os'
import type { Logger } from 'pino'
import { createSandbox } from '../core/expr/sandbox.ts'
import { EngineError } from '../core/errors.ts'
import { defaultTags } from '../deploy/paths.ts'
import type { RunnerEvent } from '../runner/group.ts'
import { poolWithFailpoints } from '../runner/failpoint_pool.ts'
import { createRunnerPool } from '../runner/pool.ts'
import { loadArtifact } from '../store/artifacts.ts'
import { listenerWithFailpoints } from '../store/failpoint_database.ts'
import { createJobTokens } from '../store/job_tokens.ts'
import { someOf } from '../worker/report.ts'
import { createWorkerMetrics, type RunnerCounts, type WorkerMetrics } from '../worker/metrics.ts'
import { createWorker } from '../worker/worker.ts'
import { followParent } from './children.ts'
import { runningServer } from './connect.ts'
import { createLog, createScreen } from './log.ts'
import { openMetricsPort, type MetricsPort } from './metrics_port.ts'
import { packageVersion, type GivenSettings } from './program.ts'
import { settingOf, wholeNumber } from './settings.ts'
import { listenForEnd } from './signals.ts'
import { awaitStore, onceReachable } from './store.ts'

export interface WorkerOptions extends GivenSettings {
  dedicated: string[]
  tags: string[]
  replicas: string[]
  concurrency?: string
  name?: string
}

export async function worker(options: WorkerOptions): Promise<void> {
  const bindings = options.dedicated.map(checkedBinding)
  const replicas = readReplicas(options.replicas)
  const concurrency =
    options.concurrency === undefined ? undefined : wholeNumber(options.concurrency, '--concurrency', { min: 1, max: 1_000_000 })
  const tags = bindings.length > 0 || options.tags.length > 0 ? options.tags : [...defaultTags]
  if (bindings.length > 0 && options.tags.length > 0) {
    throw new EngineError('E_INVALID', 'a worker is dedicated or shared: give --dedicated or --tags, not both', { at: '--tags' })
  }

  const name = options.name ?? `${hostname()}:${process.pid}`
  const root = createLog(settingOf(options, 'logLevel', 'info'), createScreen())
  const log = root.child({ part: `worker ${bindings.length > 0 ? bindings.join(' ') : 'shared'}` })
  const ending = listenForEnd((request) => log.info(request === 'stop' ? 'draining' : 'stopping at once'))
  followParent(() => ending.stop.aborted || ending.end())
  ending.force.addEventListener('abort', () => process.exit(1))

  const waiting = { log, stop: ending.stop }
  const store = await awaitStore(options, { name: `millrace worker ${name}`, ...waiting })
  if (store === undefined) return
  const { limits } = store
  const baseUrl = settingOf(options, 'url', undefined) ?? runningServer(store.home)?.url ?? 'http://127.0.0.1:8000'
  const runners: RunnerCounts = { started: 0, died: 0, broken: 0 }
  const pool = createRunnerPool({
    limits,
    home: store.home,
    artifacts: { load: (key) => loadArtifact(store.db.pool, key) },
    policy: bindings.length > 0 ? 'pinned' : 'shared',
    environment: { BASE_URL: baseUrl, BASE_INTERNAL_URL: baseUrl, WM_BASE_URL: baseUrl },
    report: (event) => tellOfRunner(event, { log, counts: runners }),
  })
  try {
    const sandbox = await createSandbox({ timeMs: limits.expressionMs, memoryBytes: limits.expressionMemoryBytes })
    const tokens = await onceReachable(() => createJobTokens(store.db), waiting)
    const parts = {
      db: store.db,
      limits,
      pool: store.failpoints ? poolWithFailpoints(pool, store.failpoints) : pool,
      ...(store.failpoints ? { listen: listenerWithFailpoints(store.failpoints) } : {}),
      sandbox,
      tokens,
      bindings,
      tags,
      replicas,
      baseUrl,
      name,
      version: packageVersion(),
      log,
    }
    const made = createWorker(concurrency === undefined ? parts : { ...parts, concurrency })
    const port = await openPort(
      () => createWorkerMetrics({ worker: made, pool, runners, limits }),
      () => made.state().ready,
      options,
    )
    if (port) log.info({ url: `${port.url}/metrics` }, 'metrics are served')
    try {
      await made.run(ending.stop)
    } finally {
      await port?.close()
    }
  } finally {
    await pool.close()
    await store.close()
  }
  log.info('drained')
  endProcess(log)
}

/** What is still open by now (a connection that is being cut, say) must not keep a drained process. */
function endProcess(log: Logger): void {
  setTimeout(() => {
    log.debug({ open: process.getActiveResourcesInfo() }, 'ended with something open')
    process.exit()
  }, 2_000).unref()
  process.exitCode = 0
}

/** Nothing is gathered for a port that nobody asked for. */
function openPort(metrics: () => WorkerMetrics, ready: () => boolean, options: WorkerOptions): Promise<MetricsPort> | undefined {
  const text = settingOf(options, 'metricsPort', undefined)
  if (text === undefined) return undefined
  return openMetricsPort({ ...metrics(), ready }, { text, host: settingOf(options, 'metricsHost', '127.0.0.1') })
}

function tellOfRunner(event: RunnerEvent, { log, counts }: { log: Logger; counts: RunnerCounts }): void {
  const { kind, key, ...facts } = event
  const runner = key.slice(0, 40)
  if (kind === 'ready') {
    counts.started += 1
    log.debug({ runner, ...facts }, 'runner is ready')
  } else if (kind === 'died') {
    counts.died += 1
    const { inDoubt, ...rest } = facts as Omit<RunnerEvent & { kind: 'died' }, 'kind' | 'key'>
    log.warn({ runner, ...rest, jobs: someOf(inDoubt) }, 'runner died; the calls of these jobs were under way')
  } else {
    counts.broken += 1
    log.error({ runner, ...facts }, 'the code of a step cannot be loaded')
  }
}

function checkedBinding(text: string): string {
  if (/^[a-z0-9][a-z0-9_-]*:\S+$/.test(text)) return text
  const form = '<workspace>:flow/<path>, or <workspace>:<script path>'
  throw new EngineError('E_INVALID', `${JSON.stringify(text)} names nothing to bind to; write ${form}`, { at: '--dedicated' })
}

function readReplicas(given: string[]): Record<string, number> {
  return Object.fromEntries(
    given.map((text) => {
      const [step, count] = text.split('=')
      if (!step || !count)
        throw new EngineError('E_INVALID', `${JSON.stringify(text)}: write <step>=<number>`, { at: '--replicas' })
      return [step, wholeNumber(count, `--replicas ${step}`, { min: 1, max: 256 })]
    }),
  )
}
