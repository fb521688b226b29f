// Connections that break, or go silent without breaking: by way of a proxy that takes everything and passes on nothing.
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, expect, test } from 'vitest'
import { blamesRows, isOutage, openDatabase } from '../../src/store/db.ts'
import { EngineError } from '../../src/core/errors.ts'
import { createRoute, type ServerIdentity } from '../../src/store/route.ts'
import type { Queryable } from '../../src/store/statements.ts'
import { testDatabase } from '../support/database.ts'
import { startProxy } from '../support/proxy.ts'

const direct = await testDatabase()
const proxy = await startProxy(direct.url)
const answerMs = 400
const db = openDatabase({ url: proxy.url, name: 'test behind a proxy', poolMax: 2, answerMs })
afterAll(async () => {
  await db.close()
  await proxy.close()
})
afterEach(() => proxy.admit())

async function pidOf(on: { query(text: string): Promise<{ rows: unknown[] }> }): Promise<number> {
  return ((await on.query('select pg_backend_pid() as pid')).rows[0] as { pid: number }).pid
}

async function outageOf(work: Promise<unknown>): Promise<unknown> {
  const error: unknown = await work.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  )
  expect(isOutage(error), String(error)).toBe(true)
  return error
}

test('a statement on a frozen connection fails as an outage, and the next one has a new connection', async () => {
  await pidOf(db.pool)
  proxy.freeze()
  expect(String(await outageOf(db.pool.query('select 1')))).toContain('no answer from the database for 0.4 s')
  expect(await pidOf(db.pool)).toBeGreaterThan(0)
})

test('so do all statements under way on a connection of one’s own', async () => {
  for (const pipeline of [false, true]) {
    const client = await db.connect({ name: 'test', pipeline })
    proxy.freeze()
    await Promise.all([outageOf(client.query('select 1')), ...(pipeline ? [outageOf(client.query('select 2'))] : [])])
    await outageOf(client.query('select 3'))
    await client.end()
  }
  while (proxy.connections() > 1) await pause(10)
  expect(proxy.connections()).toBeLessThan(2) // the pool's own
})

test('a connection that is silent because nothing was asked stays, and is watched when something is', async () => {
  const client = await db.connect({ name: 'test' })
  const pid = await pidOf(client)
  await pause(2 * answerMs)
  expect(await pidOf(client)).toBe(pid)
  await pause(2 * answerMs)
  proxy.freeze()
  await outageOf(client.query('select 1'))
  await client.end()
})

test('a statement that takes too long is ended by the server, before its silence is taken for death', async () => {
  const client = await db.connect({ name: 'test', answerMs: 5_000 }) // a second, on this machine, between the one and the other
  const pid = await pidOf(client)
  expect(await outageOf(client.query('select pg_sleep(60)'))).toMatchObject({ code: '57014' })
  expect(await pidOf(client)).toBe(pid)
  await client.end()
})

test('where time does not matter, silence is waited out', async () => {
  const client = await db.connect({ name: 'test', answerMs: 0 })
  expect((await client.query(`select pg_sleep(${(2 * answerMs) / 1_000})`)).rowCount).toBe(1)
  await client.end()
})

test('a connection cut in the middle of a transaction is an error to whoever awaits it, and ends nothing else', async () => {
  const cut = db.transaction(async (client) => {
    await client.query('create temporary table kept (n integer)')
    proxy.cut()
    await pause(50) // nobody awaits anything when it breaks
    await client.query('select 1')
  })
  await outageOf(cut)
  expect(await pidOf(db.pool)).toBeGreaterThan(0)
})

test('saying good-bye to a frozen connection does not last', async () => {
  const client = await db.connect({ name: 'test', answerMs: 0 })
  proxy.freeze()
  await expect(client.end()).resolves.toBeUndefined()
})

test('while the database is away requests are told at once, and few attempts are made', async () => {
  proxy.cut() // what tests before this one left frozen
  proxy.refuse()
  const errors = []
  for (let i = 0; i < 200; i++) errors.push(await outageOf(db.pool.query('select 1')))
  expect(errors.filter((error) => error instanceof EngineError).length).toBeGreaterThan(150)
  proxy.admit()
  for (;;) {
    const back = await pidOf(db.pool).catch(() => null)
    if (back !== null) break
    await pause(10)
  }
})

test('a session waits for a lock, a statement and an idle transaction for a limited time', async () => {
  const { rows } = await db.pool.query(
    `select current_setting('lock_timeout') as lock, current_setting('statement_timeout') as statement,
            current_setting('idle_in_transaction_session_timeout') as idle`,
  )
  expect(rows[0]).toEqual({ lock: '10s', statement: '320ms', idle: '1min' })
})

/** A server that says it is this one. */
const server = (identity: Partial<ServerIdentity>): Queryable => ({
  query: () =>
    Promise.resolve({ rows: [{ inRecovery: false, readOnly: false, systemId: '1', timeline: 1, ...identity }] }) as never,
})

test('a standby, another database and an older primary are refused; a newer one cuts what leads to the old', async () => {
  const said: string[] = []
  const route = createRoute('postgres://a/x', (text) => said.push(text))
  const [host] = route.hosts
  const cuts: string[] = []
  await route.admit(server({}), host!)
  route.watch(() => cuts.push('first'))
  await expect(route.admit(server({ inRecovery: true, timeline: null }), host!)).rejects.toThrow('a:5432 is a standby')
  await expect(route.admit(server({ systemId: '2' }), host!)).rejects.toThrow('another database')
  expect(cuts).toEqual([])
  await route.admit(server({ timeline: 2 }), host!)
  expect(cuts).toEqual(['first'])
  expect(said).toEqual(['the primary is a:5432 now, at timeline 2'])
  await expect(route.admit(server({ timeline: 1 }), host!)).rejects.toMatchObject({
    code: 'E_DATABASE',
    message: expect.stringContaining('an old primary: its timeline is 1'),
  })
})

test('a role that may not know which database it is works as before', async () => {
  const role = `plain_${process.pid}`
  await direct.pool.query(`create role ${role} login password 'plain'`)
  await direct.pool.query('revoke execute on function pg_control_system() from public')
  const url = new URL(direct.url)
  url.username = role
  url.password = 'plain'
  const plain = openDatabase({ url: url.href, name: 'test', poolMax: 2 })
  try {
    expect(await pidOf(plain.pool)).toBeGreaterThan(0)
  } finally {
    await plain.close()
    await direct.pool.query('grant execute on function pg_control_system() to public')
    await direct.pool.query(`drop role ${role}`)
  }
})

test('what may succeed later is told from what never will', () => {
  const code = (text: string) => Object.assign(new Error('x'), { code: text })
  for (const text of [
    'ECONNRESET',
    'EAI_AGAIN',
    'ERR_SOCKET_CLOSED',
    '57P01',
    '25006',
    '40001',
    '53300',
    '55P03',
    '57014',
    '08006',
  ]) {
    expect(isOutage(code(text)), text).toBe(true)
    expect(blamesRows(code(text)), text).toBe(false)
  }
  for (const text of ['22P02', '23505', '42601', 'ERR_INVALID_ARG_TYPE']) expect(isOutage(code(text)), text).toBe(false)
  expect(blamesRows(code('22P02'))).toBe(true)
  expect(blamesRows(code('42501'))).toBe(false)
  expect(isOutage(new EngineError('E_INVALID', 'no'))).toBe(false)
  expect(isOutage(new EngineError('E_DATABASE', 'away'))).toBe(true)
  expect(isOutage(new EngineError('E_DATABASE', 'wrong password', { cause: code('28P01') }))).toBe(false)
})
