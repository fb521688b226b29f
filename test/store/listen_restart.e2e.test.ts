import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { openDatabase } from '../../src/store/db.ts'
import { findPostmaster } from '../../src/store/embedded/postmaster.ts'
import { openPostgres } from '../../src/store/embedded/postgres.ts'
import { createListener } from '../../src/store/listen.ts'

const home = mkdtempSync(join(tmpdir(), 'millrace-restart-'))
const server = await openPostgres({ home, report: () => {} })
afterAll(async () => {
  await server.stop()
  rmSync(home, { recursive: true })
})

test('a listener hears again after the server was killed and started again', async () => {
  const db = openDatabase({ url: server.url, name: 'test', poolMax: 1 })
  const heard: string[] = []
  const connections: string[] = []
  const listener = await createListener({
    db,
    channels: { work: (payload) => heard.push(payload) },
    onConnect: () => connections.push('connected'),
    report: () => {},
  })
  expect(connections).toHaveLength(1)
  process.kill(findPostmaster(join(home, 'pg', 'data'))!.pid, 'SIGKILL')
  while (connections.length < 2) await pause(20)
  while (heard.length === 0) {
    await db.pool.query(`select pg_notify('work', 'again')`).catch(() => {}) // the pool may still hold the old connection
    await pause(20)
  }
  expect(heard[0]).toBe('again')
  await listener.close()
  await db.close()
})
