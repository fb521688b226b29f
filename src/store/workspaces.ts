// Workspaces: the outermost name of everything that is deployed or run.
import { EngineError } from '../core/errors.ts'
import { run, type Queryable } from './db.ts'

export interface WorkspaceRow {
  id: string
  name: string
  createdAt: Date
}

export function listWorkspaces(on: Queryable): Promise<WorkspaceRow[]> {
  return run<WorkspaceRow>(on, 'list_workspaces', [])
}

export async function findWorkspace(on: Queryable, id: string): Promise<WorkspaceRow | null> {
  const [row] = await run<WorkspaceRow>(on, 'get_workspace', [id])
  return row ?? null
}

export async function workspaceExists(on: Queryable, id: string): Promise<boolean> {
  return (await findWorkspace(on, id)) !== null
}

/** @throws EngineError E_NOT_FOUND, naming the workspace. */
export async function getWorkspace(on: Queryable, id: string): Promise<WorkspaceRow> {
  const row = await findWorkspace(on, id)
  if (!row) throw new EngineError('E_NOT_FOUND', `no workspace "${id}"; \`GET /api/workspaces/list\` names those there are`)
  return row
}

/** @throws EngineError E_INVALID for an id that cannot be one, E_CONFLICT for one that is taken. */
export async function createWorkspace(on: Queryable, { id, name }: { id: string; name: string }): Promise<WorkspaceRow> {
  if (!/^[a-z0-9][a-z0-9_-]{0,49}$/.test(id)) {
    const rule = 'up to 50 small letters, digits, "-" and "_", beginning with a letter or digit'
    throw new EngineError('E_INVALID', `"${id.slice(0, 60)}" cannot be a workspace id: ${rule}`, { at: '$.id' })
  }
  const [row] = await run<WorkspaceRow>(on, 'create_workspace', [id, name])
  if (!row) throw new EngineError('E_CONFLICT', `workspace id "${id}" is taken`, { at: '$.id' })
  return row
}
