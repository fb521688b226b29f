// Connections and statements. The only file that makes a Postgres client.
//   S1. A statement is a file sql/<name>.sql, sent under that name as a prepared statement.
//   S2. json and int8 columns arrive as text (JsonText, and ids as strings); whoever needs the value parses it.
//   S3. The pool is for requests; what must not wait in its queue (claims, commits, LISTEN) connects for itself.
import { readFileSync } from 'node:fs'
import type pg from 'pg'
import { Client, Pool, types as pgTypes } from 'pg'
import { EngineError, messageOf } from '../core/errors.ts'

const jsonOid = 114
const int8Oid = 20

const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === jsonOid || oid === int8Oid
      ? (text: string) => text
      : pgTypes.getTypeParser(oid, format)) as typeof pgTypes.getTypeParser,
}

const texts = new Map<string, string>()

function statementText(name: string): string {
  let text = texts.get(name)
  if (text === undefined) {
    text = readFileSync(new URL(`sql/${name}.sql`, import.meta.url), 'utf8')
    texts.set(name, text)
  }
  return text
}

/** What can run a statement: the pool, or a connection of one's own. */
export interface Queryable {
  query(config: { name: string; text: string; values: unknown[] }): Promise<pg.QueryResult>
}

/** Runs sql/<name>.sql. Rows are typed by the caller, who has the statement's column list beside it. */
export async function run<Row extends object>(on: Queryable, name: string, values: unknown[]): Promise<Row[]> {
  const result = await on.query({ name, text: statementText(name), values })
  return result.rows as Row[]
}

export interface Database {
  readonly url: string
  readonly pool: pg.Pool
  /** A connection of one's own. `pipeline`: several statements may be under way at once, in order. */
  connect(options: { name: string; pipeline?: boolean }): Promise<pg.Client>
  /** Runs `work` in one transaction; rolls back if it throws. */
  transaction<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T>
  close(): Promise<void>
}

export function openDatabase(options: { url: string; name: string; poolMax?: number }): Database {
  const base = { connectionString: options.url, types, keepAlive: true, connectionTimeoutMillis: 10_000 }
  const pool = new Pool({ ...base, application_name: options.name, max: options.poolMax ?? 8, idleTimeoutMillis: 60_000 })
  pool.on('error', () => {}) // an idle connection that was cut: the pool drops it, the next query connects again
  pool.on('connect', (client) => client.on('error', () => {})) // cut in a transaction: whoever awaits its query sees it
  return {
    url: options.url,
    pool,
    async connect({ name, pipeline = false }) {
      const client = new Client({ ...base, application_name: name, pipeline } as pg.ClientConfig)
      client.on('error', () => {}) // seen by whoever awaits a query, or by its `end` event
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
        await client.query('rollback').then(
          () => client.release(),
          () => client.release(true),
        )
        throw error
      }
    },
    close: () => pool.end(),
  }
}

/** SQLSTATE classes after which the same statement may succeed on a new connection (Postgres manual, appendix A). */
export function isOutage(error: unknown): boolean {
  const code = (error as { code?: unknown }).code
  if (typeof code !== 'string') return /terminated|timeout|ended|not queryable|closed/i.test(messageOf(error))
  return /^(08|53|57P|58|25006|40)/.test(code) || code.startsWith('E') // E…: Node's own (ECONNRESET, EPIPE, …)
}

/** An outage as the error a caller of the API gets; anything else unchanged. */
export function asEngineError(error: unknown): unknown {
  if (error instanceof EngineError || !isOutage(error)) return error
  return new EngineError('E_DATABASE', `the database cannot be reached: ${messageOf(error)}`, { retryAfterS: 1, cause: error })
}
