// Deployed scripts: reading, deploying, archiving, deleting them.
import { Type } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import {
  archiveScript,
  deleteScript,
  findScript,
  getScript,
  listScripts,
  type ScriptListRow,
  type ScriptRow,
} from '../../store/scripts.ts'
import { hashOfVersion, loadVersion, scriptByHash } from '../../store/versions.ts'
import { objectText } from '../job_view.ts'
import { byPath, inWorkspace, sendJson, type Access, type App, type ServerParts } from '../parts.ts'
import { listOptions, listQuery } from './flows.ts'

const read: Access = { domain: 'scripts', action: 'read' }
const write: Access = { domain: 'scripts', action: 'write' }
const tags = ['scripts']

const document = Type.Object(
  { path: Type.String(), content: Type.Optional(Type.Any()), language: Type.Optional(Type.Any()) },
  { description: 'path, content, language, summary, description, schema, lock, tag, dedicated_worker, parent_hash' },
)

function scriptText(script: ScriptListRow & Partial<Pick<ScriptRow, 'content' | 'lock'>>, workspaceId: string): string {
  const kept = JSON.parse(script.document) as object
  const plain = {
    ...kept,
    workspace_id: workspaceId,
    hash: hashOfVersion(script.versionId),
    path: script.path,
    summary: script.summary,
    description: script.description,
    content: script.content,
    language: script.language,
    kind: script.kind,
    lock: script.lock,
    created_by: script.createdBy,
    created_at: script.createdAt,
    archived: script.archived,
    deleted: false,
    starred: false,
    dedicated_worker: script.dedicatedWorker,
    extra_perms: {},
  }
  return objectText(plain, { schema: script.schema ?? undefined })
}

export function scriptRoutes(app: App, { db, deployer, runnables }: ServerParts): void {
  app.post(
    '/api/w/:ws/scripts/create',
    {
      config: { access: write },
      schema: {
        summary: 'Deploy a script, new or again',
        tags,
        params: inWorkspace,
        body: document,
        querystring: Type.Object({ skip_if_noop: Type.Optional(Type.Boolean()) }),
      },
    },
    async (request, reply) => {
      const { ws: workspaceId } = request.params
      const { path } = request.body
      if (request.query.skip_if_noop) {
        const same = await unchanged(workspaceId, path, request.body)
        if (same !== null) return reply.code(201).send(same)
      }
      const { hash } = await deployer.deployScript({ workspaceId, path, document: request.body, by: request.identity.username })
      runnables.forget(workspaceId, path)
      return reply.code(201).send(hash)
    },
  )

  /** The hash of what is deployed, if deploying this document would change nothing that runs or is shown. */
  async function unchanged(workspaceId: string, path: string, body: Record<string, unknown>): Promise<string | null> {
    const current = await findScript(db.pool, workspaceId, path)
    if (!current || current.archived) return null
    const { content, language, summary = '', description = '' } = body
    const equal =
      current.content === content &&
      current.language === language &&
      current.summary === summary &&
      current.description === description
    const dedicated = (body['dedicated_worker'] ?? false) === current.dedicatedWorker
    const schema = body['schema'] === undefined || JSON.stringify(body['schema']) === current.schema
    const tag = (body['tag'] ?? null) === ((JSON.parse(current.document) as { tag?: string }).tag ?? null)
    return equal && dedicated && schema && tag ? hashOfVersion(current.versionId) : null
  }

  app.get(
    '/api/w/:ws/scripts/get/p/*',
    { config: { access: read }, schema: { summary: 'A script', tags, params: byPath } },
    async (request, reply) => {
      const { ws, '*': path } = request.params
      return sendJson(reply, scriptText(await getScript(db.pool, ws, path), ws))
    },
  )

  app.get(
    '/api/w/:ws/scripts/get/h/:hash',
    {
      config: { access: read },
      schema: { summary: 'A version of a script', tags, params: Type.Object({ ws: Type.String(), hash: Type.String() }) },
    },
    async (request, reply) => {
      const { ws, hash } = request.params
      const version = await scriptByHash(db.pool, ws, hash)
      if (!version)
        throw new EngineError('E_NOT_FOUND', `no script of hash "${hash.slice(0, 60)}" in workspace "${ws}"`, { at: 'hash' })
      const current = await findScript(db.pool, ws, version.path)
      if (current?.versionId === version.versionId) return sendJson(reply, scriptText(current, ws))
      const { value } = await loadVersion(db.pool, version.versionId)
      const code = value.modules[0]?.value as { content?: string; language?: string } | undefined
      const plain = {
        workspace_id: ws,
        hash: hash.toLowerCase(),
        path: version.path,
        content: code?.content,
        language: code?.language,
        archived: true,
        deleted: false,
      }
      return sendJson(reply, JSON.stringify(plain))
    },
  )

  app.get(
    '/api/w/:ws/scripts/exists/p/*',
    { config: { access: read }, schema: { summary: 'Is there such a script?', tags, params: byPath } },
    async (request, reply) => {
      const script = await findScript(db.pool, request.params.ws, request.params['*'])
      return sendJson(reply, JSON.stringify(script !== null && !script.archived))
    },
  )

  app.get(
    '/api/w/:ws/scripts/list',
    { config: { access: read }, schema: { summary: 'The scripts', tags, params: inWorkspace, querystring: listQuery } },
    async (request, reply) => {
      const { ws } = request.params
      const { path_exact: exact } = request.query
      const scripts = await listScripts(db.pool, ws, listOptions(request.query))
      const shown = exact === undefined ? scripts : scripts.filter((script) => script.path === exact)
      return sendJson(reply, `[${shown.map((script) => scriptText(script, ws)).join(',')}]`)
    },
  )

  app.get(
    '/api/w/:ws/scripts/list_paths',
    { config: { access: read }, schema: { summary: 'The paths of the scripts', tags, params: inWorkspace } },
    async (request) => (await listScripts(db.pool, request.params.ws, { perPage: 1_000 })).map((script) => script.path),
  )

  app.post(
    '/api/w/:ws/scripts/archive/p/*',
    { config: { access: write }, schema: { summary: 'Archive a script', tags, params: byPath } },
    async (request, reply) => {
      const { ws, '*': path } = request.params
      await archiveScript(db.pool, ws, path)
      runnables.forget(ws, path)
      return reply.send(`script ${path} archived`)
    },
  )

  for (const method of ['POST', 'DELETE'] as const) {
    app.route({
      method,
      url: '/api/w/:ws/scripts/delete/p/*',
      config: { access: write },
      schema: { summary: 'Delete a script', tags, params: byPath },
      handler: async (request, reply) => {
        const { ws, '*': path } = request.params
        await deleteScript(db.pool, ws, path)
        runnables.forget(ws, path)
        return reply.send(`script ${path} deleted`)
      },
    })
  }
}
