// Workers, and what waits for them. For super admins: tags name the flows of every workspace.
import { Type } from 'typebox'
import { listWorkers, type WorkerRow } from '../../store/watch.ts'
import { mustBeAdmin, type Access, type App, type ServerParts } from '../parts.ts'

const read: Access = { domain: 'workers', action: 'read' }
const tags = ['workers']
/** How long a worker that ended is still shown. */
const endedS = 60

export function workerRoutes(app: App, { db, watch }: ServerParts): void {
  app.get(
    '/api/workers/list',
    {
      config: { access: read },
      schema: {
        summary: 'Workers, as Windmill lists them',
        tags,
        querystring: Type.Object({
          page: Type.Integer({ minimum: 0, default: 1 }),
          per_page: Type.Integer({ minimum: 1, maximum: 1_000, default: 100 }),
          ping_since: Type.Number({ default: 300, description: 'Only those heard of in the last so many seconds' }),
        }),
      },
    },
    async (request) => {
      mustBeAdmin(request.identity, null)
      const { page, per_page, ping_since } = request.query
      const rows = await listWorkers(db.pool, { endedS: ping_since })
      const heard = rows.filter((row) => row.silentS <= ping_since)
      const from = Math.max(0, page - 1) * per_page
      return heard.slice(from, from + per_page).map(shownAsWindmill)
    },
  )

  app.get(
    '/api/workers/overview',
    {
      config: { access: read },
      schema: {
        summary: 'Workers with what they count, and the queue by tag: what `millrace top` shows',
        description:
          'Counters grow from when a worker process began; take the difference of two answers for a rate. ' +
          'The numbers of jobs by state are `counted_s` old.',
        tags,
      },
    },
    async (request) => {
      mustBeAdmin(request.identity, null)
      const [workers, queue] = await Promise.all([listWorkers(db.pool, { endedS }), watch.read()])
      return {
        workers: workers.map(shown),
        tags: queue.tags.map(({ tag, counts, oldestReadyS }) => ({ tag, ...counts, oldest_ready_s: oldestReadyS })),
        counted_s: queue.countedS,
      }
    },
  )
}

function shown(row: WorkerRow) {
  return {
    id: row.id,
    name: row.name,
    tags: row.tags,
    host: row.host,
    pid: row.pid,
    version: row.version,
    state: row.state,
    started_at: row.startedAt,
    heartbeat_at: row.heartbeatAt,
    silent_s: row.silentS,
    jobs_held: row.jobsHeld,
    jobs_done: row.jobsDone,
    jobs_failed: row.counts.failed ?? 0,
    steps_done: row.counts.steps ?? 0,
    refused: row.counts.refused ?? 0,
    poisoned: row.counts.poisoned ?? 0,
    flows: Object.entries(row.counts.flows ?? {}).map(([flow, [jobs, failed, steps]]) => ({ flow, jobs, failed, steps })),
  }
}

function shownAsWindmill(row: WorkerRow) {
  return {
    worker: row.name,
    worker_instance: row.host,
    worker_group: row.tags.length > 0 && row.tags.every((tag) => tag.includes(':')) ? 'dedicated' : 'default',
    custom_tags: row.tags,
    ping_at: row.heartbeatAt,
    last_ping: Math.round(row.silentS),
    started_at: row.startedAt,
    jobs_executed: row.jobsDone,
    ip: row.host,
    wm_version: row.version,
    state: row.state,
  }
}
