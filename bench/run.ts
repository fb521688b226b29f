// npm run bench: measures the product on this machine. Table on screen, JSON and a chart in bench/results/.
//   npm run bench -- --only drain-3-typescript,idle-latency --repeat 5 --json out.json --small
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import Table from 'cli-table3'
import { cases, type Known } from './cases.ts'
import { chart } from './chart.ts'
import { machine } from './machine.ts'
import { openRig } from './load/rig.ts'
import { show, summarise, type CaseResult, type Measured } from './result.ts'

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    repeat: { type: 'string', default: '1' },
    json: { type: 'string' },
    small: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const results = fileURLToPath(new URL('results/', import.meta.url))

if (options.help) {
  console.log(`npm run bench -- [options]
  --only a,b     only these cases: ${cases.map((one) => one.name).join(', ')}
  --repeat N     runs of each case; figures are medians, with minimum and maximum (default 1)
  --json FILE    an array with one object a case
  --small        every case tiny: does it work at all
  --save         write bench/results/bench.json and bench.svg (default when all cases run)`)
  process.exit(0)
}

const only = options.only?.split(',').map((name) => name.trim())
const unknown = only?.filter((name) => !cases.some((one) => one.name === name)) ?? []
const repeat = Number(options.repeat)
if (unknown.length > 0 || !Number.isInteger(repeat) || repeat < 1) {
  console.error(
    unknown.length > 0
      ? `no case ${unknown.join(', ')}; there are: ${cases.map((one) => one.name).join(', ')}`
      : '--repeat takes a whole number from 1',
  )
  process.exit(2)
}

const chosen = cases.filter((one) => !only || only.includes(one.name))
console.log('Starting Postgres, the server and the flows …')
const rig = await openRig(() => {})
const about = machine(rig.postgresVersion)
console.log(`${about}\n`)

const known: Known = { peak: null }
const runs = new Map<string, Measured[]>(chosen.map((one) => [one.name, []]))
let failed = 0
try {
  // Round by round, so that a machine that drifts does so under all cases alike.
  for (let round = 0; round < repeat; round++) {
    for (const one of chosen) {
      const startedMs = performance.now()
      process.stdout.write(`${round + 1}/${repeat} ${one.name} … `)
      try {
        const measured = await one.run(rig, options.small, known)
        runs.get(one.name)!.push(measured)
        console.log(`${line(measured)} (${((performance.now() - startedMs) / 1000).toFixed(0)} s)`)
      } catch (error) {
        failed += 1
        console.log(`failed: ${error instanceof Error ? error.message : String(error)}`)
        await rig.stopWorkers()
        await rig.db.pool.query('truncate job, job_done')
      }
    }
  }
} finally {
  await rig.close()
}

const summary = chosen.filter((one) => runs.get(one.name)!.length > 0).map((one) => summarise(one.name, runs.get(one.name)!))
console.log(`\n${about}; ${repeat === 1 ? 'one run' : `medians of ${repeat} runs (minimum–maximum)`}`)
console.log(table(summary))
if (options.json) writeFileSync(options.json, `${JSON.stringify(summary, null, 2)}\n`)
if (options.save || (!only && !options.small)) {
  writeFileSync(
    `${results}bench.json`,
    `${JSON.stringify({ machine: about, date: new Date().toISOString(), cases: summary }, null, 2)}\n`,
  )
  writeFileSync(`${results}bench.svg`, chart(summary, about))
  console.log('written: bench/results/bench.json, bench/results/bench.svg')
}
process.exitCode = failed > 0 ? 1 : 0

function line(measured: Measured): string {
  const parts = []
  if (measured.stepsPerSecond) parts.push(`${Math.round(measured.stepsPerSecond).toLocaleString('en')} steps/s`)
  else if (measured.jobsPerSecond) parts.push(`${Math.round(measured.jobsPerSecond).toLocaleString('en')} events/s`)
  if (measured.floorRatio) parts.push(`${measured.floorRatio.toFixed(2)} of plain SQL`)
  if (measured.p50Ms) parts.push(`p50 ${measured.p50Ms.toFixed(1)} ms`)
  if (measured.p99Ms) parts.push(`p99 ${measured.p99Ms.toFixed(1)} ms`)
  if (measured.cpu)
    parts.push(
      `cores: worker ${measured.cpu.worker} runners ${measured.cpu.runners} postgres ${measured.cpu.postgres} client ${measured.cpu.client}`,
    )
  return parts.join(', ')
}

function table(summary: readonly CaseResult[]): string {
  const out = new Table({
    head: ['case', 'jobs/s', 'steps/s', 'p50 ms', 'p99 ms', 'of floor', 'RSS MiB', 'cores w/r/pg/client'],
    style: { head: [], border: [] },
  })
  for (const one of summary) {
    const cpu = one.cpu ? `${one.cpu.worker}/${one.cpu.runners}/${one.cpu.postgres}/${one.cpu.client}` : ''
    out.push([
      one.name,
      show(one, 'jobsPerSecond'),
      show(one, 'stepsPerSecond'),
      show(one, 'p50Ms'),
      show(one, 'p99Ms'),
      show(one, 'floorRatio'),
      show(one, 'rssMiB'),
      cpu,
    ])
  }
  const notes = summary.filter((one) => one.note).map((one) => `${one.name}: ${one.note}`)
  return [out.toString(), ...notes].join('\n')
}
