// What the data folder says about its server, and whether that is true: postmaster.pid, which Postgres writes and removes.
//   P1. A file whose process is gone, or is another program that took the number later, is stale. Postgres replaces the
//       first kind itself; the second it would respect for ever (usual after a container restarts), so it is removed here.
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { EngineError } from '../../core/errors.ts'
import { isAlive } from './cluster.ts'

export interface Postmaster {
  pid: number
  port: number
  state: 'starting' | 'ready' | 'stopping'
}

/** The server running on this data folder, if there is one. */
export function findPostmaster(data: string): Postmaster | undefined {
  const path = join(data, 'postmaster.pid')
  const lines = readLines(path)
  if (lines === undefined) return undefined
  const pid = Number(lines[0])
  if (!Number.isSafeInteger(pid) || pid <= 0 || !isAlive(pid)) return undefined
  const status = lines[7]?.trim()
  const found: Postmaster = {
    pid,
    port: Number(lines[3]),
    state: status === 'ready' || status === 'stopping' ? status : 'starting',
  }
  const other = processAt(pid)
  if (other === undefined) return undefined // ended since, or is ending
  if (other.command.includes(data)) return found
  // Seconds in the file are cut off, and a process's own start is rounded: two of them are the margin.
  if (other.startedAtS > Number(lines[2]) + 2) {
    rmSync(path, { force: true })
    return undefined
  }
  throw new EngineError(
    'E_SETUP',
    `${path} names process ${pid}, which is running but is not Postgres (${other.command.slice(0, 80).trim()}). ` +
      `If no other machine or container uses this folder, remove that file and start again.`,
    { at: path },
  )
}

function readLines(path: string): string[] | undefined {
  try {
    return readFileSync(path, 'utf8').split('\n')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

interface ProcessFacts {
  command: string
  startedAtS: number
}

function processAt(pid: number): ProcessFacts | undefined {
  try {
    return process.platform === 'linux' ? processOnLinux(pid) : processByPs(pid)
  } catch {
    return undefined
  }
}

function processOnLinux(pid: number): ProcessFacts | undefined {
  const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // from the third field on: the name may hold anything
  // Ended but not yet collected by its parent; or so far gone that its memory is freed.
  if (fields[0] === 'Z' || command === '') return undefined
  const bootedAtS = Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'utf8'))![1])
  const ticksPerS = 100 // USER_HZ, the same on every platform that Linux has
  return { command, startedAtS: bootedAtS + Number(fields[19]) / ticksPerS }
}

function processByPs(pid: number): ProcessFacts | undefined {
  const env = { ...process.env, LC_ALL: 'C' }
  const ps = (field: string): string =>
    execFileSync('ps', ['-o', `${field}=`, '-p', String(pid)], { env, encoding: 'utf8' }).trim()
  return { command: ps('command'), startedAtS: Date.parse(ps('lstart')) / 1000 }
}
