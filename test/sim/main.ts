// `npm run sim`: runs seeds on every core, prints what failed and how to see it again.
//   npm run sim                                20,000 seeds
//   npm run sim -- --seeds 1000 --from 5000    other ones
//   npm run sim -- --seed 4711                 one, with all that happened in it
//   npm run sim -- --mutants                   how many seeds until each planted bug is caught
//   npm run sim -- --mutant no-poll --seed 3   one of them
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import type { Mutant } from '../support/mutants.ts'
import type { BatchLine, BatchRequest, BatchSums } from './batch.ts'
import { bundleSimulation } from './bundle.ts'
import { mutants } from './mutants.ts'
import type { SeedResult } from './scenario.ts'

// Inside the project, so that the bundle finds its packages.
const cache = fileURLToPath(new URL('../../node_modules/.cache/', import.meta.url))

export interface SimResult {
  sums: BatchSums
  failed: SeedResult[]
}

export interface Simulation {
  run(range: {
    from: number
    count: number
    failuresMax?: number
    twice?: number
    traceMax?: number
    width?: number
  }): Promise<SimResult>
  close(): void
}

/** The simulation, with a planted bug or without, ready to run seeds. */
export async function buildSimulation(mutant: Mutant | null): Promise<Simulation> {
  const folder = mkdtempSync(join(makeCache(), 'sim-'))
  const file = join(folder, 'batch.mjs')
  await bundleSimulation(file, mutant)
  return {
    async run({ from, count, failuresMax = 1, twice = 0, traceMax = 60, width = availableParallelism() }) {
      const parts = Math.max(1, Math.min(width, count))
      const requests = Array.from({ length: parts }, (_, part): BatchRequest => {
        const own = Math.ceil((count - part) / parts)
        return { first: from + part, stride: parts, count: own, failuresMax, twice: Math.ceil(twice / parts), traceMax }
      })
      const results = await Promise.all(requests.map((request) => runBatch(file, request)))
      return { sums: results.map((one) => one.sums).reduce(add), failed: results.flatMap((one) => one.failed).sort(bySeed) }
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  }
}

function makeCache(): string {
  mkdirSync(cache, { recursive: true })
  return cache
}

async function runBatch(file: string, request: BatchRequest): Promise<SimResult> {
  const child = spawn(process.execPath, [file, JSON.stringify(request)], { stdio: ['ignore', 'pipe', 'pipe'] })
  const failed: SeedResult[] = []
  let sums: BatchSums | null = null
  let errors = ''
  child.stderr.on('data', (piece: Buffer) => (errors += piece.toString()))
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = JSON.parse(text) as BatchLine
    if ('failed' in line) failed.push(line.failed)
    else sums = line.sums
  })
  await new Promise((resolve) => child.once('close', resolve))
  if (!sums) throw new Error(`seeds ${request.first}, ${request.first + request.stride}, … ended early:\n${errors.slice(-4_000)}`)
  return { sums, failed }
}

const bySeed = (a: SeedResult, b: SeedResult): number => a.seed - b.seed

function add(a: BatchSums, b: BatchSums): BatchSums {
  const marks = { ...a.marks }
  for (const [name, times] of Object.entries(b.marks)) marks[name] = (marks[name] ?? 0) + times
  return {
    seeds: a.seeds + b.seeds,
    events: a.events + b.events,
    virtualMs: a.virtualMs + b.virtualMs,
    jobs: a.jobs + b.jobs,
    marks,
  }
}

/** Seeds from 1 until a planted bug is caught; null if `seedsMax` were not enough. */
export async function seedsToCatch(mutant: Mutant, seedsMax: number): Promise<{ seed: number; failure: string } | null> {
  const simulation = await buildSimulation(mutant)
  try {
    // In one process: the first failing seed is the answer, not whichever process met one first.
    const { failed } = await simulation.run({ from: 1, count: seedsMax, width: 1 })
    return failed[0] ? { seed: failed[0].seed, failure: failed[0].failure! } : null
  } finally {
    simulation.close()
  }
}

interface Options {
  seeds: string
  from: string
  seed?: string
  mutant?: string
  mutants?: boolean
  json?: boolean
}

function mutantOf(name: string | undefined): Mutant | null {
  if (name === undefined) return null
  const mutant = mutants.find((one) => one.name === name)
  if (!mutant) throw new Error(`no planted bug is called ${name}; there are ${mutants.map((one) => one.name).join(', ')}`)
  return mutant
}

async function main(options: Options): Promise<void> {
  if (options.mutants) return tellMutants(Number(options.seeds))
  const simulation = await buildSimulation(mutantOf(options.mutant))
  try {
    const one = options.seed !== undefined
    const from = Number(options.seed ?? options.from)
    const startedMs = performance.now()
    const { sums, failed } = await simulation.run({
      from,
      count: one ? 1 : Number(options.seeds),
      failuresMax: 3,
      twice: one ? 0 : 200,
      traceMax: one ? 100_000 : 60,
    })
    for (const result of one ? failed : failed.slice(0, 3)) tellFailure(result, options.mutant)
    const seconds = (performance.now() - startedMs) / 1000
    if (options.json)
      console.log(JSON.stringify({ ...sums, seconds, failed: failed.map(({ seed, failure }) => ({ seed, failure })) }))
    else tellSums(sums, seconds, failed.length)
    process.exitCode = failed.length > 0 ? 1 : 0
  } finally {
    simulation.close()
  }
}

function tellFailure({ seed, failure, trace }: SeedResult, mutant: string | undefined): void {
  console.log(`seed ${seed}: ${failure}\n`)
  console.log(trace.join('\n'))
  console.log(`\nsee it again: npm run sim -- --seed ${seed}${mutant === undefined ? '' : ` --mutant ${mutant}`}\n`)
}

function tellSums(sums: BatchSums, seconds: number, failures: number): void {
  const count = (n: number): string => Math.round(n).toLocaleString('en')
  console.log(
    `${count(sums.seeds)} seeds in ${seconds.toFixed(0)} s: ${count(sums.jobs)} jobs, ${count(sums.events)} events, ` +
      `${count(sums.virtualMs / 3_600_000)} hours of virtual time; ${failures} failed`,
  )
  const marks = Object.entries(sums.marks).sort((a, b) => b[1] - a[1])
  for (const [name, times] of marks) console.log(`  ${count(times).padStart(10)}  ${name}`)
}

async function tellMutants(seedsMax: number): Promise<void> {
  console.log('| planted bug | what is wrong | seeds | caught by |\n|---|---|---|---|')
  let missed = 0
  for (const mutant of mutants) {
    const caught = await seedsToCatch(mutant, seedsMax)
    if (!caught) missed += 1
    const by =
      caught === null
        ? '**not caught**'
        : caught.failure
            .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'job')
            .replaceAll('|', '/')
            .slice(0, 110)
    console.log(`| ${mutant.name} | ${mutant.text} | ${caught?.seed ?? `> ${seedsMax}`} | ${by} |`)
  }
  process.exitCode = missed > 0 ? 1 : 0
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const program = new Command('sim')
    .description('the engine in virtual time, under seeded faults')
    .option('--seeds <n>', 'how many', '20000')
    .option('--from <seed>', 'the first one', '1')
    .option('--seed <seed>', 'one alone, with everything that happens in it')
    .option('--mutant <name>', 'with this planted bug')
    .option('--mutants', 'seeds until each planted bug is caught (at most --seeds)')
    .option('--json', 'the sums as JSON')
    .action(main)
  await program.parseAsync()
}
