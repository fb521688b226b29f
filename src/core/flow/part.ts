// A part of a flow, to try it: up to a step, or one step alone; steps whose results are given do not run.
//   P1. What comes out is a flow like any other. A step that is given a result is a mock of it, in its place.
//   P2. `until` cuts every list of modules on the way to the step behind it; other branches stay as they are.
//   P3. `only` leaves the step and the given results before it, in one list: inside of a loop or not, it runs once.
import { EngineError } from '../errors.ts'
import type { Json } from '../json.ts'
import type { FlowModule, FlowValue } from './definition.ts'
import { listsIn, modulesOf } from './modules.ts'

export interface FlowPart {
  until?: string | undefined
  only?: string | undefined
  /** By step id. */
  results?: Record<string, Json> | undefined
}

/** @throws EngineError E_INVALID with the place in the request (`$.until`, `$.only`, `$.results.a`) */
export function partOf(value: FlowValue, { until, only, results = {} }: FlowPart): FlowValue {
  if (until !== undefined && only !== undefined) {
    throw new EngineError('E_INVALID', 'give until or only, not both', { at: '$.only' })
  }
  const ids = stepIds(value)
  for (const [name, id] of Object.entries({ until, only })) if (id !== undefined) assertStep(id, ids, `$.${name}`)
  const whole = only === undefined ? { ...value, modules: cutAfter(value.modules, until) } : alone(value, only, results)
  const known = only === undefined ? stepIds(whole) : ids
  for (const id of Object.keys(results)) {
    const at = `$.results.${id}`
    assertStep(id, ids, at)
    if (id === until || id === only)
      throw new EngineError('E_INVALID', `step ${id} is to be run; its result cannot be given`, { at })
    if (known.includes(id)) continue
    throw new EngineError('E_INVALID', `step ${id} comes after ${until}, so its result is not asked for`, { at, allowed: known })
  }
  return { ...whole, modules: mocked(whole.modules, results) }
}

function stepIds(value: FlowValue): string[] {
  return modulesOf({ modules: value.modules }, '$').map(({ module }) => module.id)
}

function assertStep(id: string, ids: readonly string[], at: string): void {
  if (ids.includes(id)) return
  throw new EngineError('E_INVALID', `the flow has no step "${id.slice(0, 100)}"; its steps are ${ids.join(', ')}`, {
    at,
    allowed: ids,
  })
}

function cutAfter(modules: readonly FlowModule[], id: string | undefined): FlowModule[] {
  if (id === undefined) return [...modules]
  const at = modules.findIndex((module) => holds(module, id))
  if (at < 0) return [...modules]
  return [...modules.slice(0, at), withLists(modules[at]!, (list) => cutAfter(list, id))]
}

function holds(module: FlowModule, id: string): boolean {
  return module.id === id || listsIn(module, '').some((list) => list.modules.some((inner) => holds(inner, id)))
}

/** The module with each list inside of it changed. */
function withLists(module: FlowModule, change: (list: FlowModule[]) => FlowModule[]): FlowModule {
  const { value } = module
  switch (value.type) {
    case 'forloopflow':
    case 'whileloopflow':
      return { ...module, value: { ...value, modules: change(value.modules) } }
    case 'branchone': {
      const branches = value.branches.map((branch) => ({ ...branch, modules: change(branch.modules) }))
      return { ...module, value: { ...value, branches, default: change(value.default) } }
    }
    case 'branchall': {
      const branches = value.branches.map((branch) => ({ ...branch, modules: change(branch.modules) }))
      return { ...module, value: { ...value, branches } }
    }
    default:
      return module
  }
}

/** The steps with given results as they come in the flow, then the one step. No failure module: what failed is what is looked for. */
function alone(value: FlowValue, only: string, results: Record<string, Json>): FlowValue {
  const { failure_module: _failure, skip_expr: _skip, ...rest } = value
  const all = modulesOf({ modules: value.modules }, '$').map(({ module }) => module)
  const given = all.filter(({ id }) => Object.hasOwn(results, id) && id !== only)
  return { ...rest, modules: [...given, all.find(({ id }) => id === only)!] }
}

function mocked(modules: readonly FlowModule[], results: Record<string, Json>): FlowModule[] {
  return modules.map((module) => {
    if (!Object.hasOwn(results, module.id)) return withLists(module, (list) => mocked(list, results))
    const { id, summary } = module
    const mock = { enabled: true, return_value: results[id]! }
    return { id, ...(summary === undefined ? {} : { summary }), value: { type: 'identity' }, mock }
  })
}
