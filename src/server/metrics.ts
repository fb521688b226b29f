// Counters and gauges of the server, in Prometheus' text form. Counted per batch or request, read when scraped.
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { Stage } from '../core/stages.ts'
import type { Queryable } from '../store/db.ts'
import { countByTag } from '../store/job_reads.ts'

export interface Metrics {
  accepted(jobs: number): void
  refused(code: string): void
  text(): Promise<string>
  readonly contentType: string
}

export function createMetrics(parts: {
  reads: Queryable
  waiting: () => number
  pending: () => number
  /** What fills up, and where it stops. */
  stages: () => Stage[]
}): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const accepted = new Counter({ name: 'millrace_jobs_accepted_total', help: 'Jobs stored by this server', registers })
  const refused = new Counter({
    name: 'millrace_http_refusals_total',
    help: 'Requests answered with an error, by its code',
    labelNames: ['code'],
    registers,
  })
  const active = new Gauge({
    name: 'millrace_queue_jobs',
    help: 'Active jobs, by tag and state',
    labelNames: ['tag', 'state'],
    registers,
  })
  registry.registerMetric(
    new Gauge({
      name: 'millrace_waiting_callers',
      help: 'Callers of this server that wait for a result',
      registers: [],
      collect() {
        this.set(parts.waiting())
      },
    }),
  )
  registry.registerMetric(
    new Gauge({
      name: 'millrace_jobs_not_yet_stored',
      help: 'Jobs that requests brought and no commit holds yet',
      registers: [],
      collect() {
        this.set(parts.pending())
      },
    }),
  )
  registerStages(registry, parts.stages)

  let freshUntilMs = 0
  /** Counting a million jobs takes long: it is done for a twentieth of the time at most, however often somebody scrapes. */
  async function count(): Promise<void> {
    const startedMs = performance.now()
    if (startedMs < freshUntilMs) return
    const rows = await countByTag(parts.reads)
    freshUntilMs = performance.now() + (performance.now() - startedMs) * 20
    active.reset()
    for (const { tag, state, jobs } of rows) active.set({ tag, state }, jobs)
  }

  return {
    accepted: (jobs) => accepted.inc(jobs),
    refused: (code) => refused.inc({ code }),
    async text() {
      await count()
      return registry.metrics()
    },
    contentType: registry.contentType,
  }
}

/** One gauge for how full each stage is and one for its limit: a rule over both watches them all. */
function registerStages(registry: Registry, stages: () => Stage[]): void {
  const gauge = (name: string, help: string, value: (stage: Stage) => number): void =>
    registry.registerMetric(
      new Gauge({
        name,
        help,
        labelNames: ['stage'],
        registers: [],
        collect() {
          for (const stage of stages()) this.set({ stage: stage.name }, value(stage))
        },
      }),
    )
  gauge('millrace_stage_fill', 'How full a stage of this process is', (stage) => stage.fill)
  gauge('millrace_stage_limit', 'Where a stage pushes back', (stage) => stage.limit)
}
