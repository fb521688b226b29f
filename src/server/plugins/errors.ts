// What a caller is told when something fails: one shape, `{error: {code, name, message, at?, allowed?, id?}}`.
//   E1. No stack trace and no SQL leaves the process. What is not ours to explain is a 500 with an id that is in the log.
import { randomBytes } from 'node:crypto'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { EngineError, messageOf, type ErrorCode } from '../../core/errors.ts'
import { pathOf, storableText } from '../../core/json.ts'
import type { Limits } from '../../core/limits.ts'
import { asEngineError } from '../../store/db.ts'
import type { App, ServerParts } from '../parts.ts'

export function answerErrors(app: App, { limits, metrics }: Pick<ServerParts, 'limits' | 'metrics'>): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const known = explained(error, limits)
    metrics.refused(known?.code ?? 'E_INTERNAL')
    return known ? send(reply, known) : answerUnknown(error, request, reply)
  })
  const urls = new Set<string>()
  app.addHook('onRoute', (route) => void urls.add(route.url))
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0]!
    const near = nearest(path, urls)
    const hint = near.length === 0 ? 'GET /api/openapi.json lists them' : 'routes near it are in `allowed`'
    const text = `no route ${request.method} ${path.slice(0, 200)}; ${hint}`
    return send(reply, new EngineError('E_NOT_FOUND', text, near.length === 0 ? { at: 'url' } : { at: 'url', allowed: near }))
  })
}

function answerUnknown(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const id = randomBytes(6).toString('hex')
  request.log.error({ err: error, id, method: request.method, url: request.routeOptions.url }, 'a request failed')
  const message = `something failed that should not; the server's log says more under ${id}`
  return reply.code(500).send({ error: { code: 'E_INTERNAL', name: 'Internal', message, id } })
}

function send(reply: FastifyReply, error: EngineError): FastifyReply {
  const { at, allowed, retryAfterS } = error.details
  if (retryAfterS !== undefined) reply.header('retry-after', String(retryAfterS))
  const message = storableText(error.message)
  return reply
    .code(error.status)
    .header('content-type', 'application/json; charset=utf-8')
    .send(JSON.stringify({ error: { code: error.code, name: nameOf(error.code), message, at, allowed } }))
}

/** `E_FLOW_INVALID` → `FlowInvalid`: the name clients of other engines read. */
function nameOf(code: ErrorCode): string {
  return code
    .slice(2)
    .toLowerCase()
    .replaceAll(/(?:^|_)([a-z])/g, (_match, letter: string) => letter.toUpperCase())
}

/** The error as one of ours, if it is one that a caller can do something about. */
function explained(error: unknown, limits: Limits): EngineError | null {
  const engine = asEngineError(error)
  if (engine instanceof EngineError) return engine
  const { code, validation, validationContext, statusCode } = error as Partial<FastifyError>
  switch (code) {
    case 'FST_ERR_VALIDATION': {
      const [fault] = validation!
      const root = validationContext === 'body' ? '$' : validationContext === 'querystring' ? 'query' : validationContext!
      const at = [...fault!.instancePath.split('/').slice(1), ...missing(fault!.params)].reduce(pathOf, root)
      const allowed = (fault!.params as { allowedValues?: unknown[] }).allowedValues?.map(String)
      return new EngineError('E_INVALID', `${at} ${fault!.message}`, allowed ? { at, allowed } : { at })
    }
    case 'FST_ERR_CTP_BODY_TOO_LARGE': {
      const text = `the body is over ${limits.bodyBytesMax} bytes; send less, or raise MILLRACE_BODY_BYTES_MAX`
      return new EngineError('E_TOO_LARGE', text, { at: 'body' })
    }
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new EngineError('E_UNSUPPORTED_TYPE', 'a body of this content type is not read here', {
        at: 'content-type',
        allowed: ['application/json'],
      })
    case '22021': // Postgres: NUL or broken UTF-8 in a text
    case '22P05':
      return new EngineError('E_INVALID', 'a text holds a character that cannot be stored')
    default:
      return statusCode !== undefined && statusCode >= 400 && statusCode < 500
        ? new EngineError('E_INVALID', messageOf(error), { at: 'request' })
        : null
  }
}

const missing = (params: unknown): string[] => {
  const name = (params as { missingProperty?: string }).missingProperty
  return name === undefined ? [] : [name]
}

/** Routes that share the most leading parts with a path that has none. */
function nearest(path: string, urls: Iterable<string>): string[] {
  const parts = path.split('/').filter((part) => part !== '')
  let best = 2 // `/api/w` alone is near nothing
  let near: string[] = []
  for (const url of urls) {
    const shared = sharedParts(
      parts,
      url.split('/').filter((part) => part !== ''),
    )
    if (shared < best + (near.length === 0 ? 1 : 0)) continue
    if (shared > best) near = []
    best = shared
    near.push(url)
  }
  return near.sort().slice(0, 8)
}

function sharedParts(parts: readonly string[], route: readonly string[]): number {
  let i = 0
  while (i < parts.length && i < route.length && (route[i] === parts[i] || route[i]!.startsWith(':'))) i++
  return i
}
