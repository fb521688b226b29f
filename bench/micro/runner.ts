// Calls through warm runners: calls per second, and what one costs this process (the host) and the runners.
// `npx tsx bench/micro/runner.ts [calls]`. Beside each runtime a bare floor: the same codec with no pool around it.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defaultLimits } from '../../src/core/limits.ts'
import { decodeFrame, encodeFrame } from '../../src/core/wire/frames.ts'
import { createRunnerPool } from '../../src/runner/pool.ts'
import type { Artifact, Call, RunnerPool, RunnerSpec } from '../../src/runner/pool_types.ts'
import { runtimes } from '../../src/runner/runtimes.ts'

const count = Number(process.argv[2] ?? 200_000)
const args = JSON.stringify({
  event: 'push',
  seq: 12345,
  repo: 'octo/hello',
  actor: { id: 1, login: 'user1' },
  text: 'x'.repeat(60),
})
const jobId = '019a0000-0000-7000-8000-000000000000'
const scope = { WM_WORKSPACE: 'main' }
const code: Record<string, string> = {
  node: 'export async function main(event, seq) { return { n: seq + 1, ok: true, event } }',
  python: 'def main(event, seq):\n    return {"n": seq + 1, "ok": True, "event": event}',
  bash: 'echo "{\\"n\\": $2}"',
}

const home = mkdtempSync(join(tmpdir(), 'millrace-bench-'))
const artifacts = {
  load: async (key: string): Promise<Artifact> => ({ key, language: '', content: code[key]!, lock: null }),
}

class Load {
  left: number
  waiting: number
  pool: RunnerPool
  specs: RunnerSpec[]
  done!: () => void

  constructor(pool: RunnerPool, specs: RunnerSpec[], calls: number) {
    this.pool = pool
    this.specs = specs
    this.left = calls
    this.waiting = calls
  }

  run(inFlight: number): Promise<void> {
    return new Promise((resolve) => {
      this.done = resolve
      for (let i = 0; i < inFlight; i++) this.next(this.specs[i % this.specs.length]!)
    })
  }

  next(spec: RunnerSpec): void {
    if (this.left === 0) return
    this.left--
    this.pool.call(spec, new BenchCall(this, spec))
  }
}

class BenchCall implements Call {
  readonly scope = scope
  readonly args = args
  readonly jobId = jobId
  readonly stepJobId = jobId
  readonly token = ''
  readonly timeoutMs = 60_000
  readonly load: Load
  readonly spec: RunnerSpec

  constructor(load: Load, spec: RunnerSpec) {
    this.load = load
    this.spec = spec
  }

  succeeded(): void {
    this.load.next(this.spec)
    if (--this.load.waiting === 0) this.load.done()
  }

  failed(error: unknown): void {
    throw new Error(JSON.stringify(error))
  }

  logged(): void {}
  progressed(): void {}
  streamed(): void {}
}

/** User and system seconds of a process so far; 0 where /proc is missing. */
function cpuSeconds(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')
    return (Number(fields[11]) + Number(fields[12])) / 100
  } catch {
    return 0
  }
}

async function measure(runtime: 'node' | 'node-thread' | 'python' | 'bash', steps: number, inFlight: number, calls: number) {
  const pool = createRunnerPool({ limits: defaultLimits, home, artifacts, policy: 'pinned' })
  const artifactKey = runtime === 'node-thread' ? 'node' : runtime
  const specs: RunnerSpec[] = []
  for (let i = 0; i < steps; i++) {
    const spec = {
      key: `${runtime}${i}`,
      runtime,
      language: 'bun' as const,
      artifactKey,
      params: ['event', 'seq'],
      sourceName: 'bench',
      sharesFolder: false,
    }
    await pool.warm(spec, 1)
    specs.push(spec)
  }
  await new Load(pool, specs, Math.ceil(calls / 5)).run(inFlight)
  const pids = pool.stats().flatMap((stats) => (runtime === 'node-thread' ? [] : stats.pids))
  const runnersBefore = pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
  const before = process.cpuUsage()
  const startedMs = performance.now()
  await new Load(pool, specs, calls).run(inFlight)
  const seconds = (performance.now() - startedMs) / 1000
  const { user, system } = process.cpuUsage(before)
  const runners = pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0) - runnersBefore
  await pool.close()
  return {
    runtime,
    runners: steps,
    'in flight': inFlight,
    'calls/s': Math.round(calls / seconds),
    'host µs/call': Number(((user + system) / calls).toFixed(2)),
    'runner µs/call': Number(((runners * 1e6) / calls).toFixed(2)),
  }
}

function floor(runtime: 'node' | 'python', calls: number) {
  const { codec } = runtimes[runtime]
  const before = process.cpuUsage()
  for (let sent = 0; sent < calls; sent += 128) {
    const out = []
    for (let i = 0; i < 128; i++) out.push(['call', sent + i, 1, args, jobId, jobId, ''])
    encodeFrame(codec, out)
    const back = []
    for (let i = 0; i < 128; i++) back.push(['ok', sent + i, '{"n":12346,"ok":true,"event":"push"}', 0.001])
    decodeFrame(codec, encodeFrame(codec, back).subarray(4))
  }
  const { user, system } = process.cpuUsage(before)
  return { runtime: `${codec.name} alone`, 'host µs/call': Number(((user + system) / calls).toFixed(2)) }
}

const rows = []
for (const runtime of ['node', 'python'] as const) {
  rows.push(floor(runtime, count))
  rows.push(await measure(runtime, 1, 512, count))
  rows.push(await measure(runtime, 3, 1536, count))
  rows.push(await measure(runtime, 1, 1, Math.ceil(count / 20)))
}
rows.push(await measure('node-thread', 1, 512, count))
rows.push(await measure('bash', 1, 8, Math.ceil(count / 400)))
rmSync(home, { recursive: true, force: true })
console.table(rows)
