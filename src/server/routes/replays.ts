// Jobs that were given up because their workers died of them, and starting failed jobs again.
import { Type, type Static } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import { firstIdAt } from '../../core/job/ids.ts'
import { pathOf } from '../../core/json.ts'
import { listPoison, replayJobs, type PoisonError, type Replayed, type Replays } from '../../store/replays.ts'
import { listedJob } from '../job_view.ts'
import { inWorkspace, sendJson, uuidOf, type Access, type App, type Request, type ServerParts } from '../parts.ts'

const read: Access = { domain: 'jobs', action: 'read' }
const run: Access = { domain: 'jobs', action: 'run' }

const listQuery = Type.Partial(
  Type.Object({
    script_path_exact: Type.String(),
    created_after: Type.String(),
    created_before: Type.String(),
    per_page: Type.Integer({ minimum: 1 }),
  }),
)

const replayBody = Type.Object({
  ids: Type.Optional(Type.Array(Type.String(), { description: 'These jobs; else all that the rest names' })),
  only: Type.Optional(
    Type.Union([Type.Literal('poisoned'), Type.Literal('failed')], { description: 'Without ids: which. Preset: poisoned' }),
  ),
  script_path_exact: Type.Optional(Type.String()),
  created_after: Type.Optional(Type.String()),
  created_before: Type.Optional(Type.String()),
  same_version: Type.Optional(Type.Boolean({ description: 'On the version they ran, not on what is deployed now' })),
})

const versionOptions = Type.Optional(
  Type.Record(
    Type.String(),
    Type.Object({
      use_latest_version: Type.Optional(Type.Boolean()),
      input_transforms: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    }),
  ),
)
const rerunBody = Type.Object({
  job_ids: Type.Array(Type.String()),
  script_options_by_path: versionOptions,
  flow_options_by_path: versionOptions,
})

const perPagePreset = 30

export function replayRoutes(app: App, parts: ServerParts): void {
  const { db, limits } = parts

  app.get(
    '/api/w/:ws/jobs/poisoned/list',
    {
      config: { access: read },
      schema: {
        summary: 'Jobs given up because their workers died of them, newest first',
        description: 'Each with `lost`, `error` (with the workers that died) and `replayed_as`.',
        tags: ['jobs'],
        params: inWorkspace,
        querystring: listQuery,
      },
    },
    async (request, reply) => {
      const { ws } = request.params
      const { per_page = perPagePreset, ...query } = request.query
      const jobs = await listPoison(parts.reads, ws, {
        ...filterOf(query, 'query'),
        limit: Math.min(per_page, limits.pageRowsMax),
      })
      const listed = jobs.map((job) => ({
        ...listedJob(job, ws),
        error: JSON.parse(job.error) as PoisonError,
        replayed_as: job.replayedAs ?? undefined,
      }))
      return sendJson(reply, JSON.stringify(listed))
    },
  )

  app.post(
    '/api/w/:ws/jobs/replay',
    {
      config: { access: run },
      schema: {
        summary: 'Start failed jobs again, with their arguments',
        description:
          'Named ones (any that are over), or all that are poison or failed and were not started again yet; at most ' +
          `${limits.batchJobsMax} at a time. Each becomes a new job, \`replay_of\` the old one.`,
        tags: ['jobs'],
        params: inWorkspace,
        body: replayBody,
      },
    },
    async (request, reply) => {
      const { ids, only = 'poisoned', same_version = false, ...query } = request.body
      const named = ids?.map((id, i) => uuidOf(id, `$.ids[${i}]`))
      const { replayed, refused } = await replay(request, {
        which: named === undefined ? { only, ...filterOf(query, '$') } : { ids: named },
        sameVersion: same_version,
      })
      const text = { replayed: replayed.map(({ id, replayOf }) => ({ id, replay_of: replayOf })), refused }
      return sendJson(reply.code(201), JSON.stringify(text))
    },
  )

  app.post(
    '/api/w/:ws/jobs/run/batch_rerun_jobs',
    {
      config: { access: run },
      schema: {
        summary: 'Run jobs again, as the Windmill API asks for it',
        description:
          'Lines of text: the new ids, or `Error: …`. On the version they ran, where `use_latest_version` does not say so.',
        tags: ['jobs'],
        params: inWorkspace,
        body: rerunBody,
      },
    },
    async (request, reply) => {
      const { job_ids, flow_options_by_path: flows = {}, script_options_by_path: scripts = {} } = request.body
      const ids = job_ids.map((id, i) => uuidOf(id, `$.job_ids[${i}]`))
      for (const [name, options] of Object.entries({ flow_options_by_path: flows, script_options_by_path: scripts })) {
        for (const [path, { input_transforms: changed = {} }] of Object.entries(options)) {
          if (Object.keys(changed).length === 0) continue
          const at = `$.${name}${pathOf('', path)}.input_transforms`
          throw new EngineError('E_INVALID', `${at}: jobs run again with the arguments they had; start new ones to change them`, {
            at,
          })
        }
      }
      const { replayed, refused } = await replay(request, {
        which: { ids },
        sameVersion: ({ kind, path }) => (kind === 'flow' ? flows : scripts)[path]?.use_latest_version !== true,
      })
      const lines = [...replayed.map(({ id }) => id), ...refused.map(({ id, why }) => `Error: job ${id}: ${why}`)]
      return reply.code(201).type('text/plain; charset=utf-8').send(lines.join('\n'))
    },
  )

  async function replay(request: Request, asked: Pick<Replays, 'which' | 'sameVersion'>): Promise<Replayed> {
    const { ws } = request.params as { ws: string }
    if ('ids' in asked.which && asked.which.ids.length > limits.batchJobsMax) {
      throw new EngineError('E_TOO_LARGE', `${asked.which.ids.length} jobs in one request; the most is ${limits.batchJobsMax}`)
    }
    const { superAdmin, members, username } = request.identity
    const operator = !superAdmin && members[ws]?.operator === true
    const result = await replayJobs(db, {
      ...asked,
      workspaceId: ws,
      by: username,
      jobsMax: limits.batchJobsMax,
      turnMakers: parts.turnMakers,
      room: (tag) => parts.enqueuer.room(tag),
      added: (tag, count) => parts.enqueuer.added(tag, count),
      allows: (kind) => !operator || kind === 'flow' || kind === 'script',
    })
    parts.metrics.accepted(result.replayed.length)
    return result
  }
}

function filterOf(
  given: Partial<Pick<Static<typeof listQuery>, 'script_path_exact' | 'created_after' | 'created_before'>>,
  at: string,
): { path?: string | undefined; idFrom?: string | undefined; idBefore?: string | undefined } {
  const idOf = (name: 'created_after' | 'created_before'): string | undefined => {
    const text = given[name]
    if (text === undefined) return undefined
    const ms = Date.parse(text)
    if (ms >= 0) return firstIdAt(ms)
    throw new EngineError('E_INVALID', `${at}.${name} is not a time as 2030-01-31T12:00:00Z`, { at: `${at}.${name}` })
  }
  return { path: given.script_path_exact, idFrom: idOf('created_after'), idBefore: idOf('created_before') }
}
