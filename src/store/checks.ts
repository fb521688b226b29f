// Is this database one that the engine can trust? Asked once, at start.
//   K1. What the engine cannot work with is refused; what only weakens its promises is said clearly, and allowed.
//   K2. A pooler that lends connections by the transaction is noticed: nothing that belongs to a session may be relied on then.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { EngineError } from '../core/errors.ts'
import type { Database } from './db.ts'
import { asEngineError, run } from './db.ts'
import { notify } from './jobs.ts'

const majorMin = 14
const connectionsFew = 30 // a server and two workers with their pools

export interface DatabaseFacts {
  version: string
  versionNumber: number
  readOnly: boolean
  encoding: string
  fsync: boolean
  fullPageWrites: boolean
  synchronousCommit: 'off' | 'local' | 'remote_write' | 'on' | 'remote_apply'
  /** Standbys that a commit is to wait for; '' for none. */
  standbyNames: string
  /** Standbys connected now; 0 also where this role may not see them. */
  standbys: number
  connectionsMax: number
}

export interface CheckedDatabase {
  version: string
  /** Leads through a transaction pooler. */
  pooled: boolean
  /** What it does not keep of the promises. */
  warnings: string[]
  /** What is worth knowing. */
  notes: string[]
}

/**
 * Refuses a server that cannot serve; gives warnings about one that keeps less than the engine promises.
 * @throws EngineError E_DATABASE_VERSION if it is too old, E_SETUP if it cannot be used as it is, E_DATABASE if it is not
 * reached, or is a standby
 */
export async function checkDatabase(db: Database): Promise<CheckedDatabase> {
  try {
    const pooled = await isPooled(db)
    const facts = await readFacts(db)
    refuseUnusable(facts)
    return { version: facts.version, pooled, warnings: warningsOf(facts), notes: notesOf(facts) }
  } catch (error) {
    throw asEngineError(error)
  }
}

async function readFacts(db: Database): Promise<DatabaseFacts> {
  const client = await connect(db)
  try {
    const [facts] = await run<DatabaseFacts>(client, 'database_facts', [])
    return facts!
  } finally {
    await client.end()
  }
}

/** As if through a pooler, since that is not known yet: what belongs to a session would be left to others. */
function connect(db: Database): Promise<Client> {
  return db.connect({ name: 'millrace check', pooled: true })
}

type Client = Awaited<ReturnType<Database['connect']>>

const roundsMax = 4
const hearMs = 2_000

/** Does something between us and the database lend its connections for one transaction only? */
async function isPooled(db: Database): Promise<boolean> {
  const clients = await Promise.all([connect(db), connect(db)])
  try {
    const [first, second] = clients
    const told = (first as Client & { processID: number }).processID
    // The server told its process id when the connection began. Behind a pooler, that number is the pooler's own.
    if (told === (await processOf(first))) return false
    const ids = new Set<number>()
    for (let round = 0; round < roundsMax; round++) {
      const own = await processOf(first)
      if (own === (await processOf(second))) return true // one server process for two connections
      ids.add(own)
    }
    return ids.size > 1 || !(await hears(first, second))
  } finally {
    await Promise.all(clients.map((client) => client.end()))
  }
}

/** Does a connection that listens hear what another one notifies? */
async function hears(listening: Client, notifying: Client): Promise<boolean> {
  const channel = `millrace_check_${randomBytes(6).toString('hex')}`
  await listening.query(`listen ${channel}`)
  const heard = once(listening, 'notification')
  await notify(notifying, channel, '')
  const answer = await Promise.race([heard.then(() => true), pause(hearMs, false)])
  await listening.query(`unlisten ${channel}`)
  return answer
}

async function processOf(client: Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  return rows[0]!.pid
}

function setupError(text: string): EngineError {
  return new EngineError('E_SETUP', text, { at: 'DATABASE_URL' })
}

export function refuseUnusable(facts: DatabaseFacts): void {
  if (Math.floor(facts.versionNumber / 10_000) < majorMin) {
    const text = `Postgres ${majorMin} or newer is needed, and DATABASE_URL leads to ${facts.version}.`
    throw new EngineError('E_DATABASE_VERSION', text, { at: 'DATABASE_URL' })
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
  if (facts.synchronousCommit === 'off') {
    warnings.push('synchronous_commit is off: jobs and results that were acknowledged can be lost in a crash. Turn it on.')
  } else if (facts.standbyNames !== '' && ['local', 'remote_write'].includes(facts.synchronousCommit)) {
    warnings.push(
      `synchronous_commit is ${facts.synchronousCommit}: what was acknowledged may not yet be safe on the standby ` +
        `that synchronous_standby_names asks for, and a fail-over can lose it. Set it to on.`,
    )
  }
  if (facts.connectionsMax < connectionsFew) {
    warnings.push(
      `max_connections is ${facts.connectionsMax}, and a server with a few workers uses more than that. Set it to 100.`,
    )
  }
  return warnings
}

export function notesOf(facts: DatabaseFacts): string[] {
  if (facts.standbyNames !== '') {
    const waits = ['on', 'remote_apply'].includes(facts.synchronousCommit)
    return waits ? [`commits wait for a standby (${facts.standbyNames}): a fail-over to it loses nothing`] : []
  }
  if (facts.standbys === 0) return []
  return [
    'it has standbys, and commits do not wait for them (synchronous_standby_names is empty): a fail-over can lose the last commits',
  ]
}
