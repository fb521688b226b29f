// Starting a job and waiting for its result in one request.
//   S1. 200 with the result; 422 with `{"error": …}` when the job failed or was canceled.
//   S2. A result `{windmill_status_code, windmill_content_type, windmill_headers, result}` shapes the answer itself.
//   S3. A caller who hangs up cancels the job: nobody else was told its id.
//   S4. A flow with early_return answers with the result of that step, and goes on.
import type { onRequestHookHandler } from 'fastify'
import { EngineError, messageOf } from '../../core/errors.ts'
import type { JsonText } from '../../core/json.ts'
import { cancelJob, type NewJob } from '../../store/jobs.ts'
import type { Finished } from '../../store/job_reads.ts'
import { byPath, inWorkspace, sendJson, type App, type Reply, type Request, type ServerParts } from '../parts.ts'
import { previewOf } from '../previews.ts'
import { accept, argsOf, newJobOf, targetOf } from '../run_request.ts'
import { described, previewAccess, readBodiesAsText, refuseEarly, runAccess, runSchema } from './run.ts'

export function runWaitRoutes(app: App, parts: ServerParts): void {
  const { limits, waiters } = parts
  readBodiesAsText(app)
  const noMoreWaiters: onRequestHookHandler = (_request, _reply, done) => {
    try {
      waiters.assertRoom()
      done()
    } catch (error) {
      done(error as Error)
    }
  }
  for (const kind of ['f', 'p', 'h', 'fv'] as const) {
    for (const method of ['POST', 'GET'] as const) {
      const { body, ...schema } = runSchema('Run and wait for the result', byPath)
      app.route({
        ...described,
        method,
        url: `/api/w/:ws/jobs/run_wait_result/${kind}/*`,
        onRequest: [refuseEarly(parts, kind), noMoreWaiters],
        config: { access: runAccess[kind] },
        schema: method === 'GET' ? schema : { ...schema, body },
        handler: async (request, reply) => {
          if (method === 'GET' && request.identity.readOnly) {
            throw new EngineError('E_FORBIDDEN', 'this token is read-only, and running something is not reading', {
              at: 'authorization',
            })
          }
          const target = await targetOf(parts, kind, request)
          return answerWithResult(
            parts,
            request,
            reply,
            newJobOf(request, target, argsOf(request, limits.jsonDepthMax)),
            target.early,
          )
        },
      })
    }
  }
  for (const [name, kind] of [
    ['preview', 'script'],
    ['preview_flow', 'flow'],
  ] as const) {
    app.post(
      `/api/w/:ws/jobs/run_wait_result/${name}`,
      {
        ...described,
        onRequest: noMoreWaiters,
        config: { access: previewAccess },
        schema: runSchema(`Run a ${kind} that is not deployed, and wait`, inWorkspace),
      },
      async (request, reply) => {
        const { target, args } = await previewOf(parts, request, kind)
        return answerWithResult(parts, request, reply, newJobOf(request, target, args), target.early)
      },
    )
  }
}

async function answerWithResult(parts: ServerParts, request: Request, reply: Reply, job: NewJob, early: boolean): Promise<Reply> {
  const { waiters, serverId, limits, db } = parts
  job.waiter = serverId
  const giveUp = new AbortController()
  let id = job.id
  const timer = setTimeout(() => giveUp.abort(tooLate(id, limits.waitResultMs)), limits.waitResultMs)
  const hungUp = (): void => {
    if (!reply.raw.writableFinished) giveUp.abort(new HungUp())
  }
  reply.raw.once('close', hungUp)
  // Waiting begins before the job is stored, so that no announcement is missed.
  const first = waiters.wait(id, giveUp.signal, early)
  first.catch(() => {})
  try {
    id = await accept(parts, request, job)
    // What is left is waiting, perhaps for long: without the arguments.
    job.args = ''
    request.body = undefined
    parts.admission.leave(request)
    let result = first
    if (id !== job.id) {
      // The job of an earlier request with this key: it may be over, and is announced to whoever asked first.
      result = waiters.wait(id, giveUp.signal, early)
      void waiters.poll()
    }
    return send(reply, await result)
  } catch (error) {
    if (!(error instanceof HungUp)) throw error
    const canceled = { workspaceId: job.workspaceId, id, by: request.identity.username, reason: 'the caller hung up' }
    if (id === job.id) {
      await cancelJob(db.pool, canceled).catch((fault: unknown) =>
        request.log.warn({ job: id, error: messageOf(fault) }, 'could not cancel'),
      )
    }
    return reply.hijack()
  } finally {
    clearTimeout(timer)
    reply.raw.removeListener('close', hungUp)
    giveUp.abort(new HungUp()) // whoever still waits under the other id leaves
  }
}

class HungUp extends Error {}

function tooLate(id: string, waitMs: number): EngineError {
  const text = `job ${id} is not over after ${waitMs / 1000} s; it goes on, ask for its result with jobs_u/completed/get_result_maybe/${id}`
  return new EngineError('E_BUSY', text, { retryAfterS: 1 })
}

function send(reply: Reply, { status, result }: Finished): Reply {
  if (status === 'failure' || status === 'canceled') return sendJson(reply.code(422), result)
  // The usual result is not looked into.
  return result.includes('"windmill_') ? sendShaped(reply, result) : sendJson(reply, result)
}

interface Shape {
  windmill_status_code?: unknown
  windmill_content_type?: unknown
  windmill_headers?: unknown
  result?: unknown
}

function sendShaped(reply: Reply, text: JsonText): Reply {
  const shape = JSON.parse(text) as Shape | null
  if (shape === null || typeof shape !== 'object' || !Object.keys(shape).some((key) => shapeKeys.has(key)))
    return sendJson(reply, text)
  const { windmill_status_code: code, windmill_content_type: type, windmill_headers: headers, result } = shape
  if (code !== undefined) {
    if (!Number.isInteger(code) || (code as number) < 200 || (code as number) > 599)
      throw badShape('windmill_status_code is not 200 to 599')
    reply.code(code as number)
  }
  for (const [name, value] of Object.entries((headers ?? {}) as Record<string, unknown>)) {
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name) || /[^\t\u0020-\u007e\u0080-\u00ff]/.test(String(value))) {
      throw badShape(`windmill_headers has a header that cannot be sent: ${JSON.stringify(name.slice(0, 60))}`)
    }
    reply.header(name, String(value))
  }
  if (result === undefined) return code === undefined ? reply.code(204).send() : reply.send()
  if (typeof type === 'string') {
    return reply.header('content-type', type).send(typeof result === 'string' ? result : JSON.stringify(result))
  }
  return sendJson(reply, JSON.stringify(result))
}

const shapeKeys = new Set(['windmill_status_code', 'windmill_content_type', 'windmill_headers'])

function badShape(fault: string): EngineError {
  return new EngineError('E_RUN_FAILED', `the job succeeded, but its result asks for an answer that cannot be given: ${fault}`, {
    at: '$.result',
  })
}
