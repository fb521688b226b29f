// Error handlers of workspaces: what is started when a job fails.
//   H1. That a job failed is written down by the statement that ends it, if its workspace has a handler then (sql/finish_waited.sql and
//       the others that end jobs). The entry goes in the transaction that stores the handler's job: there is one for each failure.
//   H2. Root jobs of what is deployed count, but those of the handler itself; a handler's job has the failed one as its parent.
//   H3. A handler that is not deployed is waited for: the entry stays.
import type { UserError } from '../core/errors.ts'
import type { RunnableKind } from '../core/flow/plan.ts'
import type { Json, JsonText } from '../core/json.ts'
import { run, type Database, type Queryable } from './db.ts'
import { insertTurnJobs, newJobId, type NewJob } from './jobs.ts'
import type { TurnMakers } from './turns.ts'
import { currentFlow, currentScript, type CurrentVersion } from './versions.ts'

export interface ErrorHandler {
  /** `script/<path>` or `flow/<path>` */
  path: string
  extra_args: { [name: string]: Json } | null
  muted_on_cancel: boolean
  muted_on_user_path: boolean
}

export interface Settings {
  id: string
  name: string
  errorHandler: ErrorHandler | null
}

export async function workspaceSettings(on: Queryable, workspaceId: string): Promise<Settings | null> {
  type Row = Omit<Settings, 'errorHandler'> & { errorHandler: JsonText | null }
  const [row] = await run<Row>(on, 'get_error_handler', [workspaceId])
  return row ? { ...row, errorHandler: row.errorHandler === null ? null : handlerOf(row.errorHandler) } : null
}

export async function setErrorHandler(on: Queryable, workspaceId: string, handler: ErrorHandler | null): Promise<void> {
  await run(on, 'set_error_handler', [workspaceId, handler === null ? null : JSON.stringify(handler)])
}

interface FailedJob {
  id: string
  workspaceId: string
  status: string
  result: JsonText
  createdBy: string
  email: string
  startedAt: Date | null
  path: string
  kind: RunnableKind
  handler: JsonText | null
  muted: boolean
}

/** A job that retention took has no status, nor what follows it. */
type Due = FailedJob | { id: string; status: null }

export interface Handled {
  /** Failures that were looked at. */
  looked: number
  /** Tags of handlers' jobs that are ready. */
  tags: string[]
  /** Handlers that are not deployed, and how many failures wait for each. */
  missing: Map<string, number>
}

const missingAgainS = 60

/** Starts the handlers of at most so many failures. `now`: null in production (the database's clock decides). */
export async function startErrorHandlers(
  db: Database,
  due: { failuresMax: number; turnMakers: TurnMakers; now?: Date },
): Promise<Handled> {
  const { failuresMax, turnMakers, now = null } = due
  return db.transaction(async (client) => {
    const failures = await run<Due>(client, 'take_failures', [now, failuresMax])
    const handlers = new Handlers(client, turnMakers)
    const jobs: NewJob[] = []
    const missed: string[] = []
    const missing = new Map<string, number>()
    for (const failure of failures) {
      const handler = failure.status === null ? null : heardBy(failure)
      if (failure.status === null || handler === null) continue
      const job = await handlers.jobFor(failure, handler)
      if (job) jobs.push(job)
      else {
        missed.push(failure.id)
        const name = `${failure.workspaceId} ${handler.path}`
        missing.set(name, (missing.get(name) ?? 0) + 1)
      }
    }
    const { tags } = jobs.length > 0 ? await insertTurnJobs(client, jobs) : { tags: [] }
    const done = failures.map(({ id }) => id).filter((id) => !missed.includes(id))
    await run(client, 'forget_failures', [done, missed, missingAgainS])
    return { looked: failures.length, tags, missing }
  })
}

/** The handler that is to hear of it; null: none is. */
function heardBy({ handler: text, kind, path, status, muted }: FailedJob): ErrorHandler | null {
  if (text === null || muted || (kind !== 'flow' && kind !== 'script')) return null
  const handler = handlerOf(text)
  if (handler.path === `${kind}/${path}`) return null
  if (handler.muted_on_cancel && status === 'canceled') return null
  if (handler.muted_on_user_path && path.startsWith('u/')) return null
  return handler
}

function handlerOf(text: JsonText): ErrorHandler {
  return JSON.parse(text)
}

/** The handlers of some failures, each looked up once. */
class Handlers {
  readonly #on: Queryable
  readonly #turnMakers: TurnMakers
  readonly #versions = new Map<string, CurrentVersion | null>()

  constructor(on: Queryable, turnMakers: TurnMakers) {
    this.#on = on
    this.#turnMakers = turnMakers
  }

  /** null: it is not deployed. */
  async jobFor(failure: FailedJob, handler: ErrorHandler): Promise<NewJob | null> {
    const { workspaceId } = failure
    const [kind, ...rest] = handler.path.split('/') as ['flow' | 'script', ...string[]]
    const path = rest.join('/')
    const version = await this.#current(workspaceId, kind, path)
    if (!version) return null
    const { versionId, tag, priority } = version
    const args = argsFor(failure, handler)
    const maker = await this.#turnMakers.of(version.turns, { workspaceId, kind, path, versionId })
    const job: NewJob = {
      id: newJobId(),
      workspaceId,
      versionId,
      tag,
      priority,
      args,
      createdBy: failure.createdBy,
      parentId: failure.id,
    }
    if (maker) job.turn = maker.turnOf(args)
    return job
  }

  async #current(workspaceId: string, kind: 'flow' | 'script', path: string): Promise<CurrentVersion | null> {
    const key = `${workspaceId} ${kind}/${path}`
    const known = this.#versions.get(key)
    if (known !== undefined) return known
    const found = await (kind === 'flow' ? currentFlow : currentScript)(this.#on, workspaceId, path)
    this.#versions.set(key, found)
    return found
  }
}

/** What Windmill's handlers are given. */
function argsFor(failure: FailedJob, handler: ErrorHandler): JsonText {
  const { id, workspaceId, path, kind, email, startedAt } = failure
  return JSON.stringify({
    ...handler.extra_args,
    workspace_id: workspaceId,
    job_id: id,
    path,
    is_flow: kind === 'flow',
    email,
    started_at: startedAt,
    error: errorOf(failure),
  })
}

function errorOf({ result, status }: FailedJob): UserError | Json {
  const value = JSON.parse(result) as { error?: Json } | null
  if (value !== null && typeof value === 'object' && value.error !== undefined) return value.error
  return { name: status, message: 'the job ended with this result', result: value as Json }
}
