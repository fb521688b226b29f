// The names an expression may use, by the place it stands in.
//   N1. `result` is the step's own result, so it exists where the step has run; it is the same value as previous_result there.
//   N2. resume, resumes and approvers are the answers to the wait before; all_iters exists in a loop's own conditions. Elsewhere
//       they are null, or empty, as params is, so that documents which mention them parse.
//   N3. variable('path') and resource('path') are everywhere (core/lookups.ts). What they look up is known when a flow is deployed.

/** Before the step runs (its inputs, skip_if), or with a result of its own (stop_after_if, retry_if, timeout). */
export type Place = 'before' | 'after'

const commonRoots = ['flow_input', 'results', 'previous_result', 'flow_env', 'error'] as const
const otherRoots = ['params', 'resume', 'resumes', 'approvers', 'all_iters'] as const

export type Root = (typeof commonRoots)[number] | 'result' | (typeof otherRoots)[number]

const rootsByPlace: Record<Place, readonly Root[]> = {
  before: [...commonRoots, ...otherRoots],
  after: [...commonRoots, 'result', ...otherRoots],
}

export function rootsOf(place: Place): readonly Root[] {
  return rootsByPlace[place]
}

export function isRoot(name: string, place: Place): name is Root {
  return (rootsByPlace[place] as readonly string[]).includes(name)
}

/** Names with a meaning in OpenFlow that this version does not give them. */
export const refusedNames: Record<string, string | undefined> = Object.assign(Object.create(null), {
  flow_job_id: 'this version does not tell the id of the job in expressions; the code of a step has it as WM_FLOW_JOB_ID',
  started_at:
    'this version does not tell in expressions when a job began; the error handler of the workspace is given it (started_at)',
  result:
    'result exists only in stop_after_if, stop_after_all_iters_if, retry_if, sleep, timeout and user_groups_required; use previous_result or ' +
    'results.<step id> here',
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
