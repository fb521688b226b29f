// `millrace server`: the HTTP API alone. And the parts of it that `up` uses too.
import { createServer as createSocket } from 'node:net'
import type { Logger } from 'pino'
import { EngineError } from '../core/errors.ts'
import { createServer } from '../server/app.ts'
import type { App } from '../server/parts.ts'
import { ensureAdmin } from '../store/accounts.ts'
import { keepPartitions } from '../store/partitions.ts'
import { announceServer, forgetServer } from './connect.ts'
import { createLog, createScreen } from './log.ts'
import type { GivenSettings } from './program.ts'
import { settingOf, wholeNumber } from './settings.ts'
import { listenForEnd } from './signals.ts'
import { awaitStore, onceReachable, regularly, type Store } from './store.ts'

const portPreset = 8_000
const portsTried = 100
const announceMs = 2_000
const partitionsMs = 3_600_000

export interface RunningServer {
  url: string
  admin: { token: string; isNew: boolean; file: string | null }
  /** Why it is not the usual port, if it is not. */
  note: string | undefined
  close(): Promise<void>
}

/** Starts the API on a store. While the database is away, it waits. */
export async function startServer(
  store: Store,
  options: GivenSettings,
  waiting: { log: Logger; stop: AbortSignal },
): Promise<RunningServer> {
  const { log } = waiting
  const { limits } = store
  const host = settingOf(options, 'host', '127.0.0.1')
  const upkeep = new AbortController()
  const keep = () => keepPartitions(store.db, limits)
  await onceReachable(keep, waiting)
  const token = process.env['MILLRACE_ADMIN_TOKEN'] || undefined
  const given = token === undefined ? { home: store.home } : { home: store.home, token }
  const admin = await onceReachable(() => ensureAdmin(store.db, given), waiting)
  const { app, url, port } = await listenSomewhere(async () => {
    const chosen = await choosePort(settingOf(options, 'port', undefined), host)
    const named = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host
    const at = `http://${named}:${chosen.number}`
    const parts = { db: store.db, limits, log, home: store.home, baseUrl: at, failpoints: store.failpoints }
    const made = await onceReachable(() => createServer(parts), waiting)
    return { app: made, url: at, port: chosen, host }
  })
  announceServer(store.home, url)
  const tasks = [
    regularly({ name: 'upkeep of partitions', everyMs: partitionsMs, log, run: keep }, upkeep.signal),
    regularly(
      { name: 'saying where the server is', everyMs: announceMs, log, run: async () => announceServer(store.home, url) },
      upkeep.signal,
    ),
  ]
  return {
    url,
    admin,
    note: port.note,
    async close() {
      upkeep.abort()
      forgetServer(store.home)
      await Promise.all(tasks)
      await app.close()
    },
  }
}

interface Place {
  app: App
  url: string
  port: { number: number; note?: string }
  host: string
}

/** Listens. A port that another program took since it was found free is chosen anew. */
async function listenSomewhere(choose: () => Promise<Place>): Promise<Place> {
  for (;;) {
    const place = await choose()
    try {
      await place.app.listen({ host: place.host, port: place.port.number })
      return place
    } catch (error) {
      await place.app.close()
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    }
  }
}

async function choosePort(asked: string | undefined, host: string): Promise<{ number: number; note?: string }> {
  if (asked !== undefined) {
    const number = wholeNumber(asked, 'MILLRACE_PORT', { min: 0, max: 65_535 })
    const free = await freePort(number, host)
    if (free !== undefined) return { number: free }
    throw new EngineError('E_SETUP', `port ${number} is taken by another program; set MILLRACE_PORT or --port to a free one`, {
      at: 'MILLRACE_PORT',
    })
  }
  for (let number = portPreset; number < portPreset + portsTried; number++) {
    if ((await freePort(number, host)) === undefined) continue
    return number === portPreset ? { number } : { number, note: `port ${portPreset} is taken, this server is on ${number}` }
  }
  throw new EngineError('E_SETUP', `no port from ${portPreset} to ${portPreset + portsTried - 1} is free; set MILLRACE_PORT`, {
    at: 'MILLRACE_PORT',
  })
}

/** The port if it is free (0: any free one), else undefined. @throws EngineError for an address that is not ours */
function freePort(port: number, host: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const socket = createSocket()
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(undefined)
      else reject(new EngineError('E_SETUP', `cannot listen on ${host}: ${error.message}`, { at: 'MILLRACE_HOST', cause: error }))
    })
    socket.listen({ port, host }, () => {
      const address = socket.address()
      socket.close(() => resolve(typeof address === 'object' && address !== null ? address.port : undefined))
    })
  })
}

export async function server(options: GivenSettings): Promise<void> {
  const log = createLog(settingOf(options, 'logLevel', 'info'), createScreen()).child({ part: 'server' })
  const ending = listenForEnd((request) => log.info(request === 'stop' ? 'stopping' : 'stopping at once'))
  ending.force.addEventListener('abort', () => process.exit(1))
  const waiting = { log, stop: ending.stop }
  const store = await awaitStore(options, { name: 'millrace server', ...waiting })
  if (store === undefined) return
  try {
    const running = await startServer(store, options, waiting)
    if (running.note) log.warn(running.note)
    log.info({ url: running.url, database: store.place, token: running.admin.file ?? 'MILLRACE_ADMIN_TOKEN' }, 'server is ready')
    if (running.admin.isNew) log.info(`made an admin token, shown once: ${running.admin.token}`)
    if (!ending.stop.aborted) await new Promise((resolve) => ending.stop.addEventListener('abort', resolve, { once: true }))
    await running.close()
  } finally {
    await store.close()
  }
}
