// Variables: texts of a workspace that steps read by name. Shapes and names are those Windmill's SDKs and CLI use.
//   V1. The value of a secret is in the answer of get and get_value only.
import { Type } from 'typebox'
import { assertPath } from '../../deploy/paths.ts'
import {
  createVariable,
  deleteVariable,
  findVariable,
  getVariable,
  listVariables,
  openValue,
  updateVariable,
  type VariableRow,
} from '../../store/variables.ts'
import { byPath, inWorkspace, pageOf, pageQuery, sendJson, unrenamed, type Access, type App, type ServerParts } from '../parts.ts'

const read: Access = { domain: 'variables', action: 'read' }
const write: Access = { domain: 'variables', action: 'write' }
const tags = ['variables']

const fields = {
  value: Type.String(),
  is_secret: Type.Boolean({ description: 'Its value is sealed in the database, and in no list' }),
  description: Type.String(),
}
const created = Type.Object({
  path: Type.String(),
  value: fields.value,
  is_secret: Type.Optional(fields.is_secret),
  description: Type.Optional(fields.description),
})
const changed = Type.Partial(Type.Object({ path: Type.String(), ...fields }))
const sealedQuery = Type.Object({
  already_encrypted: Type.Optional(
    Type.Boolean({ description: 'The value of a secret is sealed, as include_encrypted gave it' }),
  ),
})
const valueQuery = Type.Object({
  decrypt_secret: Type.Optional(Type.Boolean({ default: true })),
  include_encrypted: Type.Optional(Type.Boolean({ description: 'With decrypt_secret=false: the value of a secret, sealed' })),
})

function shown(row: VariableRow, workspaceId: string, value: string | null): object {
  const { path, isSecret, description, editedBy, editedAt } = row
  const plain = { workspace_id: workspaceId, path, value, is_secret: isSecret, description }
  return { ...plain, edited_by: editedBy, edited_at: editedAt, is_oauth: false, is_expired: false, extra_perms: {} }
}

export function variableRoutes(app: App, { db, secrets }: ServerParts): void {
  const on = db.pool

  app.post(
    '/api/w/:ws/variables/create',
    {
      config: { access: write },
      schema: { summary: 'A new variable', tags, params: inWorkspace, body: created, querystring: sealedQuery },
    },
    async (request, reply) => {
      const { path, value, is_secret: isSecret = false, description = '' } = request.body
      const { already_encrypted: sealed = false } = request.query
      assertPath(path)
      const by = request.identity.username
      const workspaceId = request.params.ws
      await createVariable({ on, secrets }, { workspaceId, path, value, sealed, isSecret, description, by })
      return reply.code(201).send(`variable ${path} created`)
    },
  )

  app.post(
    '/api/w/:ws/variables/update/*',
    {
      config: { access: write },
      schema: {
        summary: 'Change a variable; what is not given stays',
        tags,
        params: byPath,
        body: changed,
        querystring: sealedQuery,
      },
    },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      const { value, is_secret: isSecret, description } = request.body
      const { already_encrypted: sealed = false } = request.query
      unrenamed('variable', path, request.body.path)
      const by = request.identity.username
      await updateVariable({ on, secrets }, { workspaceId, path }, { value, sealed, isSecret, description, by })
      return reply.send(`variable ${path} updated`)
    },
  )

  app.get(
    '/api/w/:ws/variables/get/*',
    { config: { access: read }, schema: { summary: 'A variable', tags, params: byPath, querystring: valueQuery } },
    async (request) => {
      const { ws: workspaceId, '*': path } = request.params
      const { decrypt_secret: decrypt = true, include_encrypted: sealed = false } = request.query
      const row = await getVariable(on, { workspaceId, path })
      const plain = !row.isSecret || decrypt ? await openValue(secrets, { workspaceId, path }, row) : null
      return shown(row, workspaceId, plain ?? (sealed ? row.value : null))
    },
  )

  app.get(
    '/api/w/:ws/variables/get_value/*',
    { config: { access: read }, schema: { summary: 'The value of a variable', tags, params: byPath } },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      const place = { workspaceId, path }
      return sendJson(reply, JSON.stringify(await openValue(secrets, place, await getVariable(on, place))))
    },
  )

  app.get(
    '/api/w/:ws/variables/exists/*',
    { config: { access: read }, schema: { summary: 'Is there such a variable?', tags, params: byPath } },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      return sendJson(reply, JSON.stringify((await findVariable(on, { workspaceId, path })) !== null))
    },
  )

  app.get(
    '/api/w/:ws/variables/list',
    {
      config: { access: read },
      schema: { summary: 'The variables, without the values of secrets', tags, params: inWorkspace, querystring: pageQuery },
    },
    async (request) => {
      const { ws: workspaceId } = request.params
      const rows = await listVariables(on, { workspaceId, ...pageOf(request.query) })
      return rows.map((row) => shown(row, workspaceId, row.value))
    },
  )

  app.delete(
    '/api/w/:ws/variables/delete/*',
    { config: { access: write }, schema: { summary: 'Delete a variable', tags, params: byPath } },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      await deleteVariable(on, { workspaceId, path })
      return reply.send(`variable ${path} deleted`)
    },
  )
}
