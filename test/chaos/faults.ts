// The faults. Each strikes something that works, says in which phase it was, and puts it right again.
//   F1. The phase is read in the very moment of the strike, from what the proxies have under way between process and database.
//       Most strikes are aimed: they wait a little for a phase that was drawn, so that rare ones are met too.
//   F2. A strike that hit nothing says so (`fired: false`): it is not counted as a fault.
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { descendants } from '../../bench/machine.ts'
import type { Direction } from '../support/proxy.ts'
import type { Chance } from './random.ts'
import { diskRefusals, noSmallDisk } from './disk.ts'
import type { Place, Rig } from './rig.ts'

export interface Struck {
  phase: Phase
  fired: boolean
  /** When recovery can begin (performance.now()): the strike, or the end of what nobody can work under. */
  fromMs: number
  /** Jobs that the struck worker held, and how long until the last of them was somebody else's. */
  held?: number
  takenOverMs?: number | undefined
}

export interface Fault {
  name: string
  text: string
  /** Why it cannot be done here, or null. */
  missing?: () => string | null
  strike(rig: Rig, random: Chance): Promise<Struck>
}

export const phases = ['committing', 'journaling', 'giving back', 'claiming', 'storing', 'reaping', 'running', 'idle'] as const
export type Phase = (typeof phases)[number]

// By the name of the statement under way. What is not here is the small change of a connection.
const phaseOfStatement: Record<string, Phase> = {
  finish_jobs: 'committing',
  append_journal: 'journaling',
  release_jobs: 'giving back',
  claim_jobs: 'claiming',
  claim_suspect: 'claiming',
  enqueue_jobs: 'storing',
  enqueue_keyed_jobs: 'storing',
  declare_dead: 'reaping',
  give_back_jobs: 'reaping',
  wake_due_jobs: 'reaping',
}

/** What the processes behind these proxies had under way with the database. Null: nothing. */
function statementPhase(places: readonly Place[]): Phase | null {
  const under = new Set(
    places
      .flatMap((place) => place.proxy?.sessions() ?? [])
      .flatMap((session) => session.inFlight.map((s) => phaseOfStatement[s])),
  )
  return phases.find((phase) => under.has(phase)) ?? null
}

const aimMs = 400
const aims: Record<Place['kind'], (Phase | null)[]> = {
  worker: ['committing', 'committing', 'claiming', 'journaling', 'giving back', 'reaping', null],
  server: ['storing', 'storing', null],
}

/** Resolves in the moment that one of these processes begins what was drawn, or after a while. */
async function moment(places: readonly Place[], random: Chance): Promise<void> {
  const wanted = random.one(aims[random.one(places).kind])
  if (wanted === null) {
    await pause(random.between(0, aimMs))
    return
  }
  const met = new AbortController()
  const ends = places.map((place) =>
    place.proxy!.onStatement((statement) => {
      if (phaseOfStatement[statement] === wanted) met.abort()
    }),
  )
  await pause(aimMs, undefined, { signal: met.signal }).catch(() => {})
  for (const end of ends) end()
}

async function workerIdOf(rig: Rig, place: Place): Promise<number> {
  const { rows } = await rig.db.pool.query('select max(id) as id from worker where name = $1', [place.processName])
  return (rows[0] as { id: number | null }).id ?? 0
}

async function heldBy(rig: Rig, workerId: number): Promise<number> {
  const { rows } = await rig.db.pool.query("select count(*)::integer as n from job where worker_id = $1 and state = 'running'", [
    workerId,
  ])
  return (rows[0] as { n: number }).n
}

/** How long until this worker, which is gone, has no jobs any more. */
async function takenOver(rig: Rig, workerId: number, sinceMs: number): Promise<number | undefined> {
  while (performance.now() - sinceMs < 60_000) {
    try {
      if ((await heldBy(rig, workerId)) === 0) return performance.now() - sinceMs
    } catch {
      await pause(50)
    }
    await pause(10)
  }
  return undefined
}

function upWorkers(rig: Rig): Place[] {
  const up = rig.workers().filter((place) => !place.down)
  return up.length > 0 ? up : rig.workers()
}

/** A worker that holds jobs where one does: a fault that hits an idle one shows little. */
async function busyWorker(rig: Rig, random: Chance): Promise<{ place: Place; workerId: number }> {
  for (const place of random.shuffled(upWorkers(rig))) {
    const workerId = await workerIdOf(rig, place)
    if ((await heldBy(rig, workerId)) > 0) return { place, workerId }
  }
  const place = random.one(upWorkers(rig))
  return { place, workerId: await workerIdOf(rig, place) }
}

function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal)
    } catch {
      // gone meanwhile
    }
  }
}

async function killWorker(rig: Rig, random: Chance): Promise<Struck> {
  const { place, workerId } = await busyWorker(rig, random)
  await moment([place], random)
  const phase = statementPhase([place])
  const fromMs = performance.now()
  rig.kill(place)
  const held = await heldBy(rig, workerId)
  const [takenOverMs] = await Promise.all([
    takenOver(rig, workerId, fromMs),
    pause(random.between(200, 1_000)).then(() => rig.restart(place)),
  ])
  return { phase: phase ?? (held > 0 ? 'running' : 'idle'), fired: true, fromMs, held, ...(held > 0 ? { takenOverMs } : {}) }
}

/** Stopped for longer than its lease, then continued: it wakes up believing that it still holds its jobs. */
async function stopWorker(rig: Rig, random: Chance, withRunners: boolean): Promise<Struck> {
  const { place, workerId } = await busyWorker(rig, random)
  const pids = [place.child.pid!, ...(withRunners ? descendants(place.child.pid!) : [])]
  await moment([place], random)
  const phase = statementPhase([place])
  const fromMs = performance.now()
  signalAll(pids, 'SIGSTOP')
  const held = await heldBy(rig, workerId)
  const stoppedForMs = rig.leaseMs * random.between(1.2, 2)
  const [takenOverMs] = await Promise.all([takenOver(rig, workerId, fromMs), pause(stoppedForMs)])
  signalAll(pids, 'SIGCONT')
  return { phase: phase ?? (held > 0 ? 'running' : 'idle'), fired: true, fromMs, held, ...(held > 0 ? { takenOverMs } : {}) }
}

async function killRunner(rig: Rig, random: Chance): Promise<Struck> {
  const { place, workerId } = await busyWorker(rig, random)
  const runners = descendants(place.child.pid!)
  const held = await heldBy(rig, workerId)
  const fromMs = performance.now()
  if (runners.length > 0) signalAll([random.one(runners)], 'SIGKILL')
  return { phase: held > 0 ? 'running' : 'idle', fired: runners.length > 0, fromMs }
}

async function killServer(rig: Rig, random: Chance): Promise<Struck> {
  const place = random.one(rig.servers())
  await moment([place], random)
  const phase = statementPhase([place]) ?? 'idle'
  const fromMs = performance.now()
  rig.kill(place)
  await pause(random.between(50, 500))
  await rig.restart(place)
  return { phase, fired: true, fromMs }
}

/** Of everything at once: what strikes all of them. */
async function phaseOfAll(rig: Rig, random: Chance): Promise<Phase> {
  await moment(rig.places, random)
  const phase = statementPhase(rig.places)
  if (phase) return phase
  const { rows } = await rig.db.pool.query("select from job where state = 'running' limit 1")
  return rows.length > 0 ? 'running' : 'idle'
}

async function killPostgres(rig: Rig, random: Chance): Promise<Struck> {
  const phase = await phaseOfAll(rig, random)
  await rig.killPostgres()
  return { phase, fired: true, fromMs: performance.now() }
}

async function terminate(rig: Rig, random: Chance, where: string): Promise<Struck> {
  const phase = await phaseOfAll(rig, random)
  const fromMs = performance.now()
  const { rows } = await rig.db.pool.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name ${where} and pid <> pg_backend_pid()`,
  )
  return { phase, fired: rows.length > 0, fromMs }
}

async function partition(rig: Rig, random: Chance): Promise<Struck> {
  const { place, workerId } = await busyWorker(rig, random)
  const held = await heldBy(rig, workerId)
  await moment([place], random)
  const phase = statementPhase([place])
  const fromMs = performance.now()
  place.proxy!.partition(random.one<Direction>(['both', 'to server', 'to client']))
  await pause(rig.leaseMs * random.between(1.2, 2))
  place.proxy!.thaw()
  return { phase: phase ?? (held > 0 ? 'running' : 'idle'), fired: true, fromMs, held }
}

/** A link that comes and goes. */
async function flap(rig: Rig, random: Chance): Promise<Struck> {
  const place = random.one(rig.places)
  await moment([place], random)
  const phase = statementPhase([place]) ?? 'idle'
  const fromMs = performance.now()
  for (let n = 0; n < 5; n++) {
    place.proxy!.refuse()
    place.proxy!.cut()
    await pause(300)
    place.proxy!.admit()
    await pause(200)
  }
  return { phase, fired: true, fromMs }
}

async function cutAll(rig: Rig, random: Chance): Promise<Struck> {
  const phase = await phaseOfAll(rig, random)
  const fromMs = performance.now()
  const cut = rig.proxies().reduce((sum, proxy) => sum + proxy.cut(), 0)
  return { phase, fired: cut > 0, fromMs }
}

async function slow(rig: Rig, random: Chance): Promise<Struck> {
  const phase = await phaseOfAll(rig, random)
  const slowness = { delayMs: random.between(5, 50), jitterMs: random.between(0, 200), bytesPerSecond: 125_000 }
  for (const proxy of rig.proxies()) proxy.slow(slowness)
  await pause(random.between(2_000, 4_000))
  for (const proxy of rig.proxies()) proxy.slow(null)
  return { phase, fired: true, fromMs: performance.now() }
}

const cuttable = [
  'finish_jobs',
  'finish_jobs',
  'enqueue_jobs',
  'enqueue_keyed_jobs',
  'claim_jobs',
  'append_journal',
  'release_jobs',
  'wake_due_jobs',
  'commit',
]

const cutWaitMs = 1_500

/** The server has committed, the reply never comes. A statement that nobody sends meanwhile is drawn anew. */
async function cutReply(rig: Rig, random: Chance): Promise<Struck> {
  const cuts = (): number => rig.proxies().reduce((sum, proxy) => sum + proxy.repliesCut(), 0)
  const cutBefore = cuts()
  for (let tries = 0; ; tries++) {
    const statement = random.one(cuttable)
    const fromMs = performance.now()
    for (const proxy of rig.proxies()) proxy.cutReplies({ statement, times: 1 + Math.floor(random.next() * 3) })
    while (cuts() === cutBefore && performance.now() - fromMs < cutWaitMs) await pause(10)
    await pause(100)
    for (const proxy of rig.proxies()) proxy.cutReplies(null)
    const fired = cuts() > cutBefore
    if (fired || tries === 3) return { phase: phaseOfStatement[statement] ?? 'idle', fired, fromMs }
  }
}

async function loseNotifications(rig: Rig, random: Chance): Promise<Struck> {
  const phase = await phaseOfAll(rig, random)
  const lostBefore = rig.proxies().reduce((sum, proxy) => sum + proxy.notificationsLost(), 0)
  const fromMs = performance.now()
  for (const proxy of rig.proxies()) proxy.loseNotifications(true)
  await pause(random.between(1_000, 4_000))
  for (const proxy of rig.proxies()) proxy.loseNotifications(false)
  const lost = rig.proxies().reduce((sum, proxy) => sum + proxy.notificationsLost(), 0) - lostBefore
  return { phase, fired: lost > 0, fromMs }
}

/** One process's wall clock jumps by up to an hour, and back. */
async function clockJump(rig: Rig, random: Chance): Promise<Struck> {
  const place = random.one(rig.places)
  const phase = statementPhase([place]) ?? 'running'
  const fromMs = performance.now()
  for (let n = 0; n < 3; n++) {
    rig.setClock(place, Math.round(random.between(-3_600_000, 3_600_000)))
    await pause(random.between(400, 1_500))
  }
  rig.setClock(place, 0)
  return { phase, fired: true, fromMs }
}

/** A session keeps an old snapshot: nothing that dies meanwhile can be cleaned up. */
async function holdHorizon(rig: Rig, random: Chance): Promise<Struck> {
  const phase = await phaseOfAll(rig, random)
  const fromMs = performance.now()
  const client = await rig.db.connect({ name: 'chaos horizon' })
  try {
    await client.query('begin isolation level repeatable read')
    await client.query('select txid_current()')
    await pause(random.between(3_000, 6_000))
    await client.query('commit')
  } catch {
    // Postgres was killed meanwhile: the horizon is free
  } finally {
    await client.end().catch(() => {})
  }
  return { phase, fired: true, fromMs }
}

/** The disk under the queue fills up, and has room again (see disk.ts). */
async function fillDisk(rig: Rig, random: Chance): Promise<Struck> {
  const phase = await phaseOfAll(rig, random)
  const fill = `${rig.smallDisk!}/fill`
  const refusedBefore = diskRefusals(rig.home)
  spawnSync('dd', ['if=/dev/zero', `of=${fill}`, 'bs=64k'], { stdio: 'ignore' }) // until there is no room
  await pause(random.between(2_000, 4_000))
  const refused = diskRefusals(rig.home) - refusedBefore
  rmSync(fill, { force: true })
  return { phase, fired: refused > 0, fromMs: performance.now() }
}

export const faults: readonly Fault[] = [
  { name: 'kill-worker', text: 'kill -9 of a worker', strike: killWorker },
  { name: 'kill-runner', text: 'kill -9 of a runner', strike: killRunner },
  { name: 'kill-server', text: 'kill -9 of a server', strike: killServer },
  {
    name: 'stop-worker',
    text: 'a worker stopped beyond its lease, then continued',
    strike: (rig, random) => stopWorker(rig, random, false),
  },
  { name: 'stop-worker-tree', text: 'the same with its runners', strike: (rig, random) => stopWorker(rig, random, true) },
  { name: 'kill-postgres', text: 'kill -9 of Postgres, and a restart', strike: killPostgres },
  {
    name: 'terminate-sessions',
    text: 'every session ended by Postgres',
    strike: (rig, random) => terminate(rig, random, "like 'millrace%'"),
  },
  {
    name: 'terminate-listen',
    text: 'the sessions that listen ended',
    strike: (rig, random) => terminate(rig, random, "= 'millrace listen'"),
  },
  { name: 'partition', text: 'a worker cut off from Postgres beyond its lease, in one or both directions', strike: partition },
  { name: 'cut', text: 'every connection reset', strike: cutAll },
  { name: 'flap', text: 'a link that comes and goes, five times', strike: flap },
  { name: 'slow', text: 'a slow network: delay, jitter, 1 Mbit/s', strike: slow },
  { name: 'cut-reply', text: 'committed, and cut before the reply', strike: cutReply },
  { name: 'lose-notifications', text: 'notifications lost', strike: loseNotifications },
  { name: 'clock-jump', text: 'the clock of a process jumps by up to an hour, there and back', strike: clockJump },
  { name: 'hold-horizon', text: 'a session holds the xmin horizon', strike: holdHorizon },
  { name: 'disk-full', text: 'no space left for finished jobs', missing: noSmallDisk, strike: fillDisk },
]
