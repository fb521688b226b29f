// Failpoints around every statement and every notification (see failpoints.ts).
//   D1. A statement's point has its name (sql/<name>.sql), or its first word: begin, commit, set.
//   D2. `before=lost`: it is never sent; `after=lost`: it was carried out, and its reply is lost. The connection is gone either way.
import type pg from 'pg'
import type { Database } from './db.ts'
import type { Failpoints, Fault } from './failpoints.ts'
import { createListener } from './listen.ts'

type Query = (config: string | { name?: string; text: string }, values?: unknown[]) => Promise<pg.QueryResult>

export function databaseWithFailpoints(db: Database, points: Failpoints): Database {
  const { pool } = db
  pool.on('connect', (client) => void watch(client, points))
  // The pool's own query does not go through a client's.
  pool.query = (async (...args: Parameters<Query>) => {
    const client = await pool.connect()
    try {
      return await (client.query as Query)(...args)
    } finally {
      client.release()
    }
  }) as unknown as typeof pool.query
  return {
    ...db,
    connect: async (options) => watch(await db.connect(options), points),
    another: (options) => databaseWithFailpoints(db.another(options), points),
  }
}

function watch<Client extends pg.ClientBase>(client: Client, points: Failpoints): Client {
  const query = client.query.bind(client) as Query
  client.query = (async (...args: Parameters<Query>) => {
    const name = nameOf(args[0])
    await suffer(client, points.reach(name, 'before'))
    const result = await query(...args)
    await suffer(client, points.reach(name, 'after'))
    return result
  }) as unknown as typeof client.query
  return client
}

async function suffer(client: pg.ClientBase, fault: Fault | undefined): Promise<void> {
  if (fault === undefined) return
  if (fault.kind === 'error') throw Object.assign(new Error(`failpoint: ${fault.code}`), { code: fault.code })
  const ended = new Promise<void>((resolve) => void client.once('end', resolve))
  const { stream } = (client as unknown as { connection: { stream: { destroy(): void } } }).connection
  stream.destroy()
  await ended // from here on the pool knows that this one is dead
  throw Object.assign(new Error('failpoint: the connection was reset'), { code: 'ECONNRESET' })
}

function nameOf(config: Parameters<Query>[0]): string {
  const { name, text } = typeof config === 'string' ? { name: undefined, text: config } : config
  return name ?? /^(?:\s|--.*\n)*(\w+)/.exec(text)?.[1]?.toLowerCase() ?? 'statement'
}

/** Listens as createListener does. A point is `listen.<channel>`, without the number of a server. */
export function listenerWithFailpoints(points: Failpoints): typeof createListener {
  return (options) => {
    const channels: typeof options.channels = {}
    for (const [channel, hear] of Object.entries(options.channels)) {
      const name = `listen.${channel.replace(/_\d+$/, '')}`
      channels[channel] = (payload) => {
        if (points.reach(name, 'before')) return // lost
        hear(payload)
        points.reach(name, 'after')
      }
    }
    return createListener({ ...options, channels })
  }
}
