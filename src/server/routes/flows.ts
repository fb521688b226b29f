// Deployed flows: reading, deploying, archiving, deleting them.
import { Type, type Static } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import { archiveFlow, deleteFlow, findFlow, getFlow, listFlows, type FlowListRow, type ListOptions } from '../../store/flows.ts'
import { objectText } from '../job_view.ts'
import { byPath, inWorkspace, sendJson, unrenamed, type Access, type App, type ServerParts } from '../parts.ts'

const read: Access = { domain: 'flows', action: 'read' }
const write: Access = { domain: 'flows', action: 'write' }
const tags = ['flows']

/** Checked by whoever deploys it, down to the last module. */
const document = Type.Object({ path: Type.Optional(Type.String()), value: Type.Any() }, { description: 'An OpenFlow document' })

export const listQuery = Type.Partial(
  Type.Object({
    page: Type.Integer({ minimum: 0 }),
    per_page: Type.Integer({ minimum: 1 }),
    order_desc: Type.Boolean(),
    path_start: Type.String(),
    path_exact: Type.String(),
    show_archived: Type.Boolean(),
  }),
)

export function listOptions(query: Static<typeof listQuery>): ListOptions {
  const { page = 1, per_page: perPage = 30, order_desc: newestFirst = true, show_archived: archived = false } = query
  return { page, perPage, newestFirst, archived, pathStart: query.path_exact ?? query.path_start ?? '' }
}

/** What was deployed, with what the server knows of it. */
function flowText(flow: FlowListRow, workspaceId: string, value?: string): string {
  const kept = JSON.parse(flow.document) as object
  const plain = {
    ...kept,
    workspace_id: workspaceId,
    path: flow.path,
    summary: flow.summary,
    description: flow.description,
    version_id: Number(flow.versionId),
    edited_by: flow.editedBy,
    edited_at: flow.editedAt,
    archived: flow.archived,
    dedicated_worker: flow.dedicatedWorker,
    extra_perms: {},
  }
  return objectText(plain, { value, schema: flow.schema ?? undefined })
}

export function flowRoutes(app: App, { db, deployer, runnables }: ServerParts): void {
  app.post(
    '/api/w/:ws/flows/create',
    { config: { access: write }, schema: { summary: 'Deploy a new flow', tags, params: inWorkspace, body: document } },
    async (request, reply) => {
      const { ws: workspaceId } = request.params
      const path = request.body.path
      if (path === undefined) throw new EngineError('E_INVALID', '$.path is missing', { at: '$.path' })
      await deployer.deployFlow({ workspaceId, path, document: request.body, by: request.identity.username, mustExist: false })
      runnables.forget(workspaceId, path)
      return reply.code(201).send(path)
    },
  )

  app.post(
    '/api/w/:ws/flows/update/*',
    { config: { access: write }, schema: { summary: 'Deploy a new version of a flow', tags, params: byPath, body: document } },
    async (request, reply) => {
      const { ws: workspaceId, '*': path } = request.params
      unrenamed('flow', path, request.body.path)
      await deployer.deployFlow({ workspaceId, path, document: request.body, by: request.identity.username, mustExist: true })
      runnables.forget(workspaceId, path)
      return reply.send(path)
    },
  )

  app.get(
    '/api/w/:ws/flows/get/*',
    { config: { access: read }, schema: { summary: 'A flow', tags, params: byPath } },
    async (request, reply) => {
      const { ws, '*': path } = request.params
      const flow = await getFlow(db.pool, ws, path)
      return sendJson(reply, flowText(flow, ws, flow.value))
    },
  )

  app.get(
    '/api/w/:ws/flows/exists/*',
    { config: { access: read }, schema: { summary: 'Is there such a flow?', tags, params: byPath } },
    async (request, reply) => {
      const flow = await findFlow(db.pool, request.params.ws, request.params['*'])
      return sendJson(reply, JSON.stringify(flow !== null && !flow.archived))
    },
  )

  app.get(
    '/api/w/:ws/flows/list',
    { config: { access: read }, schema: { summary: 'The flows', tags, params: inWorkspace, querystring: listQuery } },
    async (request, reply) => {
      const { ws } = request.params
      const { path_exact: exact } = request.query
      const flows = await listFlows(db.pool, ws, listOptions(request.query))
      const shown = exact === undefined ? flows : flows.filter((flow) => flow.path === exact)
      return sendJson(reply, `[${shown.map((flow) => flowText(flow, ws)).join(',')}]`)
    },
  )

  app.get(
    '/api/w/:ws/flows/list_paths',
    { config: { access: read }, schema: { summary: 'The paths of the flows', tags, params: inWorkspace } },
    async (request) => (await listFlows(db.pool, request.params.ws, { perPage: 1_000 })).map((flow) => flow.path),
  )

  app.post(
    '/api/w/:ws/flows/archive/*',
    {
      config: { access: write },
      schema: {
        summary: 'Archive a flow',
        tags,
        params: byPath,
        body: Type.Optional(Type.Union([Type.Object({ archived: Type.Optional(Type.Boolean()) }), Type.Null()])),
      },
    },
    async (request, reply) => {
      const { ws, '*': path } = request.params
      if (request.body?.archived === false) {
        throw new EngineError('E_INVALID', 'a flow comes back from the archive by deploying it again', { at: '$.archived' })
      }
      await archiveFlow(db.pool, ws, path)
      runnables.forget(ws, path)
      return reply.send(`flow ${path} archived`)
    },
  )

  app.delete(
    '/api/w/:ws/flows/delete/*',
    { config: { access: write }, schema: { summary: 'Delete a flow', tags, params: byPath } },
    async (request, reply) => {
      const { ws, '*': path } = request.params
      await deleteFlow(db.pool, ws, path)
      runnables.forget(ws, path)
      return reply.send(`flow ${path} deleted`)
    },
  )
}
