// Metrics whose values are read when they are scraped, in Prometheus' text form. What is counted lives where it is counted.
//   P1. A name is millrace_<stage>_<what>_<unit>, its unit a base one (seconds, bytes); counters end in _total.
//   P2. One that cannot be read now (null) is left out, not given as 0.
import type { Metric, Registry } from 'prom-client'
import type { Histogram } from './histogram.ts'
import type { Stage } from './stages.ts'

export type Labels = Record<string, string>
/** One value, or one for each set of labels. */
export type Reading = number | null | readonly { labels: Labels; value: number }[]

export interface MetricText {
  name: string
  help: string
}

interface Sample {
  labels: Labels
  value: number
  metricName?: string
}

export interface Exposed {
  counter(text: MetricText, read: () => Reading): void
  gauge(text: MetricText, read: () => Reading): void
  histogram(text: MetricText, histogram: Histogram): void
}

export function exposeIn(registry: Registry): Exposed {
  const add = (type: 'counter' | 'gauge' | 'histogram', { name, help }: MetricText, samples: () => Sample[]): void => {
    const metric = { name, help, type, get: () => Promise.resolve({ name, help, type, values: samples(), aggregator: 'sum' }) }
    registry.registerMetric(metric as unknown as Metric) // what the registry asks of a metric
  }
  return {
    counter: (text, read) => add('counter', text, () => samplesOf(read())),
    gauge: (text, read) => add('gauge', text, () => samplesOf(read())),
    histogram: (text, histogram) => add('histogram', text, () => bucketsOf(text.name, histogram)),
  }
}

/** One gauge for how full each stage is and one for its limit: a rule over both watches them all. */
export function exposeStages(expose: Exposed, stages: () => Stage[]): void {
  const read = (value: (stage: Stage) => number) => (): Reading =>
    stages().map((stage) => ({ labels: { stage: stage.name }, value: value(stage) }))
  expose.gauge(
    { name: 'millrace_stage_fill', help: 'How full a stage of this process is' },
    read((stage) => stage.fill),
  )
  expose.gauge(
    { name: 'millrace_stage_limit', help: 'Where a stage pushes back' },
    read((stage) => stage.limit),
  )
}

function samplesOf(reading: Reading): Sample[] {
  if (reading === null) return []
  return typeof reading === 'number' ? [{ labels: {}, value: reading }] : [...reading]
}

function bucketsOf(name: string, { bounds, counts, sum }: Histogram): Sample[] {
  const samples: Sample[] = []
  let count = 0
  for (let i = 0; i < counts.length; i++) {
    count += counts[i]!
    const le = i < bounds.length ? String(bounds[i]) : '+Inf'
    samples.push({ metricName: `${name}_bucket`, labels: { le }, value: count })
  }
  samples.push({ metricName: `${name}_sum`, labels: {}, value: sum }, { metricName: `${name}_count`, labels: {}, value: count })
  return samples
}
