// Accepting events over HTTP: answered 2xx after the commit that holds them. No worker runs: this is the way in alone.
import autocannon from 'autocannon'
import { eventOf } from '../flows.ts'
import { cores } from '../machine.ts'
import type { Measured } from '../result.ts'
import type { Rig } from './rig.ts'

export async function httpEnqueue(rig: Rig, load: { batch: number; connections: number; seconds: number }): Promise<Measured> {
  const headers = { authorization: `Bearer ${rig.token}`, 'content-type': 'application/json' }
  const single = load.batch === 1
  const url = `${rig.url}/api/w/main/jobs/${single ? 'run/f' : 'run_batch/f'}/bench/ts1`
  const body = single ? eventOf(1) : `[${Array.from({ length: load.batch }, (_, n) => eventOf(n)).join(',')}]`
  const fire = (seconds: number) =>
    autocannon({ url, method: 'POST', headers, body, connections: load.connections, duration: seconds, workers: 1 })
  await fire(2)
  await rig.db.pool.query('truncate job')
  const before = rig.cpu()
  const result = await fire(load.seconds)
  const cpu = cores(before, rig.cpu(), result.duration)
  if (result.non2xx > 0 || result.errors > 0)
    throw new Error(`${result.non2xx} answers were not 2xx, ${result.errors} requests failed`)
  const { rows } = await rig.db.pool.query('select count(*)::integer as jobs from job')
  const stored = (rows[0] as { jobs: number }).jobs
  const accepted = result['2xx'] * load.batch
  if (stored < accepted) throw new Error(`${accepted} events were answered 2xx, but only ${stored} are stored`)
  await rig.db.pool.query('truncate job')
  return {
    jobsPerSecond: accepted / result.duration,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
    cpu,
    note: single
      ? `one event per request, ${load.connections} connections`
      : `${load.batch} events per request, ${load.connections} connections`,
  }
}
