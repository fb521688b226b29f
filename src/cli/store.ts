// The database of a command: opened (an embedded one, or the one named), checked, and brought to this version.
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Limits } from '../core/limits.ts'
import { asEngineError, isOutage, openDatabase, type Database, type DatabaseOptions } from '../store/db.ts'
import { checkDatabase } from '../store/checks.ts'
import { openPostgres } from '../store/embedded/postgres.ts'
import { databaseWithFailpoints } from '../store/failpoint_database.ts'
import { createFailpoints, type Failpoints } from '../store/failpoints.ts'
import { parseHosts, type Host } from '../store/hosts.ts'
import { migrate } from '../store/migrate.ts'
import { EngineError, messageOf } from '../core/errors.ts'
import { homeOf } from './connect.ts'
import type { GivenSettings } from './program.ts'
import { readLimits, settingOf } from './settings.ts'

export interface Store {
  home: string
  db: Database
  /** What the environment sets, made to fit this database. */
  limits: Limits
  /** For people: `embedded, in .millrace` or where it is, without its password. */
  place: string
  applied: string[]
  /** Only for tests. */
  failpoints: Failpoints | undefined
  close(): Promise<void>
}

interface StoreContext {
  name: string
  log: Logger
}

/** For commands that somebody watches: nothing they ask takes too long. @throws EngineError E_SETUP or E_DATABASE, saying what to set or start */
export async function openStore(options: GivenSettings, context: StoreContext): Promise<Store> {
  return openBy(options, { ...context, answerMs: 0 }, (work) => work())
}

/**
 * For processes that shall run whatever the order in which things start: waits for a database that is away.
 * Gives undefined when it was stopped meanwhile. @throws EngineError E_SETUP
 */
export async function awaitStore(
  options: GivenSettings,
  context: StoreContext & { stop: AbortSignal },
): Promise<Store | undefined> {
  try {
    const { databaseAnswerMs: answerMs } = readLimits()
    return await openBy(options, { ...context, answerMs }, (work) => onceReachable(work, context))
  } catch (error) {
    if (context.stop.aborted) return undefined
    throw error
  }
}

async function openBy(
  options: GivenSettings,
  { name, log, answerMs }: StoreContext & { answerMs: number },
  trying: <T>(work: () => Promise<T>) => Promise<T>,
): Promise<Store> {
  const home = homeOf(options)
  const databaseUrl = settingOf(options, 'database', undefined)
  if (databaseUrl !== undefined) parseHosts(databaseUrl) // says what is wrong with it
  const failpoints = readFailpoints(log)
  const postgres = await openPostgres({ home, databaseUrl, report: (message) => log.info(message) })
  const parts = { url: postgres.url, name, answerMs, report: (text: string) => log.warn(text) }
  try {
    const { db, applied } = await trying(() => openChecked(parts, log, failpoints))
    if (applied.length > 0) log.info({ applied }, 'database brought to this version')
    const place = placeOf(db.route.hosts, { embedded: postgres.embedded, home })
    const close = async () => {
      await db.close()
      await postgres.stop()
    }
    return {
      home,
      db,
      limits: limitsFor(db),
      place,
      applied,
      failpoints,
      close,
    }
  } catch (error) {
    await postgres.stop()
    throw explained(error)
  }
}

function readFailpoints(log: Logger): Failpoints | undefined {
  const plan = settingOf({}, 'failpoints', undefined)
  const recordFile = settingOf({}, 'failpointsRecord', undefined)
  if (plan === undefined && recordFile === undefined) return undefined
  log.warn({ plan, recordFile }, 'failpoints are on: this process is made to fail, for a test')
  return createFailpoints({ plan: plan ?? '', recordFile })
}

async function openChecked(
  parts: DatabaseOptions,
  log: Logger,
  failpoints: Failpoints | undefined,
): Promise<{ db: Database; applied: string[] }> {
  const open = (options: DatabaseOptions): Database => {
    const opened = openDatabase(options)
    return failpoints ? databaseWithFailpoints(opened, failpoints) : opened
  }
  let db = open(parts)
  try {
    const { pooled, warnings, notes } = await checkDatabase(db)
    if (pooled) {
      await db.close()
      db = open({ ...parts, pooled })
      log.warn(pooledText)
    }
    for (const warning of warnings) log.warn(`the database: ${warning}`)
    for (const note of notes) log.info(`the database: ${note}`)
    return { db, applied: (await migrate(db)).applied }
  } catch (error) {
    await db.close()
    throw error
  }
}

const pooledText =
  'DATABASE_URL leads through a pooler that lends each connection for one transaction only. Poll mode: nothing is heard through ' +
  'it, so this process asks for work and results more often, and the jobs of a killed worker wait for its lease to end. ' +
  'Use the direct address of the database, or the pool mode `session`, for the lowest latency.'

/** The limits that the environment sets, as they are through a pooler. */
function limitsFor(db: Database): Limits {
  const limits = readLimits()
  return db.pooled ? { ...limits, pollMs: Math.min(limits.pollMs, limits.pooledPollMs) } : limits
}

const waitMs = 500
const tellMs = 5_000

/** Does what needs the database. While that is away, waits, and says so every few seconds. */
export async function onceReachable<T>(work: () => Promise<T>, wait: { log: Logger; stop: AbortSignal }): Promise<T> {
  for (let toldAtMs = -Infinity; ;) {
    try {
      return await work()
    } catch (error) {
      if (!isOutage(error) || wait.stop.aborted) throw error
      if (performance.now() - toldAtMs > tellMs) {
        toldAtMs = performance.now()
        wait.log.warn({ reason: messageOf(error) }, 'waiting for the database')
      }
    }
    await pause(waitMs, undefined, { signal: wait.stop }).catch(() => {}) // the next attempt is the last
  }
}

function placeOf(hosts: readonly Host[], { embedded, home }: { embedded: boolean; home: string }): string {
  const address = hosts.map(({ host, port }) => `${host}:${port}`).join(', ') + new URL(hosts[0]!.url).pathname
  return embedded ? `embedded Postgres in ${home} (${address})` : `Postgres at ${address}`
}

function explained(error: unknown): unknown {
  const told = asEngineError(error)
  if (!(told instanceof EngineError) || told.code !== 'E_DATABASE') return told
  return new EngineError('E_DATABASE', `${messageOf(told)}; check DATABASE_URL, and that Postgres runs there`, {
    at: 'DATABASE_URL',
    cause: error,
  })
}

/** Does something now and again, until stopped. A failure is told and tried again at the next turn. */
export async function regularly(
  task: { name: string; everyMs: number; log: Logger; run(): Promise<unknown> },
  stop: AbortSignal,
): Promise<void> {
  while (!stop.aborted) {
    try {
      await task.run()
    } catch (error) {
      task.log.warn({ err: error }, `${task.name} failed; next try in ${Math.round(task.everyMs / 1000)} s`)
    }
    await pause(task.everyMs, undefined, { signal: stop }).catch(() => {}) // stopped while waiting
  }
}
