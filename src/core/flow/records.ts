// Records: the facts of a job, in order. The journal is a list of them; a job's `steps` document is its journal.
//   R1. A record is one JSON object, never changed. Kinds unknown to a reader are skipped by it.
//   R2. The state of a job is a fold of its records (machine.ts). What is not a function of them is a record itself:
//       results, the value of an expression that decided something, a random delay.
//   R3. `v` is missing from the last record of a finished job where it equals the job's result: results are kept once.
import { storableText, type Json, type JsonText } from '../json.ts'
import type { UserError } from '../errors.ts'

/** What an expression or a draw decided: skip this step? stop after it? retry it? after how many ms? */
export const pickKinds = ['skip', 'stop', 'retry', 'delay'] as const
export type PickKind = (typeof pickKinds)[number]

export type JobRecord =
  /** Step n (module s) gave a value; `v` is its JSON text. */
  | { k: 'ok'; n: number; s: string; at: number; ms: number; v: JsonText }
  /** An attempt of step n failed. */
  | { k: 'err'; n: number; s: string; at: number; ms: number; e: UserError }
  /** A decision about module s was made; `error` if its expression failed. */
  | { k: 'pick'; s: string; w: PickKind; v: Json; error?: UserError }
  /** The wait before the next attempt of module s is over. */
  | { k: 'wake'; s: string }
  /** Someone asked the job to stop. */
  | { k: 'cancel'; by: string; reason: string }

/** HOT. A record as it is stored. `v` is copied in as text; `withValue: false` leaves it out (R3). */
export function printRecord(record: JobRecord, withValue = true): JsonText {
  switch (record.k) {
    case 'ok':
      // Step ids are checked names (validate.ts), so they need no escaping.
      return withValue
        ? `{"k":"ok","n":${record.n},"s":"${record.s}","at":${record.at},"ms":${record.ms},"v":${record.v}}`
        : `{"k":"ok","n":${record.n},"s":"${record.s}","at":${record.at},"ms":${record.ms}}`
    case 'err':
    case 'pick':
    case 'wake':
    case 'cancel':
      return JSON.stringify(record, (_key, value: unknown) => (typeof value === 'string' ? storableText(value) : value))
  }
}

/** A stored record, with `v` of results as text again. null for kinds this version does not know. */
export function parseRecord(stored: Json): JobRecord | null {
  const record = stored as { k?: unknown; v?: Json }
  switch (record.k) {
    case 'ok':
      return { ...(record as unknown as JobRecord & { k: 'ok' }), v: JSON.stringify(record.v ?? null) }
    case 'err':
    case 'pick':
    case 'wake':
    case 'cancel':
      return record as unknown as JobRecord
    default:
      return null
  }
}
