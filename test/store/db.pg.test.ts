import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { testDatabase } from '../support/database.ts'

const db = await testDatabase()

test('a connection that is cut between two statements of a transaction fails the transaction, not the process', async () => {
  const work = db.transaction(async (client) => {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
    const ended = new Promise((resolve) => client.once('end', resolve))
    await db.pool.query('select pg_terminate_backend($1)', [rows[0]!.pid])
    await ended
    await pause(0) // an error that nobody hears is thrown by now
    await client.query('select 1')
  })
  await expect(work).rejects.toThrow(/not queryable|terminated/)
  await db.pool.query('select 1')
})
