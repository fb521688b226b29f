// Jobs by id: what they are, how they ended, what they printed, how far they are; and asking one to stop.
import { Type } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import { cancelJob, setProgress } from '../../store/jobs.ts'
import { readProgress, rootJobOf } from '../../store/job_reads.ts'
import { allLogsOf, endingOf, findJob, isOver, jobIdNamed, noJob, spanOf, textOf, treeTextOf } from '../job_lookup.ts'
import { objectText } from '../job_view.ts'
import { byId, sendJson, uuidOf, type Access, type App, type ServerParts } from '../parts.ts'

const read: Access = { domain: 'jobs', action: 'read' }
const write: Access = { domain: 'jobs', action: 'write' }

export function jobRoutes(app: App, parts: ServerParts): void {
  const { db, reads } = parts
  // The same below `jobs_u`, where clients of the dialect look, and below `jobs`.
  for (const base of ['/api/w/:ws/jobs_u', '/api/w/:ws/jobs']) {
    const schema = (summary: string) => ({ summary, tags: ['jobs'], params: byId, hide: !base.endsWith('_u') })
    const config = { access: read }

    app.get(
      `${base}/get/:id`,
      { config, schema: { ...schema('A job or a step'), querystring: noLogs } },
      async (request, reply) => {
        const { ws, id } = request.params
        const found = await findJob(parts, ws, id)
        return sendJson(reply, await textOf(parts, ws, found, !request.query.no_logs))
      },
    )

    app.get(`${base}/completed/get/:id`, { config, schema: schema('A job or a step that is over') }, async (request, reply) => {
      const { ws, id } = request.params
      const found = await findJob(parts, ws, id)
      if (!isOver(found)) throw notOver(id)
      return sendJson(reply, await textOf(parts, ws, found))
    })

    app.get(
      `${base}/completed/get_result/:id`,
      { config, schema: schema('The result of a job that is over') },
      async (request, reply) => {
        const { ws, id } = request.params
        const ending = await endingOf(parts, ws, id)
        if (ending.success === null) throw notOver(id)
        return sendJson(reply, ending.result!)
      },
    )

    app.get(
      `${base}/completed/get_result_maybe/:id`,
      {
        config,
        schema: {
          ...schema('The result, if there is one yet'),
          querystring: Type.Object({ get_started: Type.Optional(Type.Boolean()) }),
        },
      },
      async (request, reply) => {
        const { ws, id } = request.params
        const { started, success, result } = await endingOf(parts, ws, id)
        const completed = success !== null
        const plain = {
          completed,
          ...(completed ? { success } : {}),
          ...(request.query.get_started || !completed ? { started } : {}),
        }
        return sendJson(reply, objectText(plain, { result: result ?? 'null' }))
      },
    )

    app.get(
      `${base}/get_root_job_id/:id`,
      { config, schema: schema('The job that, through others, started this one') },
      async (request, reply) => {
        const { ws, id } = request.params
        const job = await jobIdNamed(reads, ws, id)
        return sendJson(reply, JSON.stringify(await rootJobOf(reads, ws, job.id)))
      },
    )

    app.get(`${base}/get_logs/:id`, { config, schema: schema('What a job and its steps printed') }, async (request, reply) => {
      const found = await findJob(parts, request.params.ws, request.params.id)
      return reply.type('text/plain; charset=utf-8').send(await allLogsOf(parts, found))
    })

    app.get(
      `${base}/tree/:id`,
      { config, schema: schema('A flow job with every step, iteration, branch and sub-flow in it') },
      async (request, reply) => {
        const found = await findJob(parts, request.params.ws, request.params.id)
        return sendJson(reply, await treeTextOf(parts, found))
      },
    )

    for (const name of ['cancel', 'force_cancel']) {
      app.post(
        `${base}/queue/${name}/:id`,
        {
          config: { access: write },
          schema: {
            ...schema('Ask a job to stop'),
            body: Type.Optional(Type.Union([Type.Object({ reason: Type.Optional(Type.String()) }), Type.Null()])),
          },
        },
        async (request, reply) => {
          const { ws, id } = request.params
          const job = await jobIdNamed(db.pool, ws, id)
          const reason = request.body?.reason ?? `canceled by ${request.identity.username}`
          const outcome = await cancelJob(db.pool, { workspaceId: ws, id: job.id, by: request.identity.username, reason })
          if (outcome === 'missing') throw noJob(id)
          if (outcome !== 'finished') request.log.info({ job: job.id, by: request.identity.username, outcome }, 'asked to cancel')
          return reply.send(outcome === 'finished' ? `job ${job.id} is over already` : job.id)
        },
      )
    }
  }

  app.post(
    '/api/w/:ws/job_metrics/set_progress/:id',
    {
      config: { access: write },
      schema: {
        summary: 'Say how far a step is',
        tags: ['jobs'],
        params: byId,
        body: Type.Object({
          percent: Type.Number({ minimum: 0, maximum: 100 }),
          flow_job_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
        }),
      },
    },
    async (request, reply) => {
      const { ws, id } = request.params
      await jobIdNamed(db.pool, ws, id)
      await setProgress(db.pool, uuidOf(id), request.body.percent)
      return sendJson(reply, 'null')
    },
  )

  app.get(
    '/api/w/:ws/job_metrics/get_progress/:id',
    { config: { access: read }, schema: { summary: 'How far a job or a step is, in percent', tags: ['jobs'], params: byId } },
    async (request, reply) => {
      const found = await findJob(parts, request.params.ws, request.params.id)
      return sendJson(reply, JSON.stringify(await readProgress(reads, { ...spanOf(found), withSteps: found.kind === 'job' })))
    },
  )
}

const noLogs = Type.Object({ no_logs: Type.Optional(Type.Boolean()) })

function notOver(id: string): EngineError {
  return new EngineError('E_NOT_FOUND', `job ${id} is not over yet; jobs_u/completed/get_result_maybe/${id} tells when it is`, {
    at: 'id',
  })
}
