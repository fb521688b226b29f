// Who asks, and may they? Every route says what access it wants (`config.access`); a route that does not is a bug.
//   A1. A token comes as `Authorization: Bearer`, as `?token=` or as the cookie `token`, in this order.
//   A2. A workspace that does not exist and one the caller is no member of look the same: 404.
//   A3. Scopes only take away: a token never does more than its owner may.
// HOT. With a token seen in the last seconds: two Map.get, no await.
import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { EngineError } from '../../core/errors.ts'
import type { Identity } from '../../store/accounts.ts'
import type { Identities } from '../identities.ts'
import type { Access, App } from '../parts.ts'
import { scopesAllow } from '../scopes.ts'

export function guardRoutes(app: App, identities: Identities): void {
  app.decorateRequest('identity', null as unknown as Identity)
  app.addHook('onRoute', (route) => {
    const access = route.config?.access
    if (access === undefined) throw new Error(`route ${String(route.method)} ${route.url} says nothing about access`)
    if (access === 'public') return
    const guard = access === 'signed' ? noNul : createGuard(identities, access, route.url.includes('/w/:ws'))
    route.onRequest = [guard, ...[route.onRequest ?? []].flat()] as onRequestHookHandler[]
  })
}

/** Calls `done`, or gives a promise: Fastify takes either from a hook of three parameters. */
type Guard = (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => void | Promise<void>

/** Postgres cannot hold a NUL, and no name of anything has one. */
function assertNoNul(request: FastifyRequest): void {
  if (request.raw.url!.includes('%00')) throw new EngineError('E_INVALID', 'the URL holds a NUL (%00)', { at: 'url' })
}

const noNul: Guard = (request, _reply, done) => {
  try {
    assertNoNul(request)
    done()
  } catch (error) {
    done(error as Error)
  }
}

/** Whose token came with a request to a signed URL; null: nobody's, or one that may not answer for its owner here. */
export async function callerOf(identities: Identities, request: FastifyRequest, workspaceId: string): Promise<Identity | null> {
  const { authorization } = request.headers
  if (authorization !== undefined && !/^bearer /i.test(authorization)) return null // a proxy's own
  const token = tokenIn(request)
  if (token === null) return null
  const identity = identities.cached(token) ?? (await identities.find(token))
  if (!identity || identity.readOnly) return null
  if (identity.workspaceId !== null && identity.workspaceId !== workspaceId) return null
  if (identity.members[workspaceId] === undefined && !identity.superAdmin) return null
  if (identity.scopes !== null && !scopesAllow(identity.scopes, { domain: 'jobs', action: 'write' })) return null
  return identity
}

type Guarded = Exclude<Access, 'public' | 'signed'>

function createGuard(identities: Identities, access: Guarded, inWorkspace: boolean): Guard {
  return (request, _reply, done) => {
    try {
      assertNoNul(request)
      const token = tokenOf(request)
      const workspaceId = inWorkspace ? (request.params as { ws: string }).ws : null
      const identity = identities.cached(token)
      if (identity !== undefined && (workspaceId === null || identities.workspaceKnown(workspaceId))) {
        admit(request, identity, workspaceId, access)
        return done()
      }
      return admitAfterAsking(identities, token, request, workspaceId, access)
    } catch (error) {
      return done(error as Error)
    }
  }
}

async function admitAfterAsking(
  identities: Identities,
  token: string,
  request: FastifyRequest,
  workspaceId: string | null,
  access: Guarded,
): Promise<void> {
  const identity = identities.cached(token) ?? (await identities.find(token))
  if (!identity) throw new EngineError('E_UNAUTHORIZED', 'the token is unknown, expired or taken back', { at: 'authorization' })
  if (workspaceId !== null && !(await identities.workspaceExists(workspaceId))) throw noWorkspace(workspaceId)
  admit(request, identity, workspaceId, access)
}

function admit(request: FastifyRequest, identity: Identity, workspaceId: string | null, access: Guarded): void {
  if (workspaceId !== null) {
    if (identity.workspaceId !== null && identity.workspaceId !== workspaceId) {
      throw new EngineError('E_FORBIDDEN', `this token is only for workspace "${identity.workspaceId}"`, { at: 'authorization' })
    }
    const rights = identity.members[workspaceId]
    if (rights === undefined && !identity.superAdmin) throw noWorkspace(workspaceId)
    if (rights?.operator && !identity.superAdmin && wantsDeveloper(access) && !(identity.ofJob && keepsState(access))) {
      throw new EngineError('E_FORBIDDEN', 'operators may run what is deployed, and change nothing')
    }
  }
  const method = request.method
  if (identity.readOnly && method !== 'GET' && method !== 'HEAD') {
    throw new EngineError('E_FORBIDDEN', `this token is read-only, and ${method} changes something`, { at: 'authorization' })
  }
  if (identity.scopes !== null && access !== 'anyone') {
    const path = (request.params as { '*'?: string })['*']
    if (!scopesAllow(identity.scopes, { ...access, path })) {
      const wanted = [access.domain, access.action, access.kind, path].filter((part) => part !== undefined).join(':')
      throw new EngineError('E_FORBIDDEN', `the scopes of this token do not allow ${wanted}`, {
        at: 'authorization',
        allowed: identity.scopes,
      })
    }
  }
  request.identity = identity
}

/** Code that a developer deployed keeps its state, whoever starts it. */
const keepsState = (access: Guarded): boolean =>
  access !== 'anyone' && (access.domain === 'variables' || access.domain === 'resources')

const wantsDeveloper = (access: Guarded): boolean =>
  access !== 'anyone' && (access.kind === 'preview' || (access.action === 'write' && access.domain !== 'jobs'))

const noWorkspace = (id: string): EngineError =>
  new EngineError('E_NOT_FOUND', `no workspace "${id}" that you are a member of; \`GET /api/workspaces/list\` names yours`, {
    at: 'url',
  })

function tokenOf(request: FastifyRequest): string {
  const token = tokenIn(request)
  if (token !== null) return token
  throw new EngineError('E_UNAUTHORIZED', 'no token: send `Authorization: Bearer <token>`', { at: 'authorization' })
}

function tokenIn(request: FastifyRequest): string | null {
  const header = request.headers.authorization
  if (header !== undefined) {
    if (header.length > 7 && header.slice(0, 7).toLowerCase() === 'bearer ') return header.slice(7).trim()
    throw new EngineError('E_UNAUTHORIZED', 'the authorization header is not `Bearer <token>`', { at: 'authorization' })
  }
  const query = (request.query as { token?: unknown }).token
  if (typeof query === 'string' && query !== '') return query
  const cookie = request.headers.cookie
  if (cookie !== undefined) {
    for (const pair of cookie.split(';')) {
      const cut = pair.indexOf('=')
      if (pair.slice(0, cut).trim() === 'token') return pair.slice(cut + 1).trim()
    }
  }
  return null
}
