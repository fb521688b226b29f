// What a path runs now, kept in memory so that accepting a job costs no query.
//   T1. A deploy heard on millrace_control is seen by the next request. One not heard (the connection was down) within keepMs.
//   T2. After a deploy through this server answers, its own requests run the new version: `forget` is called before the answer.
// HOT. Of a path seen in the last seconds: one Map.get, no await.
import { EngineError } from '../core/errors.ts'
import type { JsonText } from '../core/json.ts'
import { run, type Database } from '../store/db.ts'
import type { TurnMaker, TurnMakers } from '../store/turns.ts'
import { currentFlow, currentScript, scriptByHash } from '../store/versions.ts'

const keepMs = 3_000
const keptMax = 20_000

export type RunnableName = 'f' | 'p' | 'h' | 'fv'

export interface Target {
  versionId: string
  tag: string
  priority: number
  /** What its jobs wait for before they are ready; null: nothing. */
  turns: TurnMaker | null
  /** It answers before its jobs are over. */
  early: boolean
  /** It makes its input of the event that it is started by. */
  preprocessed: boolean
}

export interface Runnables {
  cached(kind: RunnableName, workspaceId: string, path: string): Target | undefined
  /** @throws EngineError E_NOT_FOUND */
  find(kind: RunnableName, workspaceId: string, path: string): Promise<Target>
  forget(workspaceId: string, path: string): void
  /** A payload of the control channel. */
  announced(payload: string): void
  /** Listening began again: anything may have changed. */
  forgetAll(): void
}

export function createRunnables({ db, turnMakers }: { db: Database; turnMakers: TurnMakers }): Runnables {
  const kept = new Map<string, { target: Target; untilMs: number }>()
  // A look-up that began before a `forget` must not bring back what was forgotten.
  let generation = 0
  const keyOf = (kind: RunnableName, workspaceId: string, path: string): string => `${kind} ${workspaceId} ${path}`

  function forget(workspaceId: string, path: string): void {
    generation += 1
    kept.delete(keyOf('f', workspaceId, path))
    kept.delete(keyOf('p', workspaceId, path))
  }

  return {
    cached(kind, workspaceId, path) {
      const entry = kept.get(keyOf(kind, workspaceId, path))
      return entry !== undefined && entry.untilMs > Date.now() ? entry.target : undefined
    },
    async find(kind, workspaceId, path) {
      const asked = generation
      const found = await load(db, kind, workspaceId, path)
      if (!found) throw missing(kind, workspaceId, path)
      const { versionId, tag, priority } = found
      const version = {
        workspaceId,
        kind: kind === 'f' || kind === 'fv' ? 'flow' : 'script',
        path: found.path ?? path,
        versionId,
      } as const
      const target = {
        versionId,
        tag,
        priority,
        turns: await turnMakers.of(found.turns, version),
        early: found.early ?? false,
        preprocessed: found.preprocessed ?? false,
      }
      if (kept.size >= keptMax) kept.clear()
      if (asked === generation) kept.set(keyOf(kind, workspaceId, path), { target, untilMs: Date.now() + keepMs })
      return target
    },
    forget,
    announced(payload) {
      const [what, workspaceId, path] = payload.split(' ')
      if (what === 'deploy' && workspaceId !== undefined && path !== undefined) forget(workspaceId, path)
    },
    forgetAll() {
      generation += 1
      kept.clear()
    },
  }
}

interface Found {
  versionId: string
  tag: string
  priority: number
  turns: JsonText | null
  early?: boolean
  preprocessed?: boolean
  /** Where it is not what was asked by. */
  path?: string
}

async function load(db: Database, kind: RunnableName, workspaceId: string, path: string): Promise<Found | null> {
  switch (kind) {
    case 'f':
      return currentFlow(db.pool, workspaceId, path)
    case 'p':
      return currentScript(db.pool, workspaceId, path)
    case 'h':
      return scriptByHash(db.pool, workspaceId, path)
    default: {
      kind satisfies 'fv'
      if (!/^\d{1,18}$/.test(path)) return null
      const [row] = await run<Found>(db.pool, 'run_target_of_flow_version', [workspaceId, path])
      return row ?? null
    }
  }
}

const words: Record<RunnableName, string> = { f: 'flow', p: 'script', h: 'script of hash', fv: 'flow of version' }

function missing(kind: RunnableName, workspaceId: string, path: string): EngineError {
  const list = kind === 'f' || kind === 'fv' ? 'flows/list' : 'scripts/list'
  const text = `no ${words[kind]} "${path.slice(0, 200)}" in workspace "${workspaceId}", or it is archived; \`GET ${list}\` names those there are`
  return new EngineError('E_NOT_FOUND', text, { at: 'url' })
}
