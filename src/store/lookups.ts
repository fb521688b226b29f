// Looking up variables and resources by name, many at once. Secrets are opened here: what this gives is for the code that asked.
import type { JsonText } from '../core/json.ts'
import { NotAtHand, resolved, type Look, type Lookup } from '../core/lookups.ts'
import { run, type Queryable } from './db.ts'
import type { Secrets } from './secrets.ts'

export interface WorkspaceLookup extends Lookup {
  workspaceId: string
}

/** Values as JSON text, in the order asked for; null: there is none. */
export async function lookUp(
  { on, secrets }: { on: Queryable; secrets: Secrets },
  lookups: readonly WorkspaceLookup[],
): Promise<(JsonText | null)[]> {
  const batch = lookups.map(({ kind, workspaceId: ws, path }, i) => ({ i, kind, ws, path }))
  const values: (JsonText | null)[] = lookups.map(() => null)
  const rows = await run<{ i: number; value: JsonText; isSecret: boolean }>(on, 'look_up', [JSON.stringify(batch)])
  for (const { i, value, isSecret } of rows)
    values[i] = isSecret ? JSON.stringify(await secrets.open(lookups[i]!, JSON.parse(value) as string)) : value
  return values
}

/** A document with what it names in place, as it is now. `assertMayRead` is asked before each look-up. @throws LookupFault */
export async function resolvedNow(
  parts: { on: Queryable; secrets: Secrets },
  workspaceId: string,
  text: JsonText,
  assertMayRead: (lookup: Lookup) => void,
): Promise<JsonText> {
  const known = new Map<string, JsonText | null>()
  const keyOf = ({ kind, path }: Lookup): string => `${kind} ${path}`
  const look: Look = (lookups) => {
    const missing = lookups.filter((lookup) => !known.has(keyOf(lookup)))
    if (missing.length > 0) throw new NotAtHand(missing)
    return lookups.map((lookup) => known.get(keyOf(lookup))!)
  }
  for (;;) {
    try {
      return resolved(text, look)
    } catch (error) {
      if (!(error instanceof NotAtHand)) throw error
      const { lookups } = error
      for (const lookup of lookups) assertMayRead(lookup)
      const values = await lookUp(
        parts,
        lookups.map((lookup) => ({ ...lookup, workspaceId })),
      )
      for (const [i, lookup] of lookups.entries()) known.set(keyOf(lookup), values[i]!)
    }
  }
}
