// Connections for reading what may be large: lists, counts, logs. Few, and none of them for ever, so that whoever asks for
// everything takes nothing from those who enqueue, claim and wait.
//   R1. A statement that takes longer than readMs is ended, and says so.
//   R2. Beyond readsWaitingMax statements in the queue the next one is refused.
import type pg from 'pg'
import { EngineError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Database, Queryable } from './db.ts'
import { plansByCost } from './statements.ts'

export interface Reads extends Queryable {
  /** Statements that wait for a connection. */
  waiting(): number
  close(): Promise<void>
}

const queryCanceled = '57014'

export function openReads(db: Database, limits: Limits): Reads {
  const own = db.another({ name: 'millrace reads', poolMax: limits.readConnectionsMax })
  const prepared = new WeakSet<pg.PoolClient>()

  async function inSession(client: pg.PoolClient, config: Parameters<Queryable['query']>[0]): Promise<pg.QueryResult> {
    if (!prepared.has(client)) {
      await client.query(`set statement_timeout = ${limits.readMs}; ${plansByCost}`)
      prepared.add(client)
    }
    return client.query(config)
  }

  /** Through a transaction pooler a setting of the session would be somebody else's. */
  async function inTransaction(client: pg.PoolClient, config: Parameters<Queryable['query']>[0]): Promise<pg.QueryResult> {
    await client.query(`begin read only; set local statement_timeout = ${limits.readMs}`)
    try {
      const result = await client.query(config)
      await client.query('commit')
      return result
    } catch (error) {
      await client.query('rollback').catch(() => {}) // the connection may be what failed
      throw error
    }
  }

  async function query(config: Parameters<Queryable['query']>[0]): Promise<pg.QueryResult> {
    if (own.pool.waitingCount >= limits.readsWaitingMax) {
      throw new EngineError('E_BUSY', `${limits.readsWaitingMax} requests wait to read already`, { retryAfterS: 1 })
    }
    const client = await own.pool.connect()
    try {
      const result = own.pooled ? await inTransaction(client, config) : await inSession(client, config)
      client.release()
      return result
    } catch (error) {
      const slow = (error as { code?: string }).code === queryCanceled
      client.release(!slow)
      if (!slow) throw error
      const text = `reading took longer than ${limits.readMs / 1_000} s; ask for less: a smaller page, a shorter time, one path`
      throw new EngineError('E_BUSY', text, { retryAfterS: 5, cause: error })
    }
  }

  return { query, waiting: () => own.pool.waitingCount, close: () => own.close() }
}
