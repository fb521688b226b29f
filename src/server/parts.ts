// What the routes are made of, and the types they share.
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest, RawServerDefault } from 'fastify'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Type, type Static } from 'typebox'
import { EngineError } from '../core/errors.ts'
import { isUuid } from '../core/job/ids.ts'
import type { Limits } from '../core/limits.ts'
import type { Deployer } from '../deploy/deploy.ts'
import type { Database, Queryable } from '../store/db.ts'
import type { Enqueuer } from '../store/enqueuer.ts'
import type { Secrets } from '../store/secrets.ts'
import type { TurnMakers } from '../store/turns.ts'
import type { Identity } from '../store/accounts.ts'
import type { Admission } from './admission.ts'
import type { Histories } from './histories.ts'
import type { Identities } from './identities.ts'
import type { Metrics } from './metrics.ts'
import type { Runnables } from './runnables.ts'
import type { Waiters } from './waiters.ts'
import type { AcceptTracing } from './tracing.ts'
import type { QueueWatch } from './watch.ts'

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, TypeBoxTypeProvider>

export interface ServerParts {
  db: Database
  limits: Limits
  deployer: Deployer
  enqueuer: Enqueuer
  identities: Identities
  secrets: Secrets
  runnables: Runnables
  turnMakers: TurnMakers
  waiters: Waiters
  metrics: Metrics
  admission: Admission
  /** For reading jobs: see reads.ts. */
  reads: Queryable
  histories: Histories
  /** Event streams that are open. */
  streams: Set<AbortController>
  watch: QueueWatch
  tracing: AcceptTracing
  baseUrl: string
  /** Names this process where finished jobs are announced. */
  serverId: number
}

/** What a route asks of whoever calls it. Every route has one. */
export type Access =
  | 'public'
  /** Any valid token, whatever its scopes. */
  | 'anyone'
  /** Whoever has the URL, which is signed; the handler sees to it, and asks callerOf() who that is. */
  | 'signed'
  | {
      domain: 'users' | 'groups' | 'workspaces' | 'workers' | 'scripts' | 'flows' | 'jobs' | 'variables' | 'resources'
      action: 'read' | 'write' | 'run'
      kind?: 'flows' | 'scripts' | 'preview'
    }

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access
  }
  interface FastifyRequest {
    /** Set wherever access is not 'public'. */
    identity: Identity
  }
}

export type Request = FastifyRequest
export type Reply = FastifyReply

/** Schemas that many routes share. */
export const inWorkspace = Type.Object({ ws: Type.String() })
export const byPath = Type.Object({ ws: Type.String(), '*': Type.String({ minLength: 1 }) })
export const byId = Type.Object({ ws: Type.String(), id: Type.String() })

/** Lists by path, of what is few. Page 0 is the first, as 1 is: Windmill's CLI asks for it. */
export const pageQuery = Type.Object({
  page: Type.Optional(Type.Integer({ minimum: 0 })),
  per_page: Type.Optional(Type.Integer({ minimum: 1 })),
  path_start: Type.Optional(Type.String()),
})

export function pageOf(query: Static<typeof pageQuery>): { pathStart: string; limit: number; offset: number } {
  const { page = 1, per_page: perPage = rowsMax, path_start: pathStart = '' } = query
  const limit = Math.min(perPage, rowsMax)
  return { pathStart, limit, offset: Math.max(page - 1, 0) * limit }
}

const rowsMax = 1_000

/** `named`: the path in the body of an update. @throws EngineError E_INVALID */
export function unrenamed(what: string, path: string, named: string | undefined): void {
  if (named === undefined || named === path) return
  const text = `$.path is "${named}", but the ${what} is "${path}"; a ${what} is not renamed by updating it`
  throw new EngineError('E_INVALID', text, { at: '$.path' })
}

/** @throws EngineError E_INVALID */
export function uuidOf(id: string, at = 'id'): string {
  if (!isUuid(id)) throw new EngineError('E_INVALID', `${at} is not a job id: "${id.slice(0, 60)}"`, { at })
  return id.toLowerCase()
}

export function sendJson(reply: Reply, text: string): Reply {
  return reply.header('content-type', 'application/json; charset=utf-8').send(text)
}

/** One in the workspace, of who may do anything there. @throws EngineError E_FORBIDDEN */
export function mustBeAdmin(identity: Identity, workspaceId: string | null): void {
  if (identity.superAdmin || (workspaceId !== null && identity.members[workspaceId]?.isAdmin)) return
  const who = workspaceId === null ? 'a super admin' : `an admin of workspace "${workspaceId}"`
  throw new EngineError('E_FORBIDDEN', `only ${who} may do this`)
}
