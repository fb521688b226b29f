// Steps that become jobs: a loop that is spread, a step apart (core/flow/spread.ts, apart.ts). What is made here goes with the run's next
// record, in one statement (R5 of runs.ts).
import { printTarget, type ApartTarget } from '../core/flow/apart.ts'
import { recordAt, sharesFolder, type Cursor } from '../core/flow/cursor.ts'
import { deletionAt, soonerOf } from '../core/flow/deletion.ts'
import { itemsOf, type Effect } from '../core/flow/state.ts'
import type { LoopRun, PlanStep } from '../core/flow/plan.ts'
import type { JobRecord } from '../core/flow/records.ts'
import { partArgsOf, partsOf } from '../core/flow/spread.ts'
import type { TaskAsk } from '../core/flow/workflow.ts'
import type { JsonText } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import { partIdOf } from '../store/parts.ts'
import type { Turn, TurnMaker } from '../store/turns.ts'
import { assertParts, taskArgs } from './arguments.ts'
import { turnsOfAsk, type LoadedPlan, type LoadedStep } from './plans.ts'
import type { Run } from './run.ts'
import { expressionError, StepFault } from './step_faults.ts'

/** A loop's iterations become jobs: their texts go with the record (R5). */
export function spread(run: Run, effect: Effect & { e: 'spread' }, limits: Limits): JobRecord {
  const { cursor, step, n } = effect
  const { plan } = cursor.frame
  const record: JobRecord & { k: 'spread' } = { k: 'spread', ...recordAt(cursor), s: step.id, n, jobs: 0 }
  try {
    const items = effect.items ?? itemsOf(step.run as LoopRun, cursor)
    record.jobs = partsOf(items.length, effect.spread)
    const parts = partArgsOf({ plan, step, cursor, items, spread: effect.spread })
    assertParts(parts, limits.partsBytesMax)
    const jobs = parts.map((args, slot) => `{"id":"${partIdOf(run.id, n, slot)}","slot":${slot},"args":${args}}`)
    addParts(run, { n, part: step.id, versionId: plan.versionId, atOnce: effect.spread.atOnce, jobs })
  } catch (error) {
    record.error = { ...expressionError(error), step_id: step.id }
  }
  return record
}

/** Is what the cursor is at a job of its own? Not a step where it already is that job. */
export function isApart({ step, ask }: Cursor, own: LoadedPlan, runs: LoadedPlan): boolean {
  if (step!.apart !== null) return true
  return runs.turns !== null && (ask ? ask.kind === 'script' : runs !== own && !own.plan.alone)
}

/**
 * The step becomes a job of its own; the record says so, or why it cannot. `code`: what it runs, a step of `loaded`. null: nobody waits
 * for it any more.
 */
export function stepApart(
  run: Run,
  { cursor, step, n }: Effect & { e: 'start' },
  { loaded, code, args, timeoutMs, cacheMs }: ApartCode,
  limits: Limits,
  nowMs: number,
): JobRecord | null {
  if (!run.awaits(cursor, n)) return null
  const own = run.loadedAt(cursor)
  const ask = cursor.ask as TaskAsk | null // nothing else runs code
  const task = ask?.kind === 'task' ? ask : null
  try {
    const target: ApartTarget = {
      kind: task ? 'task' : 'step',
      // What a workflow asks for is no step of a version.
      id: (ask ? code.step : step).id,
      timeoutMs: step.timeout && timeoutMs,
      cacheMs,
      // A task is given what the workflow has come to.
      deleteS: task ? soonerOf(stepDeletion(run, cursor, n), run.deleteS) : stepDeletion(run, cursor, n),
    }
    const { versionId } = (ask ? loaded : own).plan
    const turns = ask ? askedTurns(ask, loaded, code.step.id) : turnsOf(step, own, loaded)
    const turn = turns && turnFor(run, turns, args)
    const given = task ? taskArgs(run, cursor, task, args, limits.partsBytesMax) : args
    return becomeJob(run, cursor, step, { n, target, versionId, args: given, turn })
  } catch (error) {
    return { k: 'err', n, s: step.id, at: nowMs, ms: 0, e: expressionError(error) }
  }
}

/** What a step apart runs. */
interface ApartCode {
  loaded: LoadedPlan
  code: LoadedStep
  args: JsonText
  timeoutMs: number
  cacheMs: number | null
}

/** A step that becomes a job. */
interface ApartJob {
  n: number
  target: ApartTarget
  versionId: string
  args: JsonText
  turn: Turn | null
}

/** The record goes with the job it names. @throws StepFault where it may not be one */
export function becomeJob(run: Run, cursor: Cursor, step: PlanStep, job: ApartJob): JobRecord {
  const { n, target, versionId, args, turn } = job
  if (run.folder !== '' && sharesFolder(cursor)) throw new StepFault('NotShared', notShared)
  const id = partIdOf(run.id, n, 0)
  const { tag, priority } = step.apart ?? {}
  let more = tag ? `,"tag":${JSON.stringify(tag)}` : ''
  if (priority !== undefined) more += `,"priority":${priority}`
  if (turn) more += `,"turn":${JSON.stringify(turn)}`
  // What runs in the place of a step that is debounced, unless something waits to already.
  if (turn?.debounce) more += `,"call":"${partIdOf(run.id, n, 1)}"`
  const made = `{"id":"${id}","slot":0,"args":${args}${more}}`
  addParts(run, { n, part: printTarget(target), versionId, atOnce: 1, jobs: [made] })
  return { k: 'spread', ...recordAt(cursor), s: step.id, n, jobs: 1, job: id }
}

/** Jobs that are made durable with the run's next record. */
function addParts(
  run: Run,
  made: { n: number; part: string; versionId: string; atOnce: number; jobs: readonly JsonText[] },
): void {
  const { n, part, versionId, atOnce, jobs } = made
  run.spreads ??= new Map()
  run.spreads.set(
    run.records.length,
    `,"step":${n},"part":"${part}","v":${versionId},"at_once":${atOnce},"jobs":[${jobs.join(',')}]`,
  )
  run.waited = true
}

const notShared =
  'it would be a job of its own, which does not see the folder that the steps of a flow with same_worker share; take its tag or ' +
  'its limit away, or same_worker'

/** When what step n of the cursor comes to is deleted. */
export function stepDeletion(run: Run, cursor: Cursor, n: number): number | null {
  return run.deletes === null ? null : soonerOf(deletionAt(cursor), run.deletes.get(n))
}

/** What the job of a step waits for: what the step says, and the script or the flow that it names. */
export function turnsOf(step: PlanStep, own: LoadedPlan, named: LoadedPlan): TurnMaker | null {
  const ofStep = step.apart?.turns ? own.steps[step.index]!.turns : null
  const ofNamed = named === own ? null : named.turns
  if (!ofStep || !ofNamed) return ofStep ?? ofNamed
  return { turnOf: (args) => ({ ...ofNamed.turnOf(args), debounce: ofStep.turnOf(args).debounce! }) }
}

/** What it waits for that a workflow asks for. `stepId`: of the workflow. */
export function askedTurns(ask: TaskAsk, loaded: LoadedPlan, stepId: string): TurnMaker | null {
  const { kind, path } = ask
  if (kind !== 'task' && ask.apart?.turns && loaded.plan.turns?.order) {
    const message = `${kind} ${path} has an ordering_key, and a job waits for one key: leave concurrency_limit out`
    throw new StepFault('OrderedInside', message)
  }
  return turnsOfAsk(ask, loaded, stepId)
}

/** What a part waits for. */
export function turnFor(run: Run, turns: TurnMaker, args: JsonText): Turn {
  const turn = turns.turnOf(args)
  // Steps are not absorbed by jobs that were started: those have callers of another kind.
  if (turn.debounce) turn.debounce.key = `steps ${turn.debounce.key}`
  // A part of a loop has none.
  const own = run.state!.part ? undefined : run.loaded!.turns?.turnOf(run.job.args)
  if (own?.key !== turn.key || turn.max !== 1) return turn
  throw new StepFault(
    'WaitsForItself',
    `it would wait for a turn of "${turn.key}", which its own job keeps until it is over; give one of them another key`,
  )
}
