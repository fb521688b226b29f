// What the code of a step is called with. Bound when it is called; no larger than the limits; the values of what it names are for its
// runner only.
import type { Cursor } from '../core/flow/cursor.ts'
import { checkpointText, printTaskArgs, type TaskAsk, type Workflow } from '../core/flow/workflow.ts'
import type { Json, JsonText } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import { fieldNaming, LookupFault, resolved, type Look } from '../core/lookups.ts'
import type { LoadedPlan, LoadedStep } from './plans.ts'
import type { Run } from './run.ts'
import { StepFault } from './step_faults.ts'

/** What main is called with. */
export function argsOf(own: LoadedPlan, cursor: Cursor, index: number): JsonText {
  const { ask, workflow } = cursor
  if (ask?.kind === 'task') return argsOf(own, cursor.parent!, index)
  if (ask && 'args' in ask) return JSON.stringify(ask.args)
  return workflow?.args ?? (own.plan.alone ? cursor.flowInputText() : bind(cursor, own.steps[index]!.inputs))
}

function bind(cursor: Cursor, inputs: LoadedStep['inputs']): JsonText {
  let text = '{'
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i]!
    text += (i === 0 ? input.key : ',' + input.key) + input.expression.text(cursor)
  }
  return text + '}'
}

/** Only the runner gets the values: what is recorded of the arguments names them. */
export function withValues(args: JsonText, look: Look, bytesMax: number): JsonText {
  let given: JsonText
  try {
    given = resolved(args, look)
  } catch (error) {
    if (!(error instanceof LookupFault)) throw error
    const name = fieldNaming(JSON.parse(args) as Json, error.lookup)
    throw new StepFault('LookupError', `input "${name}": ${error.message}`)
  }
  assertSize(given, bytesMax)
  return given
}

/** Arguments put together of several results may be larger than any of them. */
export function assertSize(args: JsonText, bytesMax: number): void {
  if (args.length * 3 <= bytesMax) return
  const bytes = Buffer.byteLength(args)
  if (bytes <= bytesMax) return
  const limit = `the limit is ${bytesMax} (MILLRACE_RESULT_BYTES_MAX)`
  throw new StepFault(
    'ArgumentsTooLarge',
    `its arguments are ${bytes} bytes of JSON; ${limit}. Keep what is large elsewhere, and pass on where it is`,
  )
}

/** Of a task that is a job of its own. */
export function taskArgs(
  run: Run,
  { parent }: Cursor,
  { args, name, key }: TaskAsk,
  input: JsonText,
  bytesMax: number,
): JsonText {
  const checkpoint = checkpointText(parent!.workflow!, run.id, key)
  const text = printTaskArgs({ args: JSON.stringify(args), name, input, checkpoint })
  assertTasks(text, parent!.inner!.count, bytesMax)
  return text
}

/** So many of the largest results. */
const checkpointResults = 4

/** Each round is sent all that came before. */
export function assertCheckpoint({ chars }: Workflow, { resultBytesMax }: Limits): void {
  if (chars <= checkpointResults * resultBytesMax) return
  const limit = `the limit is ${checkpointResults} times MILLRACE_RESULT_BYTES_MAX`
  throw new StepFault(
    'ArgumentsTooLarge',
    `what its tasks and steps gave so far is ${chars} characters of JSON; ${limit}. Keep what is large elsewhere, and return where it is`,
  )
}

/** Each of `count` tasks that run at once may be given a copy. */
function assertTasks(args: JsonText, count: number, bytesMax: number): void {
  if (args.length * count <= bytesMax) return
  throw new StepFault(
    'ArgumentsTooLarge',
    `a task with a tag or a limit is given what its workflow has come to so far, ${args.length} bytes, and ${count} run at once; the limit ` +
      `is ${bytesMax} for all of them. Keep what is large elsewhere, and return where it is`,
  )
}

/** Each part has a copy of what its iterations see. */
export function assertParts(parts: readonly JsonText[], bytesMax: number): void {
  const bytes = parts.reduce((sum, args) => sum + args.length, 0)
  if (bytes <= bytesMax) return
  throw new StepFault(
    'ArgumentsTooLarge',
    `its iterations become ${parts.length} jobs, whose arguments are ${bytes} bytes; the limit is ${bytesMax}. Each has a copy of what ` +
      'the loop looks at: keep what is large elsewhere, and pass on where it is',
  )
}
