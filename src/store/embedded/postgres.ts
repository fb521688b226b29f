// The database of this process: the one DATABASE_URL names, or an embedded server, shared by all who use the same home.
//   O1. The server runs as long as any process uses it (keeper.ts) and stops cleanly after the last one.
//   O2. Nothing but Postgres's own lock file decides which of two servers runs. Who loses a race joins the winner.
//   O3. A server that ends while it is in use is started again on the same port, by whoever sees it first.
import { closeSync, existsSync, mkdirSync, readFileSync, realpathSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { EngineError, messageOf } from '../../core/errors.ts'
import { openDatabase } from '../db.ts'
import type { Account } from './account.ts'
import { serverAccount } from './account.ts'
import { findBinaries } from './binaries.ts'
import type { Cluster } from './cluster.ts'
import { lastLines, openCluster, readSecrets, rememberPort } from './cluster.ts'
import { isUsed, joinUsers, startKeeper } from './keeper.ts'
import type { Postmaster } from './postmaster.ts'
import { findPostmaster } from './postmaster.ts'
import { serverSettings } from './settings.ts'

export interface Postgres {
  url: string
  embedded: boolean
  /** Did this process start the server? */
  owner: boolean
  /** Stops using it. Resolves when the server has ended, if this was its last user. */
  stop(): Promise<void>
}

export interface PostgresOptions {
  /** The folder of the installation; the embedded server lives in its `pg`. Made if absent. */
  home: string
  /** A Postgres to use instead. */
  databaseUrl?: string | undefined
  /** Told of what takes time or went wrong. */
  report: (message: string) => void
}

const pollMs = 20
const startMs = 60_000 // recovery after a crash replays up to max_wal_size
const stopMs = 10_000
const watchMs = 500
// Another server has the folder, the last one's connections are still ending, or somebody took the port.
const lostRace = /lock file "postmaster.pid" already exists|shared memory block .* is still in use|Address already in use/
const lostMax = 20 // starts that lost a race, for the port or against another process

/**
 * The database to use. Calling it again with the same home, here or in another process, shares one server.
 * @throws EngineError E_SETUP with what to install or set; E_DATABASE_VERSION if the folder is of another major version
 */
export async function openPostgres(options: PostgresOptions): Promise<Postgres> {
  if (options.databaseUrl) return { url: options.databaseUrl, embedded: false, owner: false, stop: () => Promise.resolve() }
  mkdirSync(options.home, { recursive: true, mode: 0o700 })
  const home = realpathSync(options.home)
  const account = serverAccount(join(home, 'pg', 'data'))
  const cluster = await openCluster({ home, account, binaries: findBinaries(), report: options.report })
  let held = await holdServer(cluster, account)
  const url = urlOf(cluster, held.server.port)
  try {
    await greet(url)
  } catch (error) {
    closeSync(held.use)
    throw error
  }
  let mending: Promise<void> | undefined
  let stopping: Promise<void> | undefined
  const watch = setInterval(watchServer, watchMs).unref()
  return { url, embedded: true, owner: held.owner, stop: () => (stopping ??= stop()) }

  function watchServer(): void {
    if (mending || isRunning(cluster.data, held.server)) return
    mending = mend()
      .catch((error: unknown) => options.report(`the embedded Postgres cannot be started again: ${messageOf(error)}`))
      .finally(() => (mending = undefined))
  }

  async function mend(): Promise<void> {
    options.report(`the embedded Postgres ended; starting it again (its log: ${cluster.log})`)
    const next = await holdServer(cluster, account)
    closeSync(held.use)
    held = next
    if (urlOf(cluster, held.server.port) !== url) {
      options.report(`the embedded Postgres had to take another port, ${held.server.port}: start this process again`)
    }
  }

  async function stop(): Promise<void> {
    clearInterval(watch)
    await mending
    closeSync(held.use)
    await waitForEnd(cluster, held.server)
  }
}

interface Held {
  server: Postmaster
  use: number
  owner: boolean
}

/** Joins the running server, or starts one. */
async function holdServer(cluster: Cluster, account: Account): Promise<Held> {
  const untilMs = Date.now() + startMs
  for (let lost = 0; lost < lostMax && Date.now() < untilMs;) {
    // In this order: a keeper is there before its server, so a server seen first and no keeper after means it has left.
    const leaving = findPostmaster(cluster.data)
    const use = joinUsers(cluster.folder)
    if (use !== undefined) {
      const left = (): boolean => !isKept(cluster.folder)
      const server = await becomesReady(cluster.data, { untilMs, gone: left })
      if (server && !left()) return { server, use, owner: false } // its keeper was not just leaving
      closeSync(use)
      await pause(pollMs)
      continue
    }
    if (leaving !== undefined) {
      await endServer(cluster.data, leaving)
      continue
    }
    const started = await startServer(cluster, account, untilMs)
    if (started) return started
    lost++
    await pause(5 * pollMs)
  }
  throw startFailed(cluster, 'another server came and went each time')
}

function isKept(folder: string): boolean {
  const probe = joinUsers(folder)
  if (probe === undefined) return false
  closeSync(probe)
  return true
}

async function startServer(cluster: Cluster, account: Account, untilMs: number): Promise<Held | undefined> {
  const port = await freePort(readSecrets(cluster.folder).port)
  const settings = Object.entries(serverSettings(port)).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const command = [join(cluster.binaries.native, 'bin', 'postgres'), '-D', cluster.data, ...settings]
  const logFrom = readLog(cluster.log).length
  const keeper = startKeeper({ folder: cluster.folder, log: cluster.log, account, command })
  let ended = false
  const ready = becomesReady(cluster.data, { untilMs, gone: () => ended })
  try {
    const first = await Promise.race([ready, keeper.ended.then((exitCode) => ({ exitCode }))])
    if (first === undefined) throw startFailed(cluster, `it was not ready after ${startMs / 1000} s`)
    if ('pid' in first) {
      rememberPort(cluster.folder, first.port)
      return { server: first, use: keeper.use, owner: true }
    }
    const said = readLog(cluster.log).slice(logFrom)
    if (lostRace.test(said)) {
      closeSync(keeper.use)
      return undefined
    }
    throw startFailed(cluster, `it ended with exit code ${first.exitCode}`)
  } catch (error) {
    closeSync(keeper.use)
    throw error
  } finally {
    ended = true
  }
}

function startFailed(cluster: Cluster, what: string): EngineError {
  return new EngineError(
    'E_SETUP',
    `the embedded Postgres did not start: ${what}. The end of its log (${cluster.log}):\n${lastLines(readLog(cluster.log))}`,
    { at: cluster.log },
  )
}

function readLog(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

/** The server once it takes connections; undefined if it is `gone`, stopping, or not ready in time. */
async function becomesReady(data: string, options: { untilMs: number; gone: () => boolean }): Promise<Postmaster | undefined> {
  while (Date.now() < options.untilMs && !options.gone()) {
    const server = findPostmaster(data)
    if (server?.state === 'ready') return server
    if (server?.state === 'stopping') return undefined
    await pause(pollMs)
  }
  return undefined
}

function isRunning(data: string, server: Postmaster): boolean {
  try {
    return findPostmaster(data)?.pid === server.pid
  } catch {
    return false
  }
}

/** After this process left: until the server has ended, or others use it. */
async function waitForEnd(cluster: Cluster, server: Postmaster): Promise<void> {
  while (isRunning(cluster.data, server) && !isUsed(cluster.folder)) {
    if (!isKept(cluster.folder)) return endServer(cluster.data, server)
    await pause(pollMs)
  }
}

/** Stops a server and waits: a fast shutdown first, an immediate one if that hangs. */
async function endServer(data: string, server: Postmaster): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    try {
      process.kill(server.pid, signal)
    } catch {
      return // it has ended
    }
    const untilMs = Date.now() + stopMs
    while (Date.now() < untilMs) {
      if (!isRunning(data, server)) return
      await pause(pollMs)
    }
  }
}

/** The wanted port if it is free, otherwise any free one. */
async function freePort(wanted: number | undefined): Promise<number> {
  for (const port of wanted === undefined ? [0] : [wanted, 0]) {
    const found = await new Promise<number | undefined>((resolve) => {
      const server = createServer()
      server.on('error', () => resolve(undefined))
      server.listen({ port, host: '127.0.0.1' }, () => {
        const address = server.address()
        server.close(() => resolve(address !== null && typeof address === 'object' ? address.port : undefined))
      })
    })
    if (found !== undefined) return found
  }
  throw new EngineError('E_SETUP', 'no free port was found on 127.0.0.1 for the embedded Postgres')
}

function urlOf(cluster: Cluster, port: number): string {
  return `postgres://postgres:${cluster.password}@127.0.0.1:${port}/postgres`
}

/** The first connection: proves that the server answers us, and makes its statistics of statements readable. */
async function greet(url: string): Promise<void> {
  const db = openDatabase({ url, name: 'millrace start', poolMax: 1 })
  try {
    await db.pool.query('select pg_advisory_lock(hashtext($1))', ['pg_stat_statements']) // two creators at once would collide
    await db.pool.query('create extension if not exists pg_stat_statements')
  } finally {
    await db.close()
  }
}
