// Lists and counts of jobs.
import { Type, type Static } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import { firstIdAt, isUuid } from '../../core/job/ids.ts'
import { runnableKinds } from '../../core/flow/plan.ts'
import {
  countCompleted,
  countQueue,
  countReadyBefore,
  listJobs,
  type JobFilter,
  type JobListOptions,
  type JobStatus,
} from '../../store/job_reads.ts'
import { listedJobText } from '../job_view.ts'
import { inWorkspace, sendJson, type Access, type App, type ServerParts } from '../parts.ts'
import { listOf } from '../run_request.ts'

const access: Access = { domain: 'jobs', action: 'read' }

const listQuery = Type.Partial(
  Type.Object({
    script_path_exact: Type.String(),
    script_path_start: Type.String(),
    script_hash: Type.String(),
    created_by: Type.String(),
    tag: Type.String(),
    worker: Type.String(),
    parent_job: Type.String(),
    has_null_parent: Type.Boolean(),
    job_kinds: Type.String({ description: `with commas: ${runnableKinds.join(', ')}` }),
    running: Type.Boolean(),
    suspended: Type.Boolean(),
    scheduled_for_before_now: Type.Boolean(),
    success: Type.Boolean(),
    status: Type.String({ description: 'success, failure, canceled or skipped' }),
    is_skipped: Type.Boolean(),
    created_before: Type.String(),
    created_after: Type.String(),
    started_before: Type.String(),
    started_after: Type.String(),
    completed_before: Type.String(),
    completed_after: Type.String(),
    args: Type.String({ description: 'JSON that the arguments contain' }),
    result: Type.String({ description: 'JSON that the result contains' }),
    order_desc: Type.Boolean(),
    page: Type.Integer({ minimum: 0 }),
    per_page: Type.Integer({ minimum: 1 }),
  }),
)
type ListQuery = Static<typeof listQuery>

const countQuery = Type.Partial(
  Type.Object({
    tags: Type.String(),
    success: Type.Boolean(),
    completed_after_s_ago: Type.Integer(),
    all_workspaces: Type.Boolean(),
  }),
)

export function jobListRoutes(app: App, { reads, limits }: ServerParts): void {
  for (const [url, which, summary] of [
    ['list', 'all', 'Jobs, newest first'],
    ['queue/list', 'queue', 'Jobs that are not over'],
    ['completed/list', 'completed', 'Jobs that are over'],
  ] as const) {
    app.get(
      `/api/w/:ws/jobs/${url}`,
      { config: { access }, schema: { summary, tags: ['jobs'], params: inWorkspace, querystring: listQuery } },
      async (request, reply) => {
        const { ws } = request.params
        const options = optionsOf(which, request.query, limits.pageRowsMax)
        const jobs = options.which === 'none' ? [] : await listJobs(reads, ws, options)
        return sendJson(reply, `[${jobs.map((job) => listedJobText(job, ws)).join(',')}]`)
      },
    )
  }

  for (const base of ['/api/w/:ws/jobs', '/api/w/:ws/jobs_u']) {
    const schema = (summary: string) => ({
      summary,
      tags: ['jobs'],
      params: inWorkspace,
      querystring: countQuery,
      hide: base.endsWith('_u'),
    })
    app.get(`${base}/queue/count`, { config: { access }, schema: schema('How many jobs wait for a worker') }, async (request) => {
      const { ready, running, waiting, parked, limited } = await countQueue(reads, request.params.ws, tagsOf(request.query.tags))
      return { database_length: ready, running, suspended: waiting, scheduled: parked, limited }
    })

    app.get(`${base}/completed/count`, { config: { access }, schema: schema('How many jobs are over') }, async (request) => {
      const { ws: workspaceId } = request.params
      return {
        database_length: await countCompleted(reads, {
          workspaceId,
          tags: tagsOf(request.query.tags),
          ...sinceOf(request.query),
        }),
      }
    })

    app.get(
      `${base}/queue/position/:ms`,
      {
        config: { access },
        schema: {
          summary: 'How many jobs are ahead of one accepted at this time',
          tags: ['jobs'],
          params: Type.Object({ ws: Type.String(), ms: Type.Integer({ minimum: 0, maximum: 0xffff_ffff_ffff }) }),
          hide: base.endsWith('_u'),
        },
      },
      async (request) => ({ position: await countReadyBefore(reads, firstIdAt(request.params.ms)) }),
    )
  }
}

const tagsOf = (tags: string | undefined): string[] | null => (listOf(tags).length === 0 ? null : listOf(tags))

function sinceOf(query: Static<typeof countQuery>): { success?: boolean; idFrom?: string } {
  const since: { success?: boolean; idFrom?: string } = {}
  if (query.success !== undefined) since.success = query.success
  if (query.completed_after_s_ago !== undefined)
    since.idFrom = firstIdAt(Math.max(0, Date.now() - query.completed_after_s_ago * 1_000))
  return since
}

const statuses = ['success', 'failure', 'canceled', 'skipped'] as const

/** @throws EngineError E_INVALID naming the parameter */
function optionsOf(which: JobListOptions['which'], query: ListQuery, perPageMax: number): JobListOptions {
  const limit = Math.min(query.per_page ?? 30, perPageMax)
  const filter: JobFilter = {}
  const set = <Name extends keyof JobFilter>(name: Name, value: JobFilter[Name] | undefined): void => {
    if (value !== undefined) filter[name] = value
  }
  set('path', query.script_path_exact)
  set('path_start', query.script_path_start)
  if (query.script_hash !== undefined) set('version_id', versionOf(query.script_hash))
  set('created_by', query.created_by)
  set('tag', query.tag)
  if (query.worker !== undefined) set('worker_id', numberOf(query.worker))
  if (query.parent_job !== undefined) {
    if (!isUuid(query.parent_job)) throw wrong('parent_job', 'is not a UUID')
    set('parent_id', query.parent_job)
  }
  set('has_null_parent', query.has_null_parent)
  if (query.job_kinds !== undefined) filter.kinds = listOf(query.job_kinds).join(',')
  set('running', query.running)
  set('waiting', query.suspended)
  if (query.scheduled_for_before_now) filter.due = true
  set('statuses', statusesOf(query)?.join(','))
  if (query.created_before !== undefined) set('id_before', firstIdAt(Date.parse(timeOf(query, 'created_before'))))
  if (query.created_after !== undefined) set('id_from', firstIdAt(Date.parse(timeOf(query, 'created_after'))))
  for (const name of ['started_before', 'started_after', 'completed_before', 'completed_after'] as const) {
    if (query[name] !== undefined) set(name, timeOf(query, name))
  }
  for (const name of ['args', 'result'] as const) if (query[name] !== undefined) set(name, jsonOf(query[name], name))
  return {
    which: narrowed(which, filter),
    filter,
    limit,
    offset: (Math.max(query.page ?? 1, 1) - 1) * limit,
    oldestFirst: query.order_desc === false,
  }
}

/** Some filters only a finished job can pass, others only an active one: the other table need not be looked at. */
function narrowed(which: JobListOptions['which'], filter: JobFilter): JobListOptions['which'] {
  const ended = filter.statuses ?? filter.result ?? filter.completed_before ?? filter.completed_after
  if (ended !== undefined) return which === 'queue' ? 'none' : 'completed'
  if (filter.running === true || filter.waiting === true) return which === 'completed' ? 'none' : 'queue'
  return which
}

function statusesOf({ success, status, is_skipped }: ListQuery): JobStatus[] | undefined {
  if (success === undefined && status === undefined && is_skipped === undefined) return undefined
  if (status !== undefined && !statuses.includes(status as JobStatus)) {
    throw new EngineError('E_INVALID', `query.status is none of ${statuses.join(', ')}`, {
      at: 'query.status',
      allowed: statuses,
    })
  }
  return statuses
    .filter((one) => success === undefined || (one === 'success' || one === 'skipped') === success)
    .filter((one) => is_skipped === undefined || (one === 'skipped') === is_skipped)
    .filter((one) => status === undefined || one === status)
}

function timeOf(
  query: ListQuery,
  name: 'created_before' | 'created_after' | 'started_before' | 'started_after' | 'completed_before' | 'completed_after',
): string {
  const ms = Date.parse(query[name]!)
  if (Number.isNaN(ms) || ms < 0) throw wrong(name, 'is not a time as 2030-01-31T12:00:00Z')
  return new Date(ms).toISOString()
}

function jsonOf(text: string, name: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw wrong(name, 'is not JSON')
  }
}

function numberOf(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw wrong('worker', 'is not the number of a worker')
  return Number(text)
}

function versionOf(hash: string): string {
  if (!/^[0-7][0-9a-f]{15}$/i.test(hash)) throw wrong('script_hash', 'is not a hash of 16 hex digits')
  return BigInt(`0x${hash}`).toString()
}

function wrong(name: string, fault: string): EngineError {
  return new EngineError('E_INVALID', `query.${name} ${fault}`, { at: `query.${name}` })
}
