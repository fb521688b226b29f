// The Redis that BullMQ is measured on: the system's redis-server, append-only file with an fsync every second, loopback only.
//   R1. Every repetition gets a server of its own on an empty folder.
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import { freePort, has, launch, stop, untilReady } from '../children.mjs'

export async function startRedis({ dir, log }) {
  if (!has('redis-server')) throw new Error('redis-server is not installed; on Debian: apt-get install redis-server')
  mkdirSync(dir, { recursive: true })
  const port = await freePort()
  const options = { port, bind: '127.0.0.1', dir, save: '', appendonly: 'yes', appendfsync: 'everysec', daemonize: 'no' }
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  const server = launch('redis-server', flags, { log })
  await untilReady(server, () => ping(port))
  const version = /v=(\S+)/.exec(execFileSync('redis-server', ['--version'], { encoding: 'utf8' }))?.[1]
  return {
    description: `Redis ${version}, append-only file, fsync every second, TCP loopback`,
    env: { url: `redis://127.0.0.1:${port}` },
    stop: () => stop(server),
  }
}

function ping(port) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    socket.setTimeout(1_000, () => socket.destroy(new Error('no answer to PING')))
    socket.once('error', reject)
    socket.once('data', (data) => {
      socket.destroy()
      if (String(data).startsWith('+PONG')) resolve()
      else reject(new Error(`answer to PING: ${String(data).trim()}`))
    })
  })
}
