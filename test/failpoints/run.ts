// npm run failpoints: every point, one run for each kill, lost reply and stale worker. A table at the end.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import Table from 'cli-table3'
import { controls, runControl } from './control.ts'
import { enumerate, type Enumeration, type Part, type Tried } from './enumerate.ts'
import type { Fault } from './points.ts'
import { openRig } from './rig.ts'

const { values: options } = parseArgs({
  options: {
    few: { type: 'boolean', default: false },
    only: { type: 'string' },
    kind: { type: 'string' },
    part: { type: 'string' },
    lanes: { type: 'string', default: '3' },
    json: { type: 'string' },
    control: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

const kinds = ['killed', 'lost', 'stale']
const usage = `npm run failpoints -- [options]
Finds every failpoint that the canonical flows come to, and makes one run for each: the worker or the server killed before it
and after it, its reply lost, the worker stale by the time it gets there. Every run must end as the one without a fault did.
  --few           the selection that \`npm test\` makes
  --only REGEX    only points whose name matches
  --kind KIND     only ${kinds.join(', ')}
  --part PART     only the worker, or the server
  --lanes N       runs at a time (default 3)
  --json FILE     what was tried, as JSON
  --control NAME  with a guard taken out of the code, which must be seen: ${Object.keys(controls).join(', ')}`

function wrongUsage(message: string): never {
  console.error(`${message}\n\n${usage}`)
  process.exit(2)
}

if (options.help) {
  console.log(usage)
  process.exit(0)
}
const lanes = Number(options.lanes)
if (!Number.isInteger(lanes) || lanes < 1) wrongUsage('--lanes takes a whole number from 1')
if (options.kind !== undefined && !kinds.includes(options.kind)) wrongUsage(`no kind ${options.kind}`)
if (options.part !== undefined && options.part !== 'worker' && options.part !== 'server') wrongUsage(`no part ${options.part}`)
if (options.control !== undefined && !Object.hasOwn(controls, options.control)) wrongUsage(`no control ${options.control}`)

if (options.control === undefined) process.exitCode = await run()
else process.exitCode = await runControl(options.control)

async function run(): Promise<number> {
  const only = options.only === undefined ? null : new RegExp(options.only)
  const wants = (fault: Fault): boolean =>
    (only === null || only.test(`${fault.name}:${fault.phase}`)) && (options.kind === undefined || fault.kind === options.kind)
  const began = performance.now()
  const rig = await openRig()
  try {
    const done = await enumerate(rig, {
      lanes,
      which: options.few ? 'few' : 'all',
      wants,
      ...(options.part === undefined ? {} : { parts: [options.part as Part] }),
      onTried: progress,
    })
    if (options.json !== undefined) writeFileSync(options.json, JSON.stringify(done, null, 2))
    report(done, performance.now() - began)
    return isClean(done) ? 0 : 1
  } finally {
    await rig.close()
  }
}

function progress(tried: Tried, left: number): void {
  if (tried.wrong.length > 0) console.log(`WRONG ${nameOf(tried)}\n${indented(tried.wrong)}`)
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${left} to go`)
  else if (left % 50 === 0) console.error(`${left} to go`)
}

function nameOf({ part, faults }: Tried): string {
  return `${part} ${faults.map((fault) => `${fault.kind} ${fault.name}:${fault.phase}@${fault.hit}`).join('; ')}`
}

function indented(lines: string[]): string {
  return lines.map((line) => `  ${line.replaceAll('\n', '\n    ')}`).join('\n')
}

function isClean(done: Enumeration): boolean {
  return done.wrong.length + done.unreached.length === 0 && done.tried.every((one) => one.wrong.length === 0)
}

function report(done: Enumeration, tookMs: number): void {
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
  for (const part of ['worker', 'server'] as const) printPart(part, done)
  if (done.wrong.length > 0) console.log(`Without any fault:\n${indented(done.wrong)}`)
  for (const name of done.unreached)
    console.log(`${name}: no canonical flow comes to this statement (test/failpoints/enumerate.ts)`)
  const wrong = done.tried.filter((one) => one.wrong.length > 0).length
  const missed = done.tried.filter((one) => one.missed.length > 0).length
  console.log(
    `${done.points.worker + done.points.server} points (${done.points.worker} of the worker, ${done.points.server} of the server), ` +
      `${done.tried.length} runs in ${Math.round(tookMs / 1000)} s: ${done.tried.length - wrong} ended as without a fault, ` +
      `${wrong} did not${missed === 0 ? '' : `; ${missed} did not come to their point again`}`,
  )
}

function printPart(part: Part, done: Enumeration): void {
  const rows = new Map<string, Record<string, Tried[]>>()
  for (const one of done.tried) {
    if (one.part !== part) continue
    for (const { name, phase, kind } of one.faults) {
      const columns = rows.get(name) ?? {}
      const column = kind === 'killed' ? phase : kind
      ;(columns[column] ??= []).push(one)
      rows.set(name, columns)
    }
  }
  if (rows.size === 0) return
  const columns = part === 'worker' ? ['before', 'after', 'lost', 'stale'] : ['before', 'after', 'lost']
  const heads = { before: 'killed before', after: 'killed after', lost: 'reply lost', stale: 'stale' }
  const table = new Table({
    head: [part, ...columns.map((column) => heads[column as keyof typeof heads])],
    style: { head: [], border: [], compact: true },
  })
  for (const [name, row] of [...rows].sort(([a], [b]) => a.localeCompare(b)))
    table.push([name, ...columns.map((column) => cell(row[column] ?? [], name))])
  console.log(table.toString())
}

function cell(runs: Tried[], name: string): string {
  const isMissed = (one: Tried): boolean => one.missed.some((fault) => fault.name === name)
  const wrong = runs.filter((one) => one.wrong.length > 0).length
  const missed = runs.filter((one) => one.wrong.length === 0 && isMissed(one)).length
  const ok = runs.length - wrong - missed
  return [ok > 0 ? `${ok} ok` : '', wrong > 0 ? `${wrong} WRONG` : '', missed > 0 ? `${missed} missed` : '']
    .filter(Boolean)
    .join(', ')
}
