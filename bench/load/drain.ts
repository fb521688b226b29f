// Drain: a backlog that is visible at once, emptied by one dedicated worker; and the floor it is held against.
import { finishJobs, claimJobs } from '../../src/store/jobs.ts'
import type { BenchFlow } from '../flows.ts'
import { cores } from '../machine.ts'
import type { Measured } from '../result.ts'
import type { Rig } from './rig.ts'

/** Waits until the flow has no active job left. */
export async function drained(rig: Rig, flow: BenchFlow): Promise<void> {
  const { tag } = rig.versions[flow]
  for (;;) {
    const { rows } = await rig.db.pool.query('select from job where tag = $1 limit 1', [tag])
    if (rows.length === 0) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

export async function drain(rig: Rig, flow: BenchFlow, steps: number, jobs: number): Promise<Measured> {
  await rig.startWorker([flow])
  await rig.enqueueAtOnce(flow, Math.min(6_000, Math.ceil(jobs / 5))) // warms code paths, statements and pages
  await drained(rig, flow)
  await rig.db.pool.query('truncate job_done')
  await rig.db.pool.query('checkpoint')
  await rig.enqueueAtOnce(flow, jobs)
  const before = rig.cpu()
  const startedMs = performance.now()
  await drained(rig, flow)
  const seconds = (performance.now() - startedMs) / 1000
  const after = rig.cpu()
  // The rate is the database's own account: from the first claim to the last completion.
  const { rows } = await rig.db.pool.query(
    `select count(*)::integer as jobs, count(*) filter (where status <> 'success')::integer as failed,
            extract(epoch from max(completed_at) - min(started_at))::float8 as span
       from job_done where version_id = $1`,
    [rig.versions[flow].id],
  )
  const { jobs: done, failed, span } = rows[0] as { jobs: number; failed: number; span: number }
  if (done !== jobs || failed > 0) throw new Error(`${flow}: ${done} of ${jobs} jobs finished, ${failed} failed`)
  const rssMiB = rig.workerPeakRssMib()
  await rig.stopWorkers()
  const floor = await plainSql(rig, flow, { jobs: Math.min(jobs, 30_000), connections: 1 })
  const both = await plainSql(rig, flow, { jobs: Math.min(jobs, 30_000), connections: 2 })
  await rig.db.pool.query('truncate job, job_done')
  const jobsPerSecond = jobs / span
  return {
    jobsPerSecond,
    stepsPerSecond: jobsPerSecond * steps,
    floorRatio: jobsPerSecond / floor,
    rssMiB,
    cpu: cores(before, after, seconds),
    note: `plain SQL: ${Math.round(floor).toLocaleString('en')} jobs/s on one connection, ${Math.round(both).toLocaleString('en')} on two`,
  }
}

/**
 * The floor: the same rows claimed and finished by the same two statements, a thousand at a time, with nothing in between. One
 * connection: one claim, one finish, one after the other, as a plain loop would. Two keep both cores busy. Jobs per second.
 */
async function plainSql(rig: Rig, flow: BenchFlow, load: { jobs: number; connections: number }): Promise<number> {
  const { rows } = await rig.db.pool.query('select result, steps from job_done where version_id = $1 order by id limit 1', [
    rig.versions[flow].id,
  ])
  const { result, steps } = rows[0] as { result: string; steps: string }
  await rig.db.pool.query('truncate job, job_done')
  await rig.enqueueAtOnce(flow, load.jobs)
  await rig.db.pool.query('checkpoint')
  const { tag } = rig.versions[flow]
  const workerId = await rig.registerWorker()
  const clients = await Promise.all(Array.from({ length: load.connections }, () => rig.db.connect({ name: 'bench floor' })))
  const startedMs = performance.now()
  await Promise.all(
    clients.map(async (client) => {
      for (;;) {
        const claimed = await claimJobs(client, { workerId, tag, jobsMax: 1_000 })
        if (claimed.length === 0) return
        const batch = claimed.map(
          (job) => `{"id":"${job.id}","epoch":${job.epoch},"status":"success","result":${result},"steps":${steps}}`,
        )
        await finishJobs(client, workerId, `[${batch.join(',')}]`)
      }
    }),
  )
  const rate = (load.jobs / (performance.now() - startedMs)) * 1000
  await Promise.all(clients.map((client) => client.end()))
  return rate
}
