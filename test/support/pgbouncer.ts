// A real pgbouncer between the test and its Postgres. Found on the path, or installed with apt-get where the test runs as root.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll } from 'vitest'
import { freePort } from '../../bench/ports.ts'

export interface Pooler {
  /** The given database URL, by way of the pooler. */
  url: string
}

const nobody = 65_534

/** Stopped at the end of the file. @throws if there is no pgbouncer, and none can be installed */
export async function startPooler(
  databaseUrl: string,
  options: { mode: 'transaction' | 'session'; connections?: number },
): Promise<Pooler> {
  const program = findPgbouncer()
  const { hostname, port: databasePort, username, password } = new URL(databaseUrl)
  const folder = mkdtempSync(join(tmpdir(), 'millrace-pooler-'))
  const port = await freePort()
  const file = join(folder, 'pgbouncer.ini')
  const database = `host=${hostname} port=${databasePort || 5432} user=${username} password=${decodeURIComponent(password)}`
  const settings = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'any',
    pool_mode: options.mode,
    default_pool_size: options.connections ?? 10,
    max_client_conn: 200,
  }
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`)
  writeFileSync(file, ['[databases]', `* = ${database}`, '[pgbouncer]', ...lines, ''].join('\n'), { mode: 0o600 })
  const root = process.getuid?.() === 0 // as whom it does not run
  if (root) for (const path of [folder, file]) chownSync(path, nobody, nobody)
  const child = spawn(program, [file], { ...(root ? { uid: nobody, gid: nobody } : {}), stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  child.stderr.on('data', (piece: Buffer) => (log += piece.toString()))
  const ended = once(child, 'close')
  afterAll(async () => {
    child.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  })
  for (let ready = false; !ready;) {
    ready = await answers(port)
    if (child.exitCode !== null) throw new Error(`pgbouncer ended with ${child.exitCode}:\n${log}`)
    if (!ready) await pause(20)
  }
  const url = new URL(databaseUrl)
  url.hostname = '127.0.0.1'
  url.port = String(port)
  return { url: url.href }
}

function findPgbouncer(): string {
  const find = () => {
    const found = spawnSync('sh', ['-c', 'command -v pgbouncer'], { encoding: 'utf8' }).stdout.trim()
    return [found, '/usr/sbin/pgbouncer'].find((path) => path !== '' && existsSync(path))
  }
  const there = find()
  if (there !== undefined) return there
  if (process.getuid?.() === 0) {
    // One test file at a time: apt-get does not wait for another one.
    const install =
      'command -v pgbouncer || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pgbouncer; }'
    spawnSync('flock', [join(tmpdir(), 'millrace-apt.lock'), 'sh', '-c', install], { encoding: 'utf8' })
    const installed = find()
    if (installed !== undefined) return installed
  }
  throw new Error('this test needs pgbouncer: install it (Debian: apt-get install pgbouncer; macOS: brew install pgbouncer)')
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
