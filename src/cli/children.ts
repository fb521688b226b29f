// Child processes of `up`: started, started again when they die, asked to drain, and never left behind.
//   K1. A child lives in a process group of its own, so that Ctrl-C reaches `up` alone; it drains when asked, or when
//       the channel to `up` closes, which happens even if `up` is killed.
//   K2. run() resolves when the child has ended and is not wanted any more.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'

const main = fileURLToPath(new URL('main.js', import.meta.url))
const restartMinMs = 250
const restartMaxMs = 15_000
const steadyMs = 30_000 // one that lived so long starts again at once
const drainMs = 30_000

export interface ChildOptions {
  name: string
  /** Arguments of `millrace`. */
  args: string[]
  env: NodeJS.ProcessEnv
  log: Logger
  /** Told every line that the child prints. */
  line(text: string): void
}

/** Keeps one child running until `stop`; then drains it. `force` ends the patience. */
export async function keepChild(options: ChildOptions, stop: AbortSignal, force: AbortSignal): Promise<void> {
  for (let restartMs = restartMinMs; !stop.aborted;) {
    const startedMs = performance.now()
    const child = start(options)
    const ended = once(child, 'close') as Promise<[exitCode: number | null, signal: string | null]>
    const drain = () => drainChild(child)
    const kill = () => child.kill('SIGKILL')
    if (stop.aborted) drain()
    stop.addEventListener('abort', drain, { once: true })
    force.addEventListener('abort', kill, { once: true })
    const [exitCode, signal] = await ended
    stop.removeEventListener('abort', drain)
    force.removeEventListener('abort', kill)
    if (stop.aborted) return
    if (performance.now() - startedMs > steadyMs) restartMs = restartMinMs
    options.log.warn({ exitCode, signal, restartInMs: restartMs }, `${options.name} ended; starting it again`)
    await pause(restartMs, undefined, { signal: stop }).catch(() => {}) // asked to stop while waiting
    restartMs = Math.min(restartMs * 2, restartMaxMs)
  }
}

function start(options: ChildOptions): ChildProcess {
  const child = spawn(process.execPath, [main, ...options.args], {
    env: options.env,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    detached: true,
  })
  child.on('error', (error) => options.log.error({ err: error }, `${options.name} cannot be started`))
  for (const stream of [child.stdout!, child.stderr!]) createInterface({ input: stream }).on('line', options.line)
  return child
}

function drainChild(child: ChildProcess): void {
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), drainMs)
  child.once('exit', () => clearTimeout(late))
}

/** In a child: the signal that its parent is gone. Ctrl-C is the parent's business. */
export function followParent(gone: () => void): void {
  if (process.connected === undefined) return // started by hand: nobody's child
  if (!process.connected) return gone() // before we could listen
  process.on('disconnect', gone)
  process.channel?.unref()
}
