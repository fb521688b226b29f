// The processes a benchmark run starts: each is known here from its start to its end.
//   C1. stopAll() leaves none of them behind, whatever state they are in.
//   C2. Where setpriv exists they also end when this process is killed.
//   C3. What a process prints goes to a log file, whose end is part of the message when it fails.
import { spawn, execFileSync } from 'node:child_process'
import { createServer } from 'node:net'
import { openSync, closeSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const children = new Set()
let closing = false

export function has(command) {
  try {
    execFileSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

const canTieToParent = process.platform === 'linux' && has('setpriv')

/**
 * Starts a process. With `ipc` it gets a message channel; with `group` it leads a process group, which is signalled as a whole;
 * `asNobody` runs it without root's rights over the files that root owns, which Postgres insists on.
 */
export function launch(command, args, { log, cwd, env, ipc = false, group = false, asNobody = false, stopSignal = 'SIGTERM' }) {
  if (closing) throw new Error('the run is being stopped')
  const tie = canTieToParent ? ['setpriv', '--pdeathsig', stopSignal.slice(3)] : []
  const drop = asNobody && process.getuid() === 0 ? ['unshare', '-U', '--map-user=65534', '--map-group=65534'] : []
  const [file, ...rest] = [...drop, ...tie, command, ...args]
  const out = openSync(log, 'a')
  const child = spawn(file, rest, {
    cwd,
    env: { ...process.env, ...env },
    detached: group,
    stdio: ['ignore', out, out, ...(ipc ? ['ipc'] : [])],
  })
  closeSync(out)
  child.on('error', () => {}) // a message to a process that has just ended; what ended it is told below
  const started = { child, log, group, stopSignal, exited: null, name: command.split('/').at(-1) }
  started.exited = new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
  }).then((how) => {
    children.delete(started)
    return how
  })
  children.add(started)
  return started
}

/** Runs a process to its end; throws with the end of its log if it fails. */
export async function runToEnd(command, args, options) {
  const started = launch(command, args, options)
  const how = await started.exited
  if (how !== 'exit code 0') throw new Error(`${started.name} ended with ${how}: ${logEnd(started.log)}`)
}

/** The last lines of a log that say something: no stack frames, no empty lines. */
export function logEnd(log, lines = 4) {
  try {
    const said = readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => line.trim() && !/^\s+at |^Node\.js v|^\s*\^+$|^npm (notice|warn)/.test(line))
    return said.slice(-lines).join(' | ').slice(-600)
  } catch {
    return ''
  }
}

export async function stop(started, graceMs = 8_000) {
  if (!children.has(started)) return
  signal(started, started.stopSignal)
  const ended = await Promise.race([started.exited, sleep(graceMs, false, { ref: false })])
  if (ended !== false) return
  signal(started, 'SIGKILL')
  await started.exited
}

/** Stops what runs; `forGood` also keeps anything new from starting, for the way out. */
export async function stopAll({ forGood = false } = {}) {
  closing ||= forGood
  await Promise.all([...children].map((started) => stop(started, started.group ? 10_000 : 3_000)))
}

function signal({ child, group }, name) {
  try {
    process.kill(group ? -child.pid : child.pid, name)
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

export async function freePort() {
  const server = createServer()
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Tries until `attempt` does not throw; fails at once when the process has ended. */
export async function untilReady(started, attempt, timeoutMs = 20_000) {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (!children.has(started)) throw new Error(`${started.name} ended at once: ${logEnd(started.log)}`, { cause: error })
      if (Date.now() > deadline) throw new Error(`${started.name} was not ready in time: ${error.message}`, { cause: error })
      await sleep(50)
    }
  }
}
