// Brings a database to the schema of this version: the files migrations/NNNN_name.sql, in order, forward only.
//   M1. A file is applied once, in one transaction together with the row that says so.
//   M2. Any number of processes may call this at once: one works, the others wait and find it done. The lock for that belongs
//       to the transaction, so it also holds through a transaction pooler.
//   M3. Nothing is done to a database that a newer version, or an edited file, has made.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type pg from 'pg'
import { EngineError, messageOf } from '../core/errors.ts'
import type { Database } from './db.ts'

interface Migration {
  name: string
  text: string
  checksum: string
}

const undefinedTable = '42P01'
const lockWaitMs = 5_000 // what commits may have to wait behind a migration that waits for a table
const ownFolder = fileURLToPath(new URL('../../migrations/', import.meta.url))

/**
 * Applies what is missing. `folder` is for tests.
 * @throws EngineError E_DATABASE_VERSION if the database is newer than this program, or a file was edited after it was applied
 */
export async function migrate(db: Database, folder: string = ownFolder): Promise<{ applied: string[] }> {
  const migrations = readMigrations(folder)
  const client = await db.connect({ name: 'millrace migrate', answerMs: 0 }) // a large table takes its time
  const applied: string[] = []
  try {
    for (;;) {
      const name = await applyNext(client, migrations)
      if (name === undefined) return { applied }
      applied.push(name)
    }
  } finally {
    await client.end()
  }
}

/**
 * Is the database ready for this program? Changes nothing.
 * @throws EngineError E_BUSY while migrations are missing, E_DATABASE_VERSION if the database is newer
 */
export async function assertCurrent(db: Database, folder: string = ownFolder): Promise<void> {
  const reading = db.pool.query<{ name: string; checksum: string }>('select name, checksum from migration order by name')
  const done = await reading.catch((error: unknown) => {
    if ((error as { code?: string }).code === undefinedTable) return { rows: [] }
    throw error
  })
  const missing = compare(readMigrations(folder), done.rows).map((migration) => migration.name)
  if (missing.length === 0) return
  throw new EngineError('E_BUSY', `the database lacks ${missing.join(', ')}; run \`millrace migrate\``, { retryAfterS: 5 })
}

function readMigrations(folder: string): Migration[] {
  const names = readdirSync(folder).filter((name) => /^\d{4}_.+\.sql$/.test(name))
  return names.sort().map((name) => {
    const text = readFileSync(`${folder}/${name}`, 'utf8').replaceAll('\r\n', '\n') // git may have changed the ends of lines
    return { name, text, checksum: createHash('sha256').update(text).digest('hex') }
  })
}

/** What is still to be applied. */
function compare(migrations: Migration[], done: { name: string; checksum: string }[]): Migration[] {
  const ours = new Map(migrations.map((migration) => [migration.name, migration]))
  for (const row of done) {
    const migration = ours.get(row.name)
    if (migration === undefined) {
      throw new EngineError(
        'E_DATABASE_VERSION',
        `the database is newer than this program: it has ${row.name}, which is not known here. Update this program.`,
        { at: row.name },
      )
    }
    if (migration.checksum !== row.checksum) {
      throw new EngineError(
        'E_DATABASE_VERSION',
        `migrations/${row.name} was edited after it was applied to this database. ` +
          `Restore the file, and put the change into a new migration.`,
        { at: row.name },
      )
    }
  }
  const applied = new Set(done.map((row) => row.name))
  return migrations.filter((migration) => !applied.has(migration.name))
}

/** The first one missing, in a transaction. Gives its name, or undefined if none was missing. */
async function applyNext(client: pg.Client, migrations: Migration[]): Promise<string | undefined> {
  await client.query('begin')
  try {
    await client.query('set local lock_timeout = 0') // however long the other one takes
    await client.query(`select pg_advisory_xact_lock(hashtextextended('millrace migrate', 0))`)
    await client.query(`set local lock_timeout = ${lockWaitMs}`)
    const [missing] = compare(migrations, await readDone(client))
    if (missing !== undefined) await apply(client, missing)
    await client.query('commit')
    return missing?.name
  } catch (error) {
    await client.query('rollback').catch(() => {}) // the connection may be what failed
    throw error
  }
}

async function readDone(client: pg.Client): Promise<{ name: string; checksum: string }[]> {
  // Asked first: a role that may not make tables can work with what is there.
  const { rows } = await client.query<{ there: boolean }>(`select to_regclass('migration') is not null as there`)
  if (!rows[0]!.there) {
    await client.query(
      `create table migration (
         name text primary key, checksum text not null, applied_at timestamptz not null default clock_timestamp())`,
    )
  }
  return (await client.query<{ name: string; checksum: string }>('select name, checksum from migration order by name')).rows
}

async function apply(client: pg.Client, migration: Migration): Promise<void> {
  try {
    await client.query(migration.text)
    await client.query('insert into migration (name, checksum) values ($1, $2)', [migration.name, migration.checksum])
  } catch (error) {
    throw new EngineError('E_DATABASE', `migrations/${migration.name} failed, and nothing of it was kept: ${messageOf(error)}`, {
      at: migration.name,
      cause: error,
    })
  }
}
