// A process that runs seeds: `node <bundle> <json {first, count, untilFailures, trace}>`, one JSON line per failing seed, and the
// sums at the end. Started by main.ts, some at a time.
import { runSeed, type SeedResult } from './scenario.ts'

export interface BatchRequest {
  /** Seeds first, first + stride, … */
  first: number
  stride: number
  count: number
  /** Stop after so many failing seeds. */
  failuresMax: number
  /** Run each of these many seeds again, and compare. */
  twice: number
  traceMax: number
}

export interface BatchSums {
  seeds: number
  events: number
  virtualMs: number
  jobs: number
  marks: Record<string, number>
}

export type BatchLine = { failed: SeedResult } | { sums: BatchSums }

// Errors are part of the weather here, by the thousand; nobody reads their stacks.
Error.stackTraceLimit = 0
process.on('unhandledRejection', (error) => {
  throw error
})

async function run(request: BatchRequest): Promise<void> {
  const sums: BatchSums = { seeds: 0, events: 0, virtualMs: 0, jobs: 0, marks: {} }
  let failures = 0
  for (let i = 0; i < request.count && failures < request.failuresMax; i++) {
    const seed = request.first + i * request.stride
    const result = await runSeed(seed, { traceMax: 0 })
    sums.seeds += 1
    sums.events += result.events
    sums.virtualMs += result.virtualMs
    sums.jobs += result.jobs
    for (const [name, times] of Object.entries(result.marks)) sums.marks[name] = (sums.marks[name] ?? 0) + times
    if (i >= request.twice && result.failure === null) continue
    const told = await runAgain(seed, result, request.traceMax)
    if (told.failure === null) continue
    failures += 1
    print({ failed: told })
  }
  print({ sums })
}

/** With what happened in it, which only whoever reads a failure needs; and twice, since a seed must always run the same way. */
async function runAgain(seed: number, first: SeedResult, traceMax: number): Promise<SeedResult> {
  const told = await runSeed(seed, { traceMax })
  const again = await runSeed(seed, { traceMax })
  const same = told.fingerprint === again.fingerprint && told.failure === first.failure && told.events === first.events
  if (!same) told.failure = `the seed ran differently the second time; ${first.failure ?? 'nothing was wrong the first time'}`
  return told
}

function print(line: BatchLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

const request = process.argv[2]
if (request !== undefined) await run(JSON.parse(request) as BatchRequest)
