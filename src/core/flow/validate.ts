// OpenFlow documents from outside, checked once.
//   V1. What parseFlow gives back can be compiled and run: compilePlan and the machine check nothing again.
//   V2. Every fault is E_FLOW_INVALID, with the JSON path and what is allowed there; up to ten are told at once, `at` is the first.
//       (JSON that cannot be stored, or is too deep, is E_JSON: core/json.ts.)
//   V3. Nothing that changes what a flow does is ignored: what this version does not run is refused by name (unsupported.ts).
//       What only a user interface reads, and fields nobody knows, are kept as they came.
import { parseExpression, type Parsed } from '../expr/parse.ts'
import type { Place } from '../expr/names.ts'
import { assertStorable, pathOf, type Json } from '../json.ts'
import { lookupFault, lookupIn } from '../lookups.ts'
import type { Limits } from '../limits.ts'
import { retryAttemptsMax, retrySecondsMax } from '../job/retry.ts'
import { languages, reservedStepIds, type Flow, type FlowModule, type FlowValue, type InputTransform } from './definition.ts'
import type { Debouncing, ModuleValue, Queueing, Retry, StopAfterIf, Suspend } from './definition.ts'
import { Faults, type Fields } from './faults.ts'
import { groupList, isGroupList } from './groups.ts'
import { modulesOf as modulesWithin } from './modules.ts'
import { keyFault } from './turns.ts'
import { otherLanguages, otherModuleTypes, refuseUnsupported, unsupported } from './unsupported.ts'

type FlowLimits = Pick<Limits, 'jsonDepthMax' | 'flowModulesMax'>

const moduleTypes = ['rawscript', 'script', 'flow', 'forloopflow', 'whileloopflow', 'branchone', 'branchall', 'identity'] as const
const failureTypes = ['rawscript', 'script'] as const
const durabilities = ['pipelined', 'strict'] as const
// A timer of Node holds 2^31 ms.
const timeoutSecondsMax = 2_147_483
// A year and a day: what waits longer was forgotten.
const waitSecondsMax = 366 * 86_400
const stepIdPattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/

/** @throws EngineError E_FLOW_INVALID or E_JSON, with `at` */
export function parseFlow(document: unknown, limits: FlowLimits, at = '$'): Flow {
  assertStorable(document, at, limits.jsonDepthMax)
  const faults = new Faults()
  const fields = faults.fields(document, at, 'a flow is an object {summary, value, schema}')
  if (!fields) throw faults.error()
  refuseUnsupported(fields, unsupported.flow, at, faults)
  const flow = {
    ...fields,
    summary: faults.text(fields, 'summary', at) ?? '',
    description: faults.text(fields, 'description', at) ?? '',
    value: flowValue(fields.value, limits, `${at}.value`, faults),
    schema: (faults.object(fields, 'schema', at) ?? null) as Json,
  } as Flow
  faults.text(fields, 'tag', at)
  faults.boolean(fields, 'dedicated_worker', at)
  faults.throwAny()
  return flow
}

/** The `value` of a flow alone, as previews send it. @throws EngineError E_FLOW_INVALID or E_JSON, with `at` */
export function parseFlowValue(value: unknown, limits: FlowLimits, at = '$.value'): FlowValue {
  assertStorable(value, at, limits.jsonDepthMax)
  const faults = new Faults()
  const flow = flowValue(value, limits, at, faults)
  faults.throwAny()
  return flow
}

function flowValue(value: unknown, limits: FlowLimits, at: string, faults: Faults): FlowValue {
  const fields = faults.fields(value, at, 'a flow value is an object {modules: […]}')
  if (!fields) return { modules: [] }
  refuseUnsupported(fields, unsupported.flowValue, at, faults)
  faults.oneOf(fields, 'durability', durabilities, at)
  faults.number(fields, 'priority', at)
  faults.boolean(fields, 'same_worker', at)
  checkFlowEnv(fields, at, faults)
  checkQueueing(fields, at, faults)
  checkCacheTtl(fields, at, faults)
  const deleteAfterS = deleteAfterSecsOf(fields, at, faults)
  if (faults.text(fields, 'skip_expr', at)) checkExpression(fields.skip_expr, 'before', `${at}.skip_expr`, faults)
  const whole: Whole = { modulesMax: limits.flowModulesMax, modules: 0, placeOf: new Map() }
  const flow = { ...fields, modules: modulesOf(fields.modules, whole, `${at}.modules`, faults) } as FlowValue
  if (fields.preprocessor_module === undefined || fields.preprocessor_module === null) delete flow.preprocessor_module
  else flow.preprocessor_module = preprocessorModule(fields.preprocessor_module, whole, `${at}.preprocessor_module`, faults)
  if (fields.failure_module === undefined || fields.failure_module === null) delete flow.failure_module
  else flow.failure_module = failureModule(fields.failure_module, whole, `${at}.failure_module`, faults)
  for (const key of ['flow_env', 'durability', 'priority', 'same_worker'] as const) if (fields[key] === null) delete flow[key]
  if (!fields.skip_expr) delete flow.skip_expr
  checkEarlyReturn(fields, flow, at, faults)
  for (const key of [...queueingFields, 'cache_ttl', 'early_return'] as const) if (!fields[key]) delete flow[key]
  setDeleteAfter(flow, deleteAfterS)
  if (fields.same_worker === true) refuseElsewhere(flow, at, faults)
  return flow
}

/** What runs on other workers does not see the folder. */
function refuseElsewhere(flow: FlowValue, at: string, faults: Faults): void {
  for (const { module, at: here } of modulesWithin(flow, at)) {
    const value = module.value as unknown as Fields
    const field = elsewhereFields.find((name) => Boolean(value[name]))
    if (field === undefined && !module.debouncing) continue
    faults.add(
      field === undefined ? `${here}.debouncing` : `${here}.value.${field}`,
      'the steps of a same_worker flow share a folder of one worker (remove one of the two fields)',
    )
  }
}

const elsewhereFields = ['spread', 'tag', 'tag_override', 'concurrent_limit'] as const

const earlyTypes = ['rawscript', 'script', 'identity'] as const

/** OpenFlow's schema calls it an expression; in Windmill it is the id of a step, and so it is here. */
function checkEarlyReturn(fields: Fields, flow: FlowValue, at: string, faults: Faults): void {
  const id = faults.text(fields, 'early_return', at)
  if (!id) return
  const here = `${at}.early_return`
  const allowed = flow.modules
    .filter(({ value }) => (earlyTypes as readonly string[]).includes(value.type))
    .map((module) => module.id)
  if (allowed.includes(id)) return
  const what = `is the id of a step of type ${earlyTypes.join(', ')} in the flow's own list`
  faults.add(here, `${what}, got ${JSON.stringify(id.slice(0, 80))}`, allowed)
}

const debouncingFields = [
  'debounce_delay_s',
  'debounce_key',
  'debounce_args_to_accumulate',
  'max_total_debouncing_time',
  'max_total_debounces_amount',
] as const satisfies (keyof Debouncing)[]

export const queueingFields = [
  'concurrent_limit',
  'concurrency_time_window_s',
  'concurrency_key',
  'ordering_key',
  ...debouncingFields,
] as const satisfies (keyof Queueing)[]

export const jobsMaxMax = 1_000_000

/** Of a flow or a script. 0, null and empty texts are what editors write for "not set". */
export function checkQueueing(fields: Fields, at: string, faults: Faults): void {
  const limit = checkLimit(fields, 'concurrency_key', at, faults)
  checkDebouncing(fields, at, faults)
  if (!faults.text(fields, 'ordering_key', at)) return
  const here = `${at}.ordering_key`
  faults.catching(() => {
    const others = namesIn(parseExpression(fields.ordering_key as string, 'before', here)).filter((name) => name !== 'flow_input')
    if (others.length > 0)
      faults.add(here, `only flow_input is there when a job is accepted, not ${others.join(', ')}`, ['flow_input'])
  })
  if (limit > 0) faults.add(here, 'a job waits for one key: use ordering_key or concurrent_limit, not both')
}

/** Gives how long; 0: not at all. */
function checkDebouncing(fields: Fields, at: string, faults: Faults): number {
  const delayS = faults.bounded(fields, 'debounce_delay_s', { min: 0, max: waitSecondsMax, preset: 0 }, at)
  const withinS = faults.bounded(fields, 'max_total_debouncing_time', { min: 0, max: waitSecondsMax, preset: 0 }, at)
  const amount = faults.bounded(fields, 'max_total_debounces_amount', { min: 0, max: jobsMaxMax, whole: true, preset: 0 }, at)
  const debounceKey = keyOf(fields, 'debounce_key', at, faults)
  const merge = fields.debounce_args_to_accumulate
  if (merge !== undefined && merge !== null && !(Array.isArray(merge) && merge.every((name) => typeof name === 'string')))
    faults.add(`${at}.debounce_args_to_accumulate`, 'expected an array of names of arguments')
  if (delayS === 0) {
    const alone = (field: string): void => doesNothing(field, 'debounce_delay_s', at, faults)
    if (debounceKey) alone('debounce_key')
    if (withinS > 0) alone('max_total_debouncing_time')
    if (amount > 0) alone('max_total_debounces_amount')
    if (Array.isArray(merge) && merge.length > 0) alone('debounce_args_to_accumulate')
  }
  return delayS
}

/** So many at a time, and in a time: of a flow, a script or a step. Gives how many; 0: any number. */
function checkLimit(fields: Fields, keyField: string, at: string, faults: Faults): number {
  const limit = faults.bounded(fields, 'concurrent_limit', { min: 0, max: jobsMaxMax, whole: true, preset: 0 }, at)
  const windowS = faults.bounded(fields, 'concurrency_time_window_s', { min: 0, max: waitSecondsMax, preset: 0 }, at)
  const key = keyOf(fields, keyField, at, faults)
  if (limit === 0 && windowS > 0) doesNothing('concurrency_time_window_s', 'concurrent_limit', at, faults)
  if (limit === 0 && key) doesNothing(keyField, 'concurrent_limit', at, faults)
  return limit
}

function doesNothing(field: string, needs: string, at: string, faults: Faults): void {
  faults.add(pathOf(at, field), `does nothing without ${needs}`, [needs])
}

function namesIn(parsed: Parsed): string[] {
  switch (parsed.tier) {
    case 'constant':
      return []
    case 'path':
      return [parsed.root]
    case 'lookup':
      return [parsed.lookup.kind]
    case 'code':
      return [...parsed.roots, ...new Set(parsed.lookups.map(({ kind }) => kind))]
  }
}

function keyOf(fields: Fields, name: string, at: string, faults: Faults): string | undefined {
  const key = faults.text(fields, name, at)
  const fault = key && keyFault(key)
  if (fault) faults.add(pathOf(at, name), fault, ['$workspace', '$args[name]'])
  return key
}

/** What holds of all modules of a flow, nested ones included. */
interface Whole {
  modulesMax: number
  modules: number
  placeOf: Map<unknown, string>
}

function modulesOf(modules: unknown, whole: Whole, at: string, faults: Faults): FlowModule[] {
  if (!Array.isArray(modules)) {
    faults.add(at, `expected an array of modules, got ${nameOf(modules)}`)
    return []
  }
  const before = whole.modules
  whole.modules += modules.length
  if (whole.modules > whole.modulesMax) {
    if (before <= whole.modulesMax) {
      faults.add(at, `${whole.modules} modules; a flow may have ${whole.modulesMax}; split it into several flows`)
    }
    return []
  }
  return modules.map((module, index) => {
    const here = `${at}[${index}]`
    const fields = faults.fields(module, here, moduleShape)
    if (!fields) return noModule
    checkStepId(fields.id, `${here}.id`, whole.placeOf, faults)
    if (!whole.placeOf.has(fields.id)) whole.placeOf.set(fields.id, here)
    return flowModule(fields, whole, here, faults)
  })
}

const moduleShape = 'a module is an object {id, value}'
/** Stands for a module with a fault, so that reading goes on; never leaves this file. */
const noModule: FlowModule = { id: '', value: { type: 'identity' } }

function checkStepId(id: unknown, at: string, placeOf: Map<unknown, string>, faults: Faults): void {
  if (typeof id !== 'string') {
    faults.add(at, `every module needs an id, a text; got ${nameOf(id)}`)
  } else if ((reservedStepIds as readonly string[]).includes(id)) {
    faults.add(at, `'${id}' is a reserved name; use another id`)
  } else if (!stepIdPattern.test(id)) {
    const shown = JSON.stringify(id.slice(0, 80))
    faults.add(at, `${shown} is not an id: up to 64 letters, digits, '_' and '-', the first a letter or digit`)
  } else if (placeOf.has(id)) {
    faults.add(at, `'${id}' is the id of ${placeOf.get(id)} too; every step needs its own`)
  }
}

function failureModule(module: unknown, whole: Whole, at: string, faults: Faults): FlowModule {
  const fields = faults.fields(module, at, moduleShape)
  if (!fields) return noModule
  if ((fields.id ?? 'failure') !== 'failure') {
    faults.add(`${at}.id`, `the failure module's id is 'failure', got ${JSON.stringify(fields.id)}`, ['failure'])
  }
  const parsed = flowModule(fields, whole, at, faults)
  if (parsed.suspend?.required_events) {
    faults.add(`${at}.suspend`, 'nothing comes after a failure module that could wait (remove the field)')
  }
  if (!(failureTypes as readonly string[]).includes(parsed.value.type)) {
    faults.add(`${at}.value.type`, `a failure module is a ${failureTypes.join(' or a ')}`, failureTypes)
  }
  return { ...parsed, id: 'failure' }
}

const notOfPreprocessors = [
  'skip_if',
  'stop_after_if',
  'stop_after_all_iters_if',
  'sleep',
  'suspend',
  'continue_on_error',
  'mock',
  'debouncing',
] as const

function preprocessorModule(module: unknown, whole: Whole, at: string, faults: Faults): FlowModule {
  const fields = faults.fields(module, at, moduleShape)
  if (!fields) return noModule
  if ((fields.id ?? 'preprocessor') !== 'preprocessor') {
    faults.add(`${at}.id`, `the preprocessor's id is 'preprocessor', got ${JSON.stringify(fields.id)}`, ['preprocessor'])
  }
  const parsed = flowModule(fields, whole, at, faults)
  if (!(failureTypes as readonly string[]).includes(parsed.value.type)) {
    faults.add(`${at}.value.type`, `a preprocessor is a ${failureTypes.join(' or a ')}`, failureTypes)
  }
  for (const field of notOfPreprocessors) {
    if (parsed[field]) faults.add(`${at}.${field}`, 'a preprocessor has none: it runs first, or not at all (remove the field)')
  }
  return { ...parsed, id: 'preprocessor' }
}

/** A module without a check of its id, which depends on where it stands. */
function flowModule(fields: Fields, whole: Whole, at: string, faults: Faults): FlowModule {
  const parsed = { ...fields, value: moduleValue(fields.value, whole, `${at}.value`, faults) } as FlowModule
  faults.text(fields, 'summary', at)
  faults.boolean(fields, 'continue_on_error', at)
  checkCondition(fields, 'skip_if', 'before', at, faults)
  checkStop(fields, 'stop_after_if', at, faults)
  checkStop(fields, 'stop_after_all_iters_if', at, faults)
  checkMock(fields, at, faults)
  const suspend = suspendOf(fields, at, faults)
  if (suspend) parsed.suspend = suspend
  if (checkCacheTtl(fields, at, faults) > 0 && !(cachedTypes as readonly string[]).includes(parsed.value.type))
    faults.add(`${at}.cache_ttl`, `results are cached of modules of type ${cachedTypes.join(' and ')}`, cachedTypes)
  if (!fields.cache_ttl) delete parsed.cache_ttl
  setDeleteAfter(parsed, deleteAfterSecsOf(fields, at, faults))
  const debouncing = debouncingOf(fields, parsed.value, at, faults)
  if (debouncing) parsed.debouncing = debouncing
  else delete parsed.debouncing
  for (const key of ['skip_if', 'stop_after_if', 'stop_after_all_iters_if', 'suspend', 'mock', 'continue_on_error'] as const)
    if (fields[key] === null) delete parsed[key]
  if (parsed.stop_after_all_iters_if && !hasBodies(parsed)) delete parsed.stop_after_all_iters_if // editors leave it behind
  const retry = retryOf(fields, at, faults)
  if (retry) parsed.retry = retry
  else delete parsed.retry
  const timeout = numberOf(fields, 'timeout', { min: 0.001, max: timeoutSecondsMax }, 'after', at, faults)
  if (timeout === undefined) delete parsed.timeout
  else parsed.timeout = timeout
  const sleep = numberOf(fields, 'sleep', { min: 0, max: waitSecondsMax }, 'after', at, faults)
  if (sleep === undefined) delete parsed.sleep
  else parsed.sleep = sleep
  return parsed
}

const debouncedTypes = ['rawscript', 'script', 'flow'] as const

function debouncingOf(fields: Fields, { type }: ModuleValue, at: string, faults: Faults): Debouncing | undefined {
  const given = faults.object(fields, 'debouncing', at)
  if (!given) return undefined
  const here = `${at}.debouncing`
  if (checkDebouncing(given, here, faults) === 0) return undefined
  if (!(debouncedTypes as readonly string[]).includes(type))
    faults.add(here, `modules of type ${debouncedTypes.join(', ')} are debounced; put it on the steps inside`, debouncedTypes)
  const debouncing = { ...given } as Debouncing
  for (const key of debouncingFields) if (!debouncing[key]) delete debouncing[key]
  return debouncing
}

const cachedTypes = ['rawscript', 'script'] as const

export function checkCacheTtl(fields: Fields, at: string, faults: Faults): number {
  return faults.bounded(fields, 'cache_ttl', { min: 0, max: waitSecondsMax, preset: 0 }, at)
}

/** null: nothing is deleted. `delete_after_use` is what older documents have. */
export function deleteAfterSecsOf(fields: Fields, at: string, faults: Faults): number | null {
  faults.boolean(fields, 'delete_after_use', at)
  const preset = fields.delete_after_use === true ? 0 : -1
  const seconds = faults.bounded(fields, 'delete_after_secs', { min: 0, max: waitSecondsMax, whole: true, preset }, at)
  return seconds < 0 ? null : seconds
}

function setDeleteAfter(of: FlowValue | FlowModule, seconds: number | null): void {
  delete (of as { delete_after_use?: boolean }).delete_after_use
  if (seconds === null) delete of.delete_after_secs
  else of.delete_after_secs = seconds
}

function hasBodies({ value }: FlowModule): boolean {
  return value.type === 'forloopflow' || value.type === 'whileloopflow' || value.type === 'branchall'
}

function moduleValue(value: unknown, whole: Whole, at: string, faults: Faults): ModuleValue {
  const fields = faults.fields(value, at, `a module's value is an object {type, …}; types: ${moduleTypes.join(', ')}`)
  if (!fields) return { type: 'identity' }
  switch (fields.type) {
    case 'identity':
      return fields as unknown as ModuleValue
    case 'rawscript':
      return rawScript(fields, at, faults)
    case 'script':
    case 'flow':
      return byPath(fields, at, faults)
    case 'forloopflow':
      return forLoop(fields, whole, at, faults)
    case 'whileloopflow':
      return whileLoop(fields, whole, at, faults)
    case 'branchone':
      return branchOne(fields, whole, at, faults)
    case 'branchall':
      return branchAll(fields, whole, at, faults)
    default:
      faults.notRun(`${at}.type`, 'module type', fields.type, moduleTypes, otherModuleTypes)
      return { type: 'identity' }
  }
}

function rawScript(fields: Fields, at: string, faults: Faults): ModuleValue {
  refuseUnsupported(fields, unsupported.rawScript, at, faults)
  if (typeof fields.content !== 'string') {
    faults.add(`${at}.content`, `a rawscript needs its code as text, got ${nameOf(fields.content)}`)
  }
  if (typeof fields.language !== 'string' || !Object.hasOwn(languages, fields.language)) {
    faults.notRun(`${at}.language`, 'language', fields.language, Object.keys(languages), otherLanguages)
  }
  faults.text(fields, 'lock', at)
  faults.text(fields, 'path', at)
  checkTag(fields, 'tag', at, faults)
  checkLimit(fields, 'custom_concurrency_key', at, faults)
  const script = { ...fields, input_transforms: transformsOf(fields, at, faults) } as Fields
  for (const key of stepLimitFields) if (!fields[key]) delete script[key]
  return script as unknown as ModuleValue
}

const stepLimitFields = ['concurrent_limit', 'concurrency_time_window_s', 'custom_concurrency_key'] as const

/** Those with a colon belong to dedicated workers. */
export const tagPattern = /^[^\s:,]{1,100}$/

function checkTag(fields: Fields, key: string, at: string, faults: Faults): void {
  const tag = faults.text(fields, key, at)
  if (!tag || tagPattern.test(tag)) return
  const shown = JSON.stringify(tag.slice(0, 100))
  faults.add(pathOf(at, key), `${shown} cannot be a tag: use up to 100 characters without spaces, commas and colons`)
}

/** Documents older than input transforms have none. */
function transformsOf(fields: Fields, at: string, faults: Faults): Fields {
  const transforms = faults.object(fields, 'input_transforms', at) ?? {}
  for (const [name, transform] of Object.entries(transforms)) {
    checkTransform(transform, 'before', pathOf(`${at}.input_transforms`, name), faults)
  }
  return transforms
}

/** A script or a flow of the workspace. That it exists is seen when the step begins: flows are deployed in any order. */
function byPath(fields: Fields, at: string, faults: Faults): ModuleValue {
  checkTag(fields, 'tag_override', at, faults)
  const path = faults.text(fields, 'path', at)
  if (path === undefined || path === '')
    faults.add(`${at}.path`, `a module of type ${String(fields.type)} needs a path such as f/folder/name`)
  else if (path.startsWith('hub/')) faults.add(`${at}.path`, 'there is no hub here; deploy the script to the workspace')
  faults.text(fields, 'hash', at)
  return { ...fields, input_transforms: transformsOf(fields, at, faults) } as unknown as ModuleValue
}

function forLoop(fields: Fields, whole: Whole, at: string, faults: Faults): ModuleValue {
  checkTransform(fields.iterator, 'before', `${at}.iterator`, faults)
  const loop = { ...whileLoop(fields, whole, at, faults) } as ModuleValue & { type: 'forloopflow' }
  faults.boolean(fields, 'parallel', at)
  const parallelism = numberOf(fields, 'parallelism', { min: 1, max: 1_000_000, whole: true }, 'before', at, faults)
  if (parallelism === undefined) delete loop.parallelism
  else loop.parallelism = parallelism
  return loop
}

function whileLoop(fields: Fields, whole: Whole, at: string, faults: Faults): ModuleValue {
  faults.boolean(fields, 'spread', at)
  if (fields.type === 'whileloopflow' && fields.spread === true) {
    faults.add(
      `${at}.spread`,
      'a while loop runs in one job, since each iteration decides whether there is another; use a forloopflow',
    )
  }
  faults.boolean(fields, 'skip_failures', at)
  faults.boolean(fields, 'squash', at) // iterations share warm runners anyway
  const modules = modulesOf(fields.modules, whole, `${at}.modules`, faults)
  if (fields.type === 'whileloopflow' && Array.isArray(fields.modules) && fields.modules.length === 0) {
    faults.add(`${at}.modules`, 'a while loop without modules never ends; give it one that stops it')
  }
  return { ...fields, modules } as unknown as ModuleValue
}

function branchOne(fields: Fields, whole: Whole, at: string, faults: Faults): ModuleValue {
  const branches = branchesOf(fields, at, faults).map((branch, index) => {
    const here = `${at}.branches[${index}]`
    checkExpression(branch.expr, 'before', `${here}.expr`, faults)
    return { ...branch, modules: modulesOf(branch.modules, whole, `${here}.modules`, faults) }
  })
  const otherwise =
    fields.default === undefined || fields.default === null ? [] : modulesOf(fields.default, whole, `${at}.default`, faults)
  return { ...fields, branches, default: otherwise } as unknown as ModuleValue
}

function branchAll(fields: Fields, whole: Whole, at: string, faults: Faults): ModuleValue {
  faults.boolean(fields, 'parallel', at)
  const branches = branchesOf(fields, at, faults).map((branch, index) => {
    const here = `${at}.branches[${index}]`
    faults.boolean(branch, 'skip_failure', here)
    return { ...branch, modules: modulesOf(branch.modules, whole, `${here}.modules`, faults) }
  })
  return { ...fields, branches } as unknown as ModuleValue
}

function branchesOf(fields: Fields, at: string, faults: Faults): Fields[] {
  const { branches } = fields
  if (!Array.isArray(branches)) {
    faults.add(`${at}.branches`, `expected an array of branches, got ${nameOf(branches)}`)
    return []
  }
  return branches.map(
    (branch, index) =>
      faults.fields(branch, `${at}.branches[${index}]`, 'a branch is an object {modules: […]}') ?? { modules: [] },
  )
}

const transformTypes = ['static', 'javascript'] as const

function checkTransform(transform: unknown, place: Place, at: string, faults: Faults): transform is InputTransform {
  const fields = faults.fields(transform, at, "an input is {type: 'static', value} or {type: 'javascript', expr}")
  if (!fields) return false
  switch (fields.type) {
    case 'static':
      checkStatic(fields.value, `${at}.value`, faults)
      return true
    case 'javascript':
      checkExpression(fields.expr, place, `${at}.expr`, faults)
      return true
    default:
      faults.notRun(`${at}.type`, 'type of input', fields.type, transformTypes, ['ai'])
      return false
  }
}

/** `$res:` and `$var:` stand for what the workspace keeps, also deep inside a value. That it is there is seen when it is needed. */
function checkStatic(value: unknown, at: string, faults: Faults): void {
  const lookup = typeof value === 'string' ? lookupIn(value) : null
  const fault = lookup && lookupFault(lookup)
  if (fault) faults.add(at, fault)
  if (value === null || typeof value !== 'object') return
  for (const [key, inner] of Object.entries(value)) {
    checkStatic(inner, Array.isArray(value) ? `${at}[${key}]` : pathOf(at, key), faults)
  }
}

function checkFlowEnv(fields: Fields, at: string, faults: Faults): void {
  const flowEnv = faults.object(fields, 'flow_env', at)
  if (flowEnv) checkStatic(flowEnv, `${at}.flow_env`, faults)
}

function checkExpression(source: unknown, place: Place, at: string, faults: Faults): void {
  if (typeof source !== 'string') faults.add(at, `expected JavaScript as text, got ${nameOf(source)}`)
  else faults.catching(() => parseExpression(source, place, at))
}

function checkCondition(fields: Fields, key: string, place: Place, at: string, faults: Faults): Fields | undefined {
  const condition = faults.object(fields, key, at)
  if (condition) checkExpression(condition.expr, place, `${at}.${key}.expr`, faults)
  return condition
}

function checkStop(fields: Fields, key: 'stop_after_if' | 'stop_after_all_iters_if', at: string, faults: Faults): void {
  const stop = checkCondition(fields, key, 'after', at, faults)
  if (!stop) return
  const here = `${at}.${key}`
  faults.boolean(stop, 'skip_if_stopped' satisfies keyof StopAfterIf, here)
  faults.boolean(stop, 'error_include_result' satisfies keyof StopAfterIf, here)
  faults.text(stop, 'error_message' satisfies keyof StopAfterIf, here)
}

const suspendResults = ['step', 'resume'] as const

function suspendOf(fields: Fields, at: string, faults: Faults): Suspend | undefined {
  const suspend = faults.object(fields, 'suspend', at)
  if (!suspend) return undefined
  const here = `${at}.suspend`
  faults.bounded(suspend, 'required_events', { min: 0, max: 1_000_000, whole: true, preset: 0 }, here)
  faults.bounded(suspend, 'timeout', { min: 0.001, max: waitSecondsMax, preset: 0 }, here)
  for (const key of ['continue_on_disapprove_timeout', 'hide_cancel', 'user_auth_required', 'self_approval_disabled'])
    faults.boolean(suspend, key, here)
  faults.object(suspend, 'resume_form', here)
  faults.oneOf(suspend, 'result', suspendResults, here)
  const onTimeout = faults.object(suspend, 'on_timeout', here)
  if (onTimeout && onTimeout.value === undefined)
    faults.add(`${here}.on_timeout`, 'expected {value: …}: what the flow goes on with')
  const groups = faults.object(suspend, 'user_groups_required', here)
  if (!groups || asksForNoGroup(groups)) {
    const { user_groups_required: _none, ...rest } = suspend
    return rest
  }
  const place = `${here}.user_groups_required`
  if (checkTransform(groups, 'after', place, faults) && groups.type === 'static' && !isGroupList(groups.value))
    faults.add(`${place}.value`, `expected ${groupList}, got ${nameOf(groups.value)}`)
  return suspend
}

/** As editors write it for "not set". */
function asksForNoGroup({ type, value }: Fields): boolean {
  return type === 'static' && (value === undefined || value === null || (Array.isArray(value) && value.length === 0))
}

function checkMock(fields: Fields, at: string, faults: Faults): void {
  const mock = faults.object(fields, 'mock', at)
  if (mock) faults.boolean(mock, 'enabled', `${at}.mock`)
}

function retryOf(fields: Fields, at: string, faults: Faults): Retry | undefined {
  const given = faults.object(fields, 'retry', at)
  if (!given) return undefined
  const here = `${at}.retry`
  const retry = { ...given } as Retry
  const constant = faults.object(given, 'constant', here)
  const exponential = faults.object(given, 'exponential', here)
  const attempts = { min: 0, max: retryAttemptsMax, whole: true, preset: 0 }
  if (constant) {
    const seconds = { min: 0, max: retrySecondsMax, preset: 0 }
    const place = `${here}.constant`
    retry.constant = {
      ...constant,
      attempts: faults.bounded(constant, 'attempts', attempts, place),
      seconds: faults.bounded(constant, 'seconds', seconds, place),
    }
  } else delete retry.constant
  if (exponential) {
    const place = `${here}.exponential`
    const count = faults.bounded(exponential, 'attempts', attempts, place)
    // Below 1 the wait would shrink from attempt to attempt. Editors leave 0 where no attempts are asked for.
    const seconds = { min: count > 0 ? 1 : 0, max: retrySecondsMax, preset: 1 }
    retry.exponential = {
      ...exponential,
      attempts: count,
      multiplier: faults.bounded(exponential, 'multiplier', { min: 0, max: retrySecondsMax, preset: 1 }, place),
      seconds: faults.bounded(exponential, 'seconds', seconds, place),
      random_factor: faults.bounded(exponential, 'random_factor', { min: 0, max: 100, preset: 0 }, place),
    }
  } else delete retry.exponential
  if (!checkCondition(given, 'retry_if', 'after', here, faults)) delete retry.retry_if
  return retry
}

/** A number (the older form), or a transform that gives one. One that says nothing is as if it were not there. */
function numberOf(
  fields: Fields,
  key: string,
  bounds: { min: number; max: number; whole?: boolean },
  place: Place,
  at: string,
  faults: Faults,
): InputTransform | number | undefined {
  const value = fields[key]
  if (value === undefined || value === null) return undefined
  const within = { ...bounds, preset: 0 }
  if (typeof value !== 'object') return faults.bounded(fields, key, within, at)
  const here = pathOf(at, key)
  if (!checkTransform(value, place, here, faults)) return undefined
  if (value.type === 'javascript') return value
  if (value.value === undefined || value.value === null) return undefined
  faults.bounded(value, 'value', within, here)
  return value
}

function nameOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  return Array.isArray(value) ? 'an array' : typeof value === 'object' ? 'an object' : `a ${typeof value}`
}
