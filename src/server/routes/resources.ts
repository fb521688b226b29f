// Resources: JSON of a workspace that steps read by name. Shapes and names are those Windmill's SDKs and CLI use.
import { Type } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import type { JsonText } from '../../core/json.ts'
import { LookupFault, textOf, type Lookup } from '../../core/lookups.ts'
import { assertPath } from '../../deploy/paths.ts'
import { resolvedNow } from '../../store/lookups.ts'
import {
  createResource,
  deleteResource,
  findResource,
  getResource,
  listResources,
  updateResource,
  type ResourceRow,
} from '../../store/resources.ts'
import { objectText } from '../job_view.ts'
import { assertMayRead } from '../naming.ts'
import { byPath, inWorkspace, pageOf, pageQuery, sendJson, unrenamed, type Access, type App, type ServerParts } from '../parts.ts'

const read: Access = { domain: 'resources', action: 'read' }
const write: Access = { domain: 'resources', action: 'write' }
const tags = ['resources']

const fields = {
  value: Type.Unknown({ description: 'Any JSON; `$var:path` and `$res:path` in it stand for what they name' }),
  resource_type: Type.String(),
  description: Type.String(),
}
const created = Type.Object({
  path: Type.String(),
  value: Type.Optional(fields.value),
  resource_type: Type.Optional(fields.resource_type),
  description: Type.Optional(fields.description),
})
const changed = Type.Partial(Type.Object({ path: Type.String(), ...fields }))
const listQuery = Type.Object({
  ...pageQuery.properties,
  resource_type: Type.Optional(Type.String({ description: 'Types, divided by commas' })),
  resource_type_exclude: Type.Optional(Type.String({ description: 'Types that are left out, divided by commas' })),
})

function shown(row: ResourceRow, workspaceId: string): JsonText {
  const { path, value, resourceType, description, editedBy, editedAt } = row
  const plain = { workspace_id: workspaceId, path, resource_type: resourceType, description }
  const about = { created_by: editedBy, edited_at: editedAt, is_oauth: false, is_expired: false, extra_perms: {} }
  return objectText({ ...plain, ...about }, { value })
}

const namesIn = (list: string | undefined): string[] | null => (list === undefined ? null : list.split(','))

export function resourceRoutes(app: App, { db, secrets }: ServerParts): void {
  const on = db.pool

  app.post(
    '/api/w/:ws/resources/create',
    {
      config: { access: write },
      schema: {
        summary: 'A new resource',
        tags,
        params: inWorkspace,
        body: created,
        querystring: Type.Object({ update_if_exists: Type.Optional(Type.Boolean()) }),
      },
    },
    async (request, reply) => {
      const { path, value = null, resource_type: resourceType = '', description = '' } = request.body
      assertPath(path)
      const place = { workspaceId: request.params.ws, path }
      const values = { value: JSON.stringify(value), resourceType, description, by: request.identity.username }
      await createResource(on, { ...place, ...values, orUpdate: request.query.update_if_exists ?? false })
      return reply.code(201).send(`resource ${path} created`)
    },
  )

  app.post(
    '/api/w/:ws/resources/update/*',
    {
      config: { access: write },
      schema: { summary: 'Change a resource; what is not given stays', tags, params: byPath, body: changed },
    },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      const { value, resource_type: resourceType, description } = request.body
      unrenamed('resource', path, request.body.path)
      const text = value === undefined ? undefined : JSON.stringify(value)
      const by = request.identity.username
      await updateResource(on, { workspaceId, path }, { value: text, resourceType, description, by })
      return reply.send(`resource ${path} updated`)
    },
  )

  app.post(
    '/api/w/:ws/resources/update_value/*',
    {
      config: { access: write },
      schema: {
        summary: 'Change the value of a resource',
        tags,
        params: byPath,
        body: Type.Object({ value: Type.Optional(fields.value) }),
      },
    },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      const value = JSON.stringify(request.body.value ?? null)
      await updateResource(on, { workspaceId, path }, { value, by: request.identity.username })
      return reply.send(`value of resource ${path} updated`)
    },
  )

  app.get(
    '/api/w/:ws/resources/get/*',
    { config: { access: read }, schema: { summary: 'A resource', tags, params: byPath } },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      return sendJson(reply, shown(await getResource(on, { workspaceId, path }), workspaceId))
    },
  )

  app.get(
    '/api/w/:ws/resources/get_value/*',
    { config: { access: read }, schema: { summary: 'The value of a resource, as it was written', tags, params: byPath } },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      return sendJson(reply, (await getResource(on, { workspaceId, path })).value)
    },
  )

  app.get(
    '/api/w/:ws/resources/get_value_interpolated/*',
    {
      config: { access: read },
      schema: { summary: 'The value of a resource, with what it names in place: secrets too', tags, params: byPath },
    },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      await getResource(on, { workspaceId, path }) // one that is not there is a 404; one that it names is a fault of it
      try {
        const text = JSON.stringify(textOf({ kind: 'resource', path }))
        const mayRead = (lookup: Lookup): void => assertMayRead(request.identity, lookup, 'authorization')
        return sendJson(reply, await resolvedNow({ on, secrets }, workspaceId, text, mayRead))
      } catch (error) {
        throw error instanceof LookupFault ? new EngineError('E_INVALID', error.message, { at: 'path' }) : error
      }
    },
  )

  app.get(
    '/api/w/:ws/resources/exists/*',
    { config: { access: read }, schema: { summary: 'Is there such a resource?', tags, params: byPath } },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      return sendJson(reply, JSON.stringify((await findResource(on, { workspaceId, path })) !== null))
    },
  )

  app.get(
    '/api/w/:ws/resources/list',
    { config: { access: read }, schema: { summary: 'The resources', tags, params: inWorkspace, querystring: listQuery } },
    async (request, reply) => {
      const { ws: workspaceId } = request.params
      const { resource_type: types, resource_type_exclude: otherThan } = request.query
      const filter = { types: namesIn(types), otherThan: namesIn(otherThan), ...pageOf(request.query) }
      const rows = await listResources(on, { workspaceId, ...filter })
      return sendJson(reply, `[${rows.map((row) => shown(row, workspaceId)).join(',')}]`)
    },
  )

  app.delete(
    '/api/w/:ws/resources/delete/*',
    { config: { access: write }, schema: { summary: 'Delete a resource', tags, params: byPath } },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      await deleteResource(on, { workspaceId, path })
      return reply.send(`resource ${path} deleted`)
    },
  )
}
