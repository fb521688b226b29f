// Results kept for steps, flows and scripts with cache_ttl: looked up before they run, kept when they succeed.
//   H1. Off the straight path: whoever has no cache_ttl never comes here.
//   H2. A hint: what cannot be looked up or kept (the database is away, the result is large) is run again. Nothing fails of it.
//   H3. Keys are hashes over the workspace, the code and the exact text of the arguments. Only successes are kept.
//   H4. What this worker is about to keep it finds already.
import { createHash } from 'node:crypto'
import type { JsonText } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import { findCached, keepCached, type CachedResult } from '../store/cache.ts'
import type { Database } from '../store/db.ts'

export interface CacheEntry {
  key: string
  ttlMs: number
}

export interface ResultCache {
  find(key: string): Promise<JsonText | null>
  keep(entry: CacheEntry, result: JsonText): void
  /** Resolves once what was to be kept is. */
  close(): Promise<void>
}

/** `what` names the code: a version, or a step and its artifact. */
export function cacheKey(workspaceId: string, what: string, args: JsonText): string {
  return createHash('sha256').update(`${workspaceId}\n${what}\n`).update(args).digest('hex')
}

export function createResultCache({ db, limits }: { db: Database; limits: Limits }): ResultCache {
  let asked: { key: string; resolve(result: JsonText | null): void }[] = []
  let kept = new Map<string, CachedResult>()
  let storing = new Map<string, CachedResult>()
  let keptBytes = 0
  let keeping: Promise<void> | null = null

  /** All that were asked for in one turn of the event loop, in one statement. */
  async function look(): Promise<void> {
    const batch = asked
    asked = []
    const found = await findCached(
      db.pool,
      batch.map(({ key }) => key),
    ).catch(() => new Map<string, JsonText>())
    for (const { key, resolve } of batch) resolve(found.get(key) ?? null)
  }

  async function send(): Promise<void> {
    while (kept.size > 0) {
      storing = kept
      kept = new Map()
      keptBytes = 0
      await keepCached(db.pool, [...storing.values()]).catch(() => {})
    }
    storing = new Map()
    keeping = null
  }

  return {
    find(key) {
      const own = kept.get(key) ?? storing.get(key)
      if (own) return Promise.resolve(own.result)
      return new Promise((resolve) => {
        if (asked.length === 0) queueMicrotask(() => void look())
        asked.push({ key, resolve })
      })
    },
    keep({ key, ttlMs }, result) {
      if (result.length > limits.cachedBytesMax || keptBytes > limits.cacheBacklogBytesMax) return
      keptBytes += result.length
      kept.set(key, { key, ttlMs, result })
      keeping ??= Promise.resolve().then(send)
    },
    async close() {
      await keeping
    },
  }
}
