// Three times what can be done, for a while: what is accepted is finished, the rest is told to come back, and nothing grows.
import autocannon from 'autocannon'
import { eventOf } from '../flows.ts'
import { cores, rssMib } from '../machine.ts'
import type { Measured } from '../result.ts'
import { drain, drained } from './drain.ts'
import type { Rig } from './rig.ts'

const sampleMs = 250

interface Growth {
  server: number
  worker: number
}

export async function overload(rig: Rig, load: { seconds: number; jobs: number; connections: number }): Promise<Measured> {
  const peak = (await drain(rig, 'ts3', 3, load.jobs)).jobsPerSecond!
  await rig.startWorker(['ts3'])
  const headers = { authorization: `Bearer ${rig.token}`, 'content-type': 'application/json' }
  const body = `[${Array.from({ length: 50 }, (_, n) => eventOf(n)).join(',')}]`
  const offer = (seconds: number) =>
    autocannon({
      url: `${rig.url}/api/w/main/jobs/run_batch/f/bench/ts3`,
      method: 'POST',
      headers,
      body,
      connections: load.connections,
      duration: seconds,
      overallRate: Math.ceil((3 * peak) / 50),
      workers: 1,
    })
  // Warm first: what a process needs once is no growth.
  await offer(Math.max(1, Math.ceil(load.seconds / 4)))
  await drained(rig, 'ts3')
  await rig.db.pool.query('truncate job, job_done')
  const rss = { first: await rssOf(rig), most: { server: 0, worker: 0 } }
  const over = new AbortController()
  const sampling = (async () => {
    while (!over.signal.aborted) {
      const now = await rssOf(rig)
      rss.most = { server: Math.max(rss.most.server, now.server), worker: Math.max(rss.most.worker, now.worker) }
      await new Promise((resolve) => setTimeout(resolve, sampleMs))
    }
  })()
  const before = rig.cpu()
  const result = await offer(load.seconds)
  const cpu = cores(before, rig.cpu(), result.duration)
  over.abort()
  await sampling
  const refused = (['429', '503'] as const).reduce((sum, code) => sum + (result.statusCodeStats?.[code]?.count ?? 0), 0)
  if (result.non2xx > refused) throw new Error(`${result.non2xx - refused} answers were neither 2xx nor 429 or 503`)
  await drained(rig, 'ts3')
  const { rows } = await rig.db.pool.query(
    `select count(*)::integer as jobs, count(*) filter (where status <> 'success')::integer as failed from job_done`,
  )
  const { jobs, failed } = rows[0] as { jobs: number; failed: number }
  const accepted = result['2xx'] * 50
  // A request cut off at the end may have been stored without its answer being seen.
  if (jobs < accepted || failed > 0)
    throw new Error(`${accepted} events were answered 2xx, ${jobs} finished, ${failed} of them failed`)
  await rig.stopWorkers()
  await rig.db.pool.query('truncate job, job_done')
  const grown = (part: keyof Growth) => Math.max(0, Math.round(rss.most[part] - rss.first[part]))
  return {
    jobsPerSecond: accepted / result.duration,
    p99Ms: result.latency.p99,
    rssMiB: Math.round(rss.most.worker),
    cpu,
    note:
      `offered ${Math.round(3 * peak).toLocaleString('en')} events/s for ${load.seconds} s: ${accepted.toLocaleString('en')} accepted and all finished, ` +
      `${refused.toLocaleString('en')} requests refused; server ${Math.round(rss.most.server)} MiB (+${grown('server')}), worker ${Math.round(rss.most.worker)} MiB (+${grown('worker')})`,
  }
}

async function rssOf(rig: Rig): Promise<Growth> {
  return { server: rssMib(rig.serverPid), worker: Math.max(0, ...rig.workerPids().map(rssMib)) }
}
