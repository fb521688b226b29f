// Results that are kept for a time (cache_ttl), by key.
import type { JsonText } from '../core/json.ts'
import { run, type Queryable } from './db.ts'

export interface CachedResult {
  key: string
  ttlMs: number
  result: JsonText
}

/** Those that are there and not past their time. */
export async function findCached(on: Queryable, keys: readonly string[]): Promise<Map<string, JsonText>> {
  const rows = await run<{ key: string; result: JsonText }>(on, 'find_cached', [keys])
  return new Map(rows.map(({ key, result }) => [key, result]))
}

/** Each key once. */
export async function keepCached(on: Queryable, results: readonly CachedResult[]): Promise<void> {
  const batch = results.map(({ key, ttlMs, result }) => `{"key":"${key}","ms":${ttlMs},"result":${result}}`)
  await run(on, 'keep_cached', [`[${batch.join(',')}]`])
}
