// The database of a command: opened (an embedded one, or the one named), checked, and brought to this version.
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import { asEngineError, openDatabase, type Database } from '../store/db.ts'
import { checkDatabase } from '../store/checks.ts'
import { openPostgres } from '../store/embedded/postgres.ts'
import { databaseWithFailpoints } from '../store/failpoint_database.ts'
import { createFailpoints, type Failpoints } from '../store/failpoints.ts'
import { migrate } from '../store/migrate.ts'
import { EngineError, messageOf } from '../core/errors.ts'
import { homeOf } from './connect.ts'
import type { GivenSettings } from './program.ts'
import { settingOf } from './settings.ts'

export interface Store {
  home: string
  db: Database
  /** For people: `embedded, in .millrace` or where it is, without its password. */
  place: string
  applied: string[]
  /** Only for tests. */
  failpoints: Failpoints | undefined
  close(): Promise<void>
}

/** @throws EngineError E_SETUP or E_DATABASE, saying what to set or start */
export async function openStore(options: GivenSettings, context: { name: string; log: Logger }): Promise<Store> {
  const home = homeOf(options)
  const databaseUrl = settingOf(options, 'database', undefined)
  if (databaseUrl !== undefined && !/^postgres(ql)?:\/\//.test(databaseUrl)) {
    throw new EngineError('E_INVALID', 'the database must be named as postgres://user:password@host:port/name', {
      at: 'DATABASE_URL',
    })
  }
  const failpoints = readFailpoints(context.log)
  const postgres = await openPostgres({ home, databaseUrl, report: (message) => context.log.info(message) })
  const opened = openDatabase({ url: postgres.url, name: context.name })
  const db = failpoints ? databaseWithFailpoints(opened, failpoints) : opened
  const close = async () => {
    await db.close()
    await postgres.stop()
  }
  try {
    const { warnings } = await checkDatabase(db)
    for (const warning of warnings) context.log.warn(`the database: ${warning}`)
    const { applied } = await migrate(db)
    if (applied.length > 0) context.log.info({ applied }, 'database brought to this version')
    return { home, db, place: placeOf(postgres.url, { embedded: postgres.embedded, home }), applied, failpoints, close }
  } catch (error) {
    await close()
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

function placeOf(url: string, { embedded, home }: { embedded: boolean; home: string }): string {
  const { hostname, port, pathname } = new URL(url)
  const address = `${hostname}:${port || 5432}${pathname}`
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
