// Records: the facts of a job, in order. The journal is a list of them; a job's `steps` document is its journal.
//   R1. A record is one JSON object, never changed. Kinds unknown to a reader are skipped by it.
//   R2. The state of a job is a fold of its records (machine.ts). What is not a function of them is a record itself:
//       results, the value of an expression that decided something, a random delay.
//   R3. `v` is missing from the last record of a finished job where it equals the job's result: results are kept once.
//   R4. `c` is the cursor that a record is for; missing where it is the job's own. ok and err need none: n says it.
import { elementTexts, storableText, type Json, type JsonText } from '../json.ts'
import type { UserError } from '../errors.ts'
import type { Spread } from './spread.ts'
import type { Ask } from './workflow.ts'

/**
 * What an expression or a draw decided: skip this step? stop after it? retry it? after how many ms? which branch (-1: the
 * default)? stop the loop after this iteration? stop after all of them? sleep how many ms? members of which groups may answer?
 * skip the whole flow?
 */
export const pickKinds = ['skip', 'stop', 'retry', 'delay', 'branch', 'break', 'after', 'sleep', 'groups', 'flow'] as const
export type PickKind = (typeof pickKinds)[number]

/** Someone's answer to a waiting step. */
export interface Approval {
  /** The number that its sender gave it. */
  id: number
  approver: string | null
  approved: boolean
  v: JsonText
  /** The account of a sender who was logged in. */
  by?: string
  /** It is the one who started the job. */
  own?: boolean
  /** The groups that it was in. */
  groups?: string[]
  gone?: true
}

export type JobRecord = Fact & {
  /** Its values are deleted so many seconds after the end of the job (deletion.ts). */
  d?: number
  /** They were. */
  gone?: true
}

type Fact =
  /**
   * Step n (module s) gave a value; `v` is its JSON text. `cached`: it did not run, an earlier result was used. `early`: whoever
   * waits for the job gets it.
   */
  | { k: 'ok'; n: number; s: string; at: number; ms: number; v: JsonText; cached?: true; early?: true }
  /** An attempt of step n failed. */
  | { k: 'err'; n: number; s: string; at: number; ms: number; e: UserError }
  /** The inline step `key` of the workflow that is step n gave a value. */
  | { k: 'inline'; n: number; s: string; at: number; key: string; v: JsonText }
  /**
   * A round of the workflow that is step n is over, and asks for these. Of the first: the version of the script that the step names,
   * and the step's arguments (as text), where they cannot be told again.
   */
  | { k: 'round'; n: number; s: string; at: number; ms: number; asks: Ask[]; version?: string; args?: string }
  /** A decision about module s was made; `error` if its expression failed. */
  | { k: 'pick'; c?: number; s: string; w: PickKind; v: Json; error?: UserError }
  /**
   * The items of loop s, `width` of them at a time (missing: one after another). `spread`: its iterations become jobs. `again`: the
   * iterator gives them again whenever it is asked (it is a path or a constant), so `v` is not stored: they are kept once.
   */
  | {
      k: 'items'
      c?: number
      s: string
      count: number
      width?: number
      spread?: Spread
      v?: JsonText[]
      again?: true
      error?: UserError
    }
  /**
   * The iterations of loop s, step n, are jobs now, so many. Durable together with them. `job`: s is no loop, but a step apart, and
   * this is its job.
   */
  | { k: 'spread'; c?: number; s: string; n: number; jobs: number; job?: string; error?: UserError }
  /** Module s begins a flow: this version of it, with these arguments. */
  | { k: 'call'; c?: number; s: string; version: string; args: JsonText; error?: UserError }
  /** The wait of module s is over: before the next attempt, after its sleep, or for an approval that did not come. */
  | { k: 'wake'; c?: number; s: string }
  /** The `seq`-th signal of the job: an answer to step n (0: to whatever waits next); below 0: a part of step -n is over. `early`: as of ok. */
  | ({ k: 'signal'; seq: number; n: number; early?: true } & Approval)
  /** The job's result is that of an earlier one: nothing of it ran. */
  | { k: 'cached'; v: JsonText }
  /** Someone asked the job to stop. */
  | { k: 'cancel'; by: string; reason: string }

/** HOT. A record as it is stored. `v` is copied in as text; `withValue: false` leaves it out (R3). */
export function printRecord(record: JobRecord, withValue = true): JsonText {
  switch (record.k) {
    case 'ok':
      if (record.cached || record.early) return withText({ ...record, v: undefined }, withValue ? 'v' : null, record.v)
      // Step ids are checked names (validate.ts), so they need no escaping.
      return withValue
        ? `{"k":"ok","n":${record.n},"s":"${record.s}","at":${record.at},"ms":${record.ms},"v":${record.v}}`
        : `{"k":"ok","n":${record.n},"s":"${record.s}","at":${record.at},"ms":${record.ms}}`
    case 'cached':
      return withText({ k: 'cached' }, withValue ? 'v' : null, record.v)
    case 'items':
      if (!record.v || record.again) return printPlain({ ...record, v: undefined, again: undefined })
      return withText({ ...record, v: undefined }, 'v', `[${record.v.join(',')}]`)
    case 'call':
      return withText({ ...record, args: undefined }, 'args', record.args)
    case 'signal':
    case 'inline':
      return withText({ ...record, v: undefined }, 'v', record.v)
    case 'err':
    case 'round':
    case 'pick':
    case 'wake':
    case 'spread':
    case 'cancel':
      return printPlain(record)
  }
}

function printPlain(record: object): JsonText {
  return JSON.stringify(record, (_key, value: unknown) => (typeof value === 'string' ? storableText(value) : value))
}

/** A record with one field more, whose JSON text is copied in. Null: without it. */
function withText(record: object, field: string | null, text: JsonText): JsonText {
  if (field === null) return printPlain(record)
  return `${printPlain(record).slice(0, -1)},"${field}":${text}}`
}

/**
 * A stored record. What it keeps as text (results, items, arguments) comes back as it was printed, with every digit.
 * null for kinds this version does not know. `last`: what the value of a record without one is (R3).
 */
export function parseRecord(text: JsonText, last: JsonText = 'null'): JobRecord | null {
  const record = JSON.parse(text) as JobRecord | { k?: unknown }
  switch ((record as JobRecord).k) {
    case 'ok':
    case 'cached':
    case 'signal':
    case 'inline':
      return { ...(record as JobRecord & { k: 'ok' }), v: textOf(record, 'v', text) ?? last }
    case 'items': {
      const items = textOf(record, 'v', text)
      const known = record as JobRecord & { k: 'items' }
      return items === undefined ? known : { ...known, v: elementTexts(items) }
    }
    case 'call':
      return { ...(record as JobRecord & { k: 'call' }), args: textOf(record, 'args', text) ?? '{}' }
    case 'err':
    case 'round':
    case 'pick':
    case 'wake':
    case 'spread':
    case 'cancel':
      return record as JobRecord
    default:
      return null
  }
}

/** The text of the field that printRecord puts last. Inside of a string its quotes would be escaped. */
function textOf(record: object, field: string, text: JsonText): JsonText | undefined {
  const value = (record as Record<string, Json>)[field]
  if (value === undefined) return undefined
  const at = text.indexOf(`,"${field}":`)
  if (at < 0 || 'error' in record) return JSON.stringify(value)
  return text.slice(at + field.length + 4, text.lastIndexOf('}'))
}
