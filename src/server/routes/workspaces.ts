// Workspaces: which there are, and making one.
import { Type } from 'typebox'
import { addMember, workspacesOf } from '../../store/accounts.ts'
import { createWorkspace } from '../../store/workspaces.ts'
import { mustBeAdmin, sendJson, type Access, type App, type ServerParts } from '../parts.ts'

const read: Access = { domain: 'workspaces', action: 'read' }
const tags = ['workspaces']

export function workspaceRoutes(app: App, { db, identities }: ServerParts): void {
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
}
