// npm run chaos: real processes under load and faults, and a verdict. docs/chaos.md says what it does and how to read it.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import Table from 'cli-table3'
import { machine } from '../../bench/machine.ts'
import { runChaos, type ChaosReport } from './chaos.ts'
import { buildCopy, controls, type Control } from './controls.ts'
import { horizon } from './drills/horizon.ts'
import { postgresKills } from './drills/postgres_kills.ts'
import { soak } from './drills/soak.ts'
import { workerKills } from './drills/worker_kills.ts'
import { zombies } from './drills/zombies.ts'
import { faults } from './faults.ts'
import { markdownReport, printReport } from './report.ts'

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string' },
    faults: { type: 'string' },
    rate: { type: 'string' },
    workers: { type: 'string', default: '3' },
    servers: { type: 'string', default: '2' },
    'lease-ms': { type: 'string', default: '3000' },
    control: { type: 'string' },
    controls: { type: 'boolean', default: false },
    drill: { type: 'string' },
    times: { type: 'string' },
    json: { type: 'string' },
    markdown: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

const drills = [
  { name: 'postgres-kills', text: 'Postgres killed under full load (20 times)', run: postgresKills, times: 20, minutes: 0 },
  {
    name: 'worker-kills',
    text: 'workers killed: when do their jobs run elsewhere? (30 times)',
    run: workerKills,
    times: 30,
    minutes: 0,
  },
  { name: 'zombies', text: 'workers stopped beyond their lease and continued (200)', run: zombies, times: 200, minutes: 0 },
  {
    name: 'soak',
    text: '70 % of the peak, 20 minutes of warm-up and 30 more: does anything grow?',
    run: soak,
    times: 0,
    minutes: 50,
    least: 9,
  },
  { name: 'horizon', text: 'the xmin horizon held (10 min): does the rate hold?', run: horizon, times: 0, minutes: 10 },
]

const usage = `npm run chaos -- [options]
  --minutes N        how long load and faults go on (default 1)
  --seed N           the same faults in the same order again (default: any)
  --faults a,b       only these: ${faults.map((fault) => fault.name).join(', ')}
  --rate N           events per second (default 150)
  --workers N        (default 3)
  --servers N        (default 2)
  --lease-ms N       lease of a worker (default 3000)
  --control NAME     a guard of the engine removed, in a copy; the run must go red:
${controls.map((control) => `                       ${control.name.padEnd(18)}${control.text}`).join('\n')}
  --controls         all of them, one after another, and a table
  --drill NAME       one question, with figures (--times N or --minutes N, --rate N jobs per second):
${drills.map((drill) => `                       ${drill.name.padEnd(18)}${drill.text}`).join('\n')}
  --json FILE        the whole report
  --markdown FILE    the report as Markdown; in a file with <!-- chaos:begin --> and <!-- chaos:end -->
                     (or the name of the drill) it goes between them

It brings its own Postgres, listens on loopback only, and leaves nothing behind. Exit code 1: something is wrong.`

function wholeNumber(name: string, text: string): number {
  const value = Number(text)
  if (Number.isFinite(value) && value > 0) return value
  console.error(`--${name} takes a number above 0, not ${JSON.stringify(text)}`)
  process.exit(2)
}

function chosenFaults() {
  if (options.faults === undefined) return faults
  const names = options.faults.split(',').map((name) => name.trim())
  const unknown = names.filter((name) => !faults.some((fault) => fault.name === name))
  if (unknown.length > 0) {
    console.error(`no fault ${unknown.join(', ')}; there are: ${faults.map((fault) => fault.name).join(', ')}`)
    process.exit(2)
  }
  return faults.filter((fault) => names.includes(fault.name))
}

// Whoever interrupts it leaves nothing behind either: rig.ts and controls.ts clean up at the exit.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130))

if (options.help) {
  console.log(usage)
  process.exit(0)
}

const seed = options.seed === undefined ? Math.floor(Math.random() * 1_000_000) : wholeNumber('seed', options.seed)
const minutes = options.minutes === undefined ? undefined : wholeNumber('minutes', options.minutes)
const rate = options.rate === undefined ? undefined : wholeNumber('rate', options.rate)
const size = {
  seed,
  rate: rate ?? 150,
  workers: wholeNumber('workers', options.workers),
  servers: wholeNumber('servers', options.servers),
  progress,
}

if (options.drill !== undefined) process.exit((await runDrill(options.drill)) ? 0 : 1)
if (options.controls) {
  const red = await runControls(controls)
  process.exit(red ? 0 : 1)
}
if (options.control !== undefined) {
  const control = controls.find((one) => one.name === options.control)
  if (!control) {
    console.error(`no control ${options.control}; there are: ${controls.map((one) => one.name).join(', ')}`)
    process.exit(2)
  }
  process.exit((await runControls([control])) ? 0 : 1)
}

const report = await runChaos({
  ...size,
  seconds: options.seconds === undefined ? (minutes ?? 1) * 60 : wholeNumber('seconds', options.seconds),
  leaseMs: wholeNumber('lease-ms', options['lease-ms']),
  faults: chosenFaults(),
})
clearProgress()
console.log(printReport(report))
write(report)
process.exitCode = report.findings.length > 0 ? 1 : 0

/** True if every one of them went red. */
async function runControls(chosen: readonly Control[]): Promise<boolean> {
  const head = ['control', 'what is wrong in the copy', 'verdict', 'after', 'by']
  const verdicts: string[][] = []
  let allRed = true
  for (const control of chosen) {
    progress(`${control.name}: building a copy without it`)
    const copy = buildCopy(control)
    const beganMs = performance.now()
    try {
      const report = await runChaos({
        ...size,
        leaseMs: 1_500,
        seconds: control.seconds,
        stuckMs: 12_000,
        faults: faults.filter((fault) => control.faults.includes(fault.name)),
        root: copy.root,
        progress: (line) => progress(`${control.name}: ${line}`),
      })
      const red = report.findings.length > 0
      allRed &&= red
      const by = report.findings.map((finding) => `${finding.check} (${finding.count})`).join(', ')
      verdicts.push([
        control.name,
        control.text,
        red ? 'red' : 'GREEN: no teeth',
        `${Math.round((performance.now() - beganMs) / 1000)} s`,
        by,
      ])
    } finally {
      copy.remove()
    }
  }
  clearProgress()
  const table = new Table({ head, style: { head: [], border: [] } })
  table.push(...verdicts)
  console.log(table.toString())
  if (options.markdown) {
    const rows = [head, head.map(() => '---'), ...verdicts].map((cells) => `| ${cells.join(' | ')} |`)
    writeBetween(options.markdown, 'controls', rows.join('\n'))
  }
  return allRed
}

/** True if it met its figures. */
async function runDrill(name: string): Promise<boolean> {
  const drill = drills.find((one) => one.name === name)
  if (!drill) {
    console.error(`no drill ${name}; there are: ${drills.map((one) => one.name).join(', ')}`)
    process.exit(2)
  }
  const times = options.times === undefined ? drill.times : wholeNumber('times', options.times)
  if (minutes !== undefined && minutes < (drill.least ?? 0)) {
    console.error(`${name} takes ${drill.least} minutes at least`)
    process.exit(2)
  }
  const result = await drill.run({ times, minutes: minutes ?? drill.minutes, seed, rate, progress: (line) => console.log(line) })
  const verdict = result.failed.length === 0 ? ['met'] : ['NOT met:', ...result.failed.map((line) => `  ${line}`)]
  console.log(['', `${result.name} (seed ${seed})`, ...result.lines, ...verdict].join('\n'))
  if (options.json) writeFileSync(options.json, `${JSON.stringify({ ...result, seed }, null, 2)}\n`)
  if (options.markdown) {
    const text = ['```', ...result.lines, ...verdict, '```'].join('\n')
    writeBetween(options.markdown, result.name, text)
  }
  return result.failed.length === 0
}

function clearProgress(): void {
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K')
}

function progress(line: string): void {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${line.slice(0, (process.stdout.columns ?? 80) - 1)}`)
  else console.log(line)
}

function write(report: ChaosReport): void {
  if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
  if (options.markdown) writeBetween(options.markdown, 'chaos', markdownReport(report, machine('18, embedded')))
}

/** In a file that has the markers, between them; else the file becomes the text. */
function writeBetween(file: string, name: string, text: string): void {
  const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`]
  const old = existsSync(file) ? readFileSync(file, 'utf8') : ''
  const from = old.indexOf(begin)
  const to = old.indexOf(end)
  const within = from !== -1 && to > from
  writeFileSync(file, within ? `${old.slice(0, from)}${begin}\n${text}\n${old.slice(to)}` : `${text}\n`)
}
