// A database behind a pooler (a real pgbouncer): what is noticed, and what works through one that lends connections by the transaction.
import { afterAll, expect, test } from 'vitest'
import { checkDatabase } from '../../src/store/checks.ts'
import { openDatabase, run, type Database } from '../../src/store/db.ts'
import { migrate } from '../../src/store/migrate.ts'
import { keepPartitions } from '../../src/store/partitions.ts'
import { testDatabase } from '../support/database.ts'
import { startPooler } from '../support/pgbouncer.ts'

const direct = await testDatabase()
const empty = await testDatabase({ empty: true })
const pooler = await startPooler(direct.url, { mode: 'transaction', connections: 3 })
const opened: Database[] = []
afterAll(() => Promise.all(opened.map((db) => db.close())))

function open(url: string, options: { pooled?: boolean } = {}): Database {
  const db = openDatabase({ url, name: 'test', answerMs: 30_000, ...options })
  opened.push(db)
  return db
}

function through(url: string): string {
  const at = new URL(pooler.url)
  at.pathname = new URL(url).pathname
  return at.href
}

test('a pooler that lends connections by the transaction is noticed, also when its connections are busy', async () => {
  expect((await checkDatabase(open(pooler.url, { pooled: true }))).pooled).toBe(true)
  const db = open(pooler.url, { pooled: true })
  const busy = Array.from({ length: 40 }, () => db.pool.query('select pg_sleep(0.01)'))
  const [checked] = await Promise.all([checkDatabase(open(pooler.url, { pooled: true })), ...busy])
  expect(checked.pooled).toBe(true)
})

test('it is noticed by a process that does not know yet', async () => {
  expect((await checkDatabase(open(pooler.url))).pooled).toBe(true)
})

test('one that lends them for a session is as good as none', async () => {
  const session = await startPooler(direct.url, { mode: 'session' })
  expect((await checkDatabase(open(session.url))).pooled).toBe(false)
  expect((await checkDatabase(open(direct.url))).pooled).toBe(false)
})

test('statements work on whatever connection is lent', async () => {
  const db = open(pooler.url, { pooled: true })
  const client = await db.connect({ name: 'test', pipeline: true })
  const found = await Promise.all(
    Array.from({ length: 200 }, (_, n) => run<{ id: string }>(n % 2 === 0 ? db.pool : client, 'get_workspace', ['main'])),
  )
  expect(found.filter((rows) => rows.length !== 1)).toEqual([])
  await client.end()
})

test('nothing of a session is left behind for whoever is lent the connection next', async () => {
  const db = open(pooler.url, { pooled: true })
  const settings = await Promise.all(
    Array.from({ length: 20 }, () => db.pool.query<{ lock: string }>(`select current_setting('lock_timeout') as lock`)),
  )
  expect(new Set(settings.map(({ rows }) => rows[0]!.lock))).toEqual(new Set(['0']))
  await keepPartitions(db, { retentionDays: 30 })
  const { rows } = await direct.pool.query(
    `select 1 from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`,
  )
  expect(rows).toEqual([])
})

test('many processes migrate and make partitions through it at once, and each is done once', async () => {
  const dbs = Array.from({ length: 5 }, () => open(through(empty.url), { pooled: true }))
  const migrated = (await Promise.all(dbs.map((db) => migrate(db)))).flatMap(({ applied }) => applied)
  expect(migrated.length).toBeGreaterThan(0)
  expect(new Set(migrated).size).toBe(migrated.length)
  const made = (await Promise.all(dbs.map((db) => keepPartitions(db, { retentionDays: 30 })))).flatMap((kept) => kept.made)
  expect(made.length).toBeGreaterThan(0)
  expect(new Set(made).size).toBe(made.length)
})
