// A database of one's own for a test file, cloned from the migrated template.
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, inject } from 'vitest'
import type { Database } from '../../src/store/db.ts'
import { openDatabase } from '../../src/store/db.ts'

/**
 * A fresh database, dropped after the file's last test. Call it at the top of a file, or in `beforeAll`.
 * `empty`: without the schema. Its `url` may be handed to processes that the test starts.
 */
export async function testDatabase(options: { empty?: boolean; poolMax?: number } = {}): Promise<Database> {
  const postgres = inject('postgres')
  if (postgres === null) throw new Error('a test file that needs Postgres is named *.pg.test.ts or *.e2e.test.ts')
  const name = `millrace_test_${randomBytes(6).toString('hex')}`
  await onServer(postgres.url, `create database ${name} template ${options.empty ? 'template0' : postgres.template}`)
  const url = new URL(postgres.url)
  url.pathname = `/${name}`
  const db = openDatabase({ url: url.href, name: 'test', poolMax: options.poolMax ?? 8 })
  afterAll(async () => {
    await db.close()
    await onServer(postgres.url, `drop database if exists ${name} with (force)`)
  })
  return db
}

const objectInUse = '55006' // another file is cloning the template this moment

async function onServer(url: string, statement: string): Promise<void> {
  const admin = openDatabase({ url, name: 'test', poolMax: 1 })
  try {
    for (;;) {
      try {
        await admin.pool.query(statement)
        return
      } catch (error) {
        if ((error as { code?: string }).code !== objectInUse) throw error
        await pause(50)
      }
    }
  } finally {
    await admin.close()
  }
}
