// Latency: one caller who waits, on an idle machine; and load offered at a fixed rate, whatever comes back (open loop).
import { createEnqueuer } from '../../src/store/enqueuer.ts'
import { newJobId } from '../../src/store/jobs.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import { eventOf, type BenchFlow } from '../flows.ts'
import { cores, percentile } from '../machine.ts'
import type { Measured } from '../result.ts'
import { drained } from './drain.ts'
import type { Rig } from './rig.ts'

/** Submit → result in the caller's hands, by POST run_wait_result, one after another. */
export async function waitResult(rig: Rig, flow: BenchFlow, steps: number, samples: number): Promise<Measured> {
  await rig.startWorker([flow])
  const url = `${rig.url}/api/w/main/jobs/run_wait_result/f/bench/${flow}`
  const headers = { authorization: `Bearer ${rig.token}`, 'content-type': 'application/json' }
  const once = async (n: number): Promise<number> => {
    const startedMs = performance.now()
    const response = await fetch(url, { method: 'POST', headers, body: eventOf(n) })
    const text = await response.text()
    if (!response.ok) throw new Error(`${flow}: ${response.status} ${text}`)
    return performance.now() - startedMs
  }
  for (let n = 0; n < Math.max(5, samples / 5); n++) await once(n)
  const before = rig.cpu()
  const startedMs = performance.now()
  const taken: number[] = []
  for (let n = 0; n < samples; n++) taken.push(await once(n))
  const seconds = (performance.now() - startedMs) / 1000
  const cpu = cores(before, rig.cpu(), seconds)
  const rssMiB = rig.workerPeakRssMib()
  await rig.stopWorkers()
  taken.sort((a, b) => a - b)
  return {
    jobsPerSecond: samples / seconds,
    stepsPerSecond: (samples * steps) / seconds,
    p50Ms: percentile(taken, 0.5),
    p99Ms: percentile(taken, 0.99),
    rssMiB,
    cpu,
  }
}

const tickMs = 2

/**
 * Events stored at a fixed rate for some seconds; latency from when an event was due to when its result was recorded
 * (the database's clock at the commit's statement; both clocks are this machine's).
 */
export async function openLoop(
  rig: Rig,
  flow: BenchFlow,
  steps: number,
  load: { perSecond: number; seconds: number },
): Promise<Measured> {
  await rig.startWorker([flow])
  const { id, tag } = rig.versions[flow]
  const enqueuer = createEnqueuer({ db: rig.db, limits: defaultLimits })
  const failed: unknown[] = []
  const offer = async (seconds: number): Promise<number> => {
    const beganMs = Date.now()
    let offered = 0
    const total = Math.round(load.perSecond * seconds)
    const under = new Set<Promise<unknown>>()
    while (offered < total) {
      const due = Math.min(total, Math.ceil(((Date.now() - beganMs) / 1000) * load.perSecond))
      const jobs = []
      for (; offered < due; offered++) {
        const dueMs = beganMs + Math.floor((offered / load.perSecond) * 1000)
        jobs.push({
          id: newJobId(dueMs),
          workspaceId: 'main',
          versionId: id,
          tag,
          priority: 0,
          args: eventOf(offered),
          createdBy: 'bench',
        })
      }
      // One request an event, as callers of the API are: the enqueuer gathers what arrives together.
      for (const job of jobs) {
        const stored = enqueuer.enqueue([job]).catch((error: unknown) => failed.push(error))
        under.add(stored)
        void stored.finally(() => under.delete(stored))
      }
      await new Promise((resolve) => setTimeout(resolve, tickMs))
    }
    await Promise.all(under)
    return (Date.now() - beganMs) / 1000
  }
  await offer(2)
  await drained(rig, flow)
  await rig.db.pool.query('truncate job_done')
  const before = rig.cpu()
  const seconds = await offer(load.seconds)
  const cpu = cores(before, rig.cpu(), seconds)
  await drained(rig, flow)
  await enqueuer.close()
  if (failed.length > 0) throw new Error(`${failed.length} events were not accepted: ${String(failed[0])}`)
  const { rows } = await rig.db.pool.query(
    `select (extract(epoch from completed_at) * 1000)::float8
            - ('x' || substr(replace(id::text, '-', ''), 1, 12))::bit(48)::bigint as ms
       from job_done where version_id = $1`,
    [id],
  )
  const taken = (rows as { ms: number }[]).map((row) => row.ms).sort((a, b) => a - b)
  const rssMiB = rig.workerPeakRssMib()
  await rig.stopWorkers()
  await rig.db.pool.query('truncate job, job_done')
  const perSecond = taken.length / seconds
  return {
    jobsPerSecond: perSecond,
    stepsPerSecond: perSecond * steps,
    p50Ms: percentile(taken, 0.5),
    p99Ms: percentile(taken, 0.99),
    rssMiB,
    cpu,
    note: `${Math.round(load.perSecond)} flows/s offered for ${load.seconds} s`,
  }
}
