// Notifications, heard over one connection per process: every listener makes every notify of the database dearer.
//   N1. A notification is a hint. Those sent while the connection was down are lost, so `onConnect` says when to look.
//   N2. A connection that died is noticed: at once when it is cut, within seconds when nothing comes back any more.
//   N3. Reconnecting never ends until `close`; `close` leaves nothing behind, even in the middle of it.
import { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type pg from 'pg'
import pgListen from 'pg-listen'
import { messageOf } from '../core/errors.ts'
import { asEngineError } from './db.ts'

export interface ListenerEvent {
  state: 'connected again' | 'connecting again' | 'failed'
  attempt?: number
  error?: string
}

export interface Listener {
  close(): Promise<void>
}

export interface ListenerOptions {
  url: string
  /** What to do with the payload of a notification, by channel. */
  channels: Record<string, (payload: string) => void>
  /** Listening has begun, or begun again: look for what was not heard. */
  onConnect: () => void
  report: (event: ListenerEvent) => void
}

const retryMs = 250
const checkMs = 5_000
const answerMs = 2_000 // a check without an answer for so long means the connection is dead
const connectMs = 3_000
const closeMs = 500 // how long a good-bye may take

// The package is CommonJS with a default of its own.
const createSubscriber = pgListen.default

/**
 * Listens until closed. Resolves once it hears.
 * @throws EngineError E_DATABASE if the first connection fails; later ones are tried for ever
 */
export async function createListener(options: ListenerOptions): Promise<Listener> {
  const sockets = new Set<Socket>()
  let hears = false // for the first time; connections after that are reported by `connected` alone
  let closed = false

  const connection = {
    connectionString: options.url,
    application_name: 'millrace listen',
    connectionTimeoutMillis: connectMs,
    // Pipelined, a query that times out takes its connection down: that is how a frozen one is noticed.
    pipeline: true,
    query_timeout: answerMs,
    // Sockets are known here, so that none outlives `close`.
    stream: () => {
      const socket = new Socket()
      sockets.add(socket)
      return socket.once('close', () => sockets.delete(socket))
    },
  }
  const subscriber = createSubscriber(connection as pg.ClientConfig, {
    paranoidChecking: checkMs,
    parse: (payload) => payload,
    retryInterval: () => {
      if (closed) throw new Error('closed') // the one way to end its loop
      return retryMs
    },
    retryTimeout: Number.POSITIVE_INFINITY,
  })

  subscriber.events.on('notification', ({ channel, payload }) => {
    if (!closed) options.channels[channel]?.((payload as string | undefined) ?? '')
  })
  subscriber.events.on('connected', () => {
    if (closed) {
      destroySockets()
    } else if (hears) {
      options.report({ state: 'connected again' })
      options.onConnect()
    }
  })
  subscriber.events.on('reconnect', (attempt) => {
    // The first attempt says that it is down; after that, one line in about five seconds.
    if (!closed && hears && attempt % 20 === 1) options.report({ state: 'connecting again', attempt })
  })
  subscriber.events.on('error', (error) => {
    if (closed) destroySockets()
    else if (hears) options.report({ state: 'failed', error: messageOf(error) })
  })

  try {
    await subscriber.connect()
    await Promise.all(Object.keys(options.channels).map((channel) => Promise.resolve(subscriber.listenTo(channel))))
  } catch (error) {
    await close()
    throw asEngineError(error)
  }
  hears = true
  options.onConnect()
  return { close }

  function destroySockets(): void {
    void subscriber.close().catch(() => {}) // stops its checks; its connection goes with the socket
    for (const socket of sockets) socket.destroy()
  }

  async function close(): Promise<void> {
    if (closed) return
    closed = true
    await Promise.race([subscriber.close().catch(() => {}), pause(closeMs, undefined, { ref: false })])
    destroySockets()
  }
}
