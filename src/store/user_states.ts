// Values that a flow's steps keep for the length of its job, by key.
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'

interface Place {
  workspaceId: string
  jobId: string
  key: string
}

/** missing: the job is not active. full: it has `keysMax` others. */
export async function setUserState(
  on: Queryable,
  { workspaceId, jobId, key, value, keysMax }: Place & { value: JsonText; keysMax: number },
): Promise<'kept' | 'missing' | 'full'> {
  const [row] = await run<{ full: boolean }>(on, 'set_user_state', [workspaceId, jobId, key, value, keysMax])
  if (!row) return 'missing'
  return row.full ? 'full' : 'kept'
}

export async function getUserState(on: Queryable, { workspaceId, jobId, key }: Place): Promise<JsonText | null> {
  const [row] = await run<{ value: JsonText }>(on, 'get_user_state', [workspaceId, jobId, key])
  return row?.value ?? null
}
