// The names an expression may use, by the place it stands in.
//   N1. `result` is the step's own result, so it exists where the step has run; it is the same value as previous_result there.
//   N2. resume, resumes, approvers, all_iters and params exist so that documents which mention them parse:
//       nothing fills them yet (null, or empty), as the modules that would are refused.

/** Before the step runs (its inputs, skip_if), or with a result of its own (stop_after_if, retry_if, timeout). */
export type Place = 'before' | 'after'

export const fixedRoots = { params: '{}', resume: 'null', resumes: '[]', approvers: '[]', all_iters: '[]' } as const

const commonRoots = ['flow_input', 'results', 'previous_result', 'flow_env', 'error'] as const
const afterRoots = [...commonRoots, 'result'] as const

export type Root = (typeof afterRoots)[number] | keyof typeof fixedRoots

const rootsByPlace: Record<Place, readonly Root[]> = {
  before: [...commonRoots, ...(Object.keys(fixedRoots) as Root[])],
  after: [...afterRoots, ...(Object.keys(fixedRoots) as Root[])],
}

export function rootsOf(place: Place): readonly Root[] {
  return rootsByPlace[place]
}

export function isRoot(name: string, place: Place): name is Root {
  return (rootsByPlace[place] as readonly string[]).includes(name)
}

/** Names with a meaning in OpenFlow that this version does not give them. */
export const refusedNames: Record<string, string | undefined> = Object.assign(Object.create(null), {
  variable: 'this version does not read variables in expressions; pass the value as a flow input or in flow_env',
  resource: 'this version does not read resources in expressions; pass the value as a flow input or in flow_env',
  result: 'result exists only in stop_after_if, retry_if and timeout; use previous_result or results.<step id> here',
})

/** JavaScript's own names, as the sandbox has them. Date and Math.random are there: what decides is recorded (machine.ts). */
export const builtIns: ReadonlySet<string> = new Set(
  (
    'undefined NaN Infinity globalThis arguments Object Array String Number Boolean Symbol BigInt Function Math JSON Date RegExp ' +
    'Map Set WeakMap WeakSet WeakRef Promise Proxy Reflect Error TypeError RangeError SyntaxError ReferenceError EvalError URIError ' +
    'AggregateError ArrayBuffer DataView Int8Array Uint8Array Uint8ClampedArray Int16Array Uint16Array Int32Array Uint32Array ' +
    'BigInt64Array BigUint64Array Float32Array Float64Array parseInt parseFloat isNaN isFinite encodeURI encodeURIComponent ' +
    'decodeURI decodeURIComponent escape unescape'
  ).split(' '),
)
