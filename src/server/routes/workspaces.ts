// Workspaces: which there are, making one, and what one does when jobs fail.
import { Type, type Static } from 'typebox'
import { addMember, workspacesOf } from '../../store/accounts.ts'
import { EngineError } from '../../core/errors.ts'
import { assertStorable, type Json } from '../../core/json.ts'
import { setErrorHandler, workspaceSettings, type ErrorHandler } from '../../store/failures.ts'
import { createWorkspace } from '../../store/workspaces.ts'
import { inWorkspace, mustBeAdmin, sendJson, type Access, type App, type ServerParts } from '../parts.ts'

const read: Access = { domain: 'workspaces', action: 'read' }
const tags = ['workspaces']

const ofErrorHandler = Type.Object({
  path: Type.Optional(
    Type.Union([Type.String(), Type.Null()], { description: '`script/<path>` or `flow/<path>`; none: no handler any more' }),
  ),
  extra_args: Type.Optional(Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])),
  muted_on_cancel: Type.Optional(Type.Boolean({ description: 'Not started for canceled jobs' })),
  muted_on_user_path: Type.Optional(Type.Boolean({ description: 'Not started for what lies under u/' })),
  error_handler: Type.Optional(Type.Union([Type.String(), Type.Null()], { description: 'The older form of path' })),
  error_handler_extra_args: Type.Optional(Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()])),
  error_handler_muted_on_cancel: Type.Optional(Type.Boolean()),
})

export function workspaceRoutes(app: App, { db, identities, limits }: ServerParts): void {
  app.get(
    '/api/workspaces/list',
    { config: { access: read }, schema: { summary: 'The workspaces you are in', tags } },
    async (request) => {
      const mine = await workspacesOf(db.pool, request.identity)
      const only = request.identity.workspaceId
      return mine.filter((w) => only === null || w.id === only).map((w) => ({ id: w.id, name: w.name, owner: '', color: null }))
    },
  )

  app.get(
    '/api/workspaces/users',
    { config: { access: read }, schema: { summary: 'You, in each of your workspaces', tags } },
    async (request) => {
      const { email, username } = request.identity
      const mine = await workspacesOf(db.pool, request.identity)
      return { email, workspaces: mine.map((w) => ({ id: w.id, name: w.name, username, color: null, operator_settings: null })) }
    },
  )

  app.post(
    '/api/workspaces/exists',
    {
      config: { access: read },
      schema: { summary: 'Is there such a workspace?', tags, body: Type.Object({ id: Type.String() }) },
    },
    async (request, reply) => sendJson(reply, JSON.stringify(await identities.workspaceExists(request.body.id))),
  )

  app.post(
    '/api/workspaces/create',
    {
      config: { access: { domain: 'workspaces', action: 'write' } },
      schema: {
        summary: 'Make a workspace',
        tags,
        body: Type.Object({
          id: Type.String(),
          name: Type.Optional(Type.String({ maxLength: 200 })),
          username: Type.Optional(Type.String()),
        }),
      },
    },
    async (request, reply) => {
      const { identity, body } = request
      mustBeAdmin(identity, null)
      await createWorkspace(db.pool, { id: body.id, name: body.name ?? body.id })
      await addMember(db.pool, { workspaceId: body.id, email: identity.email, isAdmin: true })
      identities.forget()
      return reply.code(201).send(`Created workspace ${body.id}`)
    },
  )

  app.post(
    '/api/w/:ws/workspaces/edit_error_handler',
    {
      config: { access: { domain: 'workspaces', action: 'write' } },
      schema: { summary: 'What is started when a job of the workspace fails', tags, params: inWorkspace, body: ofErrorHandler },
    },
    async ({ identity, params, body }, reply) => {
      mustBeAdmin(identity, params.ws)
      await setErrorHandler(db.pool, params.ws, errorHandlerOf(body, limits.jsonDepthMax))
      return reply.send(`Edit error_handler for workspace ${params.ws}`)
    },
  )

  app.get(
    '/api/w/:ws/workspaces/get_settings',
    { config: { access: read }, schema: { summary: 'The settings of a workspace', tags, params: inWorkspace } },
    async ({ identity, params }) => {
      mustBeAdmin(identity, params.ws)
      const { id, name, errorHandler } = (await workspaceSettings(db.pool, params.ws))!
      return {
        workspace_id: id,
        name,
        error_handler: errorHandler ?? undefined,
        error_handler_extra_args: errorHandler?.extra_args ?? undefined,
        error_handler_muted_on_cancel: errorHandler?.muted_on_cancel ?? false,
      }
    },
  )
}

/** @throws EngineError E_INVALID, E_JSON */
function errorHandlerOf(body: Static<typeof ofErrorHandler>, depthMax: number): ErrorHandler | null {
  const old = body.path === undefined && body.error_handler !== undefined
  const path = (old ? body.error_handler : body.path) || null
  if (path === null) return null
  const at = old ? 'error_handler' : 'path'
  if (!/^(script|flow)\/[^/]./.test(path)) {
    const text = `"${path.slice(0, 100)}" names no handler: it is "script/" or "flow/", and the path of one`
    throw new EngineError('E_INVALID', text, { at: `$.${at}` })
  }
  const extra = (old ? body.error_handler_extra_args : body.extra_args) ?? null
  assertStorable(extra, `$.${old ? 'error_handler_extra_args' : 'extra_args'}`, depthMax)
  return {
    path,
    extra_args: extra as { [name: string]: Json } | null,
    muted_on_cancel: (old ? body.error_handler_muted_on_cancel : body.muted_on_cancel) ?? false,
    muted_on_user_path: body.muted_on_user_path ?? false,
  }
}
