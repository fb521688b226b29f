// Starting jobs: one per request, or one per element of a batch. Answers 201 with ids once the jobs are stored for good.
// HOT (run and run_batch). Per request: one look-up of the token, one of the path, one JSON.parse; the insert is shared.
import type { onRequestHookHandler } from 'fastify'
import { Type } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import { jobIdOf } from '../../core/job/ids.ts'
import { newJobId, type NewJob } from '../../store/jobs.ts'
import { argsOfArray, argsOfLines } from '../args.ts'
import { byPath, inWorkspace, sendJson, uuidOf, type Access, type App, type Request, type ServerParts } from '../parts.ts'
import { measuredTarget, previewOf, taskOf } from '../previews.ts'
import { assertMayName } from '../naming.ts'
import { accept, argsOf, argsOfWebhook, assertQueueLimit, isWebhook, newJobOf, targetOf } from '../run_request.ts'
import type { RunnableName } from '../runnables.ts'

export const runAccess: Record<RunnableName, Access> = {
  f: { domain: 'jobs', action: 'run', kind: 'flows' },
  fv: { domain: 'jobs', action: 'run', kind: 'flows' },
  p: { domain: 'jobs', action: 'run', kind: 'scripts' },
  h: { domain: 'jobs', action: 'run', kind: 'scripts' },
}
export const previewAccess: Access = { domain: 'jobs', action: 'run', kind: 'preview' }

const titles: Record<RunnableName, string> = {
  f: 'Run a flow',
  p: 'Run a script',
  h: 'Run a version of a script by its hash',
  fv: 'Run a version of a flow',
}

const runQuery = Type.Partial(
  Type.Object({
    scheduled_for: Type.String({ description: 'Time to start, ISO 8601' }),
    scheduled_in_secs: Type.Number(),
    tag: Type.String({ description: 'Where the job goes, instead of where it was deployed to' }),
    job_id: Type.String({ description: "A UUID of the caller's own; the same one never starts a second job" }),
    parent_job: Type.String(),
    queue_limit: Type.Integer({ description: 'Refuse (429) where so many jobs of the tag are ready already' }),
    skip_preprocessor: Type.Boolean({ description: "The body is the flow's input, whatever preprocessor it has" }),
    include_header: Type.String({ description: 'Header names, with commas; they become arguments' }),
    include_query: Type.String({ description: 'Query parameters that become arguments' }),
    raw: Type.Boolean({ description: 'Adds `raw_string`, the body as it came' }),
    wrap_body: Type.Boolean({ description: 'The whole body becomes the argument `body`' }),
  }),
)

/** Described, not checked: these bodies are whatever the user's code takes, and are checked as they are read. */
export const described = {
  validatorCompiler: () => () => true,
}

export const runSchema = (summary: string, params: unknown) => ({
  summary,
  tags: ['jobs'],
  params,
  querystring: runQuery,
  body: Type.Unknown({ description: 'The arguments' }),
})

/** Refuses a job that would be refused anyway, before its body is read. What is not in memory is found out later. */
export function refuseEarly(parts: ServerParts, kind: RunnableName): onRequestHookHandler {
  return (request, _reply, done) => {
    const { ws, '*': path } = request.params as { ws: string; '*': string }
    const target = parts.runnables.cached(kind, ws, path)
    try {
      if (target) parts.enqueuer.assertRoom(target.tag, 1)
      done()
    } catch (error) {
      done(error as Error)
    }
  }
}

/** Bodies in this scope are text, whatever their type: they are checked where they become arguments. */
export function readBodiesAsText(app: App): void {
  app.removeAllContentTypeParsers()
  for (const type of ['application/json', '*']) {
    app.addContentTypeParser(type, { parseAs: 'string' }, (_request, body, done) => done(null, body))
  }
}

export function runRoutes(app: App, parts: ServerParts): void {
  const { limits, enqueuer } = parts
  readBodiesAsText(app)

  for (const kind of ['f', 'p', 'h', 'fv'] as const) {
    app.post(
      `/api/w/:ws/jobs/run/${kind}/*`,
      {
        ...described,
        onRequest: refuseEarly(parts, kind),
        config: { access: runAccess[kind] },
        schema: runSchema(titles[kind], byPath),
      },
      async (request, reply) => {
        const target = await targetOf(parts, kind, request)
        const id = await accept(parts, request, newJobOf(request, target, argsOf(request, limits.jsonDepthMax)))
        return reply.code(201).send(id)
      },
    )
  }

  for (const [name, kind] of [
    ['preview', 'script'],
    ['preview_flow', 'flow'],
  ] as const) {
    app.post(
      `/api/w/:ws/jobs/run/${name}`,
      { ...described, config: { access: previewAccess }, schema: runSchema(`Run a ${kind} that is not deployed`, inWorkspace) },
      async (request, reply) => {
        const { target, args } = await previewOf(parts, request, kind)
        return reply.code(201).send(await accept(parts, request, newJobOf(request, target, args)))
      },
    )
  }

  app.post(
    '/api/w/:ws/jobs/run/workflow_as_code/:job_id/:entrypoint',
    {
      ...described,
      config: { access: previewAccess },
      schema: {
        ...runSchema(
          'Run an exported function of the script that a job runs, as a job of its own',
          Type.Object({ ws: Type.String(), job_id: Type.String(), entrypoint: Type.String() }),
        ),
        description: 'The body is `{args}`. What `task` of windmill-client does outside of a workflow.',
      },
    },
    async (request, reply) => {
      const { job_id, entrypoint: entry } = request.params as { job_id: string; entrypoint: string }
      const jobId = jobIdOf(uuidOf(job_id, 'job_id'))
      const { target, args } = await taskOf(parts, request, { jobId, entry })
      const job = newJobOf(request, target, args)
      job.parentId = jobId
      return reply.type('text/plain; charset=utf-8').send(await accept(parts, request, job))
    },
  )

  for (const kind of ['f', 'p'] as const) {
    app.post(
      `/api/w/:ws/jobs/run_batch/${kind}/*`,
      {
        ...described,
        onRequest: refuseEarly(parts, kind),
        config: { access: runAccess[kind] },
        schema: {
          ...runSchema(`${titles[kind]} once per element`, byPath),
          description: 'The body is a JSON array, or lines of JSON as application/x-ndjson. All jobs are stored, or none.',
        },
      },
      async (request, reply) => {
        const target = await targetOf(parts, kind, request)
        const batch = batchOf(request, limits.jsonDepthMax)
        if (batch.length > limits.batchJobsMax) {
          const text = `${batch.length} jobs in one batch; the most is ${limits.batchJobsMax} (MILLRACE_BATCH_JOBS_MAX)`
          throw new EngineError('E_TOO_LARGE', text, { at: `$[${limits.batchJobsMax}]` })
        }
        const jobs = jobsOf(request, target, batch)
        if (jobs.length > 0) await assertQueueLimit(parts, request, jobs[0]!.tag)
        const ids = await parts.tracing.accept(jobs, () => enqueuer.enqueue(jobs))
        parts.metrics.accepted(ids.length)
        return sendJson(reply.code(201), JSON.stringify(ids))
      },
    )
  }

  app.post(
    '/api/w/:ws/jobs/add_batch_jobs/:n',
    {
      config: { access: previewAccess },
      schema: {
        summary: 'Add many equal jobs, for measuring',
        tags: ['jobs'],
        params: Type.Object({ ws: Type.String(), n: Type.Integer({ minimum: 0, maximum: limits.queueJobsMax }) }),
        body: Type.Unknown({ description: '`{kind: noop | script | flow | rawscript, path?, flow_value?, rawscript?}`' }),
      },
    },
    async (request, reply) => {
      const count = request.params.n
      const target = await measuredTarget(parts, request)
      const ids: string[] = []
      for (let left = count; left > 0; left -= limits.batchJobsMax) {
        const batch = Array.from<string>({ length: Math.min(left, limits.batchJobsMax) }).fill('{}')
        for (const id of await enqueuer.enqueue(jobsOf(request, target, batch))) ids.push(id)
      }
      parts.metrics.accepted(ids.length)
      return sendJson(reply.code(201), JSON.stringify(ids))
    },
  )
}

function batchOf(request: Request, depthMax: number): string[] {
  const body = (request.body as string | undefined) ?? ''
  const type = request.headers['content-type']?.split(';')[0]!.trim().toLowerCase()
  switch (type) {
    case undefined:
    case 'application/json':
      return argsOfArray(body, depthMax)
    case 'application/x-ndjson':
    case 'application/ndjson':
    case 'application/jsonl':
    case 'application/json-lines':
      return argsOfLines(body, depthMax)
    default:
      throw new EngineError('E_UNSUPPORTED_TYPE', `a batch of type ${type.slice(0, 80)} is not read`, {
        at: 'content-type',
        allowed: ['application/json', 'application/x-ndjson'],
      })
  }
}

/** A key of the request names each element by its place, so a batch sent again starts nothing twice. */
function jobsOf(request: Request, target: Parameters<typeof newJobOf>[1], batch: readonly string[]): NewJob[] {
  const first = newJobOf(request, { ...target, turns: null, preprocessed: false }, '{}')
  const { key } = first
  const wraps = isWebhook(request, target)
  return batch.map((args, i) => {
    const job: NewJob = { ...first, id: newJobId(), args: wraps ? argsOfWebhook(request, args) : args }
    assertMayName(request.identity, job.args, `$[${i}]`)
    if (target.turns !== null) job.turn = target.turns.turnOf(args)
    if (key !== undefined) job.key = `${key}/${i}`
    return job
  })
}
