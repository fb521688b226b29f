// The SDK: a typed client of the HTTP API. The command line uses it, and so may any program (`import { createClient } from 'millrace'`).
//   C1. Every method is one request, or says how often it asks.
//   C2. Whatever the server refuses, or a server that cannot be reached, is a ClientError.
import type { Json } from '../core/json.ts'

export interface ClientOptions {
  /** Where the server listens, e.g. `http://127.0.0.1:8000`. */
  url: string
  token: string
  /** Preset: `main`. */
  workspace?: string
}

/** What a caller may say about a run. */
export interface RunOptions {
  /** Calling again with the same key never starts it twice. */
  key?: string
  tag?: string
  /** Seconds from now. */
  inSeconds?: number
  /** The trace this belongs to, as the header of that name (W3C Trace Context): the code of each step is told. */
  traceparent?: string
}

/** A part of a flow, to try it. */
export interface FlowPart {
  /** Up to this step. */
  until?: string
  /** This step alone. */
  only?: string
  /** By step id: these do not run, and have these results. */
  results?: Record<string, Json>
}

/** An OpenFlow document, as it is deployed. */
export interface FlowDocument {
  summary?: string
  description?: string
  value: { modules: Json[]; [field: string]: Json }
  schema?: Json
  tag?: string
  dedicated_worker?: boolean
  [field: string]: Json | undefined
}

/** A deployed flow. */
export interface DeployedFlow extends FlowDocument {
  path: string
  version_id?: number | string
  edited_by?: string
  edited_at?: string
}

/** A text that steps read by name. */
export interface Variable {
  path: string
  /** null: of a secret, in a list. */
  value: string | null
  is_secret: boolean
  description: string
  edited_at: string
}

/** JSON that steps read by name. */
export interface Resource {
  path: string
  value: Json
  resource_type: string
  description: string
  edited_at: string
}

export interface StepStatus {
  id: string
  type: string
  job?: string | null
  [field: string]: unknown
}

/** A flow, an iteration, a branch or a sub-flow, with everything inside of it. */
export interface JobTree {
  job: string
  /** `#2` of a loop, `branch 0`, `default`, `flow f/a/b`; '' of the job itself. */
  label: string
  /** null: not over. */
  success: boolean | null
  duration_ms: number | null
  steps: StepTree[]
}

export interface StepTree extends StepStatus {
  duration_ms: number | null
  /** Answers that are still to come. */
  count?: number
  progress?: number
  error?: { name: string; message: string }
  failed_retries?: string[]
  skipped?: boolean
  cached?: boolean
  approvers?: { resume_id: number; approver: string }[]
  inside?: JobTree[]
}

export interface Job {
  id: string
  type: 'QueuedJob' | 'CompletedJob'
  script_path?: string
  job_kind?: string
  created_by?: string
  created_at?: string
  started_at?: string | null
  duration_ms?: number
  running?: boolean
  /** It waits for answers. */
  suspend?: number
  success?: boolean
  canceled?: boolean
  completed_at?: string
  /** The job whose arguments it has, and those that have its own. */
  replay_of?: string
  replayed_as?: string[]
  result?: Json
  args?: Json
  flow_status?: {
    modules: StepStatus[]
    failure_module?: StepStatus
    restarted_from?: { flow_job_id: string; step_id: string; branch_or_iteration_n?: number }
  }
  [field: string]: unknown
}

/** A job given up because its workers died of it. */
export interface PoisonJob extends Job {
  /** How often its worker died. */
  lost: number
  error: {
    name: string
    message: string
    workers?: { id: number; name: string; host: string; pid: number; died_at: string }[] | null
  }
}

/** Failed jobs to start again: these, or all that were not started again yet. */
export interface ReplayOptions {
  ids?: string[]
  /** Without ids. Preset: `poisoned`. */
  only?: 'poisoned' | 'failed'
  path?: string
  createdAfter?: Date
  /** On the version they ran, not on what is deployed now. */
  sameVersion?: boolean
}

/** Where a job starts again. */
export interface RestartOptions {
  from: string
  /** Of a loop or branchall: the first iteration or branch that runs again. Of a step inside of a loop: in which iteration. */
  iteration?: number
  /** On what is deployed now, not on what the job ran. */
  latestVersion?: boolean
}

export interface ReplayOutcome {
  replayed: { id: string; replay_of: string }[]
  refused: { id: string; why: string }[]
}

/** What is started for each job of a workspace that fails. */
export interface ErrorHandler {
  /** `flow/<path>` or `script/<path>` */
  path: string
  extra_args: Record<string, Json> | null
  muted_on_cancel: boolean
  muted_on_user_path: boolean
}

/** A worker and what it has counted since its process began. */
export interface OverviewWorker {
  id: number
  name: string
  tags: string[]
  host: string
  pid: number
  version: string
  state: 'alive' | 'dead' | 'reaped' | 'stopped'
  started_at: string
  heartbeat_at: string
  /** Seconds since its last heartbeat. */
  silent_s: number
  jobs_held: number
  jobs_done: number
  jobs_failed: number
  steps_done: number
  /** Late reports that changed nothing. */
  refused: number
  /** Jobs it gave up because workers kept dying of them. */
  poisoned: number
  /** Its busiest flows, named as their tags are. */
  flows: { flow: string; jobs: number; failed: number; steps: number }[]
}

export interface Overview {
  workers: OverviewWorker[]
  tags: { tag: string; ready: number; running: number; parked: number; waiting: number; oldest_ready_s: number | null }[]
  /** How old the numbers of jobs by state are. */
  counted_s: number
}

interface JobUpdate {
  completed?: boolean
  new_logs?: string
  log_offset?: number
  flow_status?: Job['flow_status']
}

export class ClientError extends Error {
  /** The HTTP status; 0 when the server could not be reached. */
  readonly status: number
  /** The engine's code, e.g. `E_FLOW_INVALID`; `E_HTTP` where an answer had none. */
  readonly code: string
  /** Where the fault is, e.g. `$.value.modules[0].id`. */
  readonly at: string | undefined
  readonly body: string

  constructor(fault: { status: number; code: string; message: string; at?: string; body?: string; cause?: unknown }) {
    super(fault.message, fault.cause === undefined ? undefined : { cause: fault.cause })
    this.name = 'ClientError'
    this.status = fault.status
    this.code = fault.code
    this.at = fault.at
    this.body = fault.body ?? ''
  }
}

/** A job that ended without success. `result` is what the server keeps of it. */
export class RunFailedError extends ClientError {
  readonly jobId: string | undefined
  readonly result: Json

  constructor(options: { jobId?: string; result: Json }) {
    const error = errorIn(options.result)
    super({ status: 422, code: 'E_RUN_FAILED', message: error?.message ?? 'the job failed', at: error?.stepId })
    this.name = 'RunFailedError'
    this.jobId = options.jobId
    this.result = options.result
  }
}

function errorIn(result: Json): { message: string; stepId?: string } | undefined {
  const error = (result as { error?: { name?: string; message?: string; step_id?: string } } | null)?.error
  if (typeof error?.message !== 'string') return undefined
  return { message: error.name ? `${error.name}: ${error.message}` : error.message, stepId: error.step_id }
}

const pollMinMs = 50
const pollMaxMs = 1_000

/** Resolves after `ms`, or at once when `stop` fires. */
function pause(ms: number, stop?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (stop?.aborted) return resolve()
    const done = () => {
      clearTimeout(timer)
      stop?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    stop?.addEventListener('abort', done, { once: true })
  })
}

export class Client {
  readonly url: string
  readonly workspace: string
  readonly #token: string

  constructor(options: ClientOptions) {
    this.url = options.url.replace(/\/+$/, '')
    this.workspace = options.workspace ?? 'main'
    this.#token = options.token
  }

  /** One request below `/api/w/<workspace>/`, or below `/` if the path begins so; gives the answer's text. @throws ClientError */
  async request(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<string> {
    let response: Response
    let text: string
    try {
      const below = path.startsWith('/') ? '' : `/api/w/${encodeURIComponent(this.workspace)}/`
      response = await fetch(`${this.url}${below}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${this.#token}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body }),
      })
      text = await response.text()
    } catch (error) {
      const cause = (error as { cause?: { code?: string; message?: string } }).cause
      const why = cause?.code ?? cause?.message ?? (error as Error).message
      throw new ClientError({
        status: 0,
        code: 'E_UNREACHABLE',
        message: `no server answers at ${this.url} (${why})`,
        cause: error,
      })
    }
    if (response.ok) return text
    throw refused(response.status, text)
  }

  async #json<T>(method: string, path: string, body?: string): Promise<T> {
    return JSON.parse(await this.request(method, path, body)) as T
  }

  /** Deploys a flow: a new path, or a new version of it. Jobs under way finish on their own version. */
  async deploy(path: string, flow: FlowDocument): Promise<'created' | 'updated'> {
    const exists = await this.#json<boolean>('GET', `flows/exists/${path}`)
    await this.request('POST', exists ? `flows/update/${path}` : 'flows/create', JSON.stringify({ ...flow, path }))
    return exists ? 'updated' : 'created'
  }

  flow(path: string): Promise<DeployedFlow> {
    return this.#json('GET', `flows/get/${path}`)
  }

  flows(): Promise<DeployedFlow[]> {
    return this.#json('GET', 'flows/list?per_page=1000')
  }

  /** Without the values of secrets. */
  variables(): Promise<Variable[]> {
    return this.#json('GET', 'variables/list')
  }

  /** With its value, of a secret too. */
  variable(path: string): Promise<Variable> {
    return this.#json('GET', `variables/get/${path}`)
  }

  /** Makes it, or changes what is given. */
  setVariable(path: string, values: Pick<Variable, 'value'> & Partial<Variable>): Promise<'created' | 'updated'> {
    return this.#set('variables', path, values)
  }

  async deleteVariable(path: string): Promise<void> {
    await this.request('DELETE', `variables/delete/${path}`)
  }

  /** `types`: only those, by comma. */
  resources(types?: string): Promise<Resource[]> {
    return this.#json('GET', `resources/list${suffix(new URLSearchParams(types === undefined ? {} : { resource_type: types }))}`)
  }

  resource(path: string): Promise<Resource> {
    return this.#json('GET', `resources/get/${path}`)
  }

  /** With the variables and resources that it names in place. */
  resourceValue(path: string): Promise<Json> {
    return this.#json('GET', `resources/get_value_interpolated/${path}`)
  }

  /** Makes it, or changes what is given. */
  setResource(path: string, values: Pick<Resource, 'value'> & Partial<Resource>): Promise<'created' | 'updated'> {
    return this.#set('resources', path, values)
  }

  async deleteResource(path: string): Promise<void> {
    await this.request('DELETE', `resources/delete/${path}`)
  }

  async #set(what: 'variables' | 'resources', path: string, values: object): Promise<'created' | 'updated'> {
    const exists = await this.#json<boolean>('GET', `${what}/exists/${path}`)
    await this.request('POST', exists ? `${what}/update/${path}` : `${what}/create`, JSON.stringify({ ...values, path }))
    return exists ? 'updated' : 'created'
  }

  /** Starts a flow and gives the job's id. It is durable when this resolves. */
  run(path: string, args: Record<string, Json> = {}, options: RunOptions = {}): Promise<string> {
    return this.#start(`jobs/run/f/${path}`, args, options)
  }

  /** Starts a part of a deployed flow: up to a step, or one step alone, with results of others given. */
  runPart(path: string, part: FlowPart, args: Record<string, Json> = {}, options: RunOptions = {}): Promise<string> {
    return this.#start('jobs/run/preview_flow', { path, args, ...part }, options)
  }

  async #start(route: string, body: object, options: RunOptions): Promise<string> {
    const query = new URLSearchParams()
    if (options.tag !== undefined) query.set('tag', options.tag)
    if (options.inSeconds !== undefined) query.set('scheduled_in_secs', String(options.inSeconds))
    const headers: Record<string, string> = {}
    if (options.key !== undefined) headers['idempotency-key'] = options.key
    if (options.traceparent !== undefined) headers['traceparent'] = options.traceparent
    return (await this.request('POST', `${route}${suffix(query)}`, JSON.stringify(body), headers)).trim()
  }

  /** Starts one job per element, all or none; gives their ids in order. */
  async runBatch(path: string, batch: Record<string, Json>[]): Promise<string[]> {
    const answer = await this.#json<string[] | { ids: string[] }>('POST', `jobs/run_batch/f/${path}`, JSON.stringify(batch))
    return Array.isArray(answer) ? answer : answer.ids
  }

  /** Starts a flow and waits for its result, in one request. @throws RunFailedError, with the step that failed and its error */
  async runWait(path: string, args: Record<string, Json> = {}): Promise<Json> {
    try {
      return await this.#json('POST', `jobs/run_wait_result/f/${path}`, JSON.stringify(args))
    } catch (error) {
      if (error instanceof ClientError && error.status === 422) throw runFailed(error)
      throw error
    }
  }

  job(id: string): Promise<Job> {
    return this.#json('GET', `jobs_u/get/${id}`)
  }

  /** Every step of a flow job, those of iterations, branches and sub-flows too. */
  tree(id: string): Promise<JobTree> {
    return this.#json('GET', `jobs_u/tree/${id}`)
  }

  /** Newest first. `success`: only finished ones that ended so. */
  jobs(filter: { path?: string; running?: boolean; waiting?: boolean; success?: boolean; count?: number } = {}): Promise<Job[]> {
    const query = new URLSearchParams({ per_page: String(filter.count ?? 30) })
    if (filter.path !== undefined) query.set('script_path_exact', filter.path)
    if (filter.running !== undefined) query.set('running', String(filter.running))
    if (filter.waiting !== undefined) query.set('suspended', String(filter.waiting))
    if (filter.success !== undefined) query.set('success', String(filter.success))
    return this.#json('GET', `jobs/list${suffix(query)}`)
  }

  /** Jobs given up because their workers died of them, newest first. */
  poisoned(filter: { path?: string; count?: number } = {}): Promise<PoisonJob[]> {
    const query = new URLSearchParams({ per_page: String(filter.count ?? 30) })
    if (filter.path !== undefined) query.set('script_path_exact', filter.path)
    return this.#json('GET', `jobs/poisoned/list${suffix(query)}`)
  }

  /** Starts failed jobs again, each as a new job with the old one's arguments. */
  replay({ ids, only, path, createdAfter, sameVersion }: ReplayOptions): Promise<ReplayOutcome> {
    const asked = { ids, only, script_path_exact: path, created_after: createdAfter?.toISOString(), same_version: sameVersion }
    return this.#json('POST', 'jobs/replay', JSON.stringify(asked))
  }

  /** Starts a flow's job again from a step; what came before it is kept. Gives the id of the new job. */
  async restart(id: string, { from, iteration, latestVersion }: RestartOptions): Promise<string> {
    const asked = { step_id: from, branch_or_iteration_n: iteration, use_latest_version: latestVersion }
    return (await this.request('POST', `jobs/restart/f/${id}`, JSON.stringify(asked))).trim()
  }

  /** The result of a job, once it has one; asks again at growing intervals. @throws RunFailedError */
  async result(id: string, stop?: AbortSignal): Promise<Json> {
    for (let waitMs = pollMinMs; ; waitMs = Math.min(waitMs * 1.5, pollMaxMs)) {
      const answer = await this.#json<{ completed: boolean; success?: boolean; result?: Json }>(
        'GET',
        `jobs_u/completed/get_result_maybe/${id}`,
      )
      if (answer.completed && answer.success === false) throw new RunFailedError({ jobId: id, result: answer.result ?? null })
      if (answer.completed) return answer.result ?? null
      if (stop?.aborted) throw new ClientError({ status: 0, code: 'E_STOPPED', message: `stopped waiting; job ${id} goes on` })
      await pause(waitMs, stop)
    }
  }

  /** Asks a job to stop. */
  /** null: the workspace has none. */
  async errorHandler(): Promise<ErrorHandler | null> {
    const { error_handler } = await this.#json<{ error_handler?: ErrorHandler }>('GET', 'workspaces/get_settings')
    return error_handler ?? null
  }

  /** null: none any more. */
  async setErrorHandler(handler: ErrorHandler | null): Promise<void> {
    await this.request('POST', 'workspaces/edit_error_handler', JSON.stringify(handler ?? {}))
  }

  async cancel(id: string, reason = ''): Promise<void> {
    await this.request('POST', `jobs_u/queue/cancel/${id}`, JSON.stringify(reason === '' ? {} : { reason }))
  }

  /** Answers what a job waits for (of several steps that wait, the one whose time is over first; a step's id names it), or refuses it. */
  async answer(id: string, { approved = true, payload = null }: { approved?: boolean; payload?: Json } = {}): Promise<void> {
    await this.request('POST', `jobs_u/flow/resume_suspended/${id}`, JSON.stringify({ approved, payload }))
  }

  /** URLs by which whoever has them answers or refuses a step (its id), or whatever of a job waits next (a job's id). */
  resumeUrls(
    id: string,
    { resumeId = Math.floor(Math.random() * 2 ** 32), approver }: { resumeId?: number; approver?: string } = {},
  ): Promise<{ approvalPage: string; resume: string; cancel: string }> {
    const query = new URLSearchParams(approver === undefined ? {} : { approver })
    return this.#json('GET', `jobs/resume_urls/${id}/${resumeId}${suffix(query)}`)
  }

  /** Workers and queue, for whoever may see all: counters that grow, of which two answers give a rate. */
  overview(): Promise<Overview> {
    return this.#json('GET', '/api/workers/overview')
  }

  #update(id: string, logOffset: number): Promise<JobUpdate> {
    return this.#json('GET', `jobs_u/getupdate/${id}?log_offset=${logOffset}`)
  }

  /** What a job and its steps print, piece by piece. `follow`: until the job is over. */
  async *logs(
    id: string,
    options: { follow?: boolean; stop?: AbortSignal } = {},
  ): AsyncGenerator<{ jobId: string; text: string }> {
    const offsets = new Map<string, number>([[id, 0]])
    // Steps that were over when they were looked at last: what they printed may be stored a moment after their end.
    const over = new Set<string>()
    const told = new Set<string>()
    for (let waitMs = pollMinMs; ; waitMs = Math.min(waitMs * 1.5, pollMaxMs)) {
      const job = await this.job(id)
      const steps = job.flow_status ? stepsIn(await this.tree(id)) : []
      for (const step of steps) if (!offsets.has(step.job)) offsets.set(step.job, 0)
      for (const [jobId, offset] of offsets) {
        if (told.has(jobId)) continue
        const update = await this.#update(jobId, offset).catch((error: unknown) => {
          // A step that was under way when its job was canceled is no longer known.
          if (jobId !== id && error instanceof ClientError && error.status === 404) return undefined
          throw error
        })
        if (!update?.new_logs) continue
        offsets.set(jobId, update.log_offset ?? offset + update.new_logs.length)
        waitMs = pollMinMs
        yield { jobId, text: update.new_logs }
      }
      for (const step of steps) if (step.over && over.has(step.job)) told.add(step.job)
      for (const step of steps) if (step.over) over.add(step.job)
      if (!options.follow || job.type === 'CompletedJob' || options.stop?.aborted) return
      await pause(waitMs, options.stop)
    }
  }
}

/** Everything of a tree that may print: steps without others inside, and their tries before the last. */
function stepsIn(tree: JobTree): { job: string; over: boolean }[] {
  return tree.steps.flatMap((step) => {
    if (step.inside?.length) return step.inside.flatMap(stepsIn)
    const earlier = (step.failed_retries ?? []).map((job) => ({ job, over: true }))
    return step.job ? [...earlier, { job: step.job, over: step.type === 'Success' || step.type === 'Failure' }] : earlier
  })
}

function suffix(query: URLSearchParams): string {
  return query.size === 0 ? '' : `?${query.toString()}`
}

function runFailed(error: ClientError): ClientError {
  try {
    return new RunFailedError({ result: JSON.parse(error.body) as Json })
  } catch {
    return error
  }
}

/** The server's answer as an error. It says `{error: {code, message, at}}`; a proxy in between may say anything. */
function refused(status: number, text: string): ClientError {
  try {
    const answer = JSON.parse(text) as {
      error?: { code?: string; name?: string; message?: string; at?: string }
      message?: string
    }
    const error = answer.error
    const message = error?.message ?? answer.message
    if (typeof message === 'string') {
      return new ClientError({ status, code: error?.code ?? error?.name ?? 'E_HTTP', message, at: error?.at, body: text })
    }
  } catch {
    // not JSON: told as it is
  }
  return new ClientError({ status, code: 'E_HTTP', message: text.trim().slice(0, 2_000) || `HTTP ${status}`, body: text })
}

export function createClient(options: ClientOptions): Client {
  return new Client(options)
}
