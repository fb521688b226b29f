// The state of a job, and which of its cursors a record is for. It is machine.ts that changes it; here only a step that is looked up
// because it is over runs no more.
import { assert, type UserError } from '../errors.ts'
import { storable, type Json, type JsonText } from '../json.ts'
import type { Limits } from '../limits.ts'
import { Cursor, type Frame, type Phase } from './cursor.ts'
import { deletionAt, soonerOf } from './deletion.ts'
import { isAsked, noGroups } from './groups.ts'
import type { LoopRun, Plan, PlanStep } from './plan.ts'
import type { Approval, JobRecord, PickKind } from './records.ts'
import type { PartEnd, Spread } from './spread.ts'

export const jobStatuses = ['success', 'failure', 'canceled', 'skipped'] as const
export type JobStatus = (typeof jobStatuses)[number]

export type MachineLimits = Pick<Limits, 'stepsMax' | 'flowDepthMax' | 'loopWidthMax'>

/** The plans of sub-flows, by version. Those that a journal names are loaded before it is folded. */
export type Plans = (version: string) => Plan

export interface JobState {
  readonly root: Cursor
  readonly limits: MachineLimits
  readonly plans: Plans
  /** Cursors besides the root, by id. */
  readonly inside: Map<number, Cursor>
  /** Which of them has step n running. */
  readonly runningAt: Map<number, Cursor>
  /** Steps started so far, iterations and branches included; the next gets this + 1 as its number. */
  started: number
  /** Signals taken so far. */
  signals: number
  /** Answers that nothing has waited for yet, as they came. n: to which step; 0: to whatever waits next. */
  early: { n: number; approval: Approval }[] | null
  /** Cursors that wait for answers, the one that has waited longest first. May hold some that do no more. */
  suspended: Cursor[] | null
  /** Cursors that wait for the parts of step n. */
  joins: Map<number, Cursor> | null
  /** This job is a part of a loop. */
  part: boolean
  /** This job is a step apart of another one, which is told how it ends. */
  apart: boolean
  finished: boolean
  readonly witness: Witness | null
}

/** Is told what a fold goes through (history.ts). A job that runs has none. */
export interface Witness {
  /** A list of modules begins: a body's or a sub-flow's. */
  began(list: Cursor): void
  ended(list: Cursor, end: End): void
  /** An attempt of the cursor's step begins, and has the number cursor.n. */
  started(cursor: Cursor): void
  skipped(cursor: Cursor): void
  settled(cursor: Cursor): void
  /** Answers to the cursor's step are waited for. Those of the one before are still in cursor.approvals. */
  suspends(cursor: Cursor): void
  gaveUp(cursor: Cursor): void
}

export type Effect =
  /** Evaluate what decides (or draw a random number) and answer with the pick. */
  | { e: 'pick'; cursor: Cursor; step: PlanStep; what: PickKind }
  /** Evaluate the iterator and how many at a time; answer with items. */
  | { e: 'items'; cursor: Cursor; step: PlanStep }
  /** Find the flow's version, bind its arguments; answer with call. */
  | { e: 'call'; cursor: Cursor; step: PlanStep }
  /** Bind the step's arguments and run it; answer with ok or err. */
  | { e: 'start'; cursor: Cursor; step: PlanStep; n: number }
  /** Answer with wake when this time is over. */
  | { e: 'sleep'; cursor: Cursor; step: PlanStep; ms: number }
  /** The iterations of loop n become jobs; answer with spread. `items`: missing where the iterator gives them again. */
  | { e: 'spread'; cursor: Cursor; step: PlanStep; n: number; spread: Spread; items: readonly JsonText[] | null }
  /** The parts of loop n are not needed any more; or those that have not begun. Nothing answers. */
  | { e: 'quit'; n: number; unbegun: boolean }
  /** Signals may come; answer with wake when this time is over. `wanted`: how many more will do. */
  | { e: 'wait'; cursor: Cursor; step: PlanStep; ms: number; wanted: number }
  | { e: 'finish'; status: JobStatus; result: JsonText; part?: PartEnd }

/** What a list of modules comes to. */
export type End =
  | { how: 'done'; value: JsonText }
  | { how: 'stopped'; value: JsonText; skipped: boolean }
  | { how: 'failed'; value: JsonText; error: UserError }

export function newState(
  plan: Plan,
  args: JsonText,
  limits: MachineLimits,
  plans: Plans,
  witness: Witness | null = null,
  depth = 0,
): JobState {
  const root = rootOf(plan, args, 0, null, depth)
  return {
    root,
    limits,
    plans,
    inside: new Map(),
    runningAt: new Map(),
    started: 0,
    signals: 0,
    early: null,
    suspended: null,
    joins: null,
    part: false,
    apart: false,
    finished: false,
    witness,
  }
}

/** The cursor over a flow's modules, and the flow's frame. */
export function rootOf(plan: Plan, args: JsonText, id: number, parent: Cursor | null, depth: number): Cursor {
  const frame = { plan, args, error: null, depth } as Frame
  frame.root = new Cursor(id, frame, plan.root, args, parent, 0, null)
  return frame.root
}

/** `{"error": …}`: what a failed step leaves as its result. */
export function errorResult(error: UserError): JsonText {
  return storable(JSON.stringify({ error }))
}

/** The items of a loop, as its iterator gives them; for a record without them too. */
export function itemsOf(run: LoopRun, cursor: Cursor): JsonText[] {
  const value = run.iterator!.value(cursor)
  if (!Array.isArray(value)) throw new Error(`the iterator gives ${shown(value)}; it must give an array`)
  return value.map((item) => JSON.stringify(item))
}

export function shown(value: Json): string {
  const text = JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

// ── Which cursor a record is for ──

/** Does it still walk its list? */
export function isAlive(state: JobState, cursor: Cursor): boolean {
  return cursor === state.root || state.inside.get(cursor.id) === cursor
}

export function runningCursor(state: JobState, n: number): Cursor | null {
  const cursor = runningNow(state, n)
  if (cursor) {
    if (cursor !== state.root) state.runningAt.delete(n)
    return cursor
  }
  assert(n <= state.started, `no step ${n} was started; the last one is ${state.started}`)
  return null
}

/** The same, and it goes on running. */
export function runningNow({ root, runningAt }: JobState, n: number): Cursor | null {
  return root.n === n && root.phase === 'running' ? root : (runningAt.get(n) ?? null)
}

/** The cursor that a record names (R4 of records.ts); null: it is gone, or there never was one. */
export function cursorNamed(state: JobState, id: number | undefined): Cursor | null {
  return id === undefined ? state.root : (state.inside.get(id) ?? null)
}

/** The cursor that a record moves on; null: none any more, or all of them. */
export function takerOf(state: JobState, record: JobRecord): Cursor | null {
  switch (record.k) {
    case 'ok':
    case 'err':
    case 'inline':
    case 'round':
      return runningNow(state, record.n)
    case 'signal':
      return record.n < 0 ? (state.joins?.get(-record.n) ?? null) : null
    case 'pick':
    case 'items':
    case 'spread':
    case 'call':
      return cursorNamed(state, record.c)
    case 'wake': {
      const cursor = cursorNamed(state, record.c)
      if (cursor?.step?.id !== record.s) return null
      return cursor.phase === 'asleep' || cursor.phase === 'resting' || cursor.phase === 'suspended' ? cursor : null
    }
    default:
      return null
  }
}

export function waitingCursor(state: JobState, id: number | undefined, stepId: string, phase: Phase): Cursor | null {
  const cursor = cursorNamed(state, id)
  if (!cursor) {
    assert(id! <= state.started, `there was no cursor ${id}`)
    return null
  }
  assert(
    cursor.phase === phase && (phase === 'flow' || phase === 'break' || cursor.step?.id === stepId),
    `step ${stepId} does not wait for ${phase}; cursor ${cursor.id} is at ${cursor.step?.id} ${cursor.phase}`,
  )
  return cursor
}

/** The cursor of a step that has become a job. */
export function apartCursor(state: JobState, { c, s, n }: JobRecord & { k: 'spread' }): Cursor | null {
  const cursor = cursorNamed(state, c)
  if (!cursor || cursor.n !== n) return null
  assert(
    cursor.phase === 'running' || cursor.phase === 'call',
    `step ${s} is not about to begin; cursor ${cursor.id} is at ${cursor.step?.id} ${cursor.phase}`,
  )
  state.runningAt.delete(n)
  return cursor
}

/** The cursor that waits for this answer to step n; for n = 0 the one that has waited longest. */
export function suspendedAt(state: JobState, n: number, approval: Approval): Cursor | null {
  const found = suspendedIn(state).find((cursor) => isTo(n, cursor) && mayAnswer(cursor, approval))
  return found ?? null
}

export function suspendedIn(state: JobState): Cursor[] {
  return (state.suspended ?? []).filter((cursor) => cursor.phase === 'suspended' && isAlive(state, cursor))
}

/** Is an answer to step n (0: whatever waits) one to this cursor? What asks inside of a workflow is asked for by the workflow too. */
export function isTo(n: number, cursor: Cursor): boolean {
  return n === 0 || n === cursor.n || (cursor.ask !== null && n === cursor.parent!.n)
}

/** Servers refuse the others where they know what waits; whoever answers ahead of a wait is judged here. */
export function mayAnswer({ step, groups }: Cursor, approval: Approval): boolean {
  const { by } = step!.suspend!
  if (by === 'anyone') return true
  if (approval.by === undefined || (by === 'other' && approval.own)) return false
  return isAsked(groups, approval.groups ?? noGroups)
}

/**
 * When the values of a record that is about to be taken are deleted, in seconds after the end of the job (deletion.ts); null: never.
 * `called`: what scripts that were called say, and flows that became jobs, by step number.
 */
export function deletionIn(state: JobState, record: JobRecord, called: ReadonlyMap<number, number>): number | null {
  if (record.k === 'spread' && record.job !== undefined) return called.get(record.n) ?? null // for the end of that job
  if (record.k === 'wake' || ((record.k === 'pick' || record.k === 'spread') && !record.error)) return null // nothing is told
  const cursor = record.k === 'signal' && record.n >= 0 ? suspendedAt(state, record.n, record) : takerOf(state, record)
  if (!cursor?.step) return null
  const seconds = deletionAt(cursor)
  if (record.k === 'call') return record.error ? seconds : soonerOf(seconds, state.plans(record.version).deleteS)
  return soonerOf(seconds, 'n' in record ? called.get(Math.abs(record.n)) : null)
}
