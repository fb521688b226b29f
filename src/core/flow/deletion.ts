// Deletion: what is left of a finished job whose flow, steps or scripts say delete_after_secs.
//   X1. A rule goes into the record it is about (`d`, seconds after the end of the job) when the record is made, so that what is to be
//       deleted is told from the job's row alone: no plan is looked up, and a flow that was called inside brings its own rules.
//   X2. What ran, how often, how long and in which order stays, and so does every decision: the records left fold as before.
//   X3. Deleting what was deleted changes nothing.
import { elementTexts, type Json, type JsonText } from '../json.ts'
import type { UserError } from '../errors.ts'
import type { Cursor } from './cursor.ts'
import { argsOfEvent, isEvent } from './event.ts'
import { printRecord, type JobRecord } from './records.ts'
import type { PartEnd } from './spread.ts'
import type { JobStatus } from './state.ts'
import { withoutValues } from './workflow.ts'

/** Stands where a value was. */
export const deletedText = '[deleted after use]'
const deletedValue = JSON.stringify(deletedText)

/** Whoever waits for a result has that long to get it; and logs, which are stored by themselves, to arrive. */
const soonestS = 5

/** The earlier of two times, in seconds after the end of the job. null: never. */
export function soonerOf(a: number | null, b: number | null | undefined): number | null {
  const after = b === null || b === undefined ? null : Math.max(b, soonestS)
  return a === null ? after : after === null ? a : Math.min(a, after)
}

/** What the flows around a step say, and it itself; what is around it in its own flow is in its plan. */
export function deletionAt(cursor: Cursor): number | null {
  let seconds = cursor.step?.deleteS ?? null
  for (let around = cursor.frame.root.parent; around; around = around.frame.root.parent) {
    seconds = soonerOf(seconds, around.step!.deleteS)
  }
  return seconds
}

/** A printed record, with what is to become of it. */
export function withDeletion(record: JsonText, seconds: number): JsonText {
  return `{"d":${seconds},${record.slice(1)}`
}

/** A record that had such a rule when it was read, printed for another job. */
export function printKept(record: JobRecord): JsonText {
  const { d, ...rest } = record
  const text = printRecord(rest)
  return d === undefined ? text : withDeletion(text, d)
}

/** A finished job, as far as there is something to delete. */
export interface Deletable {
  status: JobStatus
  args: JsonText
  result: JsonText
  /** Its records, as a JSON array. */
  steps: JsonText
  /** It is iterations of a loop: see openPart of machine.ts. */
  isPart: boolean
}

export interface Deletion {
  /** `all`: its arguments and its result too. */
  deleted: 'all' | 'some'
  args: JsonText
  result: JsonText
  steps: JsonText
  /** Numbers of the steps whose logs go; null: all of the job's. */
  logsOf: number[] | null
  /** When there is more to delete, in seconds after the end of the job; null: never. */
  nextS: number | null
}

/** What is left of it so many seconds after its end. `wholeS`: when all of it goes; null: never. */
export function deletionOf(job: Deletable, wholeS: number | null, elapsedS: number): Deletion {
  const texts = elementTexts(job.steps)
  if (wholeS !== null && elapsedS >= wholeS) {
    const steps = texts.map((text) => printDeleted(JSON.parse(text) as StoredRecord))
    const args = job.isPart ? deletedPartArgs(job.args) : isEvent(job.args) ? argsOfEvent('{}') : '{}'
    return { deleted: 'all', args, result: deletedResult(job), steps: `[${steps.join(',')}]`, logsOf: null, nextS: null }
  }
  const logsOf: number[] = []
  let nextS = wholeS
  const steps = texts.map((text) => {
    const seconds = secondsIn(text)
    if (seconds === null) return text
    if (seconds > elapsedS) {
      nextS = soonerOf(nextS, seconds)
      return text
    }
    const record = JSON.parse(text) as StoredRecord
    if (record.k === 'ok' || record.k === 'err') logsOf.push(record.n)
    return printDeleted(record)
  })
  return { deleted: 'some', args: job.args, result: job.result, steps: `[${steps.join(',')}]`, logsOf, nextS }
}

/** `d` comes first (withDeletion). */
function secondsIn(record: JsonText): number | null {
  const [, seconds] = /^\s*\{\s*"d"\s*:\s*(\d+)/.exec(record) ?? []
  return seconds === undefined ? null : Number(seconds)
}

/** What keeps its value as text is JSON here. */
type StoredRecord = (JobRecord & { gone?: true }) | { k: ''; gone?: true }

/** What a record keeps as text stands last in it (parseRecord). */
function printDeleted(record: StoredRecord): JsonText {
  const { d: _d, v: _v, args: _args, ...rest } = record as StoredRecord & { d?: number; v?: Json; args?: Json }
  return JSON.stringify({ ...rest, gone: true, ...emptied(record) })
}

/** What is put in the place of a record's values. */
function emptied(record: StoredRecord): object {
  switch (record.k) {
    case 'ok':
      // A preprocessor's value is the flow's input, which is an object.
      return { v: record.s === 'preprocessor' ? {} : deletedText }
    case 'cached':
    case 'inline':
      return { v: deletedText }
    case 'round':
      return { asks: record.asks.map(withoutValues) }
    case 'err':
      return { e: withoutText(record.e) }
    case 'items':
      return { ...failure(record), v: Array<string>(record.count).fill(deletedText) }
    case 'call':
      return { ...failure(record), args: {} }
    case 'pick':
      return { v: record.v, ...failure(record) } // what was decided
    case 'spread':
      return failure(record)
    case 'signal':
      return { v: record.n < 0 ? deletedPartEnd(record.v as unknown as StoredEnd) : deletedText }
    default:
      return {}
  }
}

function failure({ error }: { error?: UserError }): object {
  return error ? { error: withoutText(error) } : {}
}

/** Its message may quote what it failed on. */
function withoutText({ name, step_id }: UserError): UserError {
  return { name, message: deletedText, ...(step_id === undefined ? {} : { step_id }) }
}

function deletedResult({ status, result, isPart }: Deletable): JsonText {
  if (isPart) return JSON.stringify(deletedList(JSON.parse(result) as Json))
  if (status === 'success' || status === 'skipped') return deletedValue
  const { error } = (JSON.parse(result) ?? {}) as { error?: UserError }
  return JSON.stringify(typeof error?.name === 'string' ? { error: withoutText(error) } : deletedText)
}

interface StoredEnd {
  end: PartEnd
  result: Json
}

function deletedPartEnd({ end, result }: StoredEnd): StoredEnd {
  const told: PartEnd =
    end.how === 'failed'
      ? { ...end, error: withoutText(end.error) }
      : 'errors' in end && end.errors
        ? { how: end.how, errors: end.errors.map(withoutText) }
        : end
  return { end: told, result: deletedList(result) }
}

/** The results of a part's iterations, or what it failed with. */
function deletedList(result: Json): Json {
  if (Array.isArray(result)) return result.map(() => deletedText)
  const { error } = (result ?? {}) as unknown as { error?: UserError }
  return error ? ({ error: withoutText(error) } as unknown as Json) : deletedText
}

/** A part is shown by what it was given (openPart of machine.ts): as many items as there were. */
function deletedPartArgs(args: JsonText): JsonText {
  const { items, approvals: _approvals, ...given } = JSON.parse(args) as { items: Json[]; approvals?: Json }
  return JSON.stringify({
    ...given,
    flow_input: {},
    results: {},
    previous_result: null,
    items: items.map(() => deletedText),
  })
}
