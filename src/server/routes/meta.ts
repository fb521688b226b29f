// About the server itself: its version, whether it lives, whether it can work, its metrics.
import { Type } from 'typebox'
import type { App, ServerParts } from '../parts.ts'

/** The dialect spoken: clients read the number behind the `v`. */
const dialect = 'CE v1.818.0'

export function metaRoutes(app: App, { metrics, ready }: ServerParts & { ready: () => Promise<void> }): void {
  const config = { access: 'public' } as const
  const tags = ['server']

  app.get('/api/version', { config, schema: { summary: 'The dialect and its version', tags } }, (_request, reply) => {
    return reply.header('x-powered-by', 'millrace').send(dialect)
  })
  app.get('/healthz', { config, schema: { summary: 'The process lives', tags } }, () => ({ ok: true }))
  app.get(
    '/readyz',
    { config, schema: { summary: 'The database answers, and has the schema of this server', tags } },
    async () => {
      await ready()
      return { ok: true }
    },
  )
  app.get(
    '/metrics',
    { config, schema: { summary: 'Prometheus metrics', tags, produces: ['text/plain'] } },
    async (_request, reply) => {
      return reply.type(metrics.contentType).send(await metrics.text())
    },
  )
  app.get(
    '/api/openapi.json',
    { config, schema: { summary: 'This API, as OpenAPI 3', tags, response: { 200: Type.Any() } } },
    (_request, reply) => reply.type('application/json; charset=utf-8').send(JSON.stringify(app.swagger())),
  )
}
