// A runtime as a child process: frames over its stdin and stdout, its stderr read as output.
//   PR1. It leads a process group of its own and dies with this process.
//   PR2. Its environment is scrubbed: nothing of the engine's is in it but PATH, LANG and TZ.
//   PR3. When it is dead, so is every process it started that still carries its mark.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import {
  accessSync,
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeFrame, encodeFrame, frameBytesMaxOf, FrameReader, ProtocolFault } from '../../core/wire/frames.ts'
import type { ToRuntime } from '../../core/wire/messages.ts'
import type { Runtime } from '../runtimes.ts'
import { linkSharedFolder, sharedFolderPrefix } from '../shared_folder.ts'
import type { Exit, LaunchSettings, Progress, Transport, TransportEvents } from './transport.ts'

/** How long results already in the pipe are read after the exit; only a grandchild that holds the pipe makes us wait so long. */
const drainMs = 200
const cellBytes = 16
const folderPrefix = 'millrace-runner-'

export interface ProcessOptions {
  runtime: Runtime
  settings: LaunchSettings
  /** Variables every call may see, such as the base URL of the API. */
  environment: Record<string, string>
  events: TransportEvents
}

export function startProcess(options: ProcessOptions): Transport {
  return new ProcessTransport(options)
}

class ProcessTransport implements Transport {
  readonly #codec
  readonly #events
  readonly #folder: string
  readonly #mark = randomUUID()
  readonly #cellPath: string
  readonly #cell: number
  readonly #cellBytes = Buffer.alloc(cellBytes)
  readonly #child: ChildProcess
  #protocolFault: string | null = null
  #cellLinked = true
  #over = false

  constructor({ runtime, settings, environment, events }: ProcessOptions) {
    this.#codec = runtime.codec
    this.#events = events
    this.#folder = mkdtempSync(join(tmpdir(), `${folderPrefix}${process.pid}-`))
    this.#cellPath = join(cellFolder(), `millrace-${this.#mark}`)
    writeFileSync(this.#cellPath, this.#cellBytes)
    this.#cell = openSync(this.#cellPath, 'r')
    const [command, ...args] = withParentDeath(runtime.command(settings.memoryMib), runtime.endsAtEof)
    this.#child = spawn(command!, args, {
      cwd: this.#folder,
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        ...environment,
        PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
        LANG: process.env.LANG ?? 'C.UTF-8',
        ...(process.env.TZ === undefined ? {} : { TZ: process.env.TZ }),
        HOME: this.#folder,
        TMPDIR: this.#folder,
        MILLRACE_RUNNER: this.#mark,
        MILLRACE_CODE: settings.code,
        MILLRACE_PARAMS: JSON.stringify(settings.params),
        MILLRACE_ENTRY: settings.entry,
        MILLRACE_SOURCE: settings.source,
        MILLRACE_CELL: this.#cellPath,
        MILLRACE_DEPENDENCIES: settings.dependencies,
        MILLRACE_MEMORY_MIB: String(settings.memoryMib),
        MILLRACE_RESULT_BYTES_MAX: String(settings.resultBytesMax),
        MILLRACE_LOG_BYTES_MAX: String(settings.logBytesMax),
        ...(settings.sharesFolder ? { MILLRACE_SHARES_FOLDER: '1' } : {}),
      },
    })
    this.#listen(frameBytesMaxOf(settings.resultBytesMax))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  send(messages: ToRuntime[]): void {
    if (!this.#over) this.#child.stdin!.write(encodeFrame(this.#codec, messages))
  }

  progress(): Progress {
    if (!this.#over) readSync(this.#cell, this.#cellBytes, 0, cellBytes, 0)
    return { begun: wordOf(this.#cellBytes, 0), oldest: wordOf(this.#cellBytes, 8) }
  }

  memoryBytes(): number {
    try {
      const pages = readFileSync(`/proc/${this.pid}/statm`, 'latin1').split(' ')[1]
      return Number(pages) * 4096
    } catch {
      return 0 // gone, or a system without /proc
    }
  }

  kill(): void {
    signalGroup(this.#child.pid)
  }

  share(folder: string): void {
    linkSharedFolder(this.#folder, folder)
  }

  #listen(frameBytesMax: number): void {
    const { stdin, stdout, stderr } = this.#child
    const reader = new FrameReader(frameBytesMax)
    const onBody = (body: Buffer) => {
      this.#unlinkCell() // the runtime has it open by now: no kill of this process leaves it behind
      this.#events.received(decodeFrame(this.#codec, body))
    }
    stdout!.on('data', (chunk: Buffer) => {
      if (this.#protocolFault !== null || this.#over) return
      try {
        reader.push(chunk, onBody)
      } catch (error) {
        if (!(error instanceof ProtocolFault)) throw error
        this.#protocolFault = error.message
        this.kill()
      }
    })
    stderr!.setEncoding('utf8').on('data', (text: string) => {
      if (!this.#over) this.#events.printed(text)
    })
    for (const stream of [stdin!, stdout!, stderr!]) stream.on('error', () => {}) // the exit tells
    this.#child.on('error', (error) => this.#ended(exitOf({ startFault: error.message })))
    this.#child.on('exit', (code, signal) => {
      const exit = exitOf({ code, signal, protocolFault: this.#protocolFault })
      const ended = () => this.#ended({ ...exit, protocolFault: this.#protocolFault })
      const timer = setTimeout(ended, drainMs)
      this.#child.on('close', () => {
        clearTimeout(timer)
        ended()
      })
    })
  }

  #unlinkCell(): void {
    if (this.#cellLinked) rmSync(this.#cellPath, { force: true })
    this.#cellLinked = false
  }

  #ended(exit: Exit): void {
    if (this.#over) return
    try {
      readSync(this.#cell, this.#cellBytes, 0, cellBytes, 0)
    } catch {
      // the last value read stays
    }
    this.#over = true
    closeSync(this.#cell)
    for (const stream of [this.#child.stdin, this.#child.stdout, this.#child.stderr]) stream?.destroy()
    signalGroup(this.#child.pid)
    killMarked(this.#mark)
    this.#unlinkCell()
    rmSync(this.#folder, { recursive: true, force: true })
    this.#events.exited(exit)
  }
}

function wordOf(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 4_294_967_296
}

function exitOf(parts: Partial<Exit>): Exit {
  return { code: null, signal: null, outOfMemory: false, protocolFault: null, startFault: null, ...parts }
}

function signalGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // the group is gone
  }
}

/** Removes the folders of runners, and of jobs, whose engine was killed. */
export function sweepFolders(): void {
  for (const name of readdirSync(tmpdir())) {
    const prefix = [folderPrefix, sharedFolderPrefix].find((one) => name.startsWith(one))
    if (prefix === undefined) continue
    const pid = Number.parseInt(name.slice(prefix.length), 10)
    if (isAlive(pid)) continue
    try {
      rmSync(join(tmpdir(), name), { recursive: true, force: true })
    } catch {
      // another user's
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/**
 * Processes that left the group of their runner (setsid) still carry its mark in their environment. Looks again a little later:
 * one that is just being born (fork, exec) shows no environment yet. Linux only.
 */
function killMarked(mark: string, looksLeft = 5): void {
  if (process.platform !== 'linux') return
  const wanted = `MILLRACE_RUNNER=${mark}`
  let found = false
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry)
    if (!(pid > 0)) continue
    try {
      if (!readFileSync(`/proc/${entry}/environ`, 'latin1').includes(wanted)) continue
      process.kill(pid, 'SIGKILL')
      found = true
    } catch {
      // gone, or not ours
    }
  }
  const again = found ? looksLeft - 1 : Math.min(looksLeft - 1, 1)
  if (again > 0) setTimeout(killMarked, 200, mark, again).unref()
}

let cellFolderFound = ''
/** Memory where there is some: the cell is written at every call. */
function cellFolder(): string {
  if (cellFolderFound === '') {
    try {
      accessSync('/dev/shm', constants.W_OK)
      cellFolderFound = '/dev/shm'
    } catch {
      cellFolderFound = tmpdir()
    }
  }
  return cellFolderFound
}

let setprivWorks: boolean | undefined
function withParentDeath(command: string[], endsAtEof: boolean): string[] {
  if (endsAtEof) return command
  setprivWorks ??= spawnSync('setpriv', ['--pdeathsig', 'KILL', '--', 'true'], { stdio: 'ignore' }).status === 0
  return setprivWorks ? ['setpriv', '--pdeathsig', 'KILL', '--', ...command] : command
}
