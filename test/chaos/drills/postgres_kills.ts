// Postgres killed again and again under full load: who ends with it, when does the first job finish, when is the rate what it was?
import { setTimeout as pause } from 'node:timers/promises'
import { median } from '../../../bench/machine.ts'
import { isOutage } from '../../../src/store/db.ts'
import { openRig, type Rig } from '../rig.ts'
import {
  count,
  drained,
  drillFlow,
  feed,
  finishedInLast,
  indexFinished,
  ms,
  rateOver,
  type DrillOptions,
  type DrillResult,
} from './common.ts'

const firstMaxMs = 2_000
const fullMaxMs = 10_000
const giveUpMs = 30_000
const fullShare = 0.9

interface Kill {
  /** Jobs/s in the seconds before it. */
  before: number
  downMs: number
  firstMs: number
  fullMs: number | undefined
}

/** Its port is open before recovery has come far enough for a session: until then every one is refused. */
async function firstAnswer(rig: Rig): Promise<Date> {
  for (;;) {
    try {
      const { rows } = await rig.db.pool.query('select clock_timestamp() as at')
      return (rows[0] as { at: Date }).at
    } catch (error) {
      if (!isOutage(error)) throw error
      await pause(5)
    }
  }
}

export async function postgresKills(options: DrillOptions): Promise<DrillResult> {
  const rig = await openRig({ servers: 1, workers: 1, leaseMs: 15_000, flows: [], more: [drillFlow], direct: true })
  try {
    await indexFinished(rig)
    const feeder = await feed(rig, {})
    await rateOver(rig, 8) // warm
    const clean = await rateOver(rig, 10)
    options.progress(`clean rate: ${count(clean)} jobs/s`)
    const kills: Kill[] = []
    for (let n = 1; n <= options.times; n++) {
      // What is full is told by the rate just before, where that is lower: a database that has grown for minutes is slower anyway.
      const before = Math.min(clean, await rateOver(rig, 4))
      const { downMs } = await rig.killPostgres()
      const at = await firstAnswer(rig)
      const readyMs = performance.now()
      let firstMs: number | undefined
      let fullMs: number | undefined
      while (fullMs === undefined && performance.now() - readyMs < giveUpMs) {
        if (firstMs === undefined) {
          const { rows } = await rig.db.pool.query('select max(completed_at) > $1 as done from job_done', [at])
          if ((rows[0] as { done: boolean | null }).done) firstMs = performance.now() - readyMs
          else await pause(5)
          continue
        }
        await pause(100)
        // The second that has just passed: it ends now, so the rate was reached at its beginning at the earliest.
        if ((await finishedInLast(rig, 1_000)) >= fullShare * before) fullMs = performance.now() - readyMs
      }
      kills.push({ before, downMs, firstMs: firstMs ?? Infinity, fullMs })
      options.progress(
        `kill ${n}: ${count(before)} jobs/s before, down ${ms(downMs)}, first result after ${ms(firstMs ?? Infinity)}, full rate after ${fullMs === undefined ? 'never' : ms(fullMs)}`,
      )
    }
    await feeder.stop()
    const empty = await drained(rig)
    const missing = await feeder.missing()
    const bad = await rig.stopAll()
    const firsts = kills.map((kill) => kill.firstMs)
    const fulls = kills.map((kill) => kill.fullMs ?? Infinity)
    const befores = kills.map((kill) => kill.before)
    const failed: string[] = []
    if (rig.unexpected.length > 0) failed.push(`${rig.unexpected.length} processes ended: ${rig.unexpected[0]}`)
    if (Math.max(...firsts) > firstMaxMs)
      failed.push(`a first result came after ${ms(Math.max(...firsts))}; it may take ${ms(firstMaxMs)}`)
    if (Math.max(...fulls) > fullMaxMs)
      failed.push(`the full rate came after ${ms(Math.max(...fulls))}; it may take ${ms(fullMaxMs)}`)
    if (missing > 0) failed.push(`${missing} confirmed jobs are lost`)
    if (!empty) failed.push('jobs are stuck')
    if (bad.length > 0) failed.push(`did not drain: ${bad.join(', ')}`)
    return {
      name: 'postgres-kills',
      lines: [
        `${kills.length} kills under ${count(median(befores))} jobs/s (${count(median(befores) * 3)} steps/s; ${count(befores[0]!)} before the first, ${count(befores.at(-1)!)} before the last); ${rig.unexpected.length} processes ended, ${missing} of ${count(feeder.stored())} confirmed jobs lost`,
        `Postgres was away ${ms(median(kills.map((kill) => kill.downMs)))} (median); from when it took connections again, median / worst:`,
        `  first result ${ms(median(firsts))} / ${ms(Math.max(...firsts))}; ${fullShare * 100} % of the rate before over a whole second ${ms(median(fulls))} / ${ms(Math.max(...fulls))}`,
      ],
      failed,
      figures: { clean, kills, missing, stored: feeder.stored() },
    }
  } finally {
    await rig.close()
  }
}
