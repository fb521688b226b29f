// One seed: servers, workers and callers over a network that is drawn from it, hit by faults until `healMs`; then calm, and
// everything must come to its end. The engine's own modules run here: worker/*, store/enqueuer.ts, server/waiters.ts and all
// of core/flow, over ports (a clock, statements, notifications, runners).
import { setImmediate as turn } from 'node:timers/promises'
import type { Sandbox } from '../../src/core/expr/expression.ts'
import { createJobIds } from '../../src/core/job/ids.ts'
import { defaultLimits, type Limits } from '../../src/core/limits.ts'
import type { Call, RunnerPool } from '../../src/runner/pool_types.ts'
import { createWaiters, type Waiters } from '../../src/server/waiters.ts'
import { createEnqueuer, type Enqueuer } from '../../src/store/enqueuer.ts'
import { cancelJob, doneChannel, type NewJob } from '../../src/store/jobs.ts'
import { sendSignal } from '../../src/store/signals.ts'
import type { StepCall } from '../../src/worker/run.ts'
import { createWorker } from '../../src/worker/worker.ts'
import {
  flatFlows,
  flowPath,
  flows,
  outcomeOf,
  partItems,
  partsAtOnce,
  tag,
  versions,
  workspace,
  type FlowArgs,
  type SimAnswer,
  type SimFlow,
} from './flows.ts'
import { createNetwork, type Network } from './network.ts'
import { Oracle } from './oracle.ts'
import { epochMs, Process, World } from './world.ts'

const healMs = 4_500
// Long enough for what is stuck (three leases), parked (two seconds, twice) and not yet noticed (a lease).
const calmMs = 60_000
const leaseMs = 3_000
const limits: Limits = {
  ...defaultLimits,
  leaseMs,
  pollMs: 1_000,
  claimJobsMax: 4,
  workerJobsMax: 8,
  commitRowsMax: 3,
  reapMs: 500,
  lostMax: 3,
  resultBytesMax: 1 << 20,
  partItemsMax: partItems,
  partsAtOnceMax: partsAtOnce,
  lingerRecordMs: 30,
}
const clientGivesUpMs = 2_500

export interface SeedResult {
  seed: number
  failure: string | null
  trace: string[]
  fingerprint: number
  marks: Record<string, number>
  events: number
  virtualMs: number
  jobs: number
}

interface SimServer {
  process: Process
  enqueuer: Enqueuer
  waiters: Waiters
  id: number
}

const sandbox: Sandbox = {
  evaluate(source) {
    throw new Error(`the simulation has no JavaScript: ${source}`)
  },
}

export async function runSeed(seed: number, options: { traceMax?: number } = {}): Promise<SeedResult> {
  const world = new World(seed, options.traceMax)
  const { chance } = world
  const rarely = (share: number): number => (chance() < 0.5 ? 0 : chance() * share)
  const weather = {
    lostReply: rarely(0.15),
    lostNotify: chance() < 0.15 ? 1 : rarely(0.8),
    stuck: rarely(0.06),
    refused: rarely(0.05),
    delayMs: chance() < 0.7 ? 5 : 80,
  }
  const oracle = new Oracle(world)
  const network = createNetwork(world, weather, leaseMs, oracle.watch)
  oracle.store = network.store
  for (const version of versions) network.store.versions.set(version.id, version)
  network.store.flows.set(`${workspace} ${flowPath}`, '1')

  const skewMs = chance() < 0.4 ? 3_600_000 : 0
  const skew = (): number => (skewMs === 0 ? 0 : world.between(-skewMs, skewMs))
  const faults = faultsOf(world)
  const workers = new Set<Process>()
  const servers = new Set<SimServer>()
  let names = 0

  function startWorker(): void {
    const process = new Process(world, `w${++names}`, skew())
    workers.add(process)
    const stop = new AbortController()
    const worker = createWorker({
      db: network.databaseOf(process),
      limits,
      pool: poolOf(process, oracle),
      sandbox,
      tokens: { issue: () => '', verify: () => null },
      bindings: [tag],
      tags: [],
      baseUrl: '',
      name: process.name,
      version: '0',
      log: logOf(process),
      clock: process.clock,
      listen: (asked) => network.listen(process, asked),
    })
    const ended = (how: string) => (): void => {
      world.tell(`${process.name} ${how}`)
      gone(process, true)
    }
    worker.run(stop.signal).then(ended('stopped'), ended('could not start'))
    stops.set(process, stop)
  }

  const stops = new Map<Process, AbortController>()

  /** A process is no more; another comes in its place. */
  function gone(process: Process, socketsClosed: boolean): void {
    if (!process.alive) return
    process.alive = false
    network.left(process, socketsClosed ? world.between(0, 30) : world.between(leaseMs, 3 * leaseMs))
    if (workers.delete(process)) world.at(world.nowMs + world.between(50, 1_500), startWorker)
    for (const server of servers) {
      if (server.process !== process) continue
      servers.delete(server)
      world.at(world.nowMs + world.between(50, 800), startServer)
    }
  }

  function startServer(): void {
    const process = new Process(world, `s${++names}`, skew())
    const db = network.databaseOf(process)
    const { clock } = process
    const waiters = createWaiters({ db, limits, clock })
    const server: SimServer = { process, waiters, enqueuer: createEnqueuer({ db, limits, clock }), id: names }
    servers.add(server)
    void network.listen(process, {
      db,
      channels: { [doneChannel(server.id)]: (payload) => waiters.announced(payload) },
      onConnect: () => void waiters.poll(),
      report: () => {},
    })
  }

  function logOf(process: Process) {
    const say = (level: string) => (facts: unknown, message?: string) => {
      world.tell(`${process.name} ${level}: ${message ?? ''}`)
      const { err, jobs } = facts as { err?: Error; jobs?: unknown }
      if (level === 'error') world.fail(`${process.name} logged an error: ${message} ${err?.stack ?? JSON.stringify(jobs ?? '')}`)
    }
    return { info: () => {}, debug: () => {}, warn: say('warn'), error: say('error') } as unknown as Parameters<
      typeof createWorker
    >[0]['log']
  }

  const nextId = createJobIds(() => Math.floor(chance() * 2 ** 48))
  // Flows with bodies, answers and parts come to several times as many events: three seeds of four do without them.
  const isFlat = world.chance() < 0.75
  const submit = submitter({ world, network, oracle, servers, nextId, flows: isFlat ? flatFlows : flows })
  for (let i = 0; i < 2 + world.whole(2); i++) startWorker()
  for (let i = 0; i < 2; i++) startServer()
  const opsMax = isFlat ? 8 + world.whole(10) : 5 + world.whole(6)
  for (let op = 0; op < opsMax; op++) world.at(world.between(10, healMs * 0.8), () => submit(`op${op}`))

  function victim(): Process {
    const all = [...workers]
    return all[world.whole(all.length)]!
  }

  function strike(): void {
    if (world.nowMs >= healMs) return
    world.at(world.nowMs + world.between(100, faults.everyMs), strike)
    const kind = faults.kinds[world.whole(faults.kinds.length)]!
    const process =
      kind === 'kill server' || kind === 'pause server' ? [...servers][world.whole(servers.size)]?.process : victim()
    if (!process) return
    world.mark(kind)
    world.tell(`FAULT ${kind} ${process.name}`)
    switch (kind) {
      case 'kill worker':
      case 'kill server':
        gone(process, true)
        return
      case 'lose host':
        gone(process, false)
        return
      case 'pause worker':
      case 'pause server':
        process.pausedUntilMs = world.nowMs + leaseMs * world.between(0.2, 2.5)
        return
      case 'stop worker':
        stops.get(process)?.abort()
        return
      case 'outage':
        network.outage(world.between(20, 2_500))
        return
      case 'cut':
        network.cut(chance())
        return
    }
  }
  if (faults.kinds.length > 0) world.at(world.between(50, 800), strike)
  world.at(healMs, () => {
    world.tell('HEAL')
    network.heal()
  })

  const begunMs = () => world.nowMs >= healMs
  const over = (): boolean => begunMs() && oracle.atRest() && [...servers].every((server) => server.waiters.count() === 0)
  await world.run(healMs + calmMs, over)
  if (world.failure === null && !over()) world.fail(stuck(network, servers))
  // What dead processes still wait for is never settled; let the garbage collector have it.
  const settledMs = world.nowMs
  await turn()
  return {
    seed,
    failure: world.failure,
    trace: world.trace,
    fingerprint: world.fingerprint,
    marks: Object.fromEntries(world.marks),
    events: world.events,
    virtualMs: settledMs,
    jobs: oracle.asked.size,
  }
}

const faultKinds = [
  'kill worker',
  'lose host',
  'pause worker',
  'stop worker',
  'kill server',
  'pause server',
  'outage',
  'cut',
] as const

/** Each seed has its own mix, so that one kind of fault does not hide what another one shows. */
function faultsOf(world: World): { kinds: (typeof faultKinds)[number][]; everyMs: number } {
  return { kinds: faultKinds.filter(() => world.chance() < 0.4), everyMs: world.between(400, 4_000) }
}

function stuck(network: Network, servers: Set<SimServer>): string {
  const jobs = [...network.store.jobs.values()].map(({ id, state, worker_id, epoch, lost }) => ({
    id,
    state,
    worker_id,
    epoch,
    lost,
  }))
  const waiting = [...servers].reduce((sum, server) => sum + server.waiters.count(), 0)
  return `stuck ${calmMs} ms after the last fault: ${JSON.stringify(jobs)}, callers waiting: ${waiting}, workers: ${JSON.stringify([...network.store.workers.values()].slice(-4))}`
}

/** Callers: an event each, by key or not, some waiting for the result, some canceling, some for later. */
function submitter(parts: {
  world: World
  network: Network
  oracle: Oracle
  servers: Set<SimServer>
  nextId: (nowMs: number) => string
  /** The first so many of all of them. */
  flows: readonly SimFlow[]
}): (op: string) => void {
  const { world, network, oracle, servers, nextId, flows: chosen } = parts

  function ask(op: string, key: string | null, flow: number, args: string, runAtMs: number | null, tries: number): void {
    const all = [...servers]
    const server = all[world.whole(all.length)]
    if (!server) {
      world.at(world.nowMs + 300, () => ask(op, key, flow, args, runAtMs, tries))
      return
    }
    const id = nextId(Math.floor(epochMs + world.nowMs))
    const job: NewJob = {
      id,
      workspaceId: workspace,
      versionId: versions[flow]!.id,
      tag,
      priority: world.whole(2),
      args,
      createdBy: 'sim',
    }
    if (key !== null) job.key = key
    const { turn } = flows[flow]!
    if (turn) job.turn = turn(JSON.parse(args) as FlowArgs)
    if (runAtMs !== null) job.runAtMs = runAtMs
    const waits = world.chance() < 0.5
    if (waits) job.waiter = server.id
    oracle.asked.set(id, { op, flow, args, key, runAtMs, canceled: false })
    let heard = false
    const again = (): void => {
      if (heard) return
      heard = true
      world.mark('asked again')
      if (key !== null && tries < 12) ask(op, key, flow, args, runAtMs, tries + 1)
    }
    server.process.run(() => {
      const giveUp = new AbortController()
      if (waits) wait(server, id, giveUp.signal)
      server.enqueuer.enqueue([job]).then(
        ([stored]) => {
          // The answer travels to the caller, unless the server dies first.
          server.process.after(1, () => {
            heard = true
            oracle.told(op, key, stored!)
            if (stored !== id) {
              world.mark('key met again')
              giveUp.abort(new Error('another job has the key'))
              if (waits) wait(server, stored!, new AbortController().signal)
              void server.waiters.poll()
            }
            if (world.chance() < 0.15) cancel(server, stored!)
            answerAll(stored!)
          })
        },
        () => {
          giveUp.abort(new Error('not stored'))
          server.process.after(1, again)
        },
      )
    })
    world.at(world.nowMs + clientGivesUpMs, again)
  }

  function wait(server: SimServer, id: string, signal: AbortSignal): void {
    server.waiters.wait(id, signal).then(
      (finished) => {
        world.mark('answered')
        oracle.answered(id, finished.status, finished.result)
      },
      () => {}, // the server stopped, or the caller left
    )
  }

  function cancel(server: SimServer, id: string): void {
    server.process.after(world.between(0, 600), () => {
      oracle.askedFor(id).canceled = true
      cancelJob(network.databaseOf(server.process).pool, { workspaceId: workspace, id, by: 'sim', reason: 'enough' }).catch(
        () => {},
      )
    })
  }

  const answered = new Set<string>()

  /** Whoever stands around answers what the job waits for: early or late, some twice, again if they are not told. */
  function answerAll(id: string): void {
    if (answered.has(id)) return // a key met again
    answered.add(id)
    for (const one of oracle.answersOf(id)) {
      const atMs = world.nowMs + world.between(0, 3_000)
      world.at(atMs, () => answer(id, one))
      if (world.chance() < 0.4) world.at(atMs + world.between(0, 300), () => answer(id, one))
    }
  }

  function answer(jobId: string, one: SimAnswer): void {
    const server = [...servers][world.whole(servers.size)]
    let heard = false
    const again = (): void => {
      if (heard) return
      heard = true
      world.mark('answer sent again')
      answer(jobId, one)
    }
    world.at(world.nowMs + clientGivesUpMs, again)
    if (!server) return
    server.process.run(() => {
      const { n: step, id: resumeId, approved, v } = one
      const who = { workspaceId: workspace, jobId, approver: null, account: 'ann', groups: ['ops'] }
      sendSignal(network.databaseOf(server.process).pool, { ...who, step, resumeId, approved, payload: JSON.stringify(v) }).then(
        (taken) => {
          heard = true
          world.mark(taken ? 'answer taken' : 'answer refused')
        },
        () => server.process.after(1, again),
      )
    })
  }

  /** Jobs whose callers were never told of them are found by looking. */
  function look(): void {
    for (const id of network.store.jobs.keys()) answerAll(id)
    world.at(world.nowMs + 1_500, look)
  }
  look()

  return (op) => {
    const flow = world.whole(chosen.length)
    const args = JSON.stringify(chosen[flow]!.args((below) => world.whole(below)))
    const runAtMs = world.chance() < 0.1 ? Math.floor(epochMs + world.nowMs + world.between(200, 2_000)) : null
    ask(op, world.chance() < 0.6 ? `key of ${op}` : null, flow, args, runAtMs, 1)
  }
}

/** Runners: they take their time, and give what flows.ts says. */
function poolOf(process: Process, oracle: Oracle): RunnerPool {
  const { world } = process
  const settled = new WeakSet<Call>()

  function durationMs(): number {
    const draw = world.chance()
    return draw < 0.7 ? 1 + draw * 20 : draw < 0.9 ? draw * 300 : world.between(300, 1_500)
  }

  return {
    warm: () => new Promise((resolve) => process.after(20, resolve)),
    call(_spec, call) {
      const { run, n, stepId } = call as StepCall
      process.after(0.3, () => {
        if (settled.has(call)) return
        const strict = run.loaded!.plan.strict
        const fromNothing = run.job.journaled && run.records.length === 0
        oracle.begins({ id: run.id, epoch: run.epoch, n, strict, fromNothing })
        const ms = durationMs()
        const outcome = outcomeOf({ jobId: run.id, stepId, n, args: call.args })
        process.after(ms, () => {
          if (settled.has(call)) return
          settled.add(call)
          oracle.ended(run.id, n)
          if (outcome.ok) call.succeeded(outcome.value, Math.round(ms))
          else call.failed(outcome.error, Math.round(ms))
        })
      })
    },
    cancel(call, reason) {
      if (settled.has(call)) return
      settled.add(call)
      process.after(1, () => call.failed({ name: 'Canceled', message: reason }, 1))
    },
    release: () => Promise.resolve(),
    capacity: () => 64,
    stats: () => [],
    close: () => Promise.resolve(),
  }
}
