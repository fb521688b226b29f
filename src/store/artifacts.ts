// Artifacts: what building a step made, under the hash of its content.
//   A1. A key's content never changes, so saving again is a no-op and whoever loaded one may keep it for ever.
import { EngineError } from '../core/errors.ts'
import { run, type Queryable } from './db.ts'

export interface ArtifactRow {
  key: string
  language: string
  content: string
  /** Exact versions of everything it was built with or needs to run; null if that is nothing. */
  lock: string | null
}

export async function loadArtifact(on: Queryable, key: string): Promise<ArtifactRow> {
  const [row] = await run<ArtifactRow>(on, 'load_artifact', [key])
  if (!row) throw new EngineError('E_NOT_FOUND', `no artifact ${key}: the code of this step was removed; deploy it again`)
  return row
}

export async function saveArtifacts(on: Queryable, artifacts: ArtifactRow[]): Promise<void> {
  if (artifacts.length === 0) return
  await run(on, 'save_artifacts', [JSON.stringify(artifacts)])
}

/** key → lock, of those that have one. */
export async function loadArtifactLocks(on: Queryable, keys: string[]): Promise<Map<string, string>> {
  if (keys.length === 0) return new Map()
  const rows = await run<{ key: string; lock: string }>(on, 'load_artifact_locks', [keys])
  return new Map(rows.map((row) => [row.key, row.lock]))
}
