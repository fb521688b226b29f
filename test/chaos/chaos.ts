// One run: load, faults, healing, judgement.
//   H1. It goes on, without faults, for more than twice the longest of the engine's periods (lease, poll, upkeep), and until the queue
//       is empty: what is not finished after a minute is stuck.
//   H2. The last events are sent while notifications are lost, so that nothing but looking by itself can find them.
import { setTimeout as pause } from 'node:timers/promises'
import type { HistoryCounts } from '../../src/store/audit_history.ts'
import { audit, recordOn } from './audit.ts'
import { checkResults, countExecutions, Findings, queueIsEmpty, type Finding } from './checks.ts'
import { faults, phases, type Fault, type Phase } from './faults.ts'
import type { FlowName } from './flows.ts'
import { startLoad, type Counts } from './load.ts'
import { torment, type Strike } from './nemesis.ts'
import { chance } from './random.ts'
import { openRig, type Rig } from './rig.ts'

export interface ChaosOptions {
  seed: number
  seconds: number
  /** Events per second. */
  rate: number
  workers: number
  servers: number
  leaseMs: number
  faults: readonly Fault[]
  flows?: readonly FlowName[]
  root?: string
  /** What is not finished after so long, without faults, is stuck. */
  stuckMs?: number
  /** Told of what goes on. */
  progress: (line: string) => void
}

export interface ChaosReport {
  seed: number
  seconds: number
  settledSeconds: number
  counts: Counts
  /** Checks that `millrace audit` could ask. */
  checks: number
  history: HistoryCounts
  finished: number
  executions: { executed: number; again: number }
  /** Late reports that were refused, by kind; claims that ended with their worker. */
  refused: Record<string, number>
  attemptsLost: number
  strikes: Strike[]
  notAvailable: { fault: string; why: string }[]
  findings: Finding[]
}

const cleanMs = 1_500
const stuckMsPreset = 60_000
const pollMs = 2_000

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const notAvailable: ChaosReport['notAvailable'] = []
  const chosen = options.faults.filter((fault) => {
    const why = fault.missing?.() ?? null
    if (why !== null) notAvailable.push({ fault: fault.name, why })
    return why === null
  })
  const fillsDisk = chosen.some((fault) => fault.name === 'disk-full')
  options.progress('starting Postgres, servers and workers')
  const rig = await openRig({
    ...(options.root === undefined ? {} : { root: options.root }),
    ...(options.flows === undefined ? {} : { flows: options.flows }),
    // A finished job takes about 1.3 kB.
    ...(fillsDisk ? { smallDiskMib: 64 + Math.ceil((options.seconds * options.rate * 2) / 1_000) } : {}),
    servers: options.servers,
    workers: options.workers,
    leaseMs: options.leaseMs,
  })
  try {
    return { ...(await tormented(rig, chosen, options)), notAvailable }
  } finally {
    await rig.close()
  }
}

async function tormented(rig: Rig, chosen: readonly Fault[], options: ChaosOptions): Promise<Omit<ChaosReport, 'notAvailable'>> {
  const findings = new Findings()
  const strikes: Strike[] = []
  await recordOn(rig)
  // For seeing when something finishes; no part of the schema.
  await rig.db.pool.query('create index chaos_finished on job_done (completed_at)')
  const load = startLoad({
    rig,
    seed: options.seed,
    rate: options.rate,
    deployEveryS: 7,
    ...(options.flows === undefined ? {} : { flows: options.flows }),
  })
  const beganMs = performance.now()
  const said = (what: string): void => {
    const at = ((performance.now() - beganMs) / 1000).toFixed(0).padStart(4)
    const { ok, unknown } = load.counts
    options.progress(`${at} s  ${ok} events accepted, ${unknown} unknown, ${strikes.length} faults  ${what}`)
  }
  await pause(cleanMs)
  await torment({
    rig,
    faults: chosen,
    random: chance(options.seed ^ 0x5eed),
    untilMs: beganMs + options.seconds * 1_000,
    struck: (strike) => strikes.push(strike),
    striking: (fault) => said(fault.name),
  })
  said('the last events, without notifications')
  for (const proxy of rig.proxies()) proxy.loseNotifications(true)
  await pause(1_000)
  await load.stop()
  const healedMs = performance.now()
  await pause(rig.leaseMs)
  for (const proxy of rig.proxies()) proxy.loseNotifications(false)
  said('healing')
  await pause(2 * Math.max(rig.leaseMs, pollMs) - rig.leaseMs)
  await Promise.all(rig.places.map((place) => place.ready)).catch((error: unknown) =>
    findings.add('does not start again', String(error)),
  )
  await queueIsEmpty(rig, options.stuckMs ?? stuckMsPreset)
  const settledSeconds = (performance.now() - healedMs) / 1000
  said('checking')
  const finished = await checkResults(rig, load, findings)
  const { checks, counts } = await audit(rig, findings, { history: true })
  const history = counts ?? emptyHistory
  for (const strike of strikes) {
    if (strike.recoveredMs === undefined) findings.add('never recovered', `after ${strike.fault} nothing finished for a minute`)
    if (strike.held && 'takenOverMs' in strike && strike.takenOverMs === undefined) {
      findings.add('never taken over', `after ${strike.fault} its worker held jobs for a minute`)
    }
  }
  const repliesCut = strikes.some((strike) => strike.fault === 'cut-reply' && strike.fired && strike.phase === 'storing')
  if (repliesCut && history.recovered === 0)
    findings.add('a fault without teeth', 'replies to inserts were cut, and no event was recovered')
  for (const ended of await rig.stopAll()) findings.add('does not drain', ended)
  for (const ended of rig.unexpected) findings.add('a process ended by itself', ended)
  return {
    seed: options.seed,
    seconds: options.seconds,
    settledSeconds,
    counts: load.counts,
    checks,
    history,
    finished,
    executions: await countExecutions(rig),
    ...(await refusalsOf(rig)),
    strikes,
    findings: findings.list(),
  }
}

const emptyHistory: HistoryCounts = {
  attempted: 0,
  acknowledged: 0,
  landed: 0,
  finished: 0,
  lost: 0,
  unfinished: 0,
  phantom: 0,
  recovered: 0,
}

async function refusalsOf(rig: Rig): Promise<Pick<ChaosReport, 'refused' | 'attemptsLost'>> {
  const refusals = await rig.db.pool.query('select kind, count(*)::integer as n from audit_refusal group by kind order by kind')
  const lost = await rig.db.pool.query("select count(*)::integer as n from audit_transition where cause = 'lost'")
  return {
    refused: Object.fromEntries((refusals.rows as { kind: string; n: number }[]).map(({ kind, n }) => [kind, n])),
    attemptsLost: (lost.rows[0] as { n: number }).n,
  }
}

/** How often each fault struck in each phase. */
export function histogram(strikes: readonly Strike[]): Map<string, Record<Phase, number>> {
  const rows = new Map<string, Record<Phase, number>>()
  for (const { name } of faults) {
    const fired = strikes.filter((strike) => strike.fault === name && strike.fired)
    if (fired.length === 0) continue
    const counts = Object.fromEntries(phases.map((phase) => [phase, 0])) as Record<Phase, number>
    for (const strike of fired) counts[strike.phase] += 1
    rows.set(name, counts)
  }
  return rows
}
