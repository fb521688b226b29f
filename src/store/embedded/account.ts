// As whom the server runs. Postgres refuses to run as root, so for root it gets another user, in one of two ways:
//   A1. A user namespace in which root is mapped to nobody: the files stay root's, and any folder will do.
//   A2. Where that is not allowed (some containers): the real user nobody, who owns the data folder and must reach it.
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, cpSync, existsSync, renameSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { EngineError } from '../../core/errors.ts'
import type { Binaries } from './binaries.ts'

const nobody = 65_534

export interface Account {
  /** What is put in front of a server program. */
  prefix: string[]
  /** Set when the programs must be started as this user. */
  ids: { uid: number; gid: number } | undefined
}

export function serverAccount(): Account {
  if (process.getuid?.() !== 0) return { prefix: [], ids: undefined }
  const unshare = ['unshare', '-U', `--map-user=${nobody}`, `--map-group=${nobody}`]
  if (succeeds([...unshare, 'true'])) return { prefix: unshare, ids: undefined }
  return { prefix: [], ids: { uid: nobody, gid: nobody } }
}

/** What is put in front of a program that shall get `signal` when its parent dies; nothing where that cannot be had. */
export function onParentDeath(signal: 'INT' | 'KILL'): string[] {
  const command = ['setpriv', '--pdeathsig', signal, '--']
  return succeeds([...command, 'true']) ? command : []
}

function succeeds([program, ...args]: string[]): boolean {
  return spawnSync(program!, args, { stdio: 'ignore' }).status === 0
}

/** Makes `folder` the account's own, and finds (or makes) programs that it can run. */
export function admit(account: Account, options: { folder: string; home: string; binaries: Binaries }): Binaries {
  const { ids } = account
  if (ids === undefined) return options.binaries
  chmodSync(options.home, statSync(options.home).mode | 0o011)
  for (let at = options.folder; at !== dirname(at);) {
    at = dirname(at)
    if ((statSync(at).mode & 0o001) === 0) {
      throw new EngineError(
        'E_SETUP',
        `Postgres cannot run as root, and the user nobody cannot enter ${at}. Start as an ordinary user, set MILLRACE_HOME ` +
          'to a folder that every user can reach (/var/lib/millrace, say), or set DATABASE_URL to a Postgres of your own.',
        { at: 'MILLRACE_HOME' },
      )
    }
  }
  chownSync(options.folder, ids.uid, ids.gid)
  const { native, major } = options.binaries
  const runs = spawnSync(join(native, 'bin', 'postgres'), ['--version'], { ...ids, stdio: 'ignore' }).status === 0
  if (runs) return options.binaries
  const copy = join(options.home, `postgres-${major}`)
  if (!existsSync(copy)) {
    const half = `${copy}.${process.pid}.tmp`
    cpSync(native, half, { recursive: true, verbatimSymlinks: true })
    renameSync(half, copy)
  }
  return { native: copy, major }
}
