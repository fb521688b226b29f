// `millrace` as a user starts it: the built command, in a state folder of its own.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const main = join(root, 'dist', 'cli', 'main.js')

/** A state folder, removed after the file's last test together with every process that still uses it. */
export function stateFolder(): string {
  const home = mkdtempSync(join(tmpdir(), 'millrace-up-'))
  afterAll(() => {
    for (const pid of processesOf(home)) endIfThere(pid)
    rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })
  return home
}

function endIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended meanwhile
  }
}

function environment(home: string, extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(MILLRACE_|DATABASE_URL$)/.test(name))
  return { ...Object.fromEntries(inherited), MILLRACE_HOME: home, ...extra }
}

/** Processes that were started with this state folder. */
export function processesOf(home: string): number[] {
  const mark = `MILLRACE_HOME=${home}\0`
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(mark)
      } catch {
        return false // it ended, or is not ours
      }
    })
    .map(Number)
}

export interface Running {
  child: ChildProcess
  /** The first match in what it has printed or will print. Rejects if it ends first. */
  says(pattern: RegExp): Promise<RegExpExecArray>
  /** Its exit code or signal. */
  ended: Promise<number | string>
}

export function start(home: string, args: string[], extra: Record<string, string> = {}): Running {
  return follow(home, [process.execPath, main, ...args], extra)
}

/** Starts any program with this state folder. */
export function follow(home: string, [program, ...args]: string[], extra: Record<string, string> = {}): Running {
  const child = spawn(program!, args, {
    cwd: root,
    env: environment(home, extra),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  const listeners = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (piece: Buffer) => {
      text += piece.toString()
      for (const listener of listeners) listener()
    })
  }
  let over = false
  const ended = new Promise<number | string>((resolve) => {
    child.once('close', (code, signal) => {
      over = true
      resolve(code ?? signal ?? 'unknown')
      for (const listener of listeners) listener()
    })
  })
  return {
    child,
    ended,
    says: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = pattern.exec(text)
          if (!found && !over) return
          listeners.delete(look)
          if (found) resolve(found)
          else reject(new Error(`it ended and never said ${String(pattern)}:\n${text}`))
        }
        listeners.add(look)
        look()
      }),
  }
}

export interface Outcome {
  exitCode: number | null
  out: string
  err: string
}

/** Runs a command to its end. */
export function command(
  home: string,
  args: string[],
  options: { input?: string; cwd?: string; env?: Record<string, string> } = {},
): Outcome {
  const ran = spawnSync(process.execPath, [main, ...args], {
    cwd: options.cwd ?? root,
    env: environment(home, options.env),
    input: options.input ?? '',
    encoding: 'utf8',
  })
  return { exitCode: ran.status, out: ran.stdout, err: ran.stderr }
}
