// Steps apart: a step that is a job of its own, a part of its job, because it has a tag or a limit of its own, or names a script or a
// flow that limits or orders its jobs. So is what a workflow (workflow.ts) asks for with a tag or a limit.
//   A1. The job binds the arguments, and the part runs the step once with them. What stands around a step (retries, what skips, stops or
//       waits) stays with the job: each attempt is a part of its own, by the attempt's number.
//   A2. A step of code is a job of the version that has the step, which stands at it alone; a flow by path a job of that flow.
//       A task is a job of the version that has its workflow, and is given what that has come to.
//   A3. The end of a part is a signal (S3 of spread.ts), and the job goes on as if the step had ended in it.
//   A4. The part of a step that is debounced does not run: a job that is a part of none runs in its place and in that of all that it was
//       debounced with (turn_parts in migrations/schema.sql). It is to each of them as a step apart is to its job: record and signal.
import { assert, type UserError } from '../errors.ts'
import { constant } from '../expr/compile.ts'
import type { Json, JsonText } from '../json.ts'
import { nothingAround, type Plan, type PlanStep } from './plan.ts'

/**
 * What a part runs, if it is no part of a loop: a step, or a task of the workflow that a step is, for at most so long, its result to
 * be used again for `cacheMs`; or a whole flow, inside of so many. `deleteS`: it is deleted so many seconds after its end (deletion.ts).
 * `joins`: another job runs that in its place.
 */
export type ApartTarget = { deleteS: number | null; joins?: true } & (
  | { kind: 'step' | 'task'; id: string; timeoutMs: number | null; cacheMs: number | null }
  | { kind: 'flow'; depth: number }
)

/** As it is stored in `job.part`; a loop's part has the id of its step, which holds no slash. */
export function printTarget(target: ApartTarget): string {
  const { kind, deleteS } = target
  const fields =
    kind === 'flow'
      ? ['', target.depth, deleteS]
      : [target.id, target.timeoutMs, deleteS, target.cacheMs, kind === 'task' ? kind : null]
  while (fields.length > 2 && fields.at(-1) === null) fields.pop()
  return fields.join('/') // a null in between is nothing
}

/** As turn_parts puts it before what a part would have run. */
const joinsMark = '@'

/** null: iterations of a loop. */
export function parseTarget(part: string): ApartTarget | null {
  if (part.startsWith(joinsMark)) return { ...parseTarget(part.slice(joinsMark.length))!, joins: true }
  const [id, number, deletion, cache, task] = part.split('/')
  if (number === undefined) return null
  const deleteS = numberOf(deletion)
  if (id === '') return { kind: 'flow', depth: Number(number), deleteS }
  return { kind: task ? 'task' : 'step', id: id!, timeoutMs: numberOf(number), cacheMs: numberOf(cache), deleteS }
}

function numberOf(text: string | undefined): number | null {
  return text ? Number(text) : null
}

/** The plan of a job that is a part: of a step apart, that step and nothing around it. */
export function planOfPart(plan: Plan, part: string): Plan {
  const target = parseTarget(part)
  if (target?.kind === 'flow') return target.joins ? planAlone(plan, joinsFlow(plan)) : plan
  if (!target) return plan
  const step = plan.steps.find(({ id }) => id === target.id)
  assert(step, `${plan.path} has no step ${target.id}`)
  return planAlone(plan, alone(step, target))
}

function planAlone(plan: Plan, step: PlanStep): Plan {
  return {
    ...plan,
    steps: [step],
    root: { steps: [0] },
    skipIf: null,
    failure: null,
    preprocessor: null,
    early: null,
    cacheMs: null,
    turns: null,
    deleteS: null,
    deletes: false,
    alone: true,
  }
}

/** Stands for the whole flow, where that runs elsewhere. */
function joinsFlow({ path }: Plan): PlanStep {
  return { ...nothingAround, index: 0, id: '', run: { kind: 'flow', path }, deleteS: null }
}

function alone(step: PlanStep, { timeoutMs, cacheMs }: { timeoutMs: number | null; cacheMs: number | null }): PlanStep {
  const timeout = timeoutMs === null ? null : constant(String(timeoutMs / 1_000))
  return { ...step, ...nothingAround, index: 0, cacheMs, deleteS: null, timeout }
}

/** How the part of a step apart ended, and how long that took. */
export type ApartEnd = { at: number; ms: number } & ({ value: JsonText } | { error: UserError; result: JsonText })

/** `payload`: {end, result}, of a part's signal. */
export function readApartEnd(payload: JsonText): ApartEnd {
  // A value is passed on as it was printed.
  const done = /^\{"end":\{"how":"done","at":(\d+),"ms":(\d+)\},"result":/.exec(payload)
  if (done) return { at: Number(done[1]), ms: Number(done[2]), value: payload.slice(done[0].length, -1) }
  type Stored = { end: { at: number; ms: number; error?: UserError }; result: Json & { error: UserError } }
  const { end, result } = JSON.parse(payload) as unknown as Stored
  return { at: end.at, ms: end.ms, error: end.error ?? result.error, result: JSON.stringify(result) }
}
