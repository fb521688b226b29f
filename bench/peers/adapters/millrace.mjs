// Millrace itself, for the same table: its own benchmark harness runs the same three steps and writes what it measured to a file.
//   M1. Nothing is assumed of that file beyond a list of cases by name: a number may stand alone, as a list, or with median, min and max.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { launch, logEnd } from '../children.mjs'
import { spread } from '../report.mjs'
import { stepsPerFlow } from '../work.mjs'

export const peer = {
  name: 'Millrace',
  flows: null,
  keepsResults: true,
  configuration:
    'its own bench: a dedicated worker with one warm TypeScript runner per step, embedded Postgres; latency is that of its HTTP call that runs a flow and waits for the result',
}

const drainCase = 'drain-3-typescript'
const latencyCase = 'idle-latency'

/** Runs the project's own benchmark and reads its numbers. */
export async function measure({ projectDir, dir, log, repeat, onStart }) {
  const file = join(dir, 'millrace.json')
  const cases = `${drainCase},${latencyCase}`
  const args = ['src/cli/setup.mjs', 'bench', '--only', cases, '--repeat', String(repeat), '--json', file]
  const started = launch(process.execPath, args, { cwd: projectDir, log, group: true })
  onStart(started)
  const how = await started.exited
  const found = readCases(file)
  const drain = found.get(drainCase)
  if (!drain) throw new Error(`"npm run bench" ended with ${how} and no numbers for ${drainCase}: ${logEnd(log)}`)
  const latency = found.get(latencyCase)
  const stepsPerSecond = spread(drain.stepsPerSecond)
  return {
    stepsPerSecond,
    // In that case every job is a flow; an older file may lack the figure, and it follows from the steps.
    flowsPerSecond: spread(drain.jobsPerSecond) ?? scaled(stepsPerSecond, 1 / stepsPerFlow),
    latencyMs: latency ? { p50: spread(latency.p50Ms), p99: spread(latency.p99Ms) } : null,
    workerRssMiB: spread(drain.rssMiB),
  }
}

function readCases(file) {
  let list
  try {
    list = JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return new Map()
  }
  const cases = Array.isArray(list) ? list : (list.cases ?? list.results ?? [])
  return new Map(cases.map((one) => [one.name, one]))
}

function scaled(figure, factor) {
  return figure && { median: figure.median * factor, min: figure.min * factor, max: figure.max * factor }
}
