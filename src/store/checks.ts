// Is this database one that the engine can trust? Asked once, at start.
//   K1. What the engine cannot work with is refused; what only weakens its promises is said clearly, and allowed.
import { EngineError } from '../core/errors.ts'
import type { Database } from './db.ts'
import { asEngineError, run } from './db.ts'

const majorMin = 14
const connectionsFew = 30 // a server and two workers with their pools

export interface DatabaseFacts {
  version: string
  versionNumber: number
  inRecovery: boolean
  readOnly: boolean
  encoding: string
  fsync: boolean
  fullPageWrites: boolean
  synchronousCommit: boolean
  connectionsMax: number
}

/**
 * Refuses a server that cannot serve; gives warnings about one that keeps less than the engine promises.
 * @throws EngineError E_DATABASE_VERSION if it is too old, E_SETUP if it cannot be used as it is, E_DATABASE if it is not reached
 */
export async function checkDatabase(db: Database): Promise<{ version: string; warnings: string[] }> {
  const facts = await readFacts(db).catch((error: unknown) => {
    throw asEngineError(error)
  })
  refuseUnusable(facts)
  return { version: facts.version, warnings: warningsOf(facts) }
}

async function readFacts(db: Database): Promise<DatabaseFacts> {
  const client = await db.connect({ name: 'millrace check' })
  try {
    if (await isPooled(db, client)) throw setupError(pooledText)
    const [facts] = await run<DatabaseFacts>(client, 'database_facts', [])
    return facts!
  } finally {
    await client.end()
  }
}

type Client = Awaited<ReturnType<Database['connect']>>

/** Two open connections have two server processes, unless a pooler lends both the same one in turn. */
async function isPooled(db: Database, client: Client): Promise<boolean> {
  const second = await db.connect({ name: 'millrace check' })
  try {
    return (await processOf(client)) === (await processOf(second))
  } finally {
    await second.end()
  }
}

async function processOf(client: Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  return rows[0]!.pid
}

const pooledText =
  'DATABASE_URL leads through a pooler that lends each connection for one transaction only. Notifications, locks and prepared ' +
  'statements belong to a session and do not work through it. Use the direct address of the database, or the pool mode `session`.'

function setupError(text: string): EngineError {
  return new EngineError('E_SETUP', text, { at: 'DATABASE_URL' })
}

export function refuseUnusable(facts: DatabaseFacts): void {
  if (Math.floor(facts.versionNumber / 10_000) < majorMin) {
    const text = `Postgres ${majorMin} or newer is needed, and DATABASE_URL leads to ${facts.version}.`
    throw new EngineError('E_DATABASE_VERSION', text, { at: 'DATABASE_URL' })
  }
  if (facts.inRecovery) {
    throw setupError(
      'DATABASE_URL leads to a standby (a server in recovery), which cannot be written. Use the address of the primary.',
    )
  }
  if (facts.readOnly) {
    throw setupError('the database allows reading only: default_transaction_read_only is on for this server, database or role.')
  }
  if (facts.encoding !== 'UTF8') {
    throw setupError(
      `the encoding of the database is ${facts.encoding}, which cannot hold every text. Create one with encoding UTF8.`,
    )
  }
}

export function warningsOf(facts: DatabaseFacts): string[] {
  const warnings: string[] = []
  if (!facts.fsync) warnings.push('fsync is off: a crash of the machine can destroy the whole database. Turn it on.')
  if (!facts.fullPageWrites) {
    warnings.push(
      'full_page_writes is off: a crash of the machine can leave pages half-written, unless its storage prevents that. Turn it on.',
    )
  }
  if (!facts.synchronousCommit) {
    warnings.push('synchronous_commit is off: jobs and results that were acknowledged can be lost in a crash. Turn it on.')
  }
  if (facts.connectionsMax < connectionsFew) {
    warnings.push(
      `max_connections is ${facts.connectionsMax}, and a server with a few workers uses more than that. Set it to 100.`,
    )
  }
  return warnings
}
