// Spreading: a long loop's iterations become jobs of their own, its parts, which any worker may run.
//   S1. A part runs items one after another of their list, as the loop itself would: same version, same step, `first` on.
//   S2. `atOnce` parts are ready at a time, with `width` iterations under way in each: together never more than the loop allows.
//       The end of part i makes part i + atOnce ready; those before their turn wait.
//   S3. The end of a part is a signal to the job that it is a part of. That job waits for all of them, or for one that refuses:
//       one after which no other may begin.
import { assert, type UserError } from '../errors.ts'
import type { Expression } from '../expr/expression.ts'
import { elementTexts, fieldTexts, type Json, type JsonText } from '../json.ts'
import type { Limits } from '../limits.ts'
import { parseTarget } from './apart.ts'
import type { Cursor } from './cursor.ts'
import { deletionAt } from './deletion.ts'
import type { Block, LoopRun, Plan, PlanStep } from './plan.ts'
import type { Approval } from './records.ts'

/** How a loop is cut: items of one part, parts at a time, iterations at a time in each of them. */
export interface Spread {
  size: number
  atOnce: number
  width: number
}

export type SpreadLimits = Pick<
  Limits,
  'stepsMax' | 'loopWidthMax' | 'spreadItemsMin' | 'spreadStepsMin' | 'partItemsMax' | 'partsAtOnceMax'
>

/** Parts are this small at least, where the loop allows: so that one that is slow does not leave the others idle. */
const partsPerLane = 4
/** Iterations of a part whose body may start any number of steps. */
const openBodyItemsMax = 100

/**
 * How a loop of `count` items is cut, `parallelism` at a time (null: all); null if it stays inside its job: it was not asked to
 * spread, is short, and fits in what is left of the job's step numbers.
 */
export function spreadOf(
  loop: { plan: Plan; step: PlanStep; count: number; parallelism: number | null; started: number },
  limits: SpreadLimits,
): Spread | null {
  const { plan, step, count, parallelism, started } = loop
  const run = step.run as LoopRun
  // Its condition looks at all results so far, and a part has its own only.
  if (count === 0 || readsAllIterations(step)) return null
  const body = sizeOf(run.body, plan)
  const each = 1 + body.steps
  const fits =
    count <= limits.spreadItemsMin && count * each <= limits.spreadStepsMin && started + count * each <= limits.stepsMax
  if (fits && !run.spread) return null
  const most = Math.max(
    1,
    Math.min(limits.partItemsMax, Math.floor(limits.spreadStepsMin / each), body.open ? openBodyItemsMax : count),
  )
  if (!run.parallel) return { size: Math.min(count, most), atOnce: 1, width: 1 }
  const together = Math.min(count, parallelism ?? count)
  const lanes = limits.partsAtOnceMax
  const size = Math.min(most, Math.max(Math.ceil(count / (lanes * partsPerLane)), Math.ceil(together / lanes)))
  const jobs = Math.ceil(count / size)
  const width = Math.min(Math.ceil(together / Math.min(lanes, jobs)), size, limits.loopWidthMax)
  return { size, atOnce: Math.max(1, Math.min(lanes, jobs, Math.floor(together / width))), width }
}

/** How many jobs that makes. */
export function partsOf(count: number, { size }: Spread): number {
  return Math.ceil(count / size)
}

function readsAllIterations({ stopAfterIf }: PlanStep): boolean {
  return stopAfterIf !== null && stopAfterIf.expression.uses.roots.includes('all_iters')
}

/** The steps of a list, those inside them too; `open`: some of them may run more often than once. */
function sizeOf(block: Block, plan: Plan): { steps: number; open: boolean } {
  let steps = 0
  let open = false
  for (const step of stepsIn(block, plan)) {
    steps += 1
    if (step.run.kind === 'loop' || step.run.kind === 'flow' || step.retry) open = true
  }
  return { steps, open }
}

function* stepsIn(block: Block, plan: Plan): Iterable<PlanStep> {
  for (const index of block.steps) {
    const step = plan.steps[index]!
    yield step
    for (const inner of blocksOf(step)) yield* stepsIn(inner, plan)
  }
}

function blocksOf({ run }: PlanStep): Block[] {
  switch (run.kind) {
    case 'loop':
      return [run.body]
    case 'choice':
      return [...run.branches.map((branch) => branch.body), run.otherwise]
    case 'branches':
      return run.branches.map((branch) => branch.body)
    default:
      return []
  }
}

// ── What a part is given ──

/** A part's arguments, but for its items. All that its iterations see is in here. */
export interface PartArgs {
  /** Which part, of how many. */
  slot: number
  jobs: number
  atOnce: number
  /** No part may follow one that is lost. */
  stops: boolean
  /** Index of its first item in the whole list. */
  first: number
  width: number
  /** Flows that the loop is inside of. */
  depth: number
  flowInput: JsonText
  results: Map<string, JsonText>
  previous: JsonText
  approvals: readonly Approval[] | null
  items: JsonText[]
}

interface StoredPart {
  slot: number
  jobs: number
  at_once: number
  stops: boolean
  first: number
  width: number
  depth: number
  flow_input: Json
  results: Record<string, Json>
  previous_result: Json
  approvals?: (Omit<Approval, 'v'> & { v: Json })[]
  items: Json[]
}

/** The arguments of all parts. What no expression of the body can see is left out of them: each has a copy. */
export function partArgsOf(loop: {
  plan: Plan
  step: PlanStep
  cursor: Cursor
  items: readonly JsonText[]
  spread: Spread
}): JsonText[] {
  const { plan, step, cursor, items, spread } = loop
  const run = step.run as LoopRun
  const jobs = partsOf(items.length, spread)
  const seen = seenIn(step, plan)
  const results = [...cursor.resultIds()]
    .filter((id) => seen.results === null || seen.results.has(id))
    .map((id) => `${JSON.stringify(id)}:${cursor.resultText(id)}`)
    .join(',')
  const previous = seesPrevious(run.body, plan) ? cursor.input : 'null'
  const approvals =
    seen.approvals && cursor.approvalsOf().length > 0 ? `"approvals":${printApprovals(cursor.approvalsOf())},` : ''
  const shared =
    `"depth":${cursor.frame.depth},"flow_input":${inputSeen(cursor.frame.args, seen.inputs)},` +
    `"results":{${results}},"previous_result":${previous},${approvals}`
  const stops = !run.parallel && !run.skipFailures
  const deleteS = deletionAt(cursor)
  const deletion = deleteS === null ? '' : `${deletionKey}${deleteS},`
  return Array.from({ length: jobs }, (_, slot) => {
    const first = slot * spread.size
    const own = `"slot":${slot},"jobs":${jobs},"at_once":${spread.atOnce},"stops":${stops},"first":${first},"width":${spread.width}`
    return `{${deletion}${own},${shared}"items":[${items.slice(first, first + spread.size).join(',')}]}`
  })
}

const deletionKey = '"delete_s":'

/** When the part is deleted, in seconds after its end; null: never. */
export function partDeletionOf(args: JsonText): number | null {
  return args.startsWith(`{${deletionKey}`) ? Number.parseInt(args.slice(deletionKey.length + 1), 10) : null
}

export function parsePart(args: JsonText): PartArgs {
  const stored = JSON.parse(args) as unknown as StoredPart
  const { slot, jobs, at_once: atOnce, stops, first, width, depth } = stored
  const texts = fieldTexts(args)
  return {
    slot,
    jobs,
    atOnce,
    stops,
    first,
    width,
    depth,
    flowInput: texts.get('flow_input')!,
    results: fieldTexts(texts.get('results')!),
    previous: texts.get('previous_result')!,
    approvals:
      stored.approvals?.map((one) => ({
        ...one,
        v: JSON.stringify(one.v),
      })) ?? null,
    items: elementTexts(texts.get('items')!),
  }
}

function printApprovals(approvals: readonly Approval[]): JsonText {
  return `[${approvals.map(({ v, ...rest }) => `${JSON.stringify(rest).slice(0, -1)},"v":${v}}`).join(',')}]`
}

function inputSeen(args: JsonText, keys: ReadonlySet<string> | null): JsonText {
  if (keys === null) return args
  const input = JSON.parse(args) as Record<string, Json>
  return JSON.stringify(Object.fromEntries(Object.entries(input).filter(([key]) => keys.has(key))))
}

interface Seen {
  results: Set<string> | null
  inputs: Set<string> | null
  approvals: boolean
}

/** What the expressions in the body of a loop may look at. */
function seenIn(step: PlanStep, plan: Plan): Seen {
  const seen: Seen = { results: new Set(), inputs: new Set(), approvals: false }
  const run = step.run as LoopRun
  const add = ({ uses }: Expression): void => {
    seen.results = union(seen.results, uses.results)
    seen.inputs = union(seen.inputs, uses.inputs)
    if (uses.roots.some((root) => root === 'resume' || root === 'resumes' || root === 'approvers')) seen.approvals = true
  }
  if (step.stopAfterIf) add(step.stopAfterIf.expression)
  for (const inner of stepsIn(run.body, plan)) for (const one of expressionsOf(inner)) add(one)
  return seen
}

function union(all: Set<string> | null, more: readonly string[] | null): Set<string> | null {
  if (all === null || more === null) return null
  for (const one of more) all.add(one)
  return all
}

function expressionsOf(step: PlanStep): Expression[] {
  const { run, inputs, skipIf, stopAfterIf, stopAfterAllIf, sleep, suspend, retryIf, timeout } = step
  const all = [...inputs.map((input) => input.expression), skipIf, stopAfterIf?.expression, stopAfterAllIf?.expression, sleep]
  all.push(retryIf, timeout, suspend?.groups)
  if (run.kind === 'loop') all.push(run.iterator, run.parallelism)
  if (run.kind === 'choice') all.push(...run.branches.map((branch) => branch.when))
  return all.filter((one): one is Expression => one !== null && one !== undefined)
}

/** Can the first step of a body see what was before the loop, or pass it on? */
function seesPrevious({ steps }: Block, plan: Plan): boolean {
  const first = steps[0] === undefined ? undefined : plan.steps[steps[0]]
  if (!first || first.skipIf || !['code', 'script', 'flow'].includes(first.run.kind)) return true
  const before = [...first.inputs.map((input) => input.expression), first.timeout].filter((one) => one !== null)
  return before.some(({ uses }) => uses.roots.some((root) => root === 'previous_result' || root === 'result' || root === 'error'))
}

// ── What a part comes to ──

/**
 * How a part ended. done: all its items had their turn (`errors`: those of iterations that count as failures). broken: the loop
 * was stopped in it. failed: the loop has failed, with `error`. lost: it came to nothing: it was canceled, or is poison.
 */
export type PartEnd = { how: 'done' | 'broken'; errors?: UserError[] } | { how: 'failed'; error: UserError } | { how: 'lost' }

/** What the end of a part says besides: which part comes next, and whether the loop is to be looked at now. `took`: see apart.ts. */
export function printPartEnd(part: string, args: JsonText, end: PartEnd, took: { at: number; ms: number }): JsonText {
  if (parseTarget(part)) return `"end":${JSON.stringify({ ...end, ...took })},"next":null,"refuses":false`
  const { slot, jobs, at_once: atOnce, stops } = JSON.parse(args) as unknown as StoredPart
  const refuses = end.how === 'lost' ? stops : end.how !== 'done'
  const next = refuses || slot + atOnce >= jobs ? null : slot + atOnce
  return `"end":${JSON.stringify(end)},"next":${next},"refuses":${refuses}`
}

const doneHead = '{"end":{"how":"done"},"result":['

/** `payload`: {end, result}, of a part's signal. `list`: its results, without the brackets. */
export function readPartEnd(payload: JsonText): { end: PartEnd; list: JsonText; result: JsonText } {
  // The usual one is not parsed.
  if (payload.startsWith(doneHead)) return { end: { how: 'done' }, list: payload.slice(doneHead.length, -2), result: '' }
  const { end, result } = JSON.parse(payload) as unknown as { end: PartEnd; result: Json }
  assert(end, `this is no end of a part: ${payload.slice(0, 80)}`)
  const text = JSON.stringify(result)
  return { end, list: Array.isArray(result) ? text.slice(1, -1) : '', result: text }
}
