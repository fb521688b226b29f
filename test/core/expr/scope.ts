import type { Scope } from '../../../src/core/expr/expression.ts'
import type { Json } from '../../../src/core/json.ts'

export interface ScopeValues {
  flow_input?: Json
  results?: Record<string, Json>
  previous_result?: Json
  flow_env?: Json
  error?: Json
  all_iters?: Json[]
  approvals?: { approver: string | null; v: string }[]
}

/** What an expression sees, from plain values. */
export function scopeOf(values: ScopeValues): Scope {
  const { flow_input: input = {}, results = {}, previous_result: previous = null, flow_env: env = {}, error } = values
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
    errorText: () => (error === undefined ? undefined : JSON.stringify(error)),
  }
}
