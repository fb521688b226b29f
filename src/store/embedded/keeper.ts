// Who keeps the server running: a small shell beside it, and one named pipe.
//   K1. Every process that uses the server holds the pipe's write end. The kernel closes it when a process ends, however
//       it ends; so end of file means that the last user is gone, and the keeper asks the server to stop.
//   K2. The keeper is the server's parent and in a session of its own: Ctrl-C does not reach it, and where the system can
//       tell a child of its parent's death, a killed keeper takes the server down cleanly.
//   K3. A server without a keeper is on its way out. Nobody joins it; it is stopped, and a new one started.
import { spawn, spawnSync } from 'node:child_process'
import { chownSync, closeSync, constants, existsSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { EngineError } from '../../core/errors.ts'
import type { Account } from './account.ts'
import { onParentDeath } from './account.ts'

const keeperScript = `
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
DEATH sh -c 'while read -r _; do :; done; kill -INT "$0"' "$server" <&3 3<&- &
watch=$!
exec 3<&-
wait "$server"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
`

function pipeOf(folder: string): string {
  return join(folder, 'users')
}

/** Counts this process in as a user of a kept server. Gives what to close when done, or undefined if there is no keeper. */
export function joinUsers(folder: string): number | undefined {
  try {
    return openSync(pipeOf(folder), constants.O_WRONLY | constants.O_NONBLOCK)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENXIO' || code === 'ENOENT') return undefined // nobody reads it; never made
    throw error
  }
}

/** Does any process use the server? The pipe tells: it is at its end, or has nothing to read yet. */
export function isUsed(folder: string): boolean {
  let reader: number | undefined
  try {
    reader = openSync(pipeOf(folder), constants.O_RDONLY | constants.O_NONBLOCK)
    return readSync(reader, Buffer.alloc(1)) > 0
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'EAGAIN') return true
    if (code === 'ENOENT') return false // never made
    throw error
  } finally {
    if (reader !== undefined) closeSync(reader)
  }
}

export interface Keeper {
  /** Open until this process stops using the server. */
  use: number
  /** The exit code, once the server has ended. */
  ended: Promise<number | null>
}

/** Starts a server under a keeper, with this process as its first user. */
export function startKeeper(options: { folder: string; log: string; account: Account; command: string[] }): Keeper {
  const pipe = pipeOf(options.folder)
  if (!existsSync(pipe)) {
    const made = spawnSync('mkfifo', ['-m', '600', pipe], { encoding: 'utf8' })
    if (made.status !== 0 && !existsSync(pipe)) {
      const why = made.error?.message ?? made.stderr.trim()
      throw new EngineError(
        'E_SETUP',
        `the named pipe ${pipe} cannot be made (${why}). Set MILLRACE_HOME to a folder on a local disk, or DATABASE_URL to a Postgres of your own.`,
        { at: 'MILLRACE_HOME' },
      )
    }
  }
  const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK) // so that the write end finds a reader
  const use = openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK)
  const log = openSync(options.log, 'a', 0o600)
  const { ids } = options.account
  if (ids) for (const path of [pipe, options.log]) chownSync(path, ids.uid, ids.gid)
  const script = keeperScript.replace('DEATH', onParentDeath('KILL').join(' '))
  const command = [...options.account.prefix, ...onParentDeath('INT'), ...options.command]
  const child = spawn('sh', ['-c', script, 'keeper', ...command], {
    ...ids,
    cwd: '/',
    detached: true,
    stdio: [reader, log, log],
  })
  closeSync(reader)
  closeSync(log)
  child.unref()
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', resolve)
  })
  ended.catch(() => {}) // whoever waits for the start sees it
  return { use, ended }
}
