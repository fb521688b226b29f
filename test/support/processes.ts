// Programs that tests start, seen through their lines. All of them are gone when the test file ends.
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { afterAll } from 'vitest'

export interface Program {
  pid: number
  child: ChildProcess
  /** The next line of its standard output; rejects with its standard error if it ends first. */
  nextLine(): Promise<string>
  send(line: string): void
  kill(signal: NodeJS.Signals): void
  /** Its exit code or signal. */
  ended: Promise<number | string>
  errors(): string
}

/** Ended, even if nobody has reaped it yet. */
export function isOver(pid: number): boolean {
  try {
    return /\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return true
  }
}

const living = new Set<ChildProcess>()
afterAll(endPrograms)

/** Starts a program. `env` is added to this process's environment; undefined removes a variable. */
export function startProgram(
  command: string[],
  options: { env?: Record<string, string | undefined>; cwd?: string } = {},
): Program {
  const child = spawn(command[0]!, command.slice(1), {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  living.add(child)
  let errors = ''
  child.stderr.on('data', (piece: Buffer) => (errors += piece.toString()))
  child.stdin.on('error', () => {}) // it ended before it read
  const lines: string[] = []
  const reader = createInterface({ input: child.stdout })
  reader.on('line', (line) => lines.push(line))
  const ended = new Promise<number | string>((resolve) => {
    child.on('close', (code, signal) => {
      living.delete(child)
      resolve(code ?? signal ?? 'unknown')
    })
    child.on('error', (error) => {
      living.delete(child)
      resolve(error.message)
    })
  })
  return {
    pid: child.pid ?? 0,
    child,
    async nextLine() {
      while (lines.length === 0) {
        const how = await Promise.race([once(reader, 'line').then(() => undefined), ended])
        if (how !== undefined && lines.length === 0) throw new Error(`${command.join(' ')} ended with ${how}:\n${errors}`)
      }
      return lines.shift()!
    },
    send: (line) => void child.stdin.write(`${line}\n`),
    kill: (signal) => void child.kill(signal),
    ended,
    errors: () => errors,
  }
}

/** Ends what is still running; done after each file, and before that by tests that clean up after their programs. */
export async function endPrograms(): Promise<void> {
  const ends = [...living].map((child) => once(child, 'close'))
  for (const child of living) child.kill('SIGKILL')
  await Promise.all(ends)
}
