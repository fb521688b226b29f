import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { Database } from '../../src/store/db.ts'
import { assertCurrent, migrate } from '../../src/store/migrate.ts'
import { testDatabase } from '../support/database.ts'

const migrated = await testDatabase()
const empty = await Promise.all(Array.from({ length: 8 }, () => testDatabase({ empty: true })))

const root = mkdtempSync(join(tmpdir(), 'millrace-migrations-'))
afterAll(() => rmSync(root, { recursive: true }))

function folderOf(files: Record<string, string>): string {
  const folder = mkdtempSync(join(root, 'set-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

async function count(db: Database, table: string): Promise<number> {
  const { rows } = await db.pool.query<{ count: number }>(`select count(*)::int as count from ${table}`)
  return rows[0]!.count
}

const first = { '0001_a.sql': 'create table a (n integer);\ninsert into a values (1);\n' }
const second = { '0002_b.sql': 'create table b (n integer);\ninsert into a values (2);\n' }

test('a migrated database has nothing left to apply', async () => {
  expect(await migrate(migrated)).toEqual({ applied: [] })
  expect(await count(migrated, 'workspace')).toBe(1)
})

test('only what is missing is applied, in order', async () => {
  const db = empty[0]!
  expect(await migrate(db, folderOf(first))).toEqual({ applied: ['0001_a.sql'] })
  expect(await migrate(db, folderOf({ ...second, ...first }))).toEqual({ applied: ['0002_b.sql'] })
  expect(await count(db, 'a')).toBe(2)
})

test('of many processes that migrate at once, one does it and the others wait', async () => {
  const db = empty[1]!
  const folder = folderOf({ ...first, ...second })
  const results = await Promise.all(Array.from({ length: 6 }, () => migrate(db, folder)))
  const applied = results.flatMap((result) => result.applied)
  expect(applied.sort()).toEqual(['0001_a.sql', '0002_b.sql'])
  expect(await count(db, 'a')).toBe(2)
})

test('a database of a newer version is refused', async () => {
  const db = empty[2]!
  await migrate(db, folderOf({ ...first, ...second }))
  await expect(migrate(db, folderOf(first))).rejects.toMatchObject({ code: 'E_DATABASE_VERSION', details: { at: '0002_b.sql' } })
})

test('a file edited after it was applied is refused, and nothing is done', async () => {
  const db = empty[3]!
  await migrate(db, folderOf(first))
  const edited = folderOf({ '0001_a.sql': `${first['0001_a.sql']}-- an edit`, ...second })
  await expect(migrate(db, edited)).rejects.toMatchObject({ code: 'E_DATABASE_VERSION', details: { at: '0001_a.sql' } })
  expect(await count(db, 'a')).toBe(1)
})

test('other ends of lines are not an edit', async () => {
  const db = empty[4]!
  await migrate(db, folderOf(first))
  expect(await migrate(db, folderOf({ '0001_a.sql': first['0001_a.sql'].replaceAll('\n', '\r\n') }))).toEqual({ applied: [] })
})

test('of a migration that fails nothing is kept, and it can be applied once it is mended', async () => {
  const db = empty[5]!
  const broken = folderOf({ ...first, '0002_b.sql': 'create table b (n integer);\nselect nonsense;\n' })
  await expect(migrate(db, broken)).rejects.toThrow(/0002_b.sql failed.*nonsense/)
  expect(await count(db, 'a')).toBe(1)
  expect(await migrate(db, folderOf({ ...first, ...second }))).toEqual({ applied: ['0002_b.sql'] })
})

test('a database is current when everything is applied, and otherwise says what to do', async () => {
  const db = empty[7]!
  await expect(assertCurrent(db)).rejects.toMatchObject({ code: 'E_BUSY' })
  await migrate(db, folderOf(first))
  await assertCurrent(db, folderOf(first))
  await expect(assertCurrent(db, folderOf({ ...first, ...second }))).rejects.toThrow(/0002_b.sql.*millrace migrate/)
  await migrate(db, folderOf({ ...first, ...second }))
  await expect(assertCurrent(db, folderOf(first))).rejects.toThrow(/newer/)
})

test('files that are not migrations are left alone', async () => {
  const db = empty[6]!
  expect(await migrate(db, folderOf({ ...first, 'schema.sql': 'select nonsense' }))).toEqual({ applied: ['0001_a.sql'] })
})
