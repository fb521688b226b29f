// The folder of an embedded Postgres: <home>/pg with data/, db.json (password and port), users (see keeper.ts) and log.
//   C1. It is made beside its place and renamed into it: it is there whole or not at all, and of two makers one wins.
//   C2. The password is random, never on a command line, and in files of mode 0600 only.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EngineError } from '../../core/errors.ts'
import type { Account } from './account.ts'
import { admit, onParentDeath } from './account.ts'
import type { Binaries } from './binaries.ts'

export interface Cluster {
  folder: string
  data: string
  log: string
  /** Programs that the server's account can run. */
  binaries: Binaries
  password: string
}

const logBytesMax = 16 << 20 // an older log is kept once, as log.1

export async function openCluster(options: {
  home: string
  account: Account
  binaries: Binaries
  report: (message: string) => void
}): Promise<Cluster> {
  const { home, account } = options
  mkdirSync(home, { recursive: true, mode: 0o700 })
  const folder = join(home, 'pg')
  removeHalfMade(home)
  if (!existsSync(folder)) {
    options.report(`first start: making a database in ${folder}`)
    await makeCluster({ ...options, folder })
  }
  const binaries = admit(account, { folder, home, binaries: options.binaries })
  const data = join(folder, 'data')
  refuseOtherMajor(data, binaries.major)
  const log = join(folder, 'log')
  if (existsSync(log) && statSync(log).size > logBytesMax) renameSync(log, `${log}.1`)
  return { folder, data, log, binaries, password: readSecrets(folder).password }
}

async function makeCluster(options: { home: string; folder: string; account: Account; binaries: Binaries }): Promise<void> {
  const { account } = options
  const stage = `${options.folder}.${process.pid}.tmp`
  mkdirSync(stage, { mode: 0o700 })
  try {
    const binaries = admit(account, { folder: stage, home: options.home, binaries: options.binaries })
    const password = randomBytes(24).toString('base64url')
    const passwordFile = join(stage, 'password')
    writeFileSync(passwordFile, password, { mode: 0o600 })
    if (account.ids) chownSync(passwordFile, account.ids.uid, account.ids.gid)
    await initialise({ account, binaries, data: join(stage, 'data'), passwordFile })
    rmSync(passwordFile)
    writeFileSync(join(stage, 'db.json'), JSON.stringify({ password }), { mode: 0o600 })
    renameSync(stage, options.folder)
  } catch (error) {
    rmSync(stage, { recursive: true, force: true })
    const code = (error as NodeJS.ErrnoException).code
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error // another process made it meanwhile: that one is used
  }
}

// The built-in locale is the same on every system and needs nothing of it.
const initdbOptions = [
  '--auth=scram-sha-256',
  '--encoding=UTF8',
  '--locale=C',
  '--locale-provider=builtin',
  '--builtin-locale=C.UTF-8',
  '--data-checksums',
  '--no-instructions',
]

async function initialise(options: { account: Account; binaries: Binaries; data: string; passwordFile: string }): Promise<void> {
  const { account, binaries } = options
  const [program, ...args] = [
    ...account.prefix,
    ...onParentDeath('KILL'), // so that nothing writes to what an interrupted start leaves behind
    join(binaries.native, 'bin', 'initdb'),
    ...initdbOptions,
    '--username=postgres',
    `--pwfile=${options.passwordFile}`,
    `--pgdata=${options.data}`,
  ]
  const child = spawn(program, args, { ...account.ids, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (piece: Buffer) => (output += piece.toString()))
  child.stderr.on('data', (piece: Buffer) => (output += piece.toString()))
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  if (exitCode === 0) return
  throw new EngineError('E_SETUP', `initdb failed (exit code ${exitCode}):\n${lastLines(output)}`, { at: options.data })
}

/** What starts that were interrupted left behind: stages whose maker is gone. */
function removeHalfMade(home: string): void {
  for (const name of readdirSync(home)) {
    const pid = /^pg\.(\d+)\.tmp$/.exec(name)?.[1]
    if (pid !== undefined && Number(pid) !== process.pid && !isAlive(Number(pid))) {
      rmSync(join(home, name), { recursive: true, force: true })
    }
  }
}

function refuseOtherMajor(data: string, major: number): void {
  let found: string
  try {
    found = readFileSync(join(data, 'PG_VERSION'), 'utf8').trim()
  } catch (error) {
    throw new EngineError(
      'E_SETUP',
      `${data} is not a database: its PG_VERSION cannot be read. Restore the folder, or move it away.`,
      {
        at: data,
        cause: error,
      },
    )
  }
  if (Number(found) === major) return
  throw new EngineError(
    'E_DATABASE_VERSION',
    `${data} was made by Postgres ${found}, and this version brings Postgres ${major}. Its files cannot be read by another major version. ` +
      `Start the version of Millrace that made it and dump it (pg_dump), then load the dump into a new home; ` +
      `or run a Postgres ${found} on it yourself and set DATABASE_URL.`,
    { at: data },
  )
}

interface Secrets {
  password: string
  port?: number
}

export function readSecrets(folder: string): Secrets {
  const path = join(folder, 'db.json')
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Secrets
  } catch (error) {
    throw new EngineError('E_SETUP', `${path} cannot be read; it holds the password of the database beside it`, {
      at: path,
      cause: error,
    })
  }
}

/** Remembers the port, so that the address stays the same over restarts. */
export function rememberPort(folder: string, port: number): void {
  const secrets = readSecrets(folder)
  if (secrets.port === port) return
  const path = join(folder, 'db.json')
  const half = `${path}.${process.pid}.tmp`
  const { uid, gid } = statSync(path)
  writeFileSync(half, JSON.stringify({ ...secrets, port }), { mode: 0o600 })
  chownSync(half, uid, gid) // root may be using what another user owns
  renameSync(half, path)
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

export function lastLines(text: string): string {
  return text.trimEnd().split('\n').slice(-20).join('\n')
}
