// Notifications, heard over one connection per process: every listener makes every notify of the database dearer.
//   N1. A notification is a hint. Those sent while the connection was down are lost, so `onConnect` says when to look.
//   N2. A connection that died is noticed: at once when it is cut, within seconds when nothing comes back any more.
//   N3. Connecting is tried until `close`, whatever goes wrong; `close` leaves nothing behind, even in the middle of it.
//   N4. Through a transaction pooler nothing can be heard: then there is no connection, and whoever listens polls.
import { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type pg from 'pg'
import pgListen from 'pg-listen'
import { messageOf } from '../core/errors.ts'
import type { Database } from './db.ts'

export interface ListenerEvent {
  state: 'connected again' | 'connecting again'
  attempt?: number
  error?: string
}

export interface Listener {
  close(): Promise<void>
}

export interface ListenerOptions {
  db: Pick<Database, 'route' | 'pooled'>
  /** What to do with the payload of a notification, by channel. */
  channels: Record<string, (payload: string) => void>
  /** Listening has begun, or begun again: look for what was not heard. */
  onConnect: () => void
  report: (event: ListenerEvent) => void
}

const retryMs = 250
const tellMs = 5_000 // while it is down, one line in so long
const checkMs = 5_000
const answerMs = 2_000 // a check without an answer for so long means the connection is dead
const connectMs = 3_000
const closeMs = 500 // how long a good-bye may take

// The package is CommonJS with a default of its own.
const createSubscriber = pgListen.default

/** Listens until closed. Resolves once it hears, or has failed to for the first time and goes on trying. */
export async function createListener(options: ListenerOptions): Promise<Listener> {
  const { db, report } = options
  if (db.pooled) {
    options.onConnect()
    return { close: () => Promise.resolve() }
  }
  const closing = new AbortController()
  let hearing: Hearing | null = null
  let tried!: () => void
  const firstTry = new Promise<void>((resolve) => {
    tried = resolve
  })
  const over = hold()
  await firstTry
  return {
    async close() {
      closing.abort()
      await hearing?.end()
      await over
    },
  }

  async function hold(): Promise<void> {
    let attempt = 0
    let toldAtMs = -Infinity
    while (!closing.signal.aborted) {
      let error: unknown
      try {
        hearing = await db.route.open((to) => hear(to.url, options.channels))
        if (attempt > 0) report({ state: 'connected again' })
        attempt = 0
        toldAtMs = -Infinity
        if (!closing.signal.aborted) options.onConnect()
        tried()
        const forget = db.route.watch(() => void hearing?.end())
        if (closing.signal.aborted) await hearing.end()
        error = await hearing.lost
        forget()
        await hearing.end()
        db.route.lost()
      } catch (reason) {
        error = reason
      }
      hearing = null
      tried()
      if (closing.signal.aborted) return
      attempt += 1
      if (performance.now() - toldAtMs > tellMs) {
        toldAtMs = performance.now()
        report({ state: 'connecting again', attempt, error: messageOf(error) })
      }
      await pause(retryMs * (0.5 + Math.random()), undefined, { signal: closing.signal }).catch(() => {}) // closed meanwhile
    }
  }
}

interface Hearing {
  /** Resolves, with the reason, when nothing is heard any more. */
  lost: Promise<unknown>
  end(): Promise<void>
}

async function hear(url: string, channels: ListenerOptions['channels']): Promise<Hearing> {
  const sockets = new Set<Socket>()
  let ended = false
  const connection = {
    connectionString: url,
    application_name: 'millrace listen',
    connectionTimeoutMillis: connectMs,
    // Pipelined, a query that times out takes its connection down: that is how a frozen one is noticed.
    pipeline: true,
    query_timeout: answerMs,
    // Sockets are known here, so that none outlives `end`.
    stream: () => {
      const socket = new Socket()
      sockets.add(socket)
      return socket.once('close', () => sockets.delete(socket))
    },
  }
  const subscriber = createSubscriber(connection as pg.ClientConfig, {
    paranoidChecking: checkMs,
    parse: (payload) => payload,
    retryLimit: 1, // none: connecting again is the business of `hold`, which asks the route where to
  })
  const lost = new Promise<unknown>((resolve) => subscriber.events.on('error', resolve))
  subscriber.events.on('notification', ({ channel, payload }) => {
    if (!ended) channels[channel]?.((payload as string | undefined) ?? '')
  })

  async function end(): Promise<void> {
    if (ended) return
    ended = true
    await Promise.race([subscriber.close().catch(() => {}), pause(closeMs, undefined, { ref: false })])
    for (const socket of sockets) socket.destroy()
    subscriber.events.emit('error', new Error('closed')) // whoever waits for `lost`
  }

  try {
    await subscriber.connect()
    await Promise.all(Object.keys(channels).map((channel) => Promise.resolve(subscriber.listenTo(channel))))
  } catch (error) {
    await end()
    throw error
  }
  return { lost, end }
}
