// As whom the server runs. Postgres refuses to run as root, so for root it gets another user, in one of two ways:
//   A1. A user namespace in which root is mapped to nobody: the files stay root's, and any folder will do.
//   A2. Where that is not allowed (some containers): the real user nobody, who owns the data folder and must reach it.
//   A3. A data folder that exists is run by its owner, so that root may use what an ordinary user has made.
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

/** `data`: the data folder, which may not exist yet. */
export function serverAccount(data: string): Account {
  if (process.getuid?.() !== 0) return { prefix: [], ids: undefined }
  const owner = existsSync(data) ? statSync(data) : undefined
  if (owner && owner.uid !== 0) return { prefix: [], ids: { uid: owner.uid, gid: owner.gid } }
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
  const closed = foldersAbove(options.home).find((folder) => !canEnter(ids, folder))
  if (closed !== undefined) {
    throw new EngineError(
      'E_SETUP',
      `Postgres cannot run as root, and the user ${ids.uid} that it would run as cannot enter ${closed}. Start as an ordinary user, ` +
        'set MILLRACE_HOME to a folder that every user can reach (/var/lib/millrace, say), or set DATABASE_URL to a Postgres of your own.',
      { at: 'MILLRACE_HOME' },
    )
  }
  if (!canEnter(ids, options.home)) chmodSync(options.home, statSync(options.home).mode | 0o011)
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

function foldersAbove(folder: string): string[] {
  const above = dirname(folder)
  return above === folder ? [] : [...foldersAbove(above), above]
}

function canEnter(ids: { uid: number; gid: number }, folder: string): boolean {
  return spawnSync('test', ['-x', folder], { ...ids, stdio: 'ignore' }).status === 0
}
