// A cursor: one walk over one list of modules, and what the expressions on its way see (expr/expression.ts).
//   U1. A job has one cursor of its own; each iteration, branch and sub-flow under way has one more, whose `parent` waits inside
//       a step. The tree of them is the state of the job.
//   U2. An expression sees the results of its own list and of the lists around it, never those inside a finished branch or of
//       another iteration; and the flow_input of its own flow.
//   U3. A result is parsed at most once, by the cursor that holds it, and only when an expression looks inside it.
import type { UserError } from '../errors.ts'
import type { Scope } from '../expr/expression.ts'
import type { Json, JsonText } from '../json.ts'
import { noGroups } from './groups.ts'
import { resolved, type Look } from '../lookups.ts'
import type { Block, Plan, PlanStep } from './plan.ts'
import type { Approval, PickKind } from './records.ts'
import type { Ask, TaskArgs, Workflow } from './workflow.ts'

/** What a cursor waits for: see M2 of machine.ts. */
export type Phase =
  | PickKind
  | 'running'
  | 'asleep'
  | 'items'
  | 'spreading'
  | 'joining'
  | 'call'
  | 'suspended'
  | 'resting'
  | 'inside'
  | 'over'

/** A flow under way: the job's own, or a sub-flow's. */
export interface Frame {
  readonly plan: Plan
  args: JsonText
  /** Of the cursor over its modules. */
  root: Cursor
  /** What made it fail: its failure module runs or ran, and it ends as a failure. */
  error: UserError | null
  /** How many flows it is inside of. */
  readonly depth: number
}

/** The bodies a step has under way: iterations, branches, or the one flow. */
export interface Inner {
  /** How many there are to run; Infinity for a while loop. */
  readonly count: number
  /** How many may be under way at a time. */
  readonly width: number
  readonly items: readonly JsonText[] | null
  /** Index of the first item in the whole list of the loop. */
  readonly first: number
  /** Its iterations are jobs: so many, of which so many are over. */
  parts: { jobs: number; size: number; over: number } | null
  next: number
  active: number
  /** By body; of a loop that is spread, by part, each the results of its iterations. */
  readonly results: JsonText[]
  /** No further one begins. */
  broken: boolean
  readonly errors: UserError[]
  /** Bodies are being begun: one that ends at once is counted, and the beginner goes on. */
  beginning: boolean
}

export interface Iteration {
  readonly index: number
  readonly value: JsonText
}

export class Cursor implements Scope {
  /** 0: the job's own; else the number it was given among the job's steps. */
  readonly id: number
  readonly frame: Frame
  readonly parent: Cursor | null
  /** Which body of the parent's step. */
  readonly slot: number
  readonly block: Block
  readonly iteration: Iteration | null
  readonly results = new Map<string, JsonText>()
  /** Position in the block. */
  at = -1
  step: PlanStep | null = null
  phase: Phase = 'over'
  /** Number of the step under way, or of the last one. */
  n = 0
  /** Failed attempts of this step so far. */
  failures = 0
  /** What `previous_result` is: the result of the step before, or of this one once it has one. */
  last: JsonText
  /** `last` when this step was entered; each attempt sees it again. */
  input: JsonText
  /** `error` for the failure module and retry_if. */
  error: UserError | null = null
  inner: Inner | null = null
  /** What the last suspend was answered with. */
  approvals: readonly Approval[] | null = null
  /** Of which groups whoever answers has to be a member; empty: of none. */
  groups: readonly string[] = noGroups
  /** Of a step that is a workflow, from the first that its body came to. */
  workflow: Workflow | null = null
  /** What a workflow asked for, and this cursor is. */
  ask: Ask | null = null
  /** Of a job that is a task of a workflow: what it was given. */
  task: TaskArgs | null = null
  #inputText: JsonText | null = null
  #parsed: Map<JsonText, Json> | null = null

  constructor(
    id: number,
    frame: Frame,
    block: Block,
    last: JsonText,
    parent: Cursor | null,
    slot: number,
    iteration: Iteration | null,
  ) {
    this.id = id
    this.frame = frame
    this.block = block
    this.last = this.input = last
    this.parent = parent
    this.slot = slot
    this.iteration = iteration
  }

  flowInputText(): JsonText {
    const iteration = this.iterationAround()
    if (iteration === null) return this.frame.args
    return (this.#inputText ??= withIteration(this.frame.args, iteration))
  }

  flowInput(): Json {
    const args = this.frame.root.#parse(this.frame.args)
    const iteration = this.iterationAround()
    if (iteration === null) return args
    return { ...(args as Record<string, Json>), iter: { index: iteration.index, value: this.#parse(iteration.value) } }
  }

  resultText(stepId: string): JsonText {
    return this.results.get(stepId) ?? this.#outer()?.resultText(stepId) ?? 'null'
  }

  result(stepId: string): Json {
    const text = this.results.get(stepId)
    return text === undefined ? (this.#outer()?.result(stepId) ?? null) : this.#parse(text)
  }

  resultIds(): Iterable<string> {
    const outer = this.#outer()
    return outer ? new Set([...outer.resultIds(), ...this.results.keys()]) : this.results.keys()
  }

  previousText(): JsonText {
    return this.last
  }

  previous(): Json {
    return this.#parse(this.last)
  }

  flowEnvText(): JsonText {
    const { flowEnv, envNames, look } = this.frame.plan
    return envNames ? resolved(flowEnv, look) : flowEnv
  }

  get look(): Look {
    return this.frame.plan.look
  }

  errorText(): JsonText | undefined {
    return this.error === null ? undefined : JSON.stringify(this.error)
  }

  /** Of a loop: the results of all iterations so far. */
  allItersText(): JsonText {
    if (this.phase === 'after') return this.last
    const inner = this.inner ?? this.parent?.inner
    return inner ? listText(inner.results) : '[]'
  }

  approvalsOf(): readonly Approval[] {
    return this.approvals ?? this.#outer()?.approvalsOf() ?? []
  }

  /** The list around this one, of the same flow. */
  #outer(): Cursor | null {
    return this.parent && this.parent.frame === this.frame ? this.parent : null
  }

  /** Of the innermost loop of this flow. */
  iterationAround(): Iteration | null {
    return this.iteration ?? this.#outer()?.iterationAround() ?? null
  }

  #parse(text: JsonText): Json {
    this.#parsed ??= new Map()
    let value = this.#parsed.get(text)
    if (value === undefined) {
      value = JSON.parse(text) as Json
      this.#parsed.set(text, value)
    }
    return value
  }
}

/** The results of bodies in their order, as one array. Those of bodies that were not begun are missing. */
export function listText(results: readonly JsonText[]): JsonText {
  return `[${results.filter((text) => text !== undefined).join(',')}]`
}

/** `flow_input` in the body of a loop: the flow's own, and `iter`. */
function withIteration(args: JsonText, { index, value }: Iteration): JsonText {
  const iter = `"iter":{"index":${index},"value":${value}}`
  if (/"iter"\s*:/.test(args)) {
    const fields = JSON.parse(args) as Record<string, Json>
    delete fields['iter']
    return withIteration(JSON.stringify(fields), { index, value })
  }
  const body = args.trim()
  if (!body.startsWith('{')) return `{${iter}}`
  const inside = body.slice(1, -1).trim()
  return inside === '' ? `{${iter}}` : `{${inside},${iter}}`
}

/** Which cursor a record is for; nothing for the job's own. */
export function recordAt(cursor: Cursor): { c?: number } {
  return cursor.id === 0 ? {} : { c: cursor.id }
}

/** Is the step in a same_worker flow, or in a flow that one has begun? */
export function sharesFolder(cursor: Cursor): boolean {
  for (let at: Cursor | null = cursor; at; at = at.frame.root.parent) if (at.frame.plan.sharesFolder) return true
  return false
}
