// One run of the canonical jobs on a `millrace worker` that is killed, stands still beyond its lease, or loses a reply.
import { rmSync, writeFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Json } from '../../src/core/json.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import { run } from '../../src/store/db.ts'
import { cancelJob, claimJobs, insertJobs, newJobId, printNewJob, reapWorkers } from '../../src/store/jobs.ts'
import { faultsOf, outcomesOf, recordedNow, type Executions, type Outcome, type Sent } from './check.ts'
import { flows, scriptArgs, type FlowName } from './flows.ts'
import { isReached, phasesOf, planOf, type Fault, type Recorded } from './points.ts'
import { linesOf, type Lane, type Runnable } from './rig.ts'

export interface RunResult {
  /** Faults that were ordered and not met. */
  missed: Fault[]
  faults: string[]
  outcomes: Record<string, Outcome>
  recorded: Recorded[]
}

const tickMs = 10
const stuckMs = 120_000 // far more than it takes; on a busy machine it takes long
const stopMs = 60_000

/** `made`: the faults; `expected`: what the run without any came to, null for that one. */
export async function workerRun(
  lane: Lane,
  made: readonly Fault[],
  expected: Record<string, Outcome> | null,
): Promise<RunResult> {
  const { db } = lane
  const { tag, effects, record } = lane.files()
  const waitFile = `${effects}.wait`
  const stale = made.some((fault) => fault.kind === 'stale')
  const survives = made.every((fault) => fault.kind !== 'killed')
  const beganMs = Date.now()
  const sent = await jobsOfDeadWorker(lane, tag, effects)
  const subject = lane.start(['worker', '--tags', tag], {
    MILLRACE_FAILPOINTS: planOf(made),
    MILLRACE_FAILPOINTS_RECORD: record,
  })
  const faults: string[] = []
  let rescuer: { stop(): Promise<void> } | null = null
  let atDeath: Executions | null = null
  const deadline = performance.now() + stuckMs
  const late = (): boolean => performance.now() > deadline

  while (!subject.said(/worker ready/) && !subject.isOver() && !late()) await pause(tickMs)
  const readyAt = linesOf(record).length
  const canonical = Object.keys(flows) as FlowName[]
  const fresh = [...canonical, 'script' as const].map((name) => jobOf(lane, name, { name, tag, effects }))
  await insertJobs(db.pool, `[${fresh.map((job) => job.text).join(',')}]`, [tag])
  sent.push(...fresh.map(({ name, id }) => ({ name, id })))
  const ids = sent.map((job) => job.id)
  const toCancel = sent.find((job) => job.name === 'cancel')!.id
  let canceled = false

  for (;;) {
    if (subject.isOver() && !rescuer) {
      atDeath = await recordedNow(db, ids, effects)
      rescuer = lane.rescue([tag])
    }
    if (stale && !rescuer && linesOf(record).some((line) => line.endsWith(' done: pause'))) {
      // It is declared dead as if its lease had run out. What the other worker takes over it holds, until the stale one
      // has woken up and said what it has to say.
      await db.pool.query(
        `update worker set state = 'dead', stopped_at = clock_timestamp() where tags = array[$1] and state = 'alive'`,
        [tag],
      )
      writeFileSync(waitFile, '')
      rescuer = lane.rescue([tag])
    }
    if (stale && subject.said(/was declared dead/)) rmSync(waitFile, { force: true })
    if (!canceled && linesOf(effects).some((line) => line.includes(toCancel))) {
      canceled = true
      await cancelJob(db.pool, { workspaceId: 'main', id: toCancel, by: 'test', reason: 'enough' })
    }
    const { rows } = await db.pool.query<{ done: number }>('select count(*)::integer as done from job_done where id = any($1)', [
      ids,
    ])
    if (rows[0]!.done >= ids.length) break
    if (late()) {
      faults.push(...(await stuck(lane, sent)))
      rmSync(waitFile, { force: true })
      break
    }
    await pause(tickMs)
  }
  const doneAt = linesOf(record).length
  if (survives && subject.isOver() && subject.said(/worker ready/))
    faults.push(`the worker ended by itself:\n${subject.output()}`)

  if (!subject.isOver()) {
    subject.child.kill('SIGTERM')
    const ended = await Promise.race([subject.ended, pause(stopMs, 'not at all', { ref: false })])
    if (ended !== 0 && ended !== 'SIGKILL') {
      faults.push(`asked to stop, the worker ended with ${ended}:\n${subject.output()}`)
      subject.child.kill('SIGKILL')
      await subject.ended
    }
  }
  await rescuer?.stop()
  faults.push(...(await lane.sessionsLeft()))
  const lines = linesOf(record)
  const executionsMax = 1 + (await deathsOf(lane, tag))
  const over = { sent, effects, expected: expected ?? {}, executionsMax, recorded: atDeath, beganMs }
  if (faults.length === 0) faults.push(...(await faultsOf(db, over)))
  return {
    missed: made.filter((fault) => !isReached(lines, fault)),
    faults,
    outcomes: await outcomesOf(db, sent),
    recorded: phasesOf(lines, { readyAt, doneAt }),
  }
}

function jobOf(lane: Lane, runnable: Runnable, job: { name: string; tag: string; effects: string }) {
  const id = newJobId()
  const args: Json = runnable === 'script' ? scriptArgs(job.effects, process.pid) : { effects: job.effects, harness: process.pid }
  const text = printNewJob({
    id,
    workspaceId: 'main',
    versionId: lane.versions[runnable],
    tag: job.tag,
    priority: 0,
    args: JSON.stringify(args),
    createdBy: 'test',
    ...(runnable === 'strict' ? { waiter: 1 } : {}),
  })
  return { name: job.name, id, text }
}

/** Jobs of a worker that died without a word: one to be taken over, one whose workers die often, and one lost once too often. */
async function jobsOfDeadWorker(lane: Lane, tag: string, effects: string): Promise<Sent[]> {
  const { db } = lane
  const sent: Sent[] = []
  const enqueue = async (name: string): Promise<void> => {
    const { id, text } = jobOf(lane, 'three', { name, tag, effects })
    await insertJobs(db.pool, `[${text}]`, [])
    sent.push({ name, id })
  }
  await enqueue('poison')
  for (let died = 0; died <= defaultLimits.lostMax; died++) {
    if (died === defaultLimits.lostMax) await enqueue('taken over')
    if (died === defaultLimits.lostMax + 1 - defaultLimits.suspectAfter) await enqueue('suspect')
    const [row] = await run<{ id: number }>(db.pool, 'register_worker', ['dead', [tag], 'nowhere', 0, '', 1])
    await claimJobs(db.pool, { workerId: row!.id, tag, jobsMax: 10, round: 0 })
    // Its last heartbeat is long ago.
    await db.pool.query(`update worker set heartbeat_at = now() - interval '1 hour' where id = $1`, [row!.id])
    if (died < defaultLimits.lostMax) await reapWorkers(db.pool, { hintAfterMs: 0, lostMax: defaultLimits.lostMax })
  }
  return sent
}

/** Workers of this run that were declared dead: each may have left a step behind that runs once more. */
async function deathsOf(lane: Lane, tag: string): Promise<number> {
  const { rows } = await lane.db.pool.query<{ n: number }>(
    `select count(*)::integer as n from worker where tags = array[$1] and name <> 'dead' and state in ('dead', 'reaped')`,
    [tag],
  )
  return rows[0]!.n
}

async function stuck(lane: Lane, sent: Sent[]): Promise<string[]> {
  const { rows } = await lane.db.pool.query<{ id: string; state: string; worker: string }>(
    `select job.id, job.state::text, worker.name || ' ' || worker.state as worker
       from job left join worker on worker.id = job.worker_id where job.id = any($1)`,
    [sent.map((job) => job.id)],
  )
  return rows.map(
    (row) => `${sent.find((job) => job.id === row.id)!.name}: stuck, ${row.state}, held by ${row.worker ?? 'nobody'}`,
  )
}
