// A long time at 70 % of the peak: does anything grow that should not? Memory and descriptors of every process, sessions, hot tables.
//   S1. A slope is a least-squares fit after a warm-up of 20 minutes (two thirds of the time if that is less), with the upper end of its
//       95 % interval. Garbage does not count: samples are taken when all is collected (collect.mjs), every ten seconds, as what is on
//       its way just then does count; of a runner, which is left to itself, the lowest of each minute.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { descendants, rssMib } from '../../../bench/machine.ts'
import { openRig, type Place, type Rig } from '../rig.ts'
import { count, drained, drillFlow, drillTag, indexFinished, rateOver, type DrillOptions, type DrillResult } from './common.ts'
import { eventOf } from '../../../bench/flows.ts'

const share = 0.7
const peakS = 30
// What is done once a minute is compiled after some ten.
const warmMaxS = 20 * 60
const warmMaxShare = 2 / 3
const slopeMaxMibPerHour = 2
const slopeUpperMibPerHour = 8
/** That of collect.mjs. */
const collectedEveryS = 10
const batch = 200
const readyMax = 4_000

interface Track {
  name: string
  pid: number
  /** collect.mjs is in it. */
  collected: boolean
  atS: number[]
  rss: number[]
  descriptors: number[]
  /** What its memory is, once warm and at the end. */
  kinds: Record<Kind, number>[]
}

interface TableSample {
  atS: number
  job: number
  jobIndexes: number
  journal: number
  sessions: number
}

/** `minutes`: 9 at least, for a slope of three. */
export async function soak(options: DrillOptions): Promise<DrillResult> {
  const collected = mkdtempSync(join(tmpdir(), 'millrace-soak-'))
  process.once('exit', () => rmSync(collected, { recursive: true, force: true })) // however it ends
  const collecting = `--import ${new URL('collect.mjs', import.meta.url).href}?into=${collected}`
  const rig = await openRig({
    servers: 1,
    workers: 1,
    leaseMs: 15_000,
    flows: [],
    more: [drillFlow],
    direct: true,
    env: { NODE_OPTIONS: collecting },
  })
  try {
    await indexFinished(rig)
    const closed = publish(rig, null)
    await rateOver(rig, 10) // warm
    const peak = await rateOver(rig, peakS)
    await closed.stop()
    await drained(rig)
    const rate = options.rate ?? share * peak
    options.progress(`peak ${count(peak)} jobs/s (${count(peak * 3)} steps/s), events by HTTP; soaking at ${count(rate)} jobs/s`)
    const open = publish(rig, rate)
    const { tracks, tables, finishedPerS } = await watch(rig, options)
    const warmS = warmUpS(options)
    const fits = tracks.map((track) => {
      const { everyS, resident, live } = samplesOf(track, warmS, collected)
      return { name: track.name, resident: fit(resident, everyS), live: live && fit(live, everyS) }
    })
    await open.stop()
    const empty = await drained(rig)
    const failed: string[] = []
    for (const { name, resident } of fits) {
      const { slope, upper } = resident
      if (slope > slopeMaxMibPerHour || upper > slopeUpperMibPerHour) {
        failed.push(
          `${name} grows by ${slope.toFixed(1)} MiB/h (at most ${upper.toFixed(1)}); it may by ${slopeMaxMibPerHour} (${slopeUpperMibPerHour})`,
        )
      }
    }
    const warm = tables.filter((sample) => sample.atS >= warmS)
    const grown = (of: (sample: TableSample) => number): string => `${of(warm[0]!).toFixed(1)} → ${of(warm.at(-1)!).toFixed(1)}`
    for (const key of ['job', 'jobIndexes', 'journal'] as const) {
      const first = Math.max(...warm.slice(0, Math.ceil(warm.length / 4)).map((sample) => sample[key]))
      const last = warm.at(-1)![key]
      if (last > first * 1.25 + 1) failed.push(`${key} grew from ${first.toFixed(1)} to ${last.toFixed(1)} MiB`)
    }
    const sessions = warm.map((sample) => sample.sessions)
    const descriptors = tracks.map((track) => {
      const after = track.descriptors.slice(warmS)
      return `${track.name} ${Math.min(...after)}–${Math.max(...after)}`
    })
    if (open.refused() > 0) failed.push(`${open.refused()} requests were not answered 2xx`)
    if (finishedPerS < rate * 0.97) failed.push(`${count(finishedPerS)} jobs/s finished of ${count(rate)} offered`)
    if (!empty) failed.push('jobs are stuck')
    if (rig.unexpected.length > 0) failed.push(`a process ended by itself: ${rig.unexpected[0]}`)
    return {
      name: 'soak',
      lines: [
        `${options.minutes} min at ${count(rate)} jobs/s (${count(rate * 3)} steps/s), ${Math.round((rate / peak) * 100)} % of the peak of ${count(peak)}; ${count(finishedPerS)} finished per second`,
        `memory, MiB/h by least squares over the last ${((options.minutes * 60 - warmS) / 60).toFixed(0)} min (upper end of 95 %), from → to MiB:`,
        ...fits.map(
          ({ name, resident, live }) => `  ${name.padEnd(16)} ${told(resident)}${live ? `; objects in use ${told(live)}` : ''}`,
        ),
        'of that, MiB, every 5 min:',
        ...tracks.filter(({ kinds }) => kinds.length > 1).map((track) => `  ${track.name.padEnd(16)} ${changes(track)}`),
        `descriptors: ${descriptors.join(', ')}; sessions ${Math.min(...sessions)}–${Math.max(...sessions)}`,
        `MiB: table job ${grown((sample) => sample.job)}, its indexes ${grown((sample) => sample.jobIndexes)}, job_journal ${grown((sample) => sample.journal)}`,
      ],
      failed,
      figures: { peak, rate, finishedPerS, fits, tables },
    }
  } finally {
    await rig.close()
  }
}

/** Events by run_batch: so many a second, or (null) as many as keep the queue filled. */
function publish(rig: Rig, rate: number | null) {
  const stop = new AbortController()
  const under = new Set<Promise<void>>()
  let sent = 0
  let refused = 0
  const send = async (jobs: number): Promise<void> => {
    const body = `[${Array.from({ length: jobs }, (_, n) => eventOf(sent + n)).join(',')}]`
    sent += jobs
    try {
      const response = await fetch(`${rig.client.url}/api/w/main/jobs/run_batch/f/drill/three`, {
        method: 'POST',
        headers: { authorization: `Bearer ${rig.token}`, 'content-type': 'application/json' },
        body,
      })
      await response.arrayBuffer()
      if (!response.ok) refused += 1
    } catch {
      refused += 1
    }
  }
  const running = (async () => {
    const beganMs = performance.now()
    while (!stop.signal.aborted) {
      let due: number
      if (rate === null) {
        const { rows } = await rig.db.pool.query(
          "select count(*)::integer as n from (select from job where tag = $1 and state = 'ready' limit 20000) r",
          [drillTag],
        )
        due = readyMax - (rows[0] as { n: number }).n
      } else due = Math.floor(((performance.now() - beganMs) / 1000) * rate) - sent
      const sending = []
      for (; due > 0 && under.size < 64; due -= batch) {
        const one = send(rate === null ? batch : Math.min(batch, due))
        under.add(one)
        void one.finally(() => under.delete(one))
        sending.push(one)
      }
      if (rate === null) await Promise.all(sending)
      await pause(10)
    }
    await Promise.all(under)
  })()
  return {
    refused: () => refused,
    async stop() {
      stop.abort()
      await running
    },
  }
}

async function watch(rig: Rig, options: DrillOptions): Promise<{ tracks: Track[]; tables: TableSample[]; finishedPerS: number }> {
  const tracks = processesOf(rig)
  const tables: TableSample[] = []
  const beganMs = performance.now()
  const doneBefore = await doneCount(rig)
  const warmS = warmUpS(options)
  for (let second = 1; second <= options.minutes * 60; second++) {
    await pause(Math.max(0, beganMs + second * 1_000 - performance.now()))
    for (const track of tracks) {
      track.atS.push(second)
      track.rss.push(rssMib(track.pid))
      track.descriptors.push(readdirSync(`/proc/${track.pid}/fd`).length)
      if (second === warmS || (second > warmS && second % 300 === 0) || second === options.minutes * 60)
        track.kinds.push(memoryByKind(track.pid))
    }
    if (second % 10 !== 0) continue
    const { rows } = await rig.db.pool.query(
      `select pg_table_size('job') / 1048576.0 as job, pg_indexes_size('job') / 1048576.0 as indexes,
              pg_total_relation_size('job_journal') / 1048576.0 as journal,
              (select count(*)::integer from pg_stat_activity where application_name like 'millrace%') as sessions`,
    )
    const row = rows[0] as { job: string; indexes: string; journal: string; sessions: number }
    const sample = {
      atS: second,
      job: Number(row.job),
      jobIndexes: Number(row.indexes),
      journal: Number(row.journal),
      sessions: row.sessions,
    }
    tables.push(sample)
    if (second % 60 === 0) {
      const memory = tracks.map((track) => `${track.name} ${track.rss.at(-1)!.toFixed(0)}`).join(', ')
      options.progress(
        `${second / 60} min: MiB ${memory}; table job ${sample.job.toFixed(1)}, indexes ${sample.jobIndexes.toFixed(1)}`,
      )
    }
  }
  const finishedPerS = ((await doneCount(rig)) - doneBefore) / ((performance.now() - beganMs) / 1000)
  return { tracks, tables, finishedPerS }
}

function processesOf(rig: Rig): Track[] {
  const track = (name: string, pid: number, collected: boolean): Track => ({
    name,
    pid,
    collected,
    atS: [],
    rss: [],
    descriptors: [],
    kinds: [],
  })
  const runnersOf = (place: Place): Track[] => descendants(place.child.pid!).map((pid, n) => track(`runner ${n + 1}`, pid, false))
  return rig.places.flatMap((place) => [
    track(place.name, place.child.pid!, true),
    ...(place.kind === 'worker' ? runnersOf(place) : []),
  ])
}

const kinds = ['heap', 'compiled code', 'malloc', 'files'] as const
type Kind = (typeof kinds)[number]

/** Resident MiB. V8 maps its heap away from where Linux puts libraries, stacks and what malloc asks for (0x7f…). */
function memoryByKind(pid: number): Record<Kind, number> {
  const sums: Record<Kind, number> = { heap: 0, 'compiled code': 0, malloc: 0, files: 0 }
  let kind: Kind = 'files'
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const mapping = /^([0-9a-f]+)-\S+ (\S+) \S+ \S+ \S+ *(.*)$/.exec(line)
    const resident = /^Rss: +(\d+) kB/.exec(line)
    if (mapping) {
      const [, address, access, name] = mapping as unknown as [string, string, string, string]
      if (name !== '' && name !== '[heap]') kind = 'files'
      else if (access.includes('x')) kind = 'compiled code'
      else kind = name === '[heap]' || (address.length === 12 && address.startsWith('7f')) ? 'malloc' : 'heap'
    } else if (resident) sums[kind] += Number(resident[1]) / 1_024
  }
  return sums
}

function changes(track: Track): string {
  return kinds.map((kind) => `${kind} ${track.kinds.map((at) => at[kind].toFixed(1)).join(' → ')}`).join(', ')
}

function warmUpS({ minutes }: DrillOptions): number {
  return Math.round(Math.min(warmMaxS, minutes * 60 * warmMaxShare))
}

async function doneCount(rig: Rig): Promise<number> {
  const { rows } = await rig.db.pool.query("select sum(jobs_done)::float8 as n from worker where state = 'alive'")
  return (rows[0] as { n: number }).n
}

/** MiB. */
function samplesOf(track: Track, fromS: number, collected: string): { everyS: number; resident: number[]; live?: number[] } {
  const minutes = Math.floor((track.atS.length - fromS) / 60)
  if (track.collected) {
    const text = readFileSync(join(collected, String(track.pid)), 'utf8')
    const lines = text
      .trimEnd()
      .split('\n')
      .slice((-minutes * 60) / collectedEveryS)
    const [resident, live] = [0, 1].map((at) => lines.map((line) => Number(line.split(' ')[at])))
    return { everyS: collectedEveryS, resident: resident!, live: live! }
  }
  const lowest = (minute: number) => Math.min(...track.rss.slice(fromS + minute * 60, fromS + (minute + 1) * 60))
  return { everyS: 60, resident: Array.from({ length: minutes }, (_, minute) => lowest(minute)) }
}

interface Fit {
  samples: readonly number[]
  slope: number
  upper: number
}

const told = ({ samples, slope, upper }: Fit): string =>
  `${slope.toFixed(2)} (${upper.toFixed(2)})  ${samples[0]!.toFixed(1)} → ${samples.at(-1)!.toFixed(1)}`

/** MiB per hour, with the upper end of the 95 % interval. */
function fit(ys: readonly number[], everyS: number): Fit {
  const xs = ys.map((_, i) => (i * everyS) / 3_600)
  const n = xs.length
  const meanX = xs.reduce((sum, x) => sum + x, 0) / n
  const meanY = ys.reduce((sum, y) => sum + y, 0) / n
  const sxx = xs.reduce((sum, x) => sum + (x - meanX) ** 2, 0)
  const slope = xs.reduce((sum, x, i) => sum + (x - meanX) * (ys[i]! - meanY), 0) / sxx
  const residual = ys.reduce((sum, y, i) => sum + (y - meanY - slope * (xs[i]! - meanX)) ** 2, 0)
  const error = Math.sqrt(residual / (n - 2) / sxx)
  return { samples: ys, slope, upper: slope + 1.96 * error }
}
