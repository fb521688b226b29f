// The HTTP server: its parts, its routes, and what runs beside them (one listener, one poll for those who wait).
//   P1. Every route says what access it wants (plugins/auth.ts); every failure is answered in one shape (plugins/errors.ts).
//   P2. Closing: new requests are refused, callers who wait are told to come back, what was accepted is stored.
import swagger from '@fastify/swagger'
import { Ajv } from 'ajv'
import Fastify, { LogController, type FastifyBaseLogger } from 'fastify'
import { randomInt } from 'node:crypto'
import type { Limits } from '../core/limits.ts'
import { createDeployer, type Deployer } from '../deploy/deploy.ts'
import type { Database } from '../store/db.ts'
import { listenerWithFailpoints } from '../store/failpoint_database.ts'
import type { Failpoints } from '../store/failpoints.ts'
import { createEnqueuer, type Enqueuer } from '../store/enqueuer.ts'
import { createJobTokens } from '../store/job_tokens.ts'
import { controlChannel, doneChannel } from '../store/jobs.ts'
import { createSecrets } from '../store/secrets.ts'
import { openReads } from '../store/reads.ts'
import { createListener, type Listener } from '../store/listen.ts'
import { assertCurrent } from '../store/migrate.ts'
import { createTurnMakers } from '../store/turns.ts'
import { createAdmission, type Admission } from './admission.ts'
import { readJsonBodies } from './bodies.ts'
import { createHistories } from './histories.ts'
import { createIdentities } from './identities.ts'
import { createMetrics } from './metrics.ts'
import type { App, ServerParts } from './parts.ts'
import { guardRoutes } from './plugins/auth.ts'
import { answerErrors } from './plugins/errors.ts'
import { answerWithFailpoints } from './plugins/failpoints.ts'
import { flowRoutes } from './routes/flows.ts'
import { groupRoutes } from './routes/groups.ts'
import { jobListRoutes } from './routes/job_lists.ts'
import { jobUpdateRoutes } from './routes/job_updates.ts'
import { jobRoutes } from './routes/jobs.ts'
import { metaRoutes } from './routes/meta.ts'
import { replayRoutes } from './routes/replays.ts'
import { resourceRoutes } from './routes/resources.ts'
import { restartRoutes } from './routes/restarts.ts'
import { resumeRoutes } from './routes/resume.ts'
import { runRoutes } from './routes/run.ts'
import { runWaitRoutes } from './routes/run_wait.ts'
import { scriptRoutes } from './routes/scripts.ts'
import { userStateRoutes } from './routes/user_states.ts'
import { variableRoutes } from './routes/variables.ts'
import { userRoutes } from './routes/users.ts'
import { workerRoutes } from './routes/workers.ts'
import { workspaceRoutes } from './routes/workspaces.ts'
import { createRunnables } from './runnables.ts'
import { createAcceptTracing } from './tracing.ts'
import { createWaiters } from './waiters.ts'
import { createQueueWatch } from './watch.ts'

/** How long a request may take to arrive, body and all. */
const requestMs = 60_000

export interface ServerOptions {
  db: Database
  limits: Limits
  home: string
  baseUrl: string
  log: FastifyBaseLogger
  deployer?: Deployer
  enqueuer?: Enqueuer
  serverId?: number
  failpoints?: Failpoints | undefined
}

/** The server, not yet listening. `close` of what it gives ends everything it began. */
export async function createServer(options: ServerOptions): Promise<App> {
  const { db, limits, home, baseUrl, log, failpoints, serverId = randomInt(1, 2 ** 31) } = options
  const jobTokens = await createJobTokens(db) // first: it may fail, and nothing has begun yet
  const deployer = options.deployer ?? createDeployer({ db, limits, home })
  const enqueuer = options.enqueuer ?? createEnqueuer({ db, limits })
  const identities = createIdentities({ db, jobTokens })
  const turnMakers = createTurnMakers(limits)
  const runnables = createRunnables({ db, turnMakers })
  const waiters = createWaiters({ db, limits })
  const reads = openReads(db, limits)
  const streams = new Set<AbortController>()
  const admission = createAdmission(limits)
  const watch = createQueueWatch({ reads })
  const metrics = createMetrics({
    db,
    enqueuer,
    watch,
    waiting: () => waiters.count(),
    stages: () => [
      { name: 'requests', fill: admission.requests(), limit: limits.requestsMax },
      { name: 'request_bytes', fill: admission.bodyBytes(), limit: limits.requestBytesMax },
      { name: 'pending_bytes', fill: enqueuer.pendingBytes(), limit: limits.pendingBytesMax },
      { name: 'waiters', fill: waiters.count(), limit: limits.waitersMax },
      { name: 'streams', fill: streams.size, limit: limits.streamsMax },
      { name: 'reads_waiting', fill: reads.waiting(), limit: limits.readsWaitingMax },
    ],
  })
  const parts: ServerParts = {
    db,
    limits,
    deployer,
    enqueuer,
    identities,
    secrets: createSecrets(db.pool),
    runnables,
    turnMakers,
    waiters,
    metrics,
    admission,
    reads,
    histories: createHistories({ on: reads, limits }),
    streams,
    watch,
    tracing: createAcceptTracing(),
    baseUrl,
    serverId,
  }

  const app = createApp(limits, log)
  if (failpoints) answerWithFailpoints(app, failpoints)
  answerErrors(app, parts)
  admitRequests(app, admission)
  await describe(app, baseUrl)
  guardRoutes(app, identities)
  await app.register(async (scope) => {
    readJsonBodies(scope, limits)
    metaRoutes(scope, { ...parts, ready: () => assertCurrent(db) })
    for (const routes of [
      workspaceRoutes,
      workerRoutes,
      userRoutes,
      groupRoutes,
      scriptRoutes,
      flowRoutes,
      jobRoutes,
      jobUpdateRoutes,
      jobListRoutes,
      replayRoutes,
      restartRoutes,
      userStateRoutes,
      variableRoutes,
      resourceRoutes,
    ])
      routes(scope, parts)
  })
  // Bodies of these are text until they are arguments, so they have scopes of their own.
  for (const routes of [runRoutes, runWaitRoutes, resumeRoutes]) await app.register(async (scope) => routes(scope as App, parts))

  const listen = failpoints ? listenerWithFailpoints(failpoints) : createListener
  let listener: Listener | null = null
  app.addHook('onReady', async () => {
    listener = await listen({
      db,
      channels: { [doneChannel(serverId)]: waiters.announced, [controlChannel]: runnables.announced },
      onConnect() {
        runnables.forgetAll()
        void waiters.poll()
      },
      report: (event) => log.warn(event, 'listening for finished jobs'),
    })
  })
  app.addHook('preClose', async () => waiters.close())
  app.addHook('onClose', async () => {
    await listener?.close()
    await reads.close()
    if (options.enqueuer === undefined) await enqueuer.close()
  })
  return app
}

/** Before anything is looked up for a request, and before its body is read. */
function admitRequests(app: App, admission: Admission): void {
  app.addHook('onRequest', (request, reply, done) => {
    try {
      // What tells how the server is must be told above all when it is busy.
      if (request.routeOptions.config.access !== 'public') admission.enter(request, reply)
      done()
    } catch (error) {
      done(error as Error)
    }
  })
}

function createApp(limits: Limits, log: FastifyBaseLogger): App {
  const app = Fastify({
    loggerInstance: log,
    // Nothing is logged per request, so no request needs a log of its own.
    logController: new LogController({ disableRequestLogging: true }),
    childLoggerFactory: (logger) => logger,
    bodyLimit: limits.bodyBytesMax,
    requestTimeout: requestMs,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 500, ignoreTrailingSlash: false },
  })
  // Query and path are text, so they are read as what the schema says; bodies say themselves what they are.
  const reading = new Ajv({ coerceTypes: true, useDefaults: true, strict: false })
  const exact = new Ajv({ strict: false })
  app.setValidatorCompiler(({ schema, httpPart }) => (httpPart === 'body' ? exact : reading).compile(schema as object))
  app.setSerializerCompiler(() => (value) => JSON.stringify(value))
  return app
}

async function describe(app: App, baseUrl: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Millrace', description: 'Flows at the speed of an event stream.', version: '0.1.0' },
      servers: [{ url: baseUrl }],
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    // A wildcard is a path with slashes in it; OpenAPI has only names.
    transform: ({ schema, url }) => {
      const params = schema?.params as { properties?: Record<string, unknown>; required?: string[] } | undefined
      if (!url.endsWith('/*') || !params?.properties) return { schema, url }
      const { '*': path, ...properties } = params.properties
      const required = params.required?.map((name) => (name === '*' ? 'path' : name))
      return {
        schema: { ...schema, params: { ...params, properties: { ...properties, path }, required } },
        url: `${url.slice(0, -1)}:path`,
      }
    },
  })
}
