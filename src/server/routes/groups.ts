// Groups of a workspace: who is in which. Steps that wait ask for members of them.
import { Type } from 'typebox'
import {
  addToGroup,
  createGroup,
  deleteGroup,
  getGroup,
  groupsOf,
  listGroups,
  removeFromGroup,
  updateGroup,
  type GroupRow,
} from '../../store/groups.ts'
import { inWorkspace, mustBeAdmin, type Access, type App, type ServerParts } from '../parts.ts'

const read: Access = { domain: 'groups', action: 'read' }
const write: Access = { domain: 'groups', action: 'write' }
const tags = ['groups']

const named = Type.Object({ ws: Type.String(), name: Type.String() })
const summary = Type.Optional(Type.Union([Type.String({ maxLength: 1_000 }), Type.Null()]))
const ofMember = Type.Object({ username: Type.String() })

export function groupRoutes(app: App, { db }: ServerParts): void {
  app.get(
    '/api/w/:ws/groups/list',
    {
      config: { access: read },
      schema: {
        summary: 'The groups, each with its members',
        tags,
        params: inWorkspace,
        querystring: Type.Partial(
          Type.Object({ page: Type.Integer({ minimum: 0 }), per_page: Type.Integer({ minimum: 1, maximum: 1_000 }) }),
        ),
      },
    },
    async ({ params, query }) => {
      const { page = 1, per_page: perPage = 1_000 } = query
      const groups = await listGroups(db.pool, params.ws)
      const from = (Math.max(page, 1) - 1) * perPage
      return groups.slice(from, from + perPage).map((group) => shown(params.ws, group))
    },
  )

  app.get(
    '/api/w/:ws/groups/listnames',
    {
      config: { access: read },
      schema: {
        summary: 'The names of the groups',
        tags,
        params: inWorkspace,
        querystring: Type.Object({ only_member_of: Type.Optional(Type.Boolean({ description: 'Those that you are in' })) }),
      },
    },
    async ({ params, query, identity }) => {
      if (query.only_member_of) return groupsOf(db.pool, params.ws, identity.email)
      const groups = await listGroups(db.pool, params.ws)
      return groups.map(({ name }) => name)
    },
  )

  app.get(
    '/api/w/:ws/groups/get/:name',
    { config: { access: read }, schema: { summary: 'A group with its members', tags, params: named } },
    async ({ params: { ws, name } }) => shown(ws, await getGroup(db.pool, { workspaceId: ws, name })),
  )

  app.post(
    '/api/w/:ws/groups/create',
    {
      config: { access: write },
      schema: { summary: 'Make a group', tags, params: inWorkspace, body: Type.Object({ name: Type.String(), summary }) },
    },
    async ({ params: { ws }, body, identity }, reply) => {
      mustBeAdmin(identity, ws)
      await createGroup(db.pool, { workspaceId: ws, name: body.name, summary: body.summary ?? '' })
      return reply.send(`Created group ${body.name}`)
    },
  )

  app.post(
    '/api/w/:ws/groups/update/:name',
    {
      config: { access: write },
      schema: { summary: 'Change what is said of a group', tags, params: named, body: Type.Object({ summary }) },
    },
    async ({ params: { ws, name }, body, identity }, reply) => {
      mustBeAdmin(identity, ws)
      await updateGroup(db.pool, { workspaceId: ws, name, summary: body.summary ?? '' })
      return reply.send(`Updated group ${name}`)
    },
  )

  app.delete(
    '/api/w/:ws/groups/delete/:name',
    { config: { access: write }, schema: { summary: 'Take a group away', tags, params: named } },
    async ({ params: { ws, name }, identity }, reply) => {
      mustBeAdmin(identity, ws)
      await deleteGroup(db.pool, { workspaceId: ws, name })
      return reply.send(`Deleted group ${name}`)
    },
  )

  app.post(
    '/api/w/:ws/groups/adduser/:name',
    {
      config: { access: write },
      schema: { summary: 'Put a member of the workspace in a group', tags, params: named, body: ofMember },
    },
    async ({ params: { ws, name }, body: { username }, identity }, reply) => {
      mustBeAdmin(identity, ws)
      await addToGroup(db.pool, { workspaceId: ws, name, username })
      return reply.send(`Added ${username} to group ${name}`)
    },
  )

  app.post(
    '/api/w/:ws/groups/removeuser/:name',
    { config: { access: write }, schema: { summary: 'Take somebody out of a group', tags, params: named, body: ofMember } },
    async ({ params: { ws, name }, body: { username }, identity }, reply) => {
      mustBeAdmin(identity, ws)
      await removeFromGroup(db.pool, { workspaceId: ws, name, username })
      return reply.send(`Removed ${username} from group ${name}`)
    },
  )
}

/** As Windmill has them. Rights to change a group are those of the workspace's admins. */
function shown(workspaceId: string, { name, summary, members }: GroupRow): object {
  return { workspace_id: workspaceId, name, summary, members, extra_perms: {} }
}
