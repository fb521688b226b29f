// Workers stopped beyond their lease while they hold jobs, and continued: they wake up believing that the jobs are theirs, and report.
// In audit mode every refused report is a row; so is every end of a job, with whose it was.
import { setTimeout as pause } from 'node:timers/promises'
import { audit, recordOn } from '../audit.ts'
import { Findings } from '../checks.ts'
import { tagOf } from '../flows.ts'
import { chance } from '../random.ts'
import { openRig, type Place, type Rig } from '../rig.ts'
import { count, drained, feed, type DrillOptions, type DrillResult } from './common.ts'

const leaseMs = 1_500
const lanes = 3
const rate = 60

interface Zombie {
  workerId: number
  held: number
}

export async function zombies(options: DrillOptions): Promise<DrillResult> {
  // One more worker than may be stopped at a time.
  const rig = await openRig({ servers: 1, workers: lanes + 1, leaseMs, flows: ['slow'], direct: true })
  const random = chance(options.seed)
  try {
    await recordOn(rig)
    const feeder = await feed(rig, {
      tag: tagOf('slow'),
      flowPath: 'chaos/slow',
      rate: options.rate ?? rate,
      args: (n) => JSON.stringify({ op: `drill-${n}`, n }),
    })
    await pause(3_000)
    const made: Zombie[] = []
    const busy = new Set<Place>()
    const lane = async (): Promise<void> => {
      while (made.length < options.times) {
        const place = random.one(rig.workers().filter((worker) => !busy.has(worker)))
        busy.add(place)
        const zombie = await makeZombie(rig, place, leaseMs * random.between(1.1, 1.5))
        if (zombie !== null) {
          made.push(zombie)
          if (made.length % 10 === 0) options.progress(`${made.length} zombies`)
        }
        await pause(random.between(600, 1_200)) // it starts again, and claims
        busy.delete(place)
      }
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    await feeder.stop()
    await pause(2 * leaseMs)
    const empty = await drained(rig)
    const missing = await feeder.missing()
    const ids = made.map((zombie) => zombie.workerId)
    const ask = async (text: string, values: unknown[]): Promise<number> => {
      const { rows } = await rig.db.pool.query(text, values)
      return (rows[0] as { n: number }).n
    }
    // Whatever these workers recorded after they had been declared dead.
    const recorded = await ask(
      `select count(*)::integer as n from audit_end e join audit_worker_state w on w.worker_id = e.worker_id and w.to_state = 'dead'
        where e.worker_id = any($1) and e.at > w.at`,
      [ids],
    )
    const refused = await ask('select count(*)::integer as n from audit_refusal where worker_id = any($1)', [ids])
    const reporters = await ask('select count(distinct worker_id)::integer as n from audit_refusal where worker_id = any($1)', [
      ids,
    ])
    const held = made.reduce((sum, zombie) => sum + zombie.held, 0)
    const findings = new Findings()
    const { checks } = await audit(rig, findings, { history: false })
    const failed: string[] = []
    if (recorded > 0) failed.push(`${recorded} results were recorded by zombies`)
    if (reporters === 0) failed.push('no zombie reported anything: the drill has no teeth')
    for (const finding of findings.list()) failed.push(`${finding.check}: ${finding.count}`)
    if (missing > 0) failed.push(`${missing} confirmed jobs are lost`)
    if (!empty) failed.push('jobs are stuck')
    if (rig.unexpected.length > 0) failed.push(`a process ended by itself: ${rig.unexpected[0]}`)
    return {
      name: 'zombies',
      lines: [
        `${made.length} workers stopped for 1.1 to 1.5 leases of ${leaseMs / 1000} s while they held jobs (${count(held)} in all), then continued`,
        `${count(reporters)} of them reported late: ${count(refused)} reports refused and counted, ${recorded} recorded; ${checks} checks of millrace audit ${findings.list().length === 0 ? 'hold' : 'do not all hold'}`,
        `${missing} of ${count(feeder.stored())} confirmed jobs lost`,
      ],
      failed,
      figures: { zombies: made.length, held, reporters, refused, recorded, missing },
    }
  } finally {
    await rig.close()
  }
}

/** Null: it held nothing that somebody could take over, or woke up in time. */
async function makeZombie(rig: Rig, place: Place, stoppedMs: number): Promise<Zombie | null> {
  const { rows } = await rig.db.pool.query(
    "select max(id) as id, (select count(*)::integer from job where worker_id = max(w.id) and state = 'running') as held from worker w where name = $1",
    [place.processName],
  )
  const { id: workerId, held } = rows[0] as { id: number; held: number }
  if (held === 0) return null
  place.child.kill('SIGSTOP')
  await pause(stoppedMs)
  for (let waited = 0; waited < 5_000; waited += 20) {
    const state = await rig.db.pool.query("select state in ('dead', 'reaped') as gone from worker where id = $1", [workerId])
    if ((state.rows[0] as { gone: boolean }).gone) break
    await pause(20)
  }
  place.child.kill('SIGCONT')
  return { workerId, held }
}
