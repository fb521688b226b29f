// A session holds an old snapshot while the queue churns: nothing that died meanwhile can be cleaned up. Does the queue keep its pace?
import { setTimeout as pause } from 'node:timers/promises'
import { median } from '../../../bench/machine.ts'
import { openRig, type Rig } from '../rig.ts'
import {
  count,
  drained,
  drillFlow,
  feed,
  finishedInLast,
  indexFinished,
  rateOver,
  type DrillOptions,
  type DrillResult,
} from './common.ts'

const share = 0.9
const peakShare = 0.7 // as in the soak
const peakS = 20
const cleanS = 30
const sampleS = 10

interface Sample {
  atS: number
  rate: number
  claimMs: number
  deadRows: number
  jobMib: number
}

export async function horizon(options: DrillOptions): Promise<DrillResult> {
  const rig = await openRig({ servers: 1, workers: 1, leaseMs: 15_000, flows: [], more: [drillFlow], direct: true })
  try {
    await indexFinished(rig)
    const full = await feed(rig, {})
    await rateOver(rig, 10) // warm
    const peak = await rateOver(rig, peakS)
    await full.stop()
    await drained(rig)
    const offered = options.rate ?? Math.round(peakShare * peak)
    options.progress(`peak ${count(peak)} jobs/s; offered from now on: ${count(offered)}`)
    const feeder = await feed(rig, { rate: offered, label: 'offered' })
    await rateOver(rig, 5)
    const statements = await claimCost(rig)
    const clean = await rateOver(rig, cleanS)
    const cleanClaimMs = await statements()
    options.progress(`clean: ${count(clean)} jobs/s, ${cleanClaimMs.toFixed(2)} ms a claim`)
    const holder = await rig.db.connect({ name: 'chaos horizon' })
    await holder.query('set idle_in_transaction_session_timeout = 0')
    await holder.query('begin isolation level repeatable read')
    await holder.query('select txid_current()')
    const beganMs = performance.now()
    const samples: Sample[] = []
    while (performance.now() - beganMs < options.minutes * 60_000) {
      await pause(sampleS * 1_000)
      const rate = (await finishedInLast(rig, sampleS * 1_000)) / sampleS
      const { rows } = await rig.db.pool.query(
        "select pg_total_relation_size('job') / 1048576.0 as mib, (select n_dead_tup from pg_stat_user_tables where relname = 'job')::integer as dead",
      )
      const { mib, dead } = rows[0] as { mib: string; dead: number }
      const sample = {
        atS: Math.round((performance.now() - beganMs) / 1000),
        rate,
        claimMs: await statements(),
        deadRows: dead,
        jobMib: Number(mib),
      }
      samples.push(sample)
      options.progress(
        `held ${sample.atS} s: ${count(rate)} jobs/s (${Math.round((rate / clean) * 100)} %), ${sample.claimMs.toFixed(2)} ms a claim, ${count(dead)} dead rows, job ${count(sample.jobMib)} MiB`,
      )
    }
    await feeder.stop()
    const emptyWhileHeld = await drained(rig)
    const last = await feed(rig, { label: 'last' })
    await rateOver(rig, 3)
    const peakHeld = await rateOver(rig, peakS)
    await last.stop()
    await holder.query('commit')
    await holder.end()
    const empty = emptyWhileHeld && (await drained(rig))
    const stored = full.stored() + feeder.stored() + last.stored()
    const missing = (await full.missing()) + (await feeder.missing()) + (await last.missing())
    const rates = samples.map((sample) => sample.rate)
    const held = rates.reduce((sum, rate) => sum + rate, 0) / rates.length
    const lastFifth = rates.slice(-Math.max(1, Math.floor(rates.length / 5)))
    const failed: string[] = []
    if (held < share * clean)
      failed.push(
        `${count(held)} jobs/s is ${Math.round((held / clean) * 100)} % of the clean rate; at least ${share * 100} % is wanted`,
      )
    if (missing > 0) failed.push(`${missing} confirmed jobs are lost`)
    if (!empty) failed.push('jobs are stuck')
    return {
      name: 'horizon',
      lines: [
        `xmin held for ${options.minutes} min at ${count(offered)} jobs/s offered (${Math.round((offered / peak) * 100)} % of the peak of ${count(peak)}); clean ${count(clean)} jobs/s, held ${count(held)} (${Math.round((held / clean) * 100)} %), in the last fifth ${count(median(lastFifth))}`,
        `a claim took ${cleanClaimMs.toFixed(2)} ms clean, ${median(samples.map((sample) => sample.claimMs)).toFixed(2)} ms (median) and ${Math.max(...samples.map((sample) => sample.claimMs)).toFixed(2)} ms (worst 10 s) while held`,
        `job and its indexes grew to ${count(samples.at(-1)!.jobMib)} MiB with ${count(samples.at(-1)!.deadRows)} dead rows; ${missing} of ${count(stored)} confirmed jobs lost`,
        `with the queue kept full, still held: ${count(peakHeld)} jobs/s, ${Math.round((peakHeld / peak) * 100)} % of the peak (no verdict)`,
      ],
      failed,
      figures: { peak, offered, clean, held, peakHeld, cleanClaimMs, samples },
    }
  } finally {
    await rig.close()
  }
}

/** The mean ms of a claim since it was last asked, by the database's own account. */
async function claimCost(rig: Rig): Promise<() => Promise<number>> {
  let before = { calls: 0, ms: 0 }
  const ask = async (): Promise<number> => {
    const { rows } = await rig.db.pool.query(
      "select coalesce(sum(calls), 0)::float8 as calls, coalesce(sum(total_exec_time), 0) as ms from pg_stat_statements where query like '%claim_round%for no key update skip locked%'",
    )
    const now = rows[0] as { calls: number; ms: number }
    const mean = now.calls > before.calls ? (now.ms - before.ms) / (now.calls - before.calls) : 0
    before = now
    return mean
  }
  await ask()
  return ask
}
