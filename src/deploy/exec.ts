// Runs a tool (python3, bash, npm) once, to the end, and gives back what it printed.
//   X1. A tool never outlives its time-out: it is killed.
//   X2. What a tool prints is bounded; past the bound it is killed.
import { spawn } from 'node:child_process'
import { EngineError } from '../core/errors.ts'

export interface ToolResult {
  /** null: it was killed, by the time-out or a bound. */
  exitCode: number | null
  stdout: string
  stderr: string
}

export interface ToolOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
  input?: string
  timeoutMs: number
  /** What to do when the tool is not there, for the error. */
  missing: string
}

const outputBytesMax = 64 << 20

/** @throws EngineError E_SETUP if the tool is not installed. */
export function runTool(command: string, args: string[], options: ToolOptions): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: options.cwd, env: options.env ?? process.env, stdio: 'pipe' })
    const out: Buffer[] = []
    const err: Buffer[] = []
    let bytes = 0
    const collect = (into: Buffer[]) => (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > outputBytesMax) child.kill('SIGKILL')
      else into.push(chunk)
    }
    child.stdout.on('data', collect(out))
    child.stderr.on('data', collect(err))
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs)
    child.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      if (error.code !== 'ENOENT') return reject(error)
      reject(new EngineError('E_SETUP', `${command} is not on the PATH of the server; ${options.missing}`, { cause: error }))
    })
    child.once('close', (exitCode) => {
      clearTimeout(timer)
      resolve({ exitCode, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() })
    })
    child.stdin.on('error', () => {}) // it ended before it read everything; its exit code tells
    child.stdin.end(options.input ?? '')
  })
}
