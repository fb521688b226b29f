// Deployed flows: a path, its current version and what is shown of it.
//   F1. Rows change only under lockPath (deploying) or by archive and delete; versions are never changed.
import { EngineError } from '../core/errors.ts'
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'

export interface FlowListRow {
  path: string
  versionId: string
  summary: string
  description: string
  schema: JsonText | null
  /** The rest of the document as it was deployed. */
  document: JsonText
  tag: string
  priority: number
  dedicatedWorker: boolean
  archived: boolean
  editedBy: string
  editedAt: Date
}

export interface FlowRow extends FlowListRow {
  value: JsonText
}

export interface ListOptions {
  /** From 1. */
  page?: number
  perPage?: number
  newestFirst?: boolean
  /** Archived ones instead of the others. */
  archived?: boolean
  pathStart?: string
}

/** The parameters of list_flows and list_scripts. */
export function listParameters(workspaceId: string, options: ListOptions): unknown[] {
  const { page = 1, perPage = 30, newestFirst = true, archived = false, pathStart = '' } = options
  const limit = Math.min(Math.max(Math.trunc(perPage), 1), 1000)
  return [workspaceId, pathStart, archived, newestFirst, limit, (Math.max(Math.trunc(page), 1) - 1) * limit]
}

/** Archived ones too; null if there is none. */
export async function findFlow(on: Queryable, workspaceId: string, path: string): Promise<FlowRow | null> {
  const [row] = await run<FlowRow>(on, 'get_flow', [workspaceId, path])
  return row ?? null
}

/** @throws EngineError E_NOT_FOUND */
export async function getFlow(on: Queryable, workspaceId: string, path: string): Promise<FlowRow> {
  return (await findFlow(on, workspaceId, path)) ?? missing(workspaceId, path)
}

export function listFlows(on: Queryable, workspaceId: string, options: ListOptions = {}): Promise<FlowListRow[]> {
  return run<FlowListRow>(on, 'list_flows', listParameters(workspaceId, options))
}

/** Running jobs finish; new ones are refused. @throws EngineError E_NOT_FOUND */
export async function archiveFlow(on: Queryable, workspaceId: string, path: string): Promise<void> {
  const rows = await run(on, 'archive_flow', [workspaceId, path])
  if (rows.length === 0) missing(workspaceId, path)
}

/** As archiving, and the path is forgotten. @throws EngineError E_NOT_FOUND */
export async function deleteFlow(on: Queryable, workspaceId: string, path: string): Promise<void> {
  const rows = await run(on, 'delete_flow', [workspaceId, path])
  if (rows.length === 0) missing(workspaceId, path)
}

export interface FlowToSave {
  workspaceId: string
  path: string
  versionId: string
  summary: string
  description: string
  schema: JsonText | null
  document: JsonText
  dedicatedWorker: boolean
  by: string
}

export async function saveFlow(on: Queryable, f: FlowToSave): Promise<void> {
  const { workspaceId, path, versionId, summary, description, schema, document, dedicatedWorker, by } = f
  const values = [workspaceId, path, versionId, summary, description, schema, document, dedicatedWorker, by]
  await run(on, 'upsert_flow', values)
}

function missing(workspaceId: string, path: string): never {
  throw new EngineError('E_NOT_FOUND', `no flow "${path}" in workspace "${workspaceId}"`)
}
