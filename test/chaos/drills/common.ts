// What drills share: a flow of three small steps, somebody who keeps it fed, and counts of what was finished.
import { setTimeout as pause } from 'node:timers/promises'
import { benchFlows, eventOf } from '../../../bench/flows.ts'
import { median } from '../../../bench/machine.ts'
import type { FlowDocument } from '../../../src/client/client.ts'
import { insertJobs, newJobId, printNewJob } from '../../../src/store/jobs.ts'
import type { Rig } from '../rig.ts'

export interface DrillOptions {
  times: number
  minutes: number
  seed: number
  rate: number | undefined
  progress: (line: string) => void
}

export interface DrillResult {
  name: string
  /** What holds, and what does not, in words. */
  lines: string[]
  failed: string[]
  figures: Record<string, unknown>
}

const path = 'drill/three'
export const drillTag = `main:flow/${path}`
export const drillFlow: { path: string; document: FlowDocument } = {
  path,
  document: { summary: 'drill', value: { modules: benchFlows.ts3 as never }, dedicated_worker: true },
}

/** For counting what was finished when; no part of the schema. */
export async function indexFinished(rig: Rig): Promise<void> {
  await rig.db.pool.query('create index chaos_finished on job_done (completed_at)')
}

async function versionOf(rig: Rig, flowPath: string): Promise<string> {
  const { rows } = await rig.db.pool.query('select version_id from flow where path = $1', [flowPath])
  return (rows[0] as { version_id: string }).version_id
}

const batchJobs = 500

export interface Feeder {
  /** Jobs whose insert was confirmed. */
  stored(): number
  stop(): Promise<void>
  /** Confirmed jobs that are nowhere; call it once the queue is empty. */
  missing(): Promise<number>
}

/** Keeps some thousand jobs ready (no rate), or stores so many a second. Inserts that fail are unknown, and others follow. */
export async function feed(
  rig: Rig,
  options: {
    tag?: string
    flowPath?: string
    args?: (n: number) => string
    rate?: number
    ready?: number
    batch?: number
    /** Tells its jobs from those of others. */
    label?: string
  },
): Promise<Feeder> {
  const {
    tag = drillTag,
    flowPath = path,
    args = eventOf,
    rate,
    ready = 12_000,
    batch: batchMax = batchJobs,
    label = 'drill',
  } = options
  const versionId = await versionOf(rig, flowPath)
  const confirmed: number[] = [] // jobs, by number of the batch
  const stop = new AbortController()
  let made = 0
  let sent = 0
  let batches = 0
  let unsure = false
  const beganMs = performance.now()
  const doneBefore = await doneCount()

  async function doneCount(): Promise<number> {
    const { rows } = await rig.db.pool.query(
      'select coalesce(sum(done), 0)::float8 as n from (select max(jobs_done) as done from worker group by name) w',
    )
    return (rows[0] as { n: number }).n
  }

  async function wanted(): Promise<number> {
    if (rate !== undefined) return Math.floor(((performance.now() - beganMs) / 1000) * rate) - sent
    // By the workers' own count: looking at the queue would walk over what a held horizon leaves there. Not after an outage:
    // what was stored or finished without an answer is in nobody's count.
    if (unsure) {
      const { rows } = await rig.db.pool.query('select count(*)::integer as n from job')
      sent = (rows[0] as { n: number }).n + (await doneCount()) - doneBefore
      unsure = false
    }
    return ready + (await doneCount()) - doneBefore - sent
  }

  async function store(count: number): Promise<void> {
    const number = batches++
    const jobs = Array.from({ length: count }, () =>
      printNewJob({
        id: newJobId(),
        workspaceId: 'main',
        versionId,
        tag,
        priority: 0,
        args: args(made++),
        createdBy: `${label} ${number}`,
      }),
    )
    confirmed[number] = 0
    await insertJobs(rig.db.pool, `[${jobs.join(',')}]`, [tag])
    confirmed[number] = count
    sent += count
  }

  const running = (async () => {
    while (!stop.signal.aborted) {
      try {
        const count = await wanted()
        if (count > 0) await store(Math.min(batchMax, count))
        if (count < batchMax) await pause(rate === undefined ? 20 : 5)
      } catch {
        unsure = true // Postgres is away
        await pause(20)
      }
    }
  })()
  return {
    stored: () => confirmed.reduce((sum, count) => sum + count, 0),
    async stop() {
      stop.abort()
      await running
    },
    async missing() {
      const { rows } = await rig.db.pool.query(
        "select split_part(created_by, ' ', 2)::integer as batch, count(*)::integer as n from job_done where starts_with(created_by, $1) group by 1",
        [`${label} `],
      )
      const found = new Map((rows as { batch: number; n: number }[]).map((row) => [row.batch, row.n]))
      return confirmed.reduce((sum, count, batch) => sum + Math.max(0, count - (found.get(batch) ?? 0)), 0)
    },
  }
}

/**
 * Jobs finished in the last `ms`. now(), not clock_timestamp(): that one is volatile, so the index would be read whole each time, and
 * the drill would measure itself.
 */
export async function finishedInLast(rig: Rig, ms: number): Promise<number> {
  const { rows } = await rig.db.pool.query(
    "select count(*)::integer as n from job_done where completed_at > now() - $1 * interval '1 ms'",
    [ms],
  )
  return (rows[0] as { n: number }).n
}

/** Jobs per second: the median of so many seconds. */
export async function rateOver(rig: Rig, seconds: number): Promise<number> {
  const rates: number[] = []
  for (let n = 0; n < seconds; n++) {
    await pause(1_000)
    rates.push(await finishedInLast(rig, 1_000))
  }
  return median(rates)
}

export async function drained(rig: Rig, maxMs = 120_000): Promise<boolean> {
  const untilMs = performance.now() + maxMs
  while (performance.now() < untilMs) {
    const { rows } = await rig.db.pool.query('select from job limit 1')
    if (rows.length === 0) return true
    await pause(50)
  }
  return false
}

export const ms = (value: number): string => `${Math.round(value)} ms`
export const count = (value: number): string => Math.round(value).toLocaleString('en')
