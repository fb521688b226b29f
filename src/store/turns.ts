// Turns as jobs are accepted: which key a job counts to, and what it absorbs.
//   T1. A key is text that names the same thing in every process; a long one is cut and told apart by a hash.
//   T2. A custom concurrency_key counts over all workspaces, unless it says $workspace (as in Windmill). Everything else stays in its own.
import { createHash } from 'node:crypto'
import { compileExpression } from '../core/expr/compile.ts'
import type { Expression, Sandbox, Scope } from '../core/expr/expression.ts'
import { createSandbox } from '../core/expr/sandbox.ts'
import { placeholder, type TurnRule } from '../core/flow/turns.ts'
import { EngineError, messageOf } from '../core/errors.ts'
import type { Json, JsonText } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'

/** What a job is stored with: the short names are those of turn_accept. */
export interface Turn {
  key: string
  max?: number
  window?: number
  debounce?: { key: string; ms: number; within?: number; amount?: number; merge?: string[] }
}

export interface TurnMakers {
  /** Null for a version that asks nothing. */
  of(rule: TurnRule | JsonText | null, version: RuledVersion): Promise<TurnMaker | null>
}

export interface RuledVersion {
  workspaceId: string
  kind: 'flow' | 'script' | 'step'
  /** Of a step, with its id behind. */
  path: string
  versionId: string
}

/** Makes turn makers. The sandbox of ordering keys is there from the first of those on. */
export function createTurnMakers(limits: Pick<Limits, 'expressionMs' | 'expressionMemoryBytes'>): TurnMakers {
  let sandbox: Promise<Sandbox> | null = null
  return {
    async of(given, version) {
      if (given === null) return null
      const rule = typeof given === 'string' ? (JSON.parse(given) as TurnRule) : given
      if (rule.order === null) return createTurnMaker(rule, version, null)
      sandbox ??= createSandbox({ timeMs: limits.expressionMs, memoryBytes: limits.expressionMemoryBytes })
      return turnMakerOf(rule, version, await sandbox)
    },
  }
}

export function turnMakerOf(rule: TurnRule, version: RuledVersion, sandbox: Sandbox): TurnMaker {
  const { order } = rule
  const at = '$.value.ordering_key'
  return createTurnMaker(rule, version, order === null ? null : compileExpression(order, sandbox, 'before', at))
}

/** Of a rule that does not order. */
export function limitMakerOf(rule: TurnRule, version: RuledVersion): TurnMaker {
  return createTurnMaker(rule, version, null)
}

/** Made once per version; then asked for every job. */
export interface TurnMaker {
  /** @throws EngineError E_INVALID if the ordering key of these arguments cannot be told */
  turnOf(args: JsonText): Turn
}

function createTurnMaker(rule: TurnRule, of: RuledVersion, order: Expression | null): TurnMaker {
  const { workspaceId } = of
  const own = `${workspaceId}/${of.kind}/${of.path}`
  const { debounce } = rule

  function keyOf(args: Record<string, Json>, text: JsonText): string {
    if (order) return bounded(`order ${own} ${orderOf(order, args, text)}`)
    if (rule.jobsMax === null) return `free ${own}`
    return bounded(rule.key === null ? `limit ${own}` : `limit ${filled(rule.key, workspaceId, args)}`)
  }

  return {
    turnOf(text) {
      const args = JSON.parse(text) as Record<string, Json>
      const turn: Turn = { key: keyOf(args, text) }
      if (rule.jobsMax !== null) turn.max = rule.jobsMax
      if (rule.windowMs !== null) turn.window = rule.windowMs
      if (!debounce) return turn
      const { delayMs, withinMs, amount, merge } = debounce
      // Of one version only, and of one workspace: what is absorbed runs as what absorbed it.
      const key = bounded(`${own} ${of.versionId} ${debounce.key === null ? '' : filled(debounce.key, workspaceId, args)}`)
      turn.debounce = { key, ms: delayMs }
      if (withinMs !== null) turn.debounce.within = withinMs
      if (amount !== null) turn.debounce.amount = amount
      if (merge.length > 0) turn.debounce.merge = merge
      return turn
    },
  }
}

function orderOf(order: Expression, args: Record<string, Json>, text: JsonText): JsonText {
  try {
    return order.text(scopeOf(args, text))
  } catch (error) {
    const message = `the ordering key of these arguments cannot be told: ${messageOf(error)}`
    throw new EngineError('E_INVALID', message, { at: '$.value.ordering_key' })
  }
}

function filled(template: string, workspaceId: string, args: Record<string, Json>): string {
  return template.replaceAll(placeholder, (whole, name: string | undefined) => {
    if (whole === '$workspace') return workspaceId
    let at: Json = args
    for (const part of name!.split('.')) {
      at = at !== null && typeof at === 'object' && Object.hasOwn(at, part) ? ((at as Record<string, Json>)[part] ?? null) : null
    }
    return typeof at === 'string' ? at : JSON.stringify(at)
  })
}

const keyCharsMax = 300

/** Keys stand in an index. */
function bounded(key: string): string {
  if (key.length <= keyCharsMax) return key
  return `${key.slice(0, keyCharsMax - 80)} …${createHash('sha256').update(key).digest('hex')}`
}

/** Only the arguments are there before a job begins. */
function scopeOf(args: Json, text: JsonText): Scope {
  return {
    flowInput: () => args,
    flowInputText: () => text,
    result: () => null,
    resultText: () => 'null',
    resultIds: () => [],
    previousText: () => text,
    previous: () => args,
    flowEnvText: () => '{}',
    allItersText: () => '[]',
    approvalsOf: () => [],
    errorText: () => undefined,
    look: () => [], // no key names any: validate.ts
  }
}
