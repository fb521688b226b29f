// Failpoints as runs order them, and which of those that a recording has found are tried.

export interface Fault {
  /** `finish_jobs` */
  name: string
  phase: 'before' | 'after'
  hit: number
  kind: 'killed' | 'lost' | 'stale'
}

/** A point that was reached: while starting, at work, or stopping. */
export interface Recorded {
  name: string
  phase: 'before' | 'after'
  hit: number
  when: 'start' | 'work' | 'stop'
}

/** Longer than the lease of a worker that is to become stale, and than others need to see that. */
const staleMs = 2_000

/** What MILLRACE_FAILPOINTS says. */
export function planOf(faults: readonly Fault[]): string {
  const actions = { killed: 'exit', lost: 'lost', stale: `pause(${staleMs})` }
  return faults.map((fault) => `${fault.name}:${fault.phase}@${fault.hit}=${actions[fault.kind]}`).join('; ')
}

/** The lines of a record file. `readyAt`, `doneAt`: how many there were when the process was ready, and when all was done. */
export function phasesOf(lines: string[], at: { readyAt: number; doneAt: number }): Recorded[] {
  return lines.flatMap((line, i) => {
    const [, name, phase, hit] = /^(.+):(before|after)@(\d+)$/.exec(line) ?? []
    if (name === undefined) return []
    const when = i < at.readyAt ? 'start' : i < at.doneAt ? 'work' : 'stop'
    return [{ name, phase: phase as Recorded['phase'], hit: Number(hit), when } as const]
  })
}

/** Did the process meet it? */
export function isReached(lines: string[], fault: Fault): boolean {
  return lines.some((line) => line.startsWith(`${fault.name}:${fault.phase}@${fault.hit} done: `))
}

// What comes round by itself is the same each time: its first time in each phase of the process' life is enough.
const regular = new Set([
  'afterwards_due',
  'append_logs',
  'canceled_jobs',
  'declare_dead',
  'delete_left_signals',
  'delete_left_waits',
  'heartbeat',
  'load_artifact',
  'load_version',
  'read_job_outcome',
  'select',
  'set',
  'wake_due_jobs',
])
// Swept until nothing is left: how many times that takes differs from run to run.
const swept = new Set(['delete_left_signals', 'delete_left_waits'])
const hitsMax = 3

/** Every kill, lost reply and stale worker that a recording calls for. One run each. */
export function everyFault(recorded: readonly Recorded[], of: 'worker' | 'server'): Fault[] {
  const faults: Fault[] = []
  const counted = new Map<string, number>()
  for (const { name, phase, hit, when } of recorded) {
    if (swept.has(name) && hit > 1) continue
    const place = `${when} ${name}:${phase}`
    const times = (counted.get(place) ?? 0) + 1
    counted.set(place, times)
    if (times > (regular.has(name) ? 1 : hitsMax)) continue
    const point = { name, phase, hit }
    faults.push({ ...point, kind: 'killed' })
    if (times === 1 && canBeLost(name, phase)) faults.push({ ...point, kind: 'lost' })
    // A statement that is late is one that is sent late: after it, there is no difference to a runner's result being late.
    if (of === 'worker' && when === 'work' && canBeStale(name, phase)) faults.push({ ...point, kind: 'stale' })
  }
  return faults
}

/** What is only done after a claim whose reply was lost: the reply lost, and then a second fault. */
export function faultsAfterLostClaim(): Fault[][] {
  const lostClaim: Fault = { name: 'claim_jobs', phase: 'after', hit: 1, kind: 'lost' }
  return ['end_claim_round', 'give_back_unknown'].flatMap((name) =>
    [
      { name, phase: 'before', hit: 1, kind: 'killed' } as const,
      { name, phase: 'after', hit: 1, kind: 'killed' } as const,
      { name, phase: 'after', hit: 1, kind: 'lost' } as const,
    ].map((second) => [lostClaim, second]),
  )
}

/** The reply of a statement, a notification, an answer. */
function canBeLost(name: string, phase: string): boolean {
  if (name.startsWith('runner.')) return false
  return /^(listen|http)\./.test(name) ? phase === 'before' : phase === 'after'
}

function canBeStale(name: string, phase: string): boolean {
  return !name.startsWith('listen.') && (phase === 'before' || name.startsWith('runner.') || name === 'claim_jobs')
}

/** The writes that make a job's history. */
const writes = [
  'append_journal',
  'claim_jobs',
  'commit',
  'enqueue_jobs',
  'enqueue_keyed_jobs',
  'finish_jobs',
  'finish_waited',
  'give_back_jobs',
  'release_jobs',
]

/**
 * A selection for every day: each point once, killed after; what writes also killed before, and by a stale worker; and all
 * replies lost in one and the same run.
 */
export function fewFaults(recorded: readonly Recorded[], of: 'worker' | 'server'): Fault[][] {
  const all = everyFault(recorded, of)
  const first = (kind: Fault['kind'], phase: Fault['phase'], isWanted: (name: string) => boolean): Fault[] => {
    const seen = new Set<string>()
    return all.filter((fault) => {
      if (fault.kind !== kind || fault.phase !== phase || !isWanted(fault.name) || seen.has(fault.name)) return false
      seen.add(fault.name)
      return true
    })
  }
  const write = (name: string): boolean => writes.includes(name)
  // A server is dear to start, and most of its points are of reads.
  const starting = new Set(['create', 'database_facts', 'select', 'setting_get_or_create'])
  const after =
    of === 'worker'
      ? (name: string) => !starting.has(name)
      : (name: string) => write(name) || /^http\.POST .*(run|cancel)/.test(name)
  const working = recorded.filter((point) => point.when === 'work')
  // Upkeep of partitions comes once an hour, so a run meets only the first thing that fails in it.
  const lost = everyFault(working, of).filter(
    (fault) => fault.kind === 'lost' && !/^(select|set|list_partitions|delete_old_.*)$/.test(fault.name),
  )
  return [
    ...[...first('killed', 'after', after), ...first('killed', 'before', write), ...first('stale', 'before', write)].map(
      (fault) => [fault],
    ),
    lost,
  ]
}
