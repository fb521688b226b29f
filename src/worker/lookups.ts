// Lookups: the variables and resources that jobs name, kept for a moment (core/lookups.ts).
//   V1. Off the straight path: whoever names none never comes here.
//   V2. All that jobs ask for in one turn of the event loop is one statement. An outage is waited out.
//   V3. A change is seen within keptMs. A value that was loaded is there for whoever waited for it.
import { NotAtHand, type Look, type Lookup } from '../core/lookups.ts'
import type { JsonText } from '../core/json.ts'
import { EngineError } from '../core/errors.ts'
import type { Clock } from '../store/clock.ts'
import type { Database } from '../store/db.ts'
import { lookUp, type WorkspaceLookup } from '../store/lookups.ts'
import { createSecrets } from '../store/secrets.ts'
import type { Retrying } from './retrying.ts'

export interface Lookups {
  /** @throws NotAtHand until load() has resolved */
  lookIn(workspaceId: string): Look
  load(workspaceId: string, lookups: readonly Lookup[]): Promise<void>
}

const keptMs = 1_000
/** What is named by one step may take several statements: where they are slow, values are kept longer, or they would never be there together. */
const keptLoads = 10
const keptMsMax = 60_000
const keptMax = 10_000
const keptCharsMax = 64 << 20

interface Kept {
  value: JsonText | null
  untilMs: number
}

interface Asked {
  lookup: WorkspaceLookup
  key: string
  done(): void
  fail(error: unknown): void
}

export function createLookups({ db, clock, retrying }: { db: Database; clock: Clock; retrying: Retrying }): Lookups {
  const parts = { on: db.pool, secrets: createSecrets(db.pool) }
  const kept = new Map<string, Kept>()
  let keptChars = 0
  let asked: Asked[] = []

  async function ask(): Promise<void> {
    const batch = asked
    asked = []
    const beganMs = clock.monotonicMs()
    const lookups = batch.map(({ lookup }) => lookup)
    try {
      const values = await retrying(() => lookUp(parts, lookups), doesNotOpen)
      makeRoom()
      const nowMs = clock.monotonicMs()
      const untilMs = nowMs + Math.min(Math.max(keptMs, keptLoads * (nowMs - beganMs)), keptMsMax)
      for (const [i, { key, done }] of batch.entries()) {
        kept.set(key, { value: values[i]!, untilMs })
        keptChars += values[i]?.length ?? 0
        done()
      }
    } catch (error) {
      for (const { fail } of batch) fail(error)
    }
  }

  function makeRoom(): void {
    const nowMs = clock.monotonicMs()
    const full = kept.size > keptMax || keptChars > keptCharsMax
    for (const [key, { value, untilMs }] of kept) {
      if (!full && untilMs > nowMs) continue
      kept.delete(key)
      keptChars -= value?.length ?? 0
    }
  }

  return {
    lookIn: (workspaceId) => (lookups) => {
      const nowMs = clock.monotonicMs()
      const found = lookups.map((lookup) => kept.get(keyOf(workspaceId, lookup)))
      const missing = lookups.filter((_, i) => !found[i] || found[i].untilMs <= nowMs)
      if (missing.length > 0) throw new NotAtHand(missing)
      return found.map((one) => one!.value)
    },
    async load(workspaceId, lookups) {
      await Promise.all(
        lookups.map(
          (lookup) =>
            new Promise<void>((done, fail) => {
              if (asked.length === 0) queueMicrotask(() => void ask())
              asked.push({ lookup: { ...lookup, workspaceId }, key: keyOf(workspaceId, lookup), done, fail })
            }),
        ),
      )
    },
  }
}

function keyOf(workspaceId: string, { kind, path }: Lookup): string {
  return `${workspaceId} ${kind} ${path}`
}

/** A secret that was not sealed here: asking again does not help. */
function doesNotOpen(error: unknown): boolean {
  return error instanceof EngineError && error.code === 'E_INVALID'
}
