// Two Postgres servers, one the streaming standby of the other: made from the embedded server's programs, run without its keeper,
// so that one that is killed stays dead until the test starts it.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll } from 'vitest'
import { freePort } from '../../bench/ports.ts'
import { openDatabase, type Database } from '../../src/store/db.ts'
import { serverAccount } from '../../src/store/embedded/account.ts'
import { findBinaries } from '../../src/store/embedded/binaries.ts'
import { openPostgres } from '../../src/store/embedded/postgres.ts'
import { findPostmaster } from '../../src/store/embedded/postmaster.ts'

export interface PostgresServer {
  url: string
  host: string
  /** For the test itself. */
  db: Database
  start(settings?: Record<string, string>): Promise<void>
  /** SIGKILL, as if its machine were gone. */
  kill(): Promise<void>
}

export interface ServerPair {
  primary: PostgresServer
  standby: PostgresServer
  /** With both servers, as libpq writes it. */
  url: string
  /** The standby becomes a primary. */
  promote(): Promise<void>
}

/** Both run, and the standby follows. `synchronous`: commits wait for it. Gone at the end of the file. */
export async function startPair({ synchronous }: { synchronous: boolean }): Promise<ServerPair> {
  const home = mkdtempSync(join(tmpdir(), 'millrace-pair-'))
  const made = await openPostgres({ home, report: () => {} })
  await made.stop()
  const servers: PostgresServer[] = []
  afterAll(async () => {
    for (const server of servers) {
      await server.db.close()
      await server.kill()
    }
    rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  })
  const data = join(home, 'pg', 'data')
  const copy = join(home, 'pg', 'copy')
  spawnSync('cp', ['-a', data, copy])
  writeFileSync(join(copy, 'standby.signal'), '')
  const primary = await serverOf(made.url, data)
  const standby = await serverOf(made.url, copy)
  servers.push(primary, standby)
  const { hostname, port, username, password } = new URL(primary.url)
  const connection = `host=${hostname} port=${port} user=${username} password=${password} application_name=standby`
  await primary.start(synchronous ? { synchronous_standby_names: 'standby' } : {})
  await standby.start({ primary_conninfo: connection })
  const follows = `select 1 from pg_stat_replication where state = 'streaming' and sync_state = $1`
  while ((await primary.db.pool.query(follows, [synchronous ? 'sync' : 'async'])).rows.length === 0) await pause(20)
  const url = primary.url.replace(primary.host, `${primary.host},${standby.host}`)
  return {
    primary,
    standby,
    url: `${url}?target_session_attrs=read-write`,
    async promote() {
      const client = new Client(standby.url) // the engine's own would be refused: it is a standby
      await client.connect()
      await client.query('select pg_promote()')
      await client.end()
    },
  }
}

async function serverOf(url: string, data: string): Promise<PostgresServer> {
  const own = new URL(url)
  own.port = String(await freePort())
  let child: ChildProcess | null = null
  return {
    url: own.href,
    host: own.host,
    db: openDatabase({ url: own.href, name: 'test', poolMax: 4 }),
    async start(settings = {}) {
      const { prefix, ids } = serverAccount(data)
      const all = {
        ...settings,
        port: own.port,
        listen_addresses: '127.0.0.1',
        unix_socket_directories: '',
        wal_keep_size: '256MB',
      }
      const options = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
      const [program, ...args] = [...prefix, join(findBinaries().native, 'bin', 'postgres'), '-D', data, ...options]
      const started = spawn(program!, args, { ...ids, stdio: 'ignore' })
      child = started
      while (findPostmaster(data)?.state !== 'ready') {
        if (started.exitCode !== null) throw new Error(`postgres ended with ${started.exitCode}`)
        await pause(20)
      }
    },
    async kill() {
      if (child === null || child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'close')
      const server = findPostmaster(data)
      if (server) process.kill(server.pid, 'SIGKILL')
      child.kill('SIGKILL')
      await ended
    },
  }
}
