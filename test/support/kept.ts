// Variables and resources of a test's workspace.
import type { Json } from '../../src/core/json.ts'
import type { Database } from '../../src/store/db.ts'
import { createResource } from '../../src/store/resources.ts'
import { createSecrets } from '../../src/store/secrets.ts'
import { createVariable } from '../../src/store/variables.ts'

export interface Kept {
  /** By path. They are secrets. */
  variables?: Record<string, string>
  resources?: Record<string, Json>
}

/** Those that are there already stay. */
export async function keep(db: Database, { variables = {}, resources = {} }: Kept): Promise<void> {
  const parts = { on: db.pool, secrets: createSecrets(db.pool) }
  const same = { workspaceId: 'main', description: '', by: 'test' }
  for (const [path, value] of Object.entries(variables))
    await createVariable(parts, { ...same, path, value, sealed: false, isSecret: true }).catch(isThere)
  for (const [path, value] of Object.entries(resources))
    await createResource(db.pool, { ...same, path, value: JSON.stringify(value), resourceType: 'test', orUpdate: true })
}

function isThere(error: { code?: unknown }): void {
  if (error.code !== 'E_CONFLICT') throw error
}
