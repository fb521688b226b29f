// A worker's metrics in Prometheus' text form. Everything is counted where it happens and read here, when scraped.
import { collectDefaultMetrics, Registry } from 'prom-client'
import type { Limits } from '../core/limits.ts'
import { exposeIn, exposeStages, type Exposed, type Reading } from '../core/prometheus.ts'
import type { PoolStats, RunnerPool } from '../runner/pool_types.ts'
import type { FlowMeter, StepMeter } from './meters.ts'
import type { LaneCounters, WorkerCounters } from './report.ts'
import type { Worker, WorkerState } from './worker.ts'

/** What became of runners, as the pool reports it. */
export interface RunnerCounts {
  started: number
  died: number
  broken: number
}

export interface WorkerMetrics {
  readonly contentType: string
  text(): Promise<string>
}

export function createWorkerMetrics(parts: {
  worker: Worker
  pool: RunnerPool
  runners: RunnerCounts
  limits: Limits
}): WorkerMetrics {
  const { worker, pool, runners, limits } = parts
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const expose = exposeIn(registry)
  const state = (): WorkerState => worker.state()
  exposeLease(expose, worker.counters, state)
  exposeClaims(expose, worker.counters, state)
  exposeRunners(expose, { runners, stats: () => pool.stats(), counters: worker.counters })
  exposeCommits(expose, worker.counters, state)
  exposeJobs(expose, worker.counters)
  exposeStages(expose, () => [
    { name: 'held_jobs', fill: state().held, limit: limits.workerJobsMax },
    { name: 'commit_backlog_bytes', fill: state().backlog.bytes, limit: limits.commitBacklogBytesMax },
    { name: 'log_backlog_bytes', fill: state().backlog.logBytes, limit: limits.logBacklogBytesMax },
    { name: 'answers', fill: state().answers, limit: limits.answersInFlightMax },
  ])
  return { contentType: registry.contentType, text: () => registry.metrics() }
}

function exposeLease(expose: Exposed, counters: WorkerCounters, state: () => WorkerState): void {
  expose.gauge({ name: 'millrace_worker_ready', help: 'Does it hold its lease, with all it is dedicated to warm?' }, () =>
    state().ready ? 1 : 0,
  )
  expose.gauge({ name: 'millrace_worker_silent_seconds', help: 'Time since the database last took a heartbeat' }, () =>
    state().workerId === null ? null : state().silentMs / 1_000,
  )
  const lost = { name: 'millrace_worker_leases_lost_total', help: 'Times it was declared dead while it lived' }
  expose.counter(lost, () => counters.leasesLost)
  const taken = { name: 'millrace_worker_taken_over_total', help: 'Dead workers whose jobs it gave back' }
  expose.counter(taken, () => counters.workersTakenOver)
  const back = { name: 'millrace_worker_taken_over_jobs_total', help: 'Jobs of dead workers it made ready again' }
  expose.counter(back, () => counters.jobsTakenOver)
  const poisoned = { name: 'millrace_worker_poisoned_jobs_total', help: 'Jobs it failed because workers kept dying of them' }
  expose.counter(poisoned, () => counters.jobsPoisoned)
}

function exposeClaims(expose: Exposed, counters: WorkerCounters, state: () => WorkerState): void {
  expose.histogram({ name: 'millrace_claim_seconds', help: 'Time of one claim' }, counters.claimSeconds)
  expose.histogram({ name: 'millrace_claim_jobs', help: 'Jobs taken by one claim, of those that took any' }, counters.claimJobs)
  expose.counter({ name: 'millrace_claim_empty_total', help: 'Claims that found nothing' }, () => counters.claimsEmpty)
  expose.gauge({ name: 'millrace_claim_held_jobs', help: 'Jobs claimed and not yet committed' }, () => state().held)
  expose.gauge(
    { name: 'millrace_claim_window_jobs', help: 'Jobs it may hold now: about 120 ms of its work' },
    () => state().window,
  )
}

function exposeRunners(
  expose: Exposed,
  { runners, stats, counters }: { runners: RunnerCounts; stats: () => PoolStats[]; counters: WorkerCounters },
): void {
  const byRuntime = (value: (one: PoolStats) => number) => (): Reading => {
    const sums = new Map<string, number>()
    for (const one of stats()) sums.set(one.runtime, (sums.get(one.runtime) ?? 0) + value(one))
    return [...sums].map(([runtime, sum]) => ({ labels: { runtime }, value: sum }))
  }
  const byStep = (value: (step: StepMeter) => number) => (): Reading =>
    [...counters.meters.flows()].flatMap((flow) =>
      [...flow.steps].map(([step, meter]) => ({ labels: { flow: flow.name, step }, value: value(meter) })),
    )
  expose.gauge(
    { name: 'millrace_runner_warm_processes', help: 'Runners that are ready' },
    byRuntime((one) => one.runners),
  )
  expose.gauge(
    { name: 'millrace_runner_calls_in_flight', help: 'Calls sent to runners' },
    byRuntime((one) => one.inFlight),
  )
  expose.gauge(
    { name: 'millrace_runner_calls_queued', help: 'Calls that wait for a runner' },
    byRuntime((one) => one.queued),
  )
  expose.counter({ name: 'millrace_runner_starts_total', help: 'Runners that became ready' }, () => runners.started)
  expose.counter({ name: 'millrace_runner_deaths_total', help: 'Runners that died without being asked to' }, () => runners.died)
  const broken = { name: 'millrace_runner_load_failures_total', help: 'Times the code of a step could not be loaded' }
  expose.counter(broken, () => runners.broken)
  expose.histogram({ name: 'millrace_runner_call_seconds', help: 'How long main ran, of all steps' }, counters.meters.callSeconds)
  expose.counter(
    { name: 'millrace_runner_calls_total', help: 'Calls, by step' },
    byStep((step) => step.calls),
  )
  expose.counter(
    { name: 'millrace_runner_failed_calls_total', help: 'Calls that failed, by step' },
    byStep((step) => step.callsFailed),
  )
  expose.counter(
    { name: 'millrace_runner_busy_seconds_total', help: 'Time in main, by step' },
    byStep((step) => step.seconds),
  )
}

function exposeCommits(expose: Exposed, counters: WorkerCounters, state: () => WorkerState): void {
  exposeLane(expose, { stage: 'commit', what: 'finished jobs', unit: 'jobs' }, counters.finish)
  exposeLane(expose, { stage: 'journal', what: 'records', unit: 'records' }, counters.journal)
  expose.gauge({ name: 'millrace_commit_backlog_jobs', help: 'Finished jobs that wait for a commit' }, () => state().backlog.jobs)
  expose.gauge(
    { name: 'millrace_journal_backlog_records', help: 'Records that wait for a commit' },
    () => state().backlog.records,
  )
  const bytes = { name: 'millrace_commit_backlog_bytes', help: 'Size of both; claims stop above 64 MiB' }
  expose.gauge(bytes, () => state().backlog.bytes)
  const refused = {
    name: 'millrace_commit_refused_total',
    help: 'Late reports: jobs and records that were no longer this worker’s',
  }
  expose.counter(refused, () => counters.refused)
}

function exposeLane(
  expose: Exposed,
  { stage, what, unit }: { stage: string; what: string; unit: string },
  lane: LaneCounters,
): void {
  expose.histogram({ name: `millrace_${stage}_seconds`, help: `Time of one commit of ${what}` }, lane.seconds)
  expose.histogram({ name: `millrace_${stage}_${unit}`, help: `Number of ${what} in one commit` }, lane.rows)
  const retries = { name: `millrace_${stage}_retries_total`, help: `Commits of ${what} sent again after an outage` }
  expose.counter(retries, () => lane.retries)
}

function exposeJobs(expose: Exposed, counters: WorkerCounters): void {
  const byFlow = (value: (flow: FlowMeter) => number) => (): Reading =>
    [...counters.meters.flows()].map((flow) => ({ labels: { flow: flow.name }, value: value(flow) }))
  expose.counter({ name: 'millrace_jobs_claimed_total', help: 'Jobs claimed' }, () => counters.jobsClaimed)
  expose.counter(
    { name: 'millrace_jobs_finished_total', help: 'Jobs finished, by flow' },
    byFlow((flow) => flow.jobs),
  )
  const failed = { name: 'millrace_jobs_failed_total', help: 'Of those, jobs that did not succeed' }
  expose.counter(
    failed,
    byFlow((flow) => flow.jobsFailed),
  )
  expose.counter(
    { name: 'millrace_steps_finished_total', help: 'Steps finished, by flow' },
    byFlow((flow) => flow.stepsFinished),
  )
}
