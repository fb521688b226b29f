// Millrace itself, for the same table: its own benchmark harness runs the same three steps and writes what it measured to a file.
//   M1. The file is a list of cases by name, each figure a median with its minimum and maximum beside it in `min` and `max`. A case or
//       a figure that is missing is reported as missing.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { launch, logEnd } from '../children.mjs'
import { stepsPerFlow } from '../work.mjs'

export const peer = {
  name: 'Millrace',
  flows: null,
  keepsResults: true,
  configuration:
    'npm run bench, with a dedicated worker with warm TypeScript runners, its embedded Postgres with the settings it ships with (durable too); result by the HTTP call that runs a flow and waits',
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
  return {
    flowsPerSecond: figure(drain, 'stepsPerSecond', 1 / stepsPerFlow),
    stepsPerSecond: figure(drain, 'stepsPerSecond'),
    latencyMs: latency ? { p50: figure(latency, 'p50Ms'), p99: figure(latency, 'p99Ms') } : null,
    workerRssMiB: figure(drain, 'rssMiB'),
  }
}

function readCases(file) {
  let list
  try {
    list = JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return new Map()
  }
  return new Map(list.map((one) => [one.name, one]))
}

function figure(found, name, factor = 1) {
  if (typeof found[name] !== 'number') return null
  const median = found[name] * factor
  return { median, min: (found.min?.[name] ?? found[name]) * factor, max: (found.max?.[name] ?? found[name]) * factor }
}
