// Resources of a workspace: JSON that steps read by name, mostly how to reach something. May name variables and other resources.
import { EngineError } from '../core/errors.ts'
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'

export interface ResourceRow {
  path: string
  value: JsonText
  resourceType: string
  description: string
  editedBy: string
  editedAt: Date
}

export interface ResourcePlace {
  workspaceId: string
  path: string
}

export async function findResource(on: Queryable, { workspaceId, path }: ResourcePlace): Promise<ResourceRow | null> {
  const [row] = await run<ResourceRow>(on, 'get_resource', [workspaceId, path])
  return row ?? null
}

/** @throws EngineError E_NOT_FOUND */
export async function getResource(on: Queryable, place: ResourcePlace): Promise<ResourceRow> {
  return (await findResource(on, place)) ?? missing(place)
}

export interface ResourceFilter {
  workspaceId: string
  pathStart: string
  types: readonly string[] | null
  otherThan: readonly string[] | null
  limit: number
  offset: number
}

export function listResources(on: Queryable, filter: ResourceFilter): Promise<ResourceRow[]> {
  const { workspaceId, pathStart, types, otherThan, limit, offset } = filter
  return run<ResourceRow>(on, 'list_resources', [workspaceId, pathStart, types, otherThan, limit, offset])
}

export interface ResourceValues {
  value: JsonText
  resourceType: string
  description: string
}

/** `orUpdate`: one that is there becomes this. @throws EngineError E_CONFLICT */
export async function createResource(
  on: Queryable,
  made: ResourcePlace & ResourceValues & { by: string; orUpdate: boolean },
): Promise<void> {
  const { workspaceId, path, value, resourceType, description, by, orUpdate } = made
  const rows = await run(on, 'create_resource', [workspaceId, path, value, resourceType, description, by, orUpdate])
  if (rows.length > 0) return
  throw new EngineError('E_CONFLICT', `there is a resource "${path}" in workspace "${workspaceId}" already; update it`, {
    at: '$.path',
  })
}

/** What is not given stays. @throws EngineError E_NOT_FOUND */
export async function updateResource(
  on: Queryable,
  place: ResourcePlace,
  { value, resourceType, description, by }: { [K in keyof ResourceValues]?: ResourceValues[K] | undefined } & { by: string },
): Promise<void> {
  const { workspaceId, path } = place
  const rows = await run(on, 'update_resource', [workspaceId, path, value ?? null, resourceType ?? null, description ?? null, by])
  if (rows.length === 0) missing(place)
}

/** @throws EngineError E_NOT_FOUND */
export async function deleteResource(on: Queryable, place: ResourcePlace): Promise<void> {
  const rows = await run(on, 'delete_resource', [place.workspaceId, place.path])
  if (rows.length === 0) missing(place)
}

function missing({ workspaceId, path }: ResourcePlace): never {
  throw new EngineError('E_NOT_FOUND', `no resource "${path}" in workspace "${workspaceId}"`)
}
