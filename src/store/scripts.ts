// Deployed scripts: a path, its current version, its code and what is shown of it.
//   C1. Rows change only under lockPath (deploying) or by archive and delete; versions are never changed.
import { EngineError } from '../core/errors.ts'
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'
import { listParameters, type ListOptions } from './flows.ts'

export interface ScriptListRow {
  path: string
  versionId: string
  summary: string
  description: string
  schema: JsonText | null
  /** The rest of the document as it was deployed. */
  document: JsonText
  language: string
  kind: string
  tag: string
  priority: number
  dedicatedWorker: boolean
  archived: boolean
  createdBy: string
  createdAt: Date
}

export interface ScriptRow extends ScriptListRow {
  content: string
  lock: string | null
}

/** Archived ones too; null if there is none. */
export async function findScript(on: Queryable, workspaceId: string, path: string): Promise<ScriptRow | null> {
  const [row] = await run<ScriptRow>(on, 'get_script', [workspaceId, path])
  return row ?? null
}

/** @throws EngineError E_NOT_FOUND */
export async function getScript(on: Queryable, workspaceId: string, path: string): Promise<ScriptRow> {
  return (await findScript(on, workspaceId, path)) ?? missing(workspaceId, path)
}

export function listScripts(on: Queryable, workspaceId: string, options: ListOptions = {}): Promise<ScriptListRow[]> {
  return run<ScriptListRow>(on, 'list_scripts', listParameters(workspaceId, options))
}

/** Running jobs finish; new ones are refused. @throws EngineError E_NOT_FOUND */
export async function archiveScript(on: Queryable, workspaceId: string, path: string): Promise<void> {
  const rows = await run(on, 'archive_script', [workspaceId, path])
  if (rows.length === 0) missing(workspaceId, path)
}

/** As archiving, and the path is forgotten. @throws EngineError E_NOT_FOUND */
export async function deleteScript(on: Queryable, workspaceId: string, path: string): Promise<void> {
  const rows = await run(on, 'delete_script', [workspaceId, path])
  if (rows.length === 0) missing(workspaceId, path)
}

export interface ScriptToSave {
  workspaceId: string
  path: string
  versionId: string
  summary: string
  description: string
  schema: JsonText | null
  document: JsonText
  language: string
  content: string
  lock: string | null
  kind: string
  dedicatedWorker: boolean
  by: string
}

export async function saveScript(on: Queryable, s: ScriptToSave): Promise<void> {
  const { workspaceId, path, versionId, summary, description, schema, document, language, content, lock, kind, dedicatedWorker } =
    s
  const shown = [workspaceId, path, versionId, summary, description, schema, document]
  await run(on, 'upsert_script', [...shown, language, content, lock, kind, dedicatedWorker, s.by])
}

function missing(workspaceId: string, path: string): never {
  throw new EngineError('E_NOT_FOUND', `no script "${path}" in workspace "${workspaceId}"`)
}
