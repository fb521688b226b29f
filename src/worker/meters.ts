// Work counted by flow and by step. A plan holds the meters of its flow and steps, so counting is an addition.
//   M1. Versions of one flow share a meter. Beyond flowsMax flows and stepsMax steps, the rest share one named `other`.
import { Histogram, secondsBounds } from '../core/histogram.ts'

const flowsMax = 200
const stepsMax = 1_000

export class FlowMeter {
  /** As a tag names it: `<workspace>:flow/<path>`, or `<workspace>:<path>` of a script. */
  readonly name: string
  readonly steps = new Map<string, StepMeter>()
  jobs = 0
  jobsFailed = 0
  stepsFinished = 0

  constructor(name: string) {
    this.name = name
  }
}

export class StepMeter {
  calls = 0
  callsFailed = 0
  seconds = 0
  readonly #latency: Histogram

  constructor(latency: Histogram) {
    this.#latency = latency
  }

  /** HOT. A call is over. */
  took(ms: number): void {
    const seconds = ms / 1_000
    this.calls += 1
    this.seconds += seconds
    this.#latency.add(seconds)
  }
}

export interface Meters {
  /** How long calls took, of all steps. */
  readonly callSeconds: Histogram
  flows(): Iterable<FlowMeter>
  flow(name: string): FlowMeter
  step(flow: FlowMeter, stepId: string): StepMeter
}

export function createMeters(): Meters {
  const callSeconds = new Histogram([0.000_1, ...secondsBounds, 30, 60, 300])
  const flows = new Map<string, FlowMeter>()
  let steps = 0

  function flow(name: string): FlowMeter {
    let meter = flows.get(name)
    if (!meter) {
      if (flows.size >= flowsMax && name !== 'other') return flow('other')
      meter = new FlowMeter(name)
      flows.set(name, meter)
    }
    return meter
  }

  function step(of: FlowMeter, stepId: string): StepMeter {
    let meter = of.steps.get(stepId)
    if (!meter) {
      if (steps >= stepsMax && stepId !== 'other') return step(flow('other'), 'other')
      meter = new StepMeter(callSeconds)
      of.steps.set(stepId, meter)
      steps += 1
    }
    return meter
  }

  return { callSeconds, flows: () => flows.values(), flow, step }
}

// A heartbeat is written several times a second: it tells of the busiest flows only.
const flowsTold = 20

/** What a heartbeat carries beside the two numbers that have columns of their own: see the column `counts`. */
export function printCounts(counters: {
  jobsFailed: number
  stepsFinished: number
  refused: number
  jobsPoisoned: number
  meters: Meters
}): string {
  let told = [...counters.meters.flows()].filter((flow) => flow.jobs > 0)
  if (told.length > flowsTold) told = told.sort((a, b) => b.jobs - a.jobs).slice(0, flowsTold)
  return JSON.stringify({
    failed: counters.jobsFailed,
    steps: counters.stepsFinished,
    refused: counters.refused,
    poisoned: counters.jobsPoisoned,
    flows: Object.fromEntries(told.map((flow) => [flow.name, [flow.jobs, flow.jobsFailed, flow.stepsFinished]])),
  })
}
