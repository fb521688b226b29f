// kill -9 of a worker that holds jobs: how long until each of them is claimed by another one?
import { setTimeout as pause } from 'node:timers/promises'
import { percentile } from '../../../bench/machine.ts'
import { tagOf } from '../flows.ts'
import { chance } from '../random.ts'
import { openRig } from '../rig.ts'
import { count, drained, feed, ms, type DrillOptions, type DrillResult } from './common.ts'

const takeOverMaxMs = 1_000
// Jobs of 1.2 s. So many that the workers left have room for what the killed one held: this is about how soon that is noticed. At 60 a
// second they have not, and the last jobs wait for a place (p99 2.1 s).
const rate = 25

export async function workerKills(options: DrillOptions): Promise<DrillResult> {
  const rig = await openRig({ servers: 1, workers: 3, leaseMs: 15_000, flows: ['slow'], direct: true })
  const random = chance(options.seed)
  try {
    const feeder = await feed(rig, {
      tag: tagOf('slow'),
      flowPath: 'chaos/slow',
      rate: options.rate ?? rate,
      args: (n) => JSON.stringify({ op: `drill-${n}`, n }),
    })
    await pause(4_000)
    const waits: number[] = []
    for (let n = 1; n <= options.times; n++) {
      const place = random.one(rig.workers())
      const { rows } = await rig.db.pool.query('select max(id) as id from worker where name = $1', [place.processName])
      const { id: workerId } = rows[0] as { id: number }
      await pause(random.between(0, 500))
      const killedMs = performance.now()
      rig.kill(place)
      const found = await rig.db.pool.query("select id, epoch from job where worker_id = $1 and state = 'running'", [workerId])
      const held = found.rows as { id: string; epoch: number }[]
      let left = held.map((job) => job.id)
      const mine: number[] = []
      while (left.length > 0 && performance.now() - killedMs < 30_000) {
        // Not yet elsewhere: still the dead one's, or back and waiting.
        const still = await rig.db.pool.query(
          'select id from job where id = any($1::uuid[]) and (worker_id = $2 or worker_id is null)',
          [left, workerId],
        )
        const ids = (still.rows as { id: string }[]).map((row) => row.id)
        for (let gone = left.length - ids.length; gone > 0; gone--) mine.push(performance.now() - killedMs)
        left = ids
        if (left.length > 0) await pause(3)
      }
      for (let lost = left.length; lost > 0; lost--) mine.push(Infinity)
      waits.push(...mine)
      options.progress(
        `kill ${n}: ${held.length} jobs, the last one elsewhere after ${mine.length > 0 ? ms(Math.max(...mine)) : '-'}`,
      )
      await rig.restart(place)
      // One failure at a time: a job that is lost twice is claimed alone, when nothing else is held, and waits for that on purpose.
      while ((await rig.db.pool.query('select from job where lost > 0 limit 1')).rows.length > 0) await pause(50)
      await pause(random.between(800, 1_500)) // it claims again
    }
    await feeder.stop()
    const empty = await drained(rig)
    const missing = await feeder.missing()
    waits.sort((a, b) => a - b)
    const p99 = percentile(waits, 0.99)
    const failed: string[] = []
    if (p99 > takeOverMaxMs) failed.push(`p99 is ${ms(p99)}; it may be ${ms(takeOverMaxMs)}`)
    if (waits.length < options.times) failed.push(`only ${waits.length} jobs were held in ${options.times} kills`)
    if (missing > 0) failed.push(`${missing} confirmed jobs are lost`)
    if (!empty) failed.push('jobs are stuck')
    if (rig.unexpected.length > 0) failed.push(`a process ended by itself: ${rig.unexpected[0]}`)
    return {
      name: 'worker-kills',
      lines: [
        `${options.times} kills of workers that held ${count(waits.length)} jobs; ${missing} of ${count(feeder.stored())} confirmed jobs lost`,
        `from the kill to the claim by another worker: median ${ms(percentile(waits, 0.5))}, p99 ${ms(p99)}, worst ${ms(waits.at(-1) ?? 0)}`,
      ],
      failed,
      figures: {
        kills: options.times,
        jobs: waits.length,
        p50Ms: percentile(waits, 0.5),
        p99Ms: p99,
        maxMs: waits.at(-1),
        missing,
      },
    }
  } finally {
    await rig.close()
  }
}
