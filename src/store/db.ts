// Connections and statements.
//   S1. A statement is a file sql/<name>.sql, sent under that name as a prepared statement (without a name through a pooler).
//   S2. json and int8 columns arrive as text (JsonText, and ids as strings); whoever needs the value parses it.
//   S3. The pool is for requests; what must not wait in its queue (claims, commits, LISTEN) connects for itself.
//   S4. Every connection leads to the primary (route.ts) and is cut when it is silent for too long (connection.ts).
import type pg from 'pg'
import { Pool, types as pgTypes } from 'pg'
import { EngineError, messageOf } from '../core/errors.ts'
import { connectionClass, type ConnectionSettings } from './connection.ts'
import { createRoute, type Route } from './route.ts'

export { run, type Queryable } from './statements.ts'

const jsonOid = 114
const int8Oid = 20

const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === jsonOid || oid === int8Oid
      ? (text: string) => text
      : pgTypes.getTypeParser(oid, format)) as typeof pgTypes.getTypeParser,
}

export interface Database {
  readonly url: string
  readonly pool: pg.Pool
  /** Which server connections lead to. */
  readonly route: Route
  /** Connections lead through a transaction pooler: nothing that belongs to a session is of use (LISTEN, locks). */
  readonly pooled: boolean
  /**
   * A connection of one's own. `pipeline`: several statements may be under way at once, in order. `answerMs`: how long it may
   * be silent when an answer is due (0: for ever), where that is not as for the others. `pooled`: nothing of a session is
   * used, whatever may be in between.
   */
  connect(options: { name: string; pipeline?: boolean; answerMs?: number; pooled?: boolean }): Promise<pg.Client>
  /** Runs `work` in one transaction; rolls back if it throws. */
  transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T>
  /** Another pool that leads where this one leads: what one knows of the primary, both know. */
  another(options: { name: string; poolMax: number }): Database
  close(): Promise<void>
}

export interface DatabaseOptions {
  url: string
  name: string
  poolMax?: number
  /** A connection without an answer for so long is dead. Default: none, for commands that somebody watches. */
  answerMs?: number
  pooled?: boolean
  /** Told when the primary has moved. */
  report?: (text: string) => void
}

const connectMs = 10_000

export function openDatabase(options: DatabaseOptions, route = createRoute(options.url, options.report)): Database {
  const { pooled = false, answerMs = 0 } = options
  const base = {
    connectionString: route.hosts[0]!.url, // the host and port of a connection are the route's to say
    types,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    connectionTimeoutMillis: connectMs,
  }
  const classOf = (settings: ConnectionSettings) => connectionClass(route, settings)
  const pool = new Pool({
    ...base,
    Client: classOf({ answerMs, pooled }) as unknown as new () => pg.ClientBase,
    application_name: options.name,
    max: options.poolMax ?? 8,
    idleTimeoutMillis: 60_000,
  })
  pool.on('error', () => {}) // an idle connection that was cut: the pool drops it, the next query connects again
  return {
    url: options.url,
    pool,
    route,
    pooled,
    async connect({ name, pipeline = false, ...own }) {
      const Connection = classOf({ answerMs, pooled, ...own })
      const client = new Connection({ ...base, application_name: name, pipeline } as pg.ClientConfig)
      await client.connect()
      return client
    },
    async transaction(work) {
      const client = await pool.connect()
      try {
        await client.query('begin')
        const value = await work(client)
        await client.query('commit')
        client.release()
        return value
      } catch (error) {
        // What a connection that fails left open, the server rolls back.
        if (isOutage(error)) client.release(true)
        else {
          await client.query('rollback').then(
            () => client.release(),
            () => client.release(true),
          )
        }
        throw error
      }
    },
    another: (own) => openDatabase({ ...options, ...own }, route),
    close: () => pool.end(),
  }
}

// Postgres' codes (its manual, appendix A) after which the same statement may succeed later, most of them on a new connection:
// connections and restarts (08, 57P), resources (53), the machine (58), a standby (25006), an idle transaction that was ended
// (25P03), conflicts (40), a lock not had in time (55P03), a statement that took too long (57014).
const passing = /^(08|53|57P|58|25006|25P03|40|55P03|57014)/
// Node's own: ECONNRESET, EPIPE, ENOTFOUND, … and a socket used after its end; not ERR_INVALID_ARG_TYPE and its like.
const broken = /^(E(?!RR_)|ERR_(STREAM|SOCKET)_)/

/** May the same statement succeed later, with nothing changed by us? */
export function isOutage(error: unknown): boolean {
  if (error instanceof EngineError) {
    return error.code === 'E_DATABASE' && (error.cause === undefined || isOutage(error.cause))
  }
  const code = (error as { code?: unknown }).code
  if (typeof code !== 'string') return /terminated|timeout|ended|not queryable|closed/i.test(messageOf(error))
  return passing.test(code) || broken.test(code)
}

// Data exceptions, cardinality and constraint violations, limits exceeded. With no code at all it never came to Postgres.
const rowsFault = /^(21|22|23|54)/

/** Is it for what was sent that it failed? If not, the same rows may be sent again, when the database is itself again. */
export function blamesRows(error: unknown): boolean {
  const code = (error as { code?: unknown }).code
  return !isOutage(error) && (typeof code !== 'string' || rowsFault.test(code))
}

/** An outage as the error a caller of the API gets; anything else unchanged. */
export function asEngineError(error: unknown): unknown {
  if (error instanceof EngineError || !isOutage(error)) return error
  return new EngineError('E_DATABASE', `the database cannot be reached: ${messageOf(error)}`, { retryAfterS: 1, cause: error })
}
