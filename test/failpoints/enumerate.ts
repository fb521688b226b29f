// Finds every point by one run without a fault, then makes one run for each fault: the end must be the same.
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Outcome } from './check.ts'
import { everyFault, faultsAfterLostClaim, fewFaults, type Fault, type Recorded } from './points.ts'
import type { Lane, Rig } from './rig.ts'
import { serverRun } from './server_run.ts'
import { workerRun, type RunResult } from './worker_run.ts'

export type Part = 'worker' | 'server'

export interface Tried {
  part: Part
  faults: Fault[]
  missed: Fault[]
  wrong: string[]
  ms: number
}

export interface Enumeration {
  /** Points found: names with a phase. */
  points: Record<Part, number>
  /** Runs without a fault that went wrong. */
  wrong: string[]
  tried: Tried[]
  /** Statements that neither part came to, and that are not exempt. */
  unreached: string[]
}

interface Options {
  lanes: number
  /** `few`: the selection for every day. */
  which: 'all' | 'few'
  parts?: readonly Part[]
  wants?: (fault: Fault) => boolean
  onTried?: (tried: Tried, left: number) => void
}

const runOf = { worker: workerRun, server: serverRun }

export async function enumerate(rig: Rig, options: Options): Promise<Enumeration> {
  const { lanes, which, parts = ['worker', 'server'], wants = () => true } = options
  const first = await rig.lane()
  const base = {} as Record<Part, RunResult>
  const queue: { part: Part; faults: Fault[] }[] = []
  for (const part of ['worker', 'server'] as const) {
    base[part] = await runOf[part](first, [], null)
    const { recorded } = base[part]
    const faults = which === 'few' ? fewFaults(recorded, part) : everyFault(recorded, part).map((fault) => [fault])
    if (which === 'all' && part === 'worker') faults.push(...faultsAfterLostClaim())
    if (parts.includes(part)) for (const some of faults) if (some.some(wants)) queue.push({ part, faults: some })
  }
  const tried: Tried[] = []
  const work = async (lane: Lane): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const one = await tryOne(lane, next, base[next.part].outcomes)
      tried.push(one)
      options.onTried?.(one, queue.length)
    }
  }
  const others = await Promise.all(Array.from({ length: lanes - 1 }, () => rig.lane()))
  await Promise.all([first, ...others].map(work))
  const wrong = Object.entries(base).flatMap(([part, run]) => run.faults.map((text) => `${part}: ${text}`))
  return {
    points: { worker: pointsIn(base.worker.recorded), server: pointsIn(base.server.recorded) },
    wrong,
    tried,
    unreached: unreachedBy([...base.worker.recorded, ...base.server.recorded]),
  }
}

async function tryOne(
  lane: Lane,
  { part, faults }: { part: Part; faults: Fault[] },
  expected: Record<string, Outcome>,
): Promise<Tried> {
  const began = performance.now()
  let result = await runOf[part](lane, faults, expected)
  // How often a point is reached differs from run to run; a second chance for those at its edge.
  if (result.missed.length > 0 && result.faults.length === 0) result = await runOf[part](lane, faults, expected)
  return { part, faults, missed: result.missed, wrong: result.faults, ms: performance.now() - began }
}

function pointsIn(recorded: readonly Recorded[]): number {
  return new Set(recorded.map((point) => `${point.name}:${point.phase}`)).size
}

/** Statements that write, and that the canonical flows need not come to; and why. */
const exempt: Record<string, string> = {
  'one statement of an administrator, which no job meets': `
    archive_script create_workspace delete_flow delete_script group_add_member group_create group_delete group_remove_member group_update member_add member_remove set_error_handler token_delete`,
  'one statement of whoever keeps a variable or a resource; steps only read': `
    create_variable update_variable delete_variable create_resource update_resource delete_resource`,
  'done only where a partition was dropped, and again every hour': 'delete_old_job_keys',
  'of audit mode, and only for what was refused: a run without a fault has none': 'record_refusals',
  'shown while a step runs, and no part of what a job comes to': 'set_progress set_user_state',
  'one statement of whoever starts a job again; all of it or nothing': 'restart_job',
  'only for steps that become jobs: test/e2e/spread.e2e.test.ts kills a worker among them, the simulation loses the replies':
    'spread_jobs quit_parts',
  'only for waits beside what runs: test/worker/lifecycle.e2e.test.ts takes the lease away, the simulation loses the replies':
    'keep_waits',
  'only where a workspace has an error handler: test/e2e/error_handler.e2e.test.ts kills a worker': 'forget_failures',
  'after the end of jobs, from an entry that goes in the same statement: test/server/deletion.pg.test.ts': 'delete_used',
  'only after a claim whose reply was lost: has runs of its own': 'end_claim_round give_back_unknown',
}

const folder = fileURLToPath(new URL('../../src/store/sql/', import.meta.url))

/** Whoever gets no answer from one that only reads asks again. */
function writes(name: string): boolean {
  const text = readFileSync(`${folder}${name}.sql`, 'utf8').replaceAll(/^--.*$/gm, '')
  return /\b(insert into|delete from|update\s+[\w."]+(\s+(as\s+)?\w+)?\s+set|pg_notify)\b/i.test(text)
}

function unreachedBy(recorded: readonly Recorded[]): string[] {
  const reached = new Set([...recorded.map((point) => point.name), ...Object.values(exempt).join(' ').trim().split(/\s+/)])
  const statements = readdirSync(folder).flatMap((file) => (file.endsWith('.sql') ? [file.slice(0, -'.sql'.length)] : []))
  return statements.filter((name) => writes(name) && !reached.has(name))
}
