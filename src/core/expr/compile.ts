// Expressions made from their parsed source: a constant, a closure over a path, or a call into the sandbox.
//   X4. HOT. A path costs look-ups; a value passed through whole is never parsed nor printed again.
//   X5. One that names variables or resources is not pure, and throws NotAtHand until they are (core/lookups.ts).
import { storable, type Json, type JsonText } from '../json.ts'
import { LookupFault, lookupIn, lookupKinds, lookupsIn, mayName, resolved, textOf, type Lookup } from '../lookups.ts'
import type { InputTransform } from '../flow/definition.ts'
import type { Expression, Sandbox, Scope, Uses } from './expression.ts'
import type { Place, Root } from './names.ts'
import { lookedUpName, parseExpression, type Parsed } from './parse.ts'

/**
 * `env`: the flow_env of the flow, if it names variables or resources.
 * @throws EngineError E_FLOW_INVALID with `at`, line and column
 */
export function compileExpression(source: string, sandbox: Sandbox, place: Place, at: string, env?: Json): Expression {
  const parsed = parseExpression(source, place, at)
  switch (parsed.tier) {
    case 'constant':
      return constant(parsed.text, source)
    case 'path':
      if (parsed.root === 'flow_env' && env !== undefined) return pathInto(env, parsed.keys, source)
      return path(parsed.root, parsed.keys, source)
    case 'lookup':
      return naming(JSON.stringify(textOf(parsed.lookup)), parsed.keys, source)
    case 'code':
      return code(parsed, sandbox, source)
  }
}

/** @throws EngineError E_FLOW_INVALID with `at`, line and column */
export function compileTransform(transform: InputTransform, sandbox: Sandbox, place: Place, at: string, env?: Json): Expression {
  if (transform.type === 'javascript') return compileExpression(transform.expr, sandbox, place, `${at}.expr`, env)
  return fixed(JSON.stringify(transform.value ?? null), '')
}

/** An expression that gives this value, whatever there is to see. */
export function constant(text: JsonText, source = ''): Expression {
  // A new value each time it is asked for, so that nobody can change the plan's.
  return { pure: true, uses: nothing, source, unresolved: null, text: () => text, value: () => JSON.parse(text) as Json }
}

function fixed(text: JsonText, source: string): Expression {
  return mayName(text) ? naming(text, [], source) : constant(text, source)
}

/** A document that names variables or resources, and what stands below these keys in their values. */
function naming(text: JsonText, keys: (string | number)[], source: string): Expression {
  const uses = { ...nothing, lookups: lookupsIn(text) }
  const whole = (scope: Scope): JsonText => resolved(text, scope.look)
  const value = (scope: Scope): Json => valueAt(JSON.parse(whole(scope)) as Json, keys)
  if (keys.length === 0) return { pure: false, uses, source, unresolved: text, text: whole, value }
  return { pure: false, uses, source, unresolved: null, text: (scope) => JSON.stringify(value(scope)), value }
}

/** flow_env is known before any job: what is named in it is met on the way, or passed on. */
function pathInto(env: Json, keys: (string | number)[], source: string): Expression {
  let at = env
  let i = 0
  while (i < keys.length && !(typeof at === 'string' && lookupIn(at))) at = property(at, keys[i++]!)
  const text = JSON.stringify(at)
  return i === keys.length ? fixed(text, source) : naming(text, keys.slice(i), source)
}

const nothing: Uses = { roots: [], results: [], inputs: [], lookups: [] }

function pathUses(root: Root, keys: (string | number)[]): Uses {
  const first = keys.length === 0 ? null : [String(keys[0])]
  return { roots: [root], results: root === 'results' ? first : [], inputs: root === 'flow_input' ? first : [], lookups: [] }
}

function path(root: Root, keys: (string | number)[], source: string): Expression {
  const uses = pathUses(root, keys)
  if (root === 'results' && keys.length > 0) {
    const stepId = String(keys[0])
    if (keys.length === 1) {
      const text = (scope: Scope): JsonText => scope.resultText(stepId)
      return { pure: true, uses, source, unresolved: null, text, value: (scope) => scope.result(stepId) }
    }
    return walk((scope) => scope.result(stepId), keys.slice(1), uses, source)
  }
  if (keys.length > 0) return walk(rootValue(root), keys, uses, source)
  const text = (scope: Scope): JsonText => rootText(root, null, scope)
  return { pure: true, uses, source, unresolved: null, text, value: rootValue(root) }
}

function walk(start: (scope: Scope) => Json, keys: (string | number)[], uses: Uses, source: string): Expression {
  const value = (scope: Scope): Json => valueAt(start(scope), keys)
  return { pure: true, uses, source, unresolved: null, value, text: (scope) => JSON.stringify(value(scope)) }
}

function valueAt(at: Json, keys: (string | number)[]): Json {
  for (let i = 0; i < keys.length && at !== null; i++) at = property(at, keys[i]!)
  return at
}

/** What JavaScript would give for a property JSON has; null for the rest, inherited ones included. */
function property(of: Json, key: string | number): Json {
  if (of === null || typeof of === 'number' || typeof of === 'boolean') return null
  if (typeof of === 'string') return key === 'length' ? of.length : Object.hasOwn(Object(of), key) ? of[key as number]! : null
  return Object.hasOwn(of, key) ? ((of as Record<string | number, Json>)[key] ?? null) : null
}

function rootValue(root: Root): (scope: Scope) => Json {
  switch (root) {
    case 'flow_input':
      return (scope) => scope.flowInput()
    case 'previous_result':
    case 'result':
      return (scope) => scope.previous()
    case 'error':
      return (scope) => JSON.parse(errorText(scope)) as Json
    case 'flow_env':
      return parsedOnce((scope) => scope.flowEnvText())
    default:
      return (scope) => JSON.parse(rootText(root, null, scope)) as Json
  }
}

/** flow_env is the same text for every job of a version, so its last parse is kept. Readers do not change what they get. */
function parsedOnce(textOf: (scope: Scope) => JsonText): (scope: Scope) => Json {
  let lastText = ''
  let last: Json = null
  return (scope) => {
    const text = textOf(scope)
    if (text !== lastText) {
      last = JSON.parse(text) as Json
      lastText = text
    }
    return last
  }
}

function rootText(root: Root, stepIds: readonly string[] | null, scope: Scope): JsonText {
  switch (root) {
    case 'flow_input':
      return scope.flowInputText()
    case 'previous_result':
    case 'result':
      return scope.previousText()
    case 'results':
      return resultsText(scope, stepIds ?? scope.resultIds())
    case 'flow_env':
      return scope.flowEnvText()
    case 'error':
      return errorText(scope)
    case 'all_iters':
      return scope.allItersText()
    case 'resume':
      return scope.approvalsOf().at(-1)?.v ?? 'null'
    case 'resumes':
      return `[${scope
        .approvalsOf()
        .map((approval) => approval.v)
        .join(',')}]`
    case 'approvers':
      return JSON.stringify(scope.approvalsOf().flatMap((approval) => approval.approver ?? []))
    case 'params':
      return '{}'
  }
}

function resultsText(scope: Scope, stepIds: Iterable<string>): JsonText {
  const parts: string[] = []
  for (const id of stepIds) parts.push(`${JSON.stringify(id)}:${scope.resultText(id)}`)
  return `{${parts.join(',')}}`
}

/** In the failure module and retry_if the error at hand; else the one a step with continue_on_error left as its result. */
function errorText(scope: Scope): JsonText {
  const text = scope.errorText()
  return text ?? JSON.stringify(errorIn(scope.previous()))
}

/** Of several failed iterations or branches, all their errors. */
function errorIn(previous: Json): Json {
  if (!Array.isArray(previous)) return property(previous, 'error')
  const errors = previous.map((one) => property(one, 'error')).filter((error) => error !== null)
  if (errors.length < 2) return errors[0] ?? null
  return { name: 'MultipleErrors', message: `${errors.length} of ${previous.length} failed`, errors }
}

function code(parsed: Parsed & { tier: 'code' }, sandbox: Sandbox, source: string): Expression {
  const { body, roots, stepIds, inputs, lookups } = parsed
  const names = lookups.length === 0 ? roots : [...roots, lookedUpName]
  const text = (scope: Scope): JsonText => {
    const values = roots.map((root) => rootText(root, stepIds, scope))
    if (lookups.length > 0) values.push(lookedUpText(lookups, scope))
    return storable(sandbox.evaluate(body, names, values))
  }
  const uses = { roots, results: stepIds, inputs, lookups }
  return { pure: false, uses, source, unresolved: null, text, value: (scope) => JSON.parse(text(scope)) as Json }
}

/** All that the code may ask for. What there is not fails it only when it does ask. */
function lookedUpText(lookups: readonly Lookup[], scope: Scope): JsonText {
  scope.look(lookups) // so that all that is not at hand is looked up at once
  const entries = (kind: string): string[] => lookups.flatMap((one) => (one.kind === kind ? lookedUpEntry(one, scope) : []))
  return `{${lookupKinds.map((kind) => `"${kind}":{${entries(kind).join()}}`).join()}}`
}

function lookedUpEntry(lookup: Lookup, scope: Scope): string {
  try {
    return `"${lookup.path}":{"value":${resolved(JSON.stringify(textOf(lookup)), scope.look)}}`
  } catch (error) {
    if (!(error instanceof LookupFault)) throw error
    return `"${lookup.path}":{"fault":${JSON.stringify(error.message)}}`
  }
}
