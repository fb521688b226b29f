import type { Scope } from '../../../src/core/expr/expression.ts'
import type { Json } from '../../../src/core/json.ts'
import { NotAtHand } from '../../../src/core/lookups.ts'

export interface ScopeValues {
  flow_input?: Json
  results?: Record<string, Json>
  previous_result?: Json
  flow_env?: Json
  error?: Json
  all_iters?: Json[]
  approvals?: { approver: string | null; v: string }[]
  /** As `variable f/a`; null: there is none. What is not here is not at hand. */
  looked_up?: Record<string, Json>
}

/** What an expression sees, from plain values. */
export function scopeOf(values: ScopeValues): Scope {
  const { flow_input: input = {}, results = {}, previous_result: previous = null, flow_env: env = {}, error } = values
  const { looked_up: lookedUp = {} } = values
  const result = (stepId: string): Json => (Object.hasOwn(results, stepId) ? results[stepId]! : null)
  return {
    flowInput: () => input,
    flowInputText: () => JSON.stringify(input),
    result,
    resultText: (stepId) => JSON.stringify(result(stepId)),
    resultIds: () => Object.keys(results),
    previous: () => previous,
    previousText: () => JSON.stringify(previous),
    flowEnvText: () => JSON.stringify(env),
    allItersText: () => JSON.stringify(values.all_iters ?? []),
    approvalsOf: () => values.approvals ?? [],
    look(lookups) {
      const missing = lookups.filter(({ kind, path }) => lookedUp[`${kind} ${path}`] === undefined)
      if (missing.length > 0) throw new NotAtHand(missing)
      const values = lookups.map(({ kind, path }) => lookedUp[`${kind} ${path}`]!)
      return values.map((value) => (value === null ? null : JSON.stringify(value)))
    },
    errorText: () => (error === undefined ? undefined : JSON.stringify(error)),
  }
}
