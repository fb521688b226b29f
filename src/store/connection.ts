// One connection: node-postgres' client, and what a program that lives for months needs beside it.
//   C1. It leads to the primary: it is made by way of the route, and asked where it leads before anything else.
//   C2. Silent for answerMs while an answer is due, it is dead (a network that forgot it, a server that stands still): it is
//       cut, what was under way fails like any lost connection, with its outcome unknown.
//   C3. Nothing it meets ends the process: whoever awaits a statement sees the error, or the `end` event tells.
//   C4. `end` takes goodbyeMs at most.
import type { Socket } from 'node:net'
import { callbackify } from 'node:util'
import type pg from 'pg'
import { Client } from 'pg'
import type { Route } from './route.ts'
import { run } from './statements.ts'

export interface ConnectionSettings {
  /** 0: any silence is waited out. */
  answerMs: number
  /** Through a transaction pooler: a session's settings and named statements would be somebody else's. */
  pooled: boolean
}

const goodbyeMs = 1_000
// No statement of ours holds a lock for long, so one waited for longer is somebody's long transaction: give way, come again.
const lockMs = 10_000
// Before the silence is called death (C2), the server itself ends a statement, and says so.
const statementShare = 0.8
// A transaction of ours never waits for anything but the database.
const idleInTransactionMs = 60_000

interface Inner {
  connection: { stream: Socket }
  /** false: an answer is due. */
  readyForQuery: boolean | null
}

export function connectionClass(route: Route, { answerMs, pooled }: ConnectionSettings): typeof Client {
  class Connection extends Client {
    #leaving = false

    constructor(config?: pg.ClientConfig) {
      super(config)
      this.on('error', () => {}) // C3
    }

    override connect(done?: (error: Error) => void): Promise<void> {
      if (!done) return this.#open()
      callbackify(() => this.#open())(done)
      return undefined as unknown as Promise<void> // as the pool calls it
    }

    override end(done?: (error: Error) => void): Promise<void> {
      this.#leaving = true
      const late = setTimeout(() => this.#cut(), goodbyeMs).unref()
      this.once('end', () => clearTimeout(late))
      return super.end(done as () => void) as unknown as Promise<void>
    }

    #open(): Promise<void> {
      return route.open(async (to) => {
        Object.assign(this, { host: to.host, port: to.port })
        try {
          await super.connect()
          this.#cutIfSilent()
          await route.admit(this, to)
          if (!pooled) await run(this, 'session_settings', sessionSettings(answerMs))
        } catch (error) {
          this.#cut()
          throw error
        }
        const forget = route.watch(() => this.#cut())
        this.once('end', () => {
          forget()
          if (!this.#leaving) route.lost()
        })
      })
    }

    /** The socket's own timer, started anew by every byte: nothing is done per statement. */
    #cutIfSilent(): void {
      if (answerMs === 0) return
      const inner = this as unknown as Inner
      const { stream } = inner.connection
      stream.on('timeout', () => {
        if (inner.readyForQuery) {
          stream.setTimeout(answerMs) // nothing was asked; a timer that has fired is not started again by bytes
          return
        }
        const text = `no answer from the database for ${answerMs / 1_000} s: the connection is taken for dead`
        this.#cut(Object.assign(new Error(text), { code: 'ETIMEDOUT' }))
      })
      stream.setTimeout(answerMs)
    }

    #cut(why?: Error): void {
      ;(this as unknown as Inner).connection.stream.destroy(why)
    }
  }

  const send = Connection.prototype.query as unknown as (...args: unknown[]) => unknown

  /** Unnamed statements are parsed and run in one transaction, so any server connection will do. */
  class PooledConnection extends Connection {
    override query = ((config: unknown, ...rest: unknown[]): unknown => {
      const named = typeof config === 'object' && config !== null && 'name' in config
      return send.call(this, named ? { ...config, name: undefined } : config, ...rest)
    }) as unknown as Client['query']
  }

  return pooled ? PooledConnection : Connection
}

function sessionSettings(answerMs: number): string[] {
  return [lockMs, Math.floor(answerMs * statementShare), idleInTransactionMs].map(String)
}
