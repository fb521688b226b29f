// Variables of a workspace: texts that steps read by name. The value of a secret is sealed here and leaves only by openValue.
import { EngineError } from '../core/errors.ts'
import { run, type Queryable } from './db.ts'
import type { Secrets } from './secrets.ts'

export interface VariableRow {
  path: string
  /** Of a secret: sealed; in a list null. */
  value: string | null
  isSecret: boolean
  description: string
  editedBy: string
  editedAt: Date
}

export interface VariablePlace {
  workspaceId: string
  path: string
}

interface Parts {
  on: Queryable
  secrets: Secrets
}

export async function findVariable(
  on: Queryable,
  { workspaceId, path }: VariablePlace,
): Promise<(VariableRow & { value: string }) | null> {
  const [row] = await run<VariableRow & { value: string }>(on, 'get_variable', [workspaceId, path])
  return row ?? null
}

/** @throws EngineError E_NOT_FOUND */
export async function getVariable(on: Queryable, place: VariablePlace): Promise<VariableRow & { value: string }> {
  return (await findVariable(on, place)) ?? missing(place)
}

/** Without the values of secrets. */
export function listVariables(
  on: Queryable,
  { workspaceId, pathStart, limit, offset }: { workspaceId: string; pathStart: string; limit: number; offset: number },
): Promise<VariableRow[]> {
  return run<VariableRow>(on, 'list_variables', [workspaceId, pathStart, limit, offset])
}

/** `sealed`: the value of a secret, as it was read from here. @throws EngineError E_CONFLICT, E_INVALID */
export async function createVariable(
  { on, secrets }: Parts,
  made: VariablePlace & { value: string; sealed: boolean; isSecret: boolean; description: string; by: string },
): Promise<void> {
  const { workspaceId, path, isSecret, description, by } = made
  const value = isSecret ? await sealedValue(secrets, made) : made.value
  const rows = await run(on, 'create_variable', [workspaceId, path, value, isSecret, description, by])
  if (rows.length > 0) return
  throw new EngineError('E_CONFLICT', `there is a variable "${path}" in workspace "${workspaceId}" already; update it`, {
    at: '$.path',
  })
}

export interface VariableChange {
  value?: string | undefined
  sealed: boolean
  isSecret?: boolean | undefined
  description?: string | undefined
  by: string
}

/** What is not given stays. @throws EngineError E_NOT_FOUND, E_INVALID */
export async function updateVariable({ on, secrets }: Parts, place: VariablePlace, change: VariableChange): Promise<void> {
  const { workspaceId, path } = place
  for (;;) {
    const { isSecret: was } = await getVariable(on, place)
    const isSecret = change.isSecret ?? was
    if (isSecret !== was && change.value === undefined) {
      const text = `"${path}" ${was ? 'is a secret' : 'is no secret'}; to change that, give its value too`
      throw new EngineError('E_INVALID', text, { at: '$.value' })
    }
    const { value = null, description = null, sealed, by } = change
    const kept = value !== null && isSecret ? await sealedValue(secrets, { ...place, value, sealed }) : value
    const rows = await run(on, 'update_variable', [workspaceId, path, was, isSecret, kept, description, by])
    if (rows.length > 0) return
  }
}

/** @throws EngineError E_NOT_FOUND */
export async function deleteVariable(on: Queryable, place: VariablePlace): Promise<void> {
  const rows = await run(on, 'delete_variable', [place.workspaceId, place.path])
  if (rows.length === 0) missing(place)
}

/** What a step that reads the variable gets. */
export async function openValue(
  secrets: Secrets,
  place: VariablePlace,
  { value, isSecret }: { value: string; isSecret: boolean },
): Promise<string> {
  return isSecret ? secrets.open(place, value) : value
}

async function sealedValue(
  secrets: Secrets,
  { sealed, value, ...place }: VariablePlace & { value: string; sealed: boolean },
): Promise<string> {
  if (!sealed) return secrets.seal(place, value)
  await secrets.open(place, value)
  return value
}

function missing({ workspaceId, path }: VariablePlace): never {
  throw new EngineError('E_NOT_FOUND', `no variable "${path}" in workspace "${workspaceId}"`)
}
