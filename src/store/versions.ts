// Versions: what was deployed or previewed, immutable; and which one a path runs now.
//   V1. A version is never changed, so whoever loaded one may keep it for ever.
//   V2. In the API a script's version is its hash: the id as 16 hex digits.
import { EngineError } from '../core/errors.ts'
import type { FlowValue } from '../core/flow/definition.ts'
import type { Built, RunnableKind } from '../core/flow/plan.ts'
import type { TurnRule } from '../core/flow/turns.ts'
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'

export interface VersionRow {
  id: string
  workspaceId: string
  path: string
  kind: RunnableKind
  tag: string
  priority: number
  value: FlowValue
  built: Built
}

/** @throws EngineError E_NOT_FOUND */
export async function loadVersion(on: Queryable, versionId: string): Promise<VersionRow> {
  type Row = Omit<VersionRow, 'value' | 'built'> & { value: JsonText; built: JsonText }
  const [row] = await run<Row>(on, 'load_version', [versionId])
  if (!row) throw new EngineError('E_NOT_FOUND', `no version ${versionId}`)
  return { ...row, value: JSON.parse(row.value) as FlowValue, built: JSON.parse(row.built) as Built }
}

export interface CurrentVersion {
  versionId: string
  tag: string
  priority: number
  /** What it asks of its jobs, as JSON (TurnRule); null: nothing. */
  turns: JsonText | null
  dedicatedWorker: boolean
}

/** What a new job of this flow runs; null if there is none, or it is archived. */
export async function currentFlow(on: Queryable, workspaceId: string, path: string): Promise<CurrentVersion | null> {
  const [row] = await run<CurrentVersion>(on, 'current_flow', [workspaceId, path])
  return row ?? null
}

/** What a new job of this script runs; null if there is none, or it is archived. */
export async function currentScript(on: Queryable, workspaceId: string, path: string): Promise<CurrentVersion | null> {
  const [row] = await run<CurrentVersion>(on, 'current_script', [workspaceId, path])
  return row ?? null
}

export interface ScriptVersion {
  versionId: string
  path: string
  tag: string
  priority: number
  turns: JsonText | null
}

/** Any version that was ever deployed as a script, by its hash; null if there is none. */
export async function scriptByHash(on: Queryable, workspaceId: string, hash: string): Promise<ScriptVersion | null> {
  const versionId = versionIdOfHash(hash)
  if (versionId === null) return null
  const [row] = await run<ScriptVersion>(on, 'version_of_script', [workspaceId, versionId])
  return row ?? null
}

export function hashOfVersion(versionId: string): string {
  return BigInt(versionId).toString(16).padStart(16, '0')
}

function versionIdOfHash(hash: string): string | null {
  if (!/^[0-7][0-9a-f]{15}$/i.test(hash)) return null
  return BigInt(`0x${hash}`).toString()
}

export interface DedicatedBinding {
  workspaceId: string
  path: string
  kind: 'flow' | 'script'
  versionId: string
}

/** Everything that needs a worker of its own: deployed as dedicated, or with jobs left from when it was. */
export function dedicatedBindings(on: Queryable): Promise<DedicatedBinding[]> {
  return run<DedicatedBinding>(on, 'dedicated_bindings', [])
}

export interface NewVersion {
  workspaceId: string
  path: string
  kind: RunnableKind
  tag: string
  priority: number
  value: JsonText
  built: JsonText
  contentHash: string
  by: string
  turns: TurnRule | null
}

const columnsOf = (v: NewVersion): unknown[] => [
  v.workspaceId,
  v.path,
  v.kind,
  v.tag,
  v.priority,
  v.value,
  v.built,
  v.contentHash,
  v.by,
  v.turns === null ? null : JSON.stringify(v.turns),
]

export async function insertVersion(on: Queryable, version: NewVersion): Promise<string> {
  const [row] = await run<{ id: string }>(on, 'insert_version', columnsOf(version))
  return row!.id
}

/** The id of a preview; an equal one is stored once. */
export async function insertPreview(on: Queryable, version: NewVersion): Promise<string> {
  const [row] = await run<{ id: string }>(on, 'insert_preview', columnsOf(version))
  return row!.id
}

export async function findPreview(
  on: Queryable,
  key: { workspaceId: string; path: string; contentHash: string },
): Promise<{ id: string; tag: string } | null> {
  const [row] = await run<{ id: string; tag: string }>(on, 'find_preview', [key.workspaceId, key.path, key.contentHash])
  return row ?? null
}

/** Makes deploys of one path come one after another, until the transaction of `on` ends. */
export async function lockPath(
  on: Queryable,
  what: { kind: 'flow' | 'script'; workspaceId: string; path: string },
): Promise<void> {
  await run(on, 'lock_path', [`${what.kind} ${what.workspaceId} ${what.path}`])
}

/** Tells workers and servers, once the transaction of `on` commits, that a path has a new version. */
export async function announceDeploy(
  on: Queryable,
  what: { workspaceId: string; path: string; versionId: string },
): Promise<void> {
  await run(on, 'announce_deploy', [`deploy ${what.workspaceId} ${what.path} ${what.versionId}`])
}
