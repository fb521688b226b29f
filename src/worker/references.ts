// References: which version of a flow or script a path names now, for steps that run others.
//   F1. What was found is kept until a deploy is heard of, at most pollMs; so a deploy is seen as soon as for new jobs.
//   F2. What find() gives is loaded. A path that names nothing gives an Error that says so; an outage is waited out.
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../store/clock.ts'
import type { Database } from '../store/db.ts'
import { currentFlow, currentScript, scriptByHash } from '../store/versions.ts'
import type { LoadedPlan, Plans } from './plans.ts'
import type { Retrying } from './retrying.ts'

export interface Reference {
  workspaceId: string
  kind: 'flow' | 'script'
  path: string
  /** A script's version; null: the one deployed now. */
  hash: string | null
}

export interface References {
  find(what: Reference): Promise<LoadedPlan | Error>
  /** A version that was found before. */
  load(version: string): Promise<LoadedPlan | Error>
  /** A path may name another version now. */
  forget(): void
}

export function createReferences(parts: {
  db: Database
  clock: Clock
  limits: Limits
  plans: Plans
  retrying: Retrying
}): References {
  const { db, clock, limits, plans, retrying } = parts
  const known = new Map<string, { version: Promise<string | null>; atMs: number }>()

  async function look({ workspaceId, kind, path, hash }: Reference): Promise<string | null> {
    if (hash !== null) return (await scriptByHash(db.pool, workspaceId, hash))?.versionId ?? null
    const current = await (kind === 'flow' ? currentFlow : currentScript)(db.pool, workspaceId, path)
    return current?.versionId ?? null
  }

  function versionOf(what: Reference): Promise<string | null> {
    const key = `${what.workspaceId}:${what.kind}:${what.path}:${what.hash ?? ''}`
    const found = known.get(key)
    if (found && (what.hash !== null || clock.monotonicMs() - found.atMs < limits.pollMs)) return found.version
    const version = retrying(() => look(what))
    known.set(key, { version, atMs: clock.monotonicMs() })
    return version
  }

  async function load(version: string): Promise<LoadedPlan | Error> {
    return plans.loaded(version) ?? (await retrying(() => plans.load(version)))
  }

  return {
    load,
    async find(what) {
      const version = await versionOf(what)
      if (version === null) {
        const which = what.hash === null ? 'it is not deployed, or archived' : `it has no version ${what.hash}`
        return new Error(`${what.kind} ${what.path}: ${which}`)
      }
      return load(version)
    },
    forget: () => known.clear(),
  }
}
