// What the benchmark measures processes with (Linux: /proc), and what it says of the machine.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { arch, cpus, release, totalmem } from 'node:os'

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK']).toString())

/** CPU seconds of a process so far, its ended children included. 0 if it is gone. */
function cpuSeconds(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
    // utime, stime, cutime, cstime are fields 14 to 17; the split starts at field 3.
    return (Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14])) / ticksPerSecond
  } catch {
    return 0
  }
}

export function peakRssMib(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
  } catch {
    return 0
  }
}

export function rssMib(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
  } catch {
    return 0
  }
}

/** Every process below `pid`, itself not included. */
export function descendants(pid: number): number[] {
  const childrenOf = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const parent = Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1]!.split(' ')[1])
      childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(name)])
    } catch {
      // gone meanwhile
    }
  }
  const found: number[] = []
  for (let queue = [pid]; queue.length > 0;) {
    const next = queue.flatMap((parent) => childrenOf.get(parent) ?? [])
    found.push(...next)
    queue = next
  }
  return found
}

export interface Cpu {
  worker: number
  runners: number
  postgres: number
  client: number
}

/** CPU seconds of the parts so far. `workers`: their process ids; what they started counts as runners. */
export function cpuOf(parts: { workers: readonly number[]; postgres: number; client: readonly number[] }): Cpu {
  const sum = (pids: readonly number[]) => pids.reduce((seconds, pid) => seconds + cpuSeconds(pid), 0)
  return {
    worker: sum(parts.workers),
    runners: sum(parts.workers.flatMap(descendants)),
    postgres: sum([parts.postgres, ...descendants(parts.postgres)]),
    client: sum(parts.client),
  }
}

/** Cores used between two readings. */
export function cores(before: Cpu, after: Cpu, seconds: number): Cpu {
  const of = (part: keyof Cpu) => Math.max(0, Math.round(((after[part] - before[part]) / seconds) * 100) / 100)
  return { worker: of('worker'), runners: of('runners'), postgres: of('postgres'), client: of('client') }
}

export function machine(postgresVersion: string): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown CPU'
  const gib = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} cores (${model}), ${gib} GiB, Linux ${release()} ${arch()}, Node ${process.version}, Postgres ${postgresVersion}`
}

export function percentile(sorted: readonly number[], share: number): number {
  if (sorted.length === 0) return 0
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)]!
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
