// Accounts, members of workspaces, and tokens.
import { Type } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import {
  addMember,
  createAccount,
  createToken,
  deleteToken,
  getAccount,
  listAccounts,
  listMembers,
  listTokens,
  removeMember,
  type Identity,
} from '../../store/accounts.ts'
import { groupsOf } from '../../store/groups.ts'
import { inWorkspace, mustBeAdmin, type Access, type App, type ServerParts } from '../parts.ts'
import { assertScopes } from '../scopes.ts'

const read: Access = { domain: 'users', action: 'read' }
const write: Access = { domain: 'users', action: 'write' }
const tags = ['users']

const newToken = Type.Object({
  label: Type.Optional(Type.Union([Type.String({ maxLength: 100 }), Type.Null()])),
  expiration: Type.Optional(Type.Union([Type.String({ description: 'ISO 8601' }), Type.Null()])),
  scopes: Type.Optional(Type.Union([Type.Array(Type.String(), { maxItems: 100 }), Type.Null()])),
  workspace_id: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  read_only: Type.Optional(Type.Boolean()),
  email: Type.Optional(Type.String({ description: 'Whose token, if not your own; for super admins' })),
})

export function userRoutes(app: App, { db, identities }: ServerParts): void {
  app.get('/api/users/whoami', { config: { access: 'anyone' }, schema: { summary: 'Whose token this is', tags } }, (request) => {
    const { email, username, superAdmin } = request.identity
    return {
      email,
      username,
      name: username,
      login_type: 'token',
      super_admin: superAdmin,
      verified: true,
      operator_only: false,
      first_time_user: false,
      role_source: 'manual',
      disabled: false,
    }
  })

  app.get(
    '/api/w/:ws/users/whoami',
    {
      config: { access: 'anyone' },
      schema: { summary: 'Whose token this is, and what they may do here', tags, params: inWorkspace },
    },
    async (request) => {
      const { email, username, superAdmin, createdAt, members } = request.identity
      const rights = members[request.params.ws]
      return {
        email,
        username,
        is_admin: superAdmin || rights?.isAdmin === true,
        is_super_admin: superAdmin,
        operator: rights?.operator === true && !superAdmin,
        created_at: createdAt,
        disabled: false,
        groups: await groupsOf(db.pool, request.params.ws, email),
        folders: [],
        folders_read: [],
        folders_owners: [],
      }
    },
  )

  app.get(
    '/api/users/list_as_super_admin',
    { config: { access: read }, schema: { summary: 'Every account', tags } },
    async (request) => {
      mustBeAdmin(request.identity, null)
      const accounts = await listAccounts(db.pool)
      return accounts.map((a) => ({
        email: a.email,
        username: a.username,
        name: a.username,
        super_admin: a.superAdmin,
        created_at: a.createdAt,
      }))
    },
  )

  app.post(
    '/api/users/create',
    {
      config: { access: write },
      schema: {
        summary: 'Make an account',
        tags,
        body: Type.Object({
          email: Type.String({ maxLength: 200 }),
          username: Type.Optional(Type.String()),
          super_admin: Type.Optional(Type.Boolean()),
        }),
      },
    },
    async (request, reply) => {
      mustBeAdmin(request.identity, null)
      const { email, username, super_admin: superAdmin = false } = request.body
      await createAccount(db.pool, username === undefined ? { email, superAdmin } : { email, username, superAdmin })
      return reply.code(201).send(`account ${email} created`)
    },
  )

  app.get(
    '/api/w/:ws/users/list',
    { config: { access: read }, schema: { summary: 'The members', tags, params: inWorkspace } },
    async (request) => {
      const { ws } = request.params
      const members = await listMembers(db.pool, ws)
      return members.map((m) => ({
        workspace_id: ws,
        email: m.email,
        username: m.username,
        is_admin: m.isAdmin,
        operator: m.operator,
        created_at: m.createdAt,
        disabled: false,
      }))
    },
  )

  app.post(
    '/api/w/:ws/workspaces/add_user',
    {
      config: { access: write },
      schema: {
        summary: 'Add a member, or change their rights',
        tags,
        params: inWorkspace,
        body: Type.Object({
          email: Type.String(),
          is_admin: Type.Optional(Type.Boolean()),
          operator: Type.Optional(Type.Boolean()),
        }),
      },
    },
    async (request, reply) => {
      const { ws: workspaceId } = request.params
      mustBeAdmin(request.identity, workspaceId)
      const { email, is_admin: isAdmin = false, operator = false } = request.body
      await getAccount(db.pool, email)
      await addMember(db.pool, { workspaceId, email, isAdmin, operator })
      identities.forget()
      return reply.code(201).send(`${email} is a member of ${workspaceId}`)
    },
  )

  app.delete(
    '/api/w/:ws/users/delete/:username',
    {
      config: { access: write },
      schema: { summary: 'Remove a member', tags, params: Type.Object({ ws: Type.String(), username: Type.String() }) },
    },
    async (request, reply) => {
      const { ws: workspaceId, username } = request.params
      mustBeAdmin(request.identity, workspaceId)
      await removeMember(db.pool, { workspaceId, username })
      identities.forget()
      return reply.send(`${username} is no member of ${workspaceId} any more`)
    },
  )

  app.post(
    '/api/users/tokens/create',
    {
      config: { access: write },
      schema: {
        summary: 'Make a token',
        description: 'The answer is its text, which cannot be read again.',
        tags,
        body: newToken,
      },
    },
    async (request, reply) => {
      const { identity, body } = request
      mustBeUnrestricted(identity)
      const email = body.email ?? identity.email
      if (email !== identity.email) {
        mustBeAdmin(identity, null)
        await getAccount(db.pool, email)
      }
      const scopes = body.scopes ?? null
      if (scopes) assertScopes(scopes)
      const workspaceId = body.workspace_id ?? null
      if (workspaceId !== null && !(await identities.workspaceExists(workspaceId))) {
        throw new EngineError('E_NOT_FOUND', `no workspace "${workspaceId}"`, { at: '$.workspace_id' })
      }
      const token = await createToken(db.pool, {
        label: body.label ?? '',
        email,
        workspaceId,
        scopes,
        readOnly: body.read_only ?? false,
        expiresAt: expiryOf(body.expiration ?? null),
      })
      return reply.code(201).send(token)
    },
  )

  app.get(
    '/api/users/tokens/list',
    {
      config: { access: read },
      schema: {
        summary: 'Your tokens',
        tags,
        querystring: Type.Partial(
          Type.Object({ page: Type.Integer({ minimum: 0 }), per_page: Type.Integer({ minimum: 1, maximum: 1_000 }) }),
        ),
      },
    },
    async (request) => {
      const { page = 1, per_page: perPage = 100 } = request.query
      const rows = await listTokens(db.pool, request.identity.email, { page: Math.max(page, 1), perPage })
      return rows.map((t) => ({
        token_prefix: t.prefix,
        label: t.label,
        workspace_id: t.workspaceId,
        scopes: t.scopes,
        read_only: t.readOnly,
        expiration: t.expiresAt,
        created_at: t.createdAt,
        last_used_at: t.lastUsedAt,
      }))
    },
  )

  app.delete(
    '/api/users/tokens/delete/:prefix',
    { config: { access: write }, schema: { summary: 'Take a token back', tags, params: Type.Object({ prefix: Type.String() }) } },
    async (request, reply) => {
      await deleteToken(db.pool, request.identity.email, request.params.prefix)
      identities.forget()
      return reply.send(`tokens deleted: ${request.params.prefix}`)
    },
  )
}

/** A token that may not do everything must not make one that may. */
function mustBeUnrestricted({ scopes, workspaceId, readOnly }: Identity): void {
  if (scopes === null && workspaceId === null && !readOnly) return
  throw new EngineError('E_FORBIDDEN', 'a token with scopes, or for one workspace, cannot make tokens', { at: 'authorization' })
}

function expiryOf(text: string | null): Date | null {
  if (text === null) return null
  const at = new Date(text)
  if (Number.isNaN(at.getTime())) {
    throw new EngineError('E_INVALID', '$.expiration is not a time as 2030-01-31T12:00:00Z', { at: '$.expiration' })
  }
  return at
}
