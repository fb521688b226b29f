// Counters and gauges of the server, in Prometheus' text form. Counted per batch or request, read when scraped.
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { Database } from '../store/db.ts'
import { countByTag } from '../store/job_reads.ts'

export interface Metrics {
  accepted(jobs: number): void
  refused(code: string): void
  text(): Promise<string>
  readonly contentType: string
}

export function createMetrics(parts: { db: Database; waiting: () => number; pending: () => number }): Metrics {
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
  return {
    accepted: (jobs) => accepted.inc(jobs),
    refused: (code) => refused.inc({ code }),
    async text() {
      const rows = await countByTag(parts.db.pool)
      active.reset()
      for (const { tag, state, jobs } of rows) active.set({ tag, state }, jobs)
      return registry.metrics()
    },
    contentType: registry.contentType,
  }
}
