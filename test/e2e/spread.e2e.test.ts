// A long loop over several worker processes: never more iterations at a time than it allows, also while one of the workers is killed;
// each recorded once, the result in order. And a loop of more iterations than a job has step numbers. Prints the counts.
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, appendFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { each, give, same } from '../flows/cases.ts'
import { testEngine, ts, type Deployed, type Engine } from '../support/engine.ts'
import { startProgram, type Program } from '../support/processes.ts'

const parallelism = 200
const items = 10_000

let engine: Engine
const home = mkdtempSync(join(tmpdir(), 'millrace-spread-'))
const told = join(home, 'told')
afterAll(() => rmSync(home, { recursive: true, force: true }))

beforeAll(async () => {
  engine = await testEngine()
})

async function startWorker(flow: Deployed, replicas: string[] = []): Promise<Program> {
  const worker = startProgram([process.execPath, 'dist/cli/main.js', 'worker', '--dedicated', flow.tag, ...replicas], {
    env: { DATABASE_URL: engine.db.url, MILLRACE_HOME: home, MILLRACE_LOG_LEVEL: 'info', MILLRACE_TOKEN: 'unused' },
  })
  while (!/worker ready/.test(worker.errors())) await once(worker.child.stderr!, 'data')
  return worker
}

const lines = (): string[] => (existsSync(told) ? readFileSync(told, 'utf8').split('\n').filter(Boolean) : [])

/** Whichever gets that far: on a busy machine one may have done nearly all before the other comes to anything. */
async function oneThatEnded(workers: readonly Program[], count: number): Promise<Program> {
  for (;;) {
    const all = lines()
    const far = workers.find(({ pid }) => all.filter((line) => line.startsWith(`e ${pid} `)).length >= count)
    if (far) return far
    await pause(20)
  }
}

/**
 * Most iterations under way at a time. `b <worker> <item>` begins one, `e …` ends it, in the order the system took them. After
 * `killed <worker>` what that one had under way is no more.
 */
function mostAtATime(all: readonly string[]): { most: number; workers: number } {
  const open = new Map<string, Set<string>>()
  const dead = new Set<string>()
  let most = 0
  for (const line of all) {
    const [what, worker, item] = line.split(' ') as [string, string, string]
    const own = open.get(worker) ?? new Set<string>()
    open.set(worker, own)
    if (what === 'killed') {
      dead.add(worker)
      own.clear()
    } else if (dead.has(worker)) continue
    else if (what === 'b') own.add(item)
    else own.delete(item)
    most = Math.max(
      most,
      [...open.values()].reduce((sum, { size }) => sum + size, 0),
    )
  }
  return { most, workers: open.size }
}

interface Part {
  status: string
  lost: number
  canceled_by: string | null
  steps: string
}

async function partsOf(id: string): Promise<Part[]> {
  const { rows } = await engine.db.pool.query<Part>(
    'select status, lost, canceled_by, steps from job_done where parent_id = $1',
    [id],
  )
  return rows
}

test(`${items} iterations, ${parallelism} at a time, over two workers, of which one is killed`, async () => {
  const step = `import { appendFileSync } from 'node:fs'
    const file = ${JSON.stringify(told)}
    const worker = process.ppid
    export async function main(n: number) {
      appendFileSync(file, 'b ' + worker + ' ' + n + '\\n')
      await new Promise((resolve) => setTimeout(resolve, 20))
      appendFileSync(file, 'e ' + worker + ' ' + n + '\\n')
      return n * 2
    }`
  // More calls than the loop allows would find a runner.
  const runners = ['--replicas', 'b=6']
  const flow = await engine.deploy('spread/two', [
    give('s', `Array.from({ length: ${items} }, (_, i) => i)`),
    each('a', 'results.s', [ts('b', step, { n: 'flow_input.iter.value' })], { spread: true, parallel: true, parallelism }),
  ])
  const workers = await Promise.all([startWorker(flow, runners), startWorker(flow, runners)])
  const id = await engine.start(flow)
  const first = await oneThatEnded(workers, items / 10)
  const second = workers.find((worker) => worker !== first)!
  first.kill('SIGKILL')
  await first.ended
  appendFileSync(told, `killed ${first.pid}\n`)
  const done = await engine.done(id)
  const parts = await partsOf(id)
  const records = parts.flatMap(({ steps }) => JSON.parse(steps) as { k: string; s: string; v: number }[])
  const all = lines()
  const counts = {
    ...mostAtATime(all),
    parts: parts.length,
    partsTakenOver: parts.filter(({ lost }) => lost > 0).length,
    executed: all.filter((line) => line.startsWith('b ')).length,
    recorded: records.filter(({ k, s }) => k === 'ok' && s === 'b').length,
  }
  console.log(counts)
  expect(done.status).toBe('success')
  expect(done.result).toEqual(Array.from({ length: items }, (_, i) => i * 2))
  expect(counts).toMatchObject({ workers: 2, recorded: items })
  expect(counts.most).toBeLessThanOrEqual(parallelism)
  expect(counts.most).toBeGreaterThan(parallelism / 2)
  expect(counts.partsTakenOver).toBeGreaterThan(0)
  expect(new Set(records.map(({ v }) => v)).size).toBe(items)
  second.kill('SIGTERM')
  expect(await second.ended).toBe(0)
}, 300_000)

/** Resident memory of a process, in MiB. */
function rssMib(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Math.round(Number(line?.[1] ?? 0) / 1_024)
}

const long = 100_000

test.each([
  // Without a runner, one after another is a matter of seconds.
  { name: 'one after another', body: same('b', { mock: { enabled: true, return_value: long } }), more: {} },
  { name: 'in parallel', body: give('b', 'flow_input.iter.value + 1'), more: { parallel: true, parallelism: 100 } },
])(
  '100,000 iterations, $name',
  async ({ name, body, more }) => {
    const flow = await engine.deploy(`spread/long_${name.replaceAll(' ', '_')}`, [
      give('s', `Array.from({ length: ${long} }, (_, i) => i)`),
      each('a', 'results.s', [body], more),
      give('d', '({ length: results.a.length, last: results.a[results.a.length - 1] })'),
    ])
    const worker = await startWorker(flow)
    const rss = [rssMib(worker.pid)]
    const id = await engine.start(flow)
    const sampling = setInterval(() => rss.push(rssMib(worker.pid)), 500)
    const done = await engine.done(id)
    clearInterval(sampling)
    console.log({
      name,
      parts: (await partsOf(id)).length,
      rssMibAtFirst: rss[0],
      rssMibMost: Math.max(...rss),
      rssMibLast: rss.at(-1),
    })
    expect({ status: done.status, result: done.result }).toEqual({ status: 'success', result: { length: long, last: long } })
    worker.kill('SIGTERM')
    expect(await worker.ended).toBe(0)
  },
  600_000,
)
