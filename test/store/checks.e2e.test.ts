import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { freePort } from '../../bench/ports.ts'
import type { DatabaseFacts } from '../../src/store/checks.ts'
import { checkDatabase, notesOf, refuseUnusable, warningsOf } from '../../src/store/checks.ts'
import { openDatabase } from '../../src/store/db.ts'
import { serverAccount } from '../../src/store/embedded/account.ts'
import { findBinaries } from '../../src/store/embedded/binaries.ts'
import { findPostmaster } from '../../src/store/embedded/postmaster.ts'
import { openPostgres } from '../../src/store/embedded/postgres.ts'
import { testDatabase } from '../support/database.ts'

const db = await testDatabase()
const home = mkdtempSync(join(tmpdir(), 'millrace-checks-'))
const report = (): void => {}
const own = await openPostgres({ home, report })
const children: ChildProcess[] = []
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL') // ended already, unless a test failed
  await own.stop()
  rmSync(home, { recursive: true })
})

const good: DatabaseFacts = {
  version: '18.4',
  versionNumber: 180_004,
  readOnly: false,
  encoding: 'UTF8',
  fsync: true,
  fullPageWrites: true,
  synchronousCommit: 'on',
  standbyNames: '',
  standbys: 0,
  connectionsMax: 100,
}

test('a sound server passes without a warning', async () => {
  const { version, warnings } = await checkDatabase(db)
  expect(Number.parseInt(version, 10)).toBeGreaterThanOrEqual(14)
  expect(warnings).toEqual([])
})

test('a server set to lose what it acknowledged is allowed, with a warning for each way', async () => {
  const weak = openDatabase({ url: own.url, name: 'test', poolMax: 1 })
  await weak.pool.query('alter system set fsync = off')
  await weak.pool.query('alter system set full_page_writes = off')
  await weak.pool.query('alter database postgres set synchronous_commit = off')
  await weak.pool.query('select pg_reload_conf()')
  const reloaded = 'select current_setting($1) as value'
  while ((await weak.pool.query<{ value: string }>(reloaded, ['full_page_writes'])).rows[0]!.value === 'on') await pause(10)
  const { warnings } = await checkDatabase(weak)
  expect(warnings.map((warning) => warning.split(' ')[0])).toEqual(['fsync', 'full_page_writes', 'synchronous_commit'])
  await weak.close()
})

test('a database that allows reading only is refused', async () => {
  const url = new URL(db.url)
  url.searchParams.set('options', '-c default_transaction_read_only=on')
  const readOnly = openDatabase({ url: url.href, name: 'test', poolMax: 1 })
  await expect(checkDatabase(readOnly)).rejects.toMatchObject({
    code: 'E_SETUP',
    message: expect.stringContaining('reading only'),
  })
  await readOnly.close()
})

test('a standby is refused', async () => {
  const standbyHome = mkdtempSync(join(tmpdir(), 'millrace-standby-'))
  const primary = await openPostgres({ home: standbyHome, report })
  await primary.stop()
  const data = join(standbyHome, 'pg', 'data')
  writeFileSync(join(data, 'standby.signal'), '')
  const { prefix, ids } = serverAccount(data)
  const url = new URL(primary.url)
  url.port = String(await freePort())
  const command = [...prefix, join(findBinaries().native, 'bin', 'postgres'), '-D', data]
  const settings = ['-c', `port=${url.port}`, '-c', 'unix_socket_directories=', '-c', 'listen_addresses=127.0.0.1']
  const server = spawn(command[0]!, [...command.slice(1), ...settings], { ...ids, stdio: 'ignore' })
  children.push(server)
  const ended = once(server, 'close')
  while (findPostmaster(data)?.state !== 'ready') await pause(20)
  const standby = openDatabase({ url: url.href, name: 'test', poolMax: 1 })
  await expect(checkDatabase(standby)).rejects.toMatchObject({ code: 'E_DATABASE', message: expect.stringContaining('standby') })
  await standby.close()
  server.kill('SIGINT')
  await ended
  rmSync(standbyHome, { recursive: true })
})

test('a server that is not there is said to be out of reach, not called a bug', async () => {
  const absent = openDatabase({ url: `postgres://someone:secret@127.0.0.1:${await freePort()}/db`, name: 'test', poolMax: 1 })
  await expect(checkDatabase(absent)).rejects.toMatchObject({ code: 'E_DATABASE' })
  await absent.close()
})

test('what is too old or of another encoding is refused, and names what is needed', () => {
  expect(() => refuseUnusable(good)).not.toThrow()
  expect(() => refuseUnusable({ ...good, version: '13.23', versionNumber: 130_023 })).toThrow(/14 or newer.*13\.23/)
  expect(() => refuseUnusable({ ...good, encoding: 'SQL_ASCII' })).toThrow(/SQL_ASCII.*UTF8/)
  expect(warningsOf({ ...good, connectionsMax: 20 })).toEqual([expect.stringContaining('max_connections is 20')])
})

test('what standbys mean for a fail-over is said', () => {
  expect(notesOf(good)).toEqual([])
  expect(notesOf({ ...good, standbys: 1 })).toEqual([expect.stringContaining('can lose the last commits')])
  const synchronous = { ...good, standbys: 1, standbyNames: 'FIRST 1 (b)' }
  expect(notesOf(synchronous)).toEqual([expect.stringContaining('loses nothing')])
  expect(warningsOf(synchronous)).toEqual([])
  for (const synchronousCommit of ['local', 'remote_write'] as const) {
    expect(warningsOf({ ...synchronous, synchronousCommit })).toEqual([
      expect.stringContaining(`synchronous_commit is ${synchronousCommit}`),
    ])
    expect(notesOf({ ...synchronous, synchronousCommit })).toEqual([])
  }
})
