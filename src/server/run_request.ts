// What a request to run something says beside its arguments: query parameters and headers become a job's fields.
import { EngineError } from '../core/errors.ts'
import { isUuid, jobIdOf } from '../core/job/ids.ts'
import { argsOfEvent } from '../core/flow/event.ts'
import { storable, type JsonText } from '../core/json.ts'
import { traceOfHeaders } from '../core/trace.ts'
import { newJobId, type NewJob } from '../store/jobs.ts'
import { countTagReady } from '../store/job_reads.ts'
import { argsOfBody, argsOfJson, payloadText, withMembers } from './args.ts'
import { assertMayName } from './naming.ts'
import type { Request, ServerParts } from './parts.ts'
import type { RunnableName, Target } from './runnables.ts'

/** Query parameters that every run route reads. Those it does not know are left alone. */
interface RunQuery {
  scheduled_for?: string
  scheduled_in_secs?: string
  tag?: string
  job_id?: string
  parent_job?: string
  queue_limit?: string
  skip_preprocessor?: string
  include_header?: string
  include_query?: string
  raw?: string
  wrap_body?: string
  payload?: string
}

const delayMaxS = 10 * 365 * 86_400

/** HOT. What the request runs; a query to the database only where the path was not asked for in the last seconds. */
export function targetOf(parts: ServerParts, kind: RunnableName, request: Request): Target | Promise<Target> {
  const { ws, '*': path } = request.params as { ws: string; '*': string }
  return parts.runnables.cached(kind, ws, path) ?? parts.runnables.find(kind, ws, path)
}

/** HOT. The arguments of the job, from the body, or from `payload=` of a GET. */
export function argsOf(request: Request, depthMax: number): JsonText {
  const query = request.query as RunQuery
  const body = (request.body as string | undefined) ?? ''
  let plain = true
  for (const _name in query) {
    plain = false
    break
  }
  const contentType = request.headers['content-type']
  if (plain) return argsOfBody(body, contentType, depthMax)

  const raw = query.raw === 'true'
  if (query.payload !== undefined && body === '') return argsOfJson(payloadText(query.payload), 'payload', depthMax)
  let args: JsonText
  if (query.wrap_body === 'true') args = `{"body":${body === '' ? '{}' : bodyAsJson(body, contentType, depthMax)}}`
  else if (raw && !isJson(contentType)) args = '{}'
  else args = argsOfBody(body, contentType, depthMax)
  return withMembers(args, {
    ...headersAsked(request, query.include_header),
    ...queryAsked(query),
    ...(raw ? { raw_string: body } : {}),
  })
}

const isJson = (contentType: string | undefined): boolean => contentType === undefined || contentType.includes('json')

function bodyAsJson(body: string, contentType: string | undefined, depthMax: number): JsonText {
  if (!isJson(contentType)) return argsOfBody(body, contentType, depthMax)
  argsOfJson(body, '$', depthMax) // checked; any JSON will do
  return body
}

/** `include_header=X-Sign,Host` gives members `x_sign` and `host`. */
function headersAsked(request: Request, names: string | undefined): Record<string, unknown> {
  const members: Record<string, unknown> = {}
  for (const name of listOf(names)) members[name.toLowerCase().replaceAll('-', '_')] = request.headers[name.toLowerCase()] ?? null
  return members
}

function queryAsked(query: RunQuery): Record<string, unknown> {
  const members: Record<string, unknown> = {}
  for (const name of listOf(query.include_query)) members[name] = (query as Record<string, unknown>)[name] ?? null
  return members
}

export function listOf(text: string | undefined): string[] {
  return text === undefined ? [] : text.split(',').flatMap((name) => name.trim() || [])
}

/** HOT. A job of this request. @throws EngineError E_INVALID naming the parameter, E_FORBIDDEN */
export function newJobOf(request: Request, target: Target, args: JsonText): NewJob {
  const job: NewJob = {
    id: newJobId(),
    workspaceId: (request.params as { ws: string }).ws,
    versionId: target.versionId,
    tag: target.tag,
    priority: target.priority,
    args: isWebhook(request, target) ? argsOfWebhook(request, args) : args,
    createdBy: request.identity.username,
  }
  assertMayName(request.identity, job.args, '$')
  if (target.turns !== null) job.turn = target.turns.turnOf(args)
  const { traceparent } = request.headers
  if (traceparent !== undefined) addTrace(job, request)
  const key = request.headers['idempotency-key']
  if (key !== undefined) job.key = keyOf(key)
  const query = request.query as RunQuery
  for (const _name in query) {
    addQuery(job, query)
    break
  }
  return job
}

/** Is the request an event that the target's preprocessor makes its input of? */
export function isWebhook(request: Request, target: Target): boolean {
  return target.preprocessed && (request.query as RunQuery).skip_preprocessor !== 'true'
}

// They say who the caller is, and an event is stored.
const secretHeaders = new Set(['authorization', 'cookie', 'proxy-authorization'])

/** The event of kind webhook, as Windmill's preprocessors get it. */
export function argsOfWebhook(request: Request, body: JsonText): JsonText {
  const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !secretHeaders.has(name)))
  const { token: _token, ...query } = request.query as Record<string, unknown>
  const raw = query['raw'] === 'true' ? ((request.body as string | undefined) ?? '') : null
  const rest = JSON.stringify({ raw_string: raw, headers, query })
  return argsOfEvent(storable(`{"kind":"webhook","body":${body},${rest.slice(1)}`))
}

function addTrace(job: NewJob, { headers }: Request): void {
  const trace = traceOfHeaders([headers['traceparent']].flat().join(','), headers['tracestate'])
  if (trace !== undefined) job.trace = trace
}

function keyOf(key: string | string[]): string {
  if (typeof key === 'string' && key.length > 0 && key.length <= 255) return key
  throw new EngineError('E_INVALID', 'an idempotency key has 1 to 255 characters', { at: 'idempotency-key' })
}

function addQuery(job: NewJob, query: RunQuery): void {
  const { scheduled_for, scheduled_in_secs, tag, job_id, parent_job } = query
  if (scheduled_for !== undefined) {
    const atMs = Date.parse(scheduled_for)
    if (Number.isNaN(atMs)) throw wrong('scheduled_for', 'is not a time as 2030-01-31T12:00:00Z')
    job.runAtMs = atMs
  } else if (scheduled_in_secs !== undefined) {
    const inS = Number(scheduled_in_secs)
    if (!(inS >= 0 && inS <= delayMaxS)) throw wrong('scheduled_in_secs', `is not a number of seconds up to ${delayMaxS}`)
    job.runAtMs = Date.now() + inS * 1_000
  }
  if (tag !== undefined && tag !== '') {
    if (!/^[^\s,]{1,100}$/.test(tag)) throw wrong('tag', 'has up to 100 characters, no spaces and commas')
    job.tag = tag
  }
  if (job_id !== undefined) {
    if (!isUuid(job_id)) throw wrong('job_id', 'is not a UUID')
    job.key = job_id.toLowerCase()
  }
  if (parent_job !== undefined) {
    if (!isUuid(parent_job)) throw wrong('parent_job', 'is not a UUID')
    job.parentId = jobIdOf(parent_job.toLowerCase())
  }
}

function wrong(name: string, fault: string): EngineError {
  return new EngineError('E_INVALID', `query parameter ${name} ${fault}`, { at: `query.${name}` })
}

/** `queue_limit=N`: refuses where so many jobs of the tag are ready already. */
export async function assertQueueLimit(parts: ServerParts, request: Request, tag: string): Promise<void> {
  const text = (request.query as RunQuery).queue_limit
  if (text === undefined) return
  const jobsMax = Number(text)
  if (!Number.isInteger(jobsMax) || jobsMax < 0) throw wrong('queue_limit', 'is not a whole number')
  if ((await countTagReady(parts.db.pool, tag, jobsMax)) < jobsMax) return
  throw new EngineError('E_QUEUE_FULL', `${jobsMax} jobs of tag ${tag} are waiting already (queue_limit)`, {
    at: 'query.queue_limit',
    retryAfterS: 1,
  })
}

/** HOT. Stores the job. Gives the id of the job of its key. 2xx is answered only after this resolves. */
export async function accept(parts: ServerParts, request: Request, job: NewJob): Promise<string> {
  if ((request.query as RunQuery).queue_limit !== undefined) await assertQueueLimit(parts, request, job.tag)
  const jobs = [job]
  const [id] = await parts.tracing.accept(jobs, () => parts.enqueuer.enqueue(jobs))
  parts.metrics.accepted(1)
  return id!
}
