// A backlog of a million jobs: what a claim costs before it, and what it does to the worker's memory.
import { claimJobs } from '../../src/store/jobs.ts'
import type { BenchFlow } from '../flows.ts'
import { cores, percentile, rssMib } from '../machine.ts'
import type { Measured } from '../result.ts'
import { drained } from './drain.ts'
import type { Rig } from './rig.ts'

const claims = 200
const claimSize = 100

/** p99 of claims, each rolled back, in ms. */
async function claimP99(rig: Rig, flow: BenchFlow): Promise<number> {
  const client = await rig.db.connect({ name: 'bench claims' })
  const { tag } = rig.versions[flow]
  const workerId = await rig.registerWorker()
  const taken: number[] = []
  for (let n = 0; n < claims; n++) {
    await client.query('begin')
    const startedMs = performance.now()
    await claimJobs(client, { workerId, tag, jobsMax: claimSize })
    taken.push(performance.now() - startedMs)
    await client.query('rollback')
    if (n % 50 === 49) await client.query('vacuum job') // what autovacuum does; rolled back claims leave dead rows behind
  }
  await client.end()
  return percentile(
    taken.slice(20).sort((a, b) => a - b),
    0.99,
  )
}

export async function backlog(
  rig: Rig,
  flow: BenchFlow,
  steps: number,
  load: { jobs: number; seconds: number },
): Promise<Measured> {
  const warm = Math.ceil(load.jobs / 10)
  await empty(rig)
  await rig.enqueueAtOnce(flow, claimSize * 10)
  await rig.db.pool.query('vacuum analyze job')
  const small = await claimP99(rig, flow)
  await empty(rig)
  await rig.enqueueAtOnce(flow, warm)
  await rig.startWorker([flow])
  const rssSmall = await rssAfter(rig, warm)
  await drained(rig, flow)
  await rig.stopWorkers()
  await empty(rig)
  for (let stored = 0; stored < load.jobs; stored += 100_000) await rig.enqueueAtOnce(flow, Math.min(100_000, load.jobs - stored))
  await rig.db.pool.query('vacuum analyze job')
  await rig.db.pool.query('checkpoint')
  const large = await claimP99(rig, flow)
  await rig.startWorker([flow])
  const rssLarge = await rssAfter(rig, warm)
  const before = rig.cpu()
  const doneBefore = await doneCount(rig)
  const startedMs = performance.now()
  await new Promise((resolve) => setTimeout(resolve, load.seconds * 1000))
  const done = (await doneCount(rig)) - doneBefore
  const seconds = (performance.now() - startedMs) / 1000
  const cpu = cores(before, rig.cpu(), seconds)
  const rssMiB = rig.workerPeakRssMib()
  await rig.stopWorkers()
  await empty(rig)
  const queued = load.jobs.toLocaleString('en')
  return {
    jobsPerSecond: done / seconds,
    stepsPerSecond: (done * steps) / seconds,
    p99Ms: large,
    rssMiB,
    cpu,
    note:
      `claim of ${claimSize}: p99 ${large.toFixed(1)} ms with ${queued} jobs queued, ${small.toFixed(1)} ms with ${claimSize * 10}; ` +
      `worker after ${warm.toLocaleString('en')} jobs: ${rssLarge.toFixed(0)} MiB with ${queued} queued, ${rssSmall.toFixed(0)} MiB with ${warm.toLocaleString('en')}`,
  }
}

async function empty(rig: Rig): Promise<void> {
  await rig.db.pool.query('truncate job, job_done')
}

/** Resident memory of the worker once it has finished so many jobs, in MiB. */
async function rssAfter(rig: Rig, jobs: number): Promise<number> {
  while ((await doneCount(rig)) < jobs) await new Promise((resolve) => setTimeout(resolve, 50))
  return rssMib(rig.workerPids()[0]!)
}

async function doneCount(rig: Rig): Promise<number> {
  const { rows } = await rig.db.pool.query('select count(*)::integer as jobs from job_done')
  return (rows[0] as { jobs: number }).jobs
}
