// The database as a process of the world reaches it: over connections that are slow, break, or lose an answer after the
// statement was applied. Notifications travel the same way.
//   N1. A statement is applied at one moment, or not at all. Its answer may be lost; then the caller cannot know.
//   N2. While the database is down nothing is applied; what was applied before stays (fsync is on).
//   N3. A connection belongs to a process and ends with it; the database learns of a killed host later than of a closed socket.
import type pg from 'pg'
import type { Database } from '../../src/store/db.ts'
import type { Listener, ListenerOptions } from '../../src/store/listen.ts'
import { epochMs, type Process, type World } from './world.ts'
import { MemoryStore, type Session, type Watch } from './memory.ts'

/** Drawn once per seed; some are zero, so that faults do not mask each other. */
export interface Weather {
  lostReply: number
  lostNotify: number
  /** A statement, or its answer, stuck on the way for longer than a lease. */
  stuck: number
  refused: number
  delayMs: number
}

export interface Network {
  readonly store: MemoryStore
  readonly weather: Weather
  databaseOf(process: Process): Database
  listen(process: Process, options: ListenerOptions): Promise<Listener>
  /** The database goes away, and comes back `ms` later. */
  outage(ms: number): void
  /** Ends some of the connections there are. */
  cut(share: number): void
  /** The process is gone: its connections end at once, or (its host died) when the database notices. */
  left(process: Process, afterMs: number): void
  /** From now on nothing is lost or late. */
  heal(): void
}

const fail = (code: string, message: string): Error => Object.assign(new Error(message), { code })

interface Connection extends Session {
  process: Process
  open: boolean
  ended: Set<() => void>
  /** Statements on one connection run one after another. */
  freeAtMs: number
  pending: Set<Pending>
}

/** A statement that was sent and not answered. */
interface Pending {
  process: Process
  /** It has arrived: it is applied although its connection is gone. */
  atServer: boolean
  gone: boolean
  break: () => void
}

interface Hearing {
  process: Process
  options: ListenerOptions
  connected: boolean
  closed: boolean
}

export function createNetwork(world: World, weather: Weather, leaseMs: number, watch: Watch): Network {
  const connections = new Set<Connection>()
  /** Those of the pools: each on a connection of its own. */
  const pooled = new Set<Pending>()
  const hearings = new Set<Hearing>()
  let up = true
  const store = new MemoryStore({ now: () => epochMs + world.nowMs, notify: deliver, watch })

  function delay(): number {
    return 0.2 + world.chance() * weather.delayMs
  }

  function slow(): number {
    if (world.chance() >= weather.stuck) return 0
    world.mark('stuck on the way')
    return leaseMs * (1 + world.chance() * 2)
  }

  function connect(process: Process): Connection {
    const connection: Connection = { process, open: true, ended: new Set(), freeAtMs: 0, locks: new Set(), pending: new Set() }
    connections.add(connection)
    store.sessions.add(connection)
    return connection
  }

  /** The database has let go of it. */
  function end(connection: Connection): void {
    if (!connection.open) return
    connection.open = false
    connections.delete(connection)
    store.sessions.delete(connection)
    connection.locks.clear()
    for (const one of connection.pending) one.break()
    connection.process.run(() => {
      for (const told of connection.ended) told()
    })
  }

  function query(connection: Connection | null, process: Process, name: string, values: unknown[]): Promise<pg.QueryResult> {
    return new Promise((resolve, reject) => {
      const stuckMs = slow()
      const arrivesAtMs = Math.max(world.nowMs + delay() + stuckMs, connection?.freeAtMs ?? 0)
      if (connection) connection.freeAtMs = arrivesAtMs
      const refuse = (error: Error): void => process.after(delay(), () => reject(error))
      const others = connection?.pending ?? pooled
      const pending: Pending = {
        process,
        atServer: world.chance() < 0.5,
        gone: false,
        break() {
          pending.gone = true
          others.delete(pending)
          refuse(fail('ECONNRESET', 'connection reset'))
        },
      }
      others.add(pending)
      if (stuckMs > 0 && world.chance() < 0.7) {
        // The caller finds its connection dead, and what it sent arrives all the same.
        world.at(world.nowMs + world.between(20, 1_000), () => {
          if (!others.has(pending)) return
          pending.atServer = true
          if (connection) end(connection)
          else pending.break()
        })
      }
      world.at(arrivesAtMs, () => {
        if (!process.alive && world.chance() < 0.5) return // was not sent before the process died
        others.delete(pending)
        if (!up) return refuse(fail('ECONNREFUSED', 'connect ECONNREFUSED'))
        if (pending.gone && !pending.atServer) return
        if (!pending.gone && connection && !connection.open) return refuse(fail('ECONNRESET', 'connection reset'))
        if (pending.gone) world.mark('applied after its connection was cut')
        if (world.chance() < weather.refused) {
          world.mark('refused')
          return refuse(fail('57P01', 'terminating connection due to administrator command'))
        }
        const session = connection?.open ? connection : connect(process)
        let rows: Record<string, unknown>[] = []
        let fault: unknown = null
        try {
          rows = store.run(session, name, values)
        } catch (error) {
          fault = error
        }
        if (session !== connection) end(session)
        if (name !== 'heartbeat' && name !== 'declare_dead') world.tell(`${process.name} ${name} ${rows.length}`)
        if (pending.gone) return
        if (world.chance() < weather.lostReply) {
          world.mark(`reply lost: ${name}`)
          process.after(delay(), () => reject(fail('ECONNRESET', 'connection reset')))
          if (connection) end(connection)
          return
        }
        process.after(delay() + slow(), () => {
          if (fault !== null) reject(fault instanceof Error ? fault : new Error('the statement failed'))
          else resolve({ rows } as unknown as pg.QueryResult)
        })
      })
    })
  }

  function clientOf(process: Process): Promise<pg.Client> {
    return new Promise((resolve, reject) => {
      process.after(delay(), () => {
        if (!up) return reject(fail('ECONNREFUSED', 'connect ECONNREFUSED'))
        const connection = connect(process)
        resolve({
          query: ({ name, values }: { name: string; values: unknown[] }) => query(connection, process, name, values),
          once: (_event: string, told: () => void) => connection.ended.add(told),
          end: () => {
            end(connection)
            return Promise.resolve()
          },
        } as unknown as pg.Client)
      })
    })
  }

  function deliver(channel: string, payload: string): void {
    for (const hearing of hearings) {
      const hear = hearing.options.channels[channel]
      if (!hear || !hearing.connected) continue
      if (world.chance() < weather.lostNotify) {
        world.mark('notification lost')
        continue
      }
      hearing.process.after(delay(), () => {
        if (!hearing.closed) hear(payload)
      })
    }
  }

  function hearAgain(hearing: Hearing): void {
    hearing.connected = false
    hearing.process.after(world.between(50, 400), () => {
      if (hearing.closed) return
      if (!up) return hearAgain(hearing)
      hearing.connected = true
      hearing.options.onConnect()
    })
  }

  return {
    store,
    weather,
    databaseOf: (process) => ({
      url: 'memory',
      route: null as unknown as Database['route'], // every connection here leads to the one database there is
      pooled: false,
      pool: {
        query: ({ name, values }: { name: string; values: unknown[] }) => query(null, process, name, values),
      } as unknown as pg.Pool,
      connect: () => clientOf(process),
      transaction: () => Promise.reject(new Error('not simulated')),
      another: () => {
        throw new Error('not simulated')
      },
      close: () => Promise.resolve(),
    }),
    listen(process, options) {
      const hearing: Hearing = { process, options, connected: up, closed: false }
      hearings.add(hearing)
      if (!up) hearAgain(hearing)
      const close = (): Promise<void> => {
        hearing.closed = true
        hearings.delete(hearing)
        return Promise.resolve()
      }
      return new Promise((resolve) => process.after(delay(), () => resolve({ close })))
    },
    outage(ms) {
      world.mark('database outage')
      up = false
      for (const connection of connections) end(connection)
      for (const one of pooled) one.break()
      for (const hearing of hearings) hearAgain(hearing)
      world.at(world.nowMs + ms, () => {
        up = true
        store.startedAtMs = epochMs + world.nowMs
      })
    },
    cut(share) {
      for (const connection of connections) if (world.chance() < share) end(connection)
      for (const one of pooled) if (world.chance() < share) one.break()
      for (const hearing of hearings) if (world.chance() < share) hearAgain(hearing)
    },
    left(process, afterMs) {
      for (const hearing of hearings) if (hearing.process === process) hearings.delete(hearing)
      world.at(world.nowMs + afterMs, () => {
        for (const connection of connections) if (connection.process === process) end(connection)
      })
    },
    heal() {
      Object.assign(weather, { lostReply: 0, lostNotify: 0, stuck: 0, refused: 0 })
    },
  }
}
