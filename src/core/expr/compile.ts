// Expressions made from their parsed source: a constant, a closure over a path, or a call into the sandbox.
//   X4. HOT. A path costs look-ups; a value passed through whole is never parsed nor printed again.
import { storable, type Json, type JsonText } from '../json.ts'
import type { InputTransform } from '../flow/definition.ts'
import type { Expression, Sandbox, Scope, Uses } from './expression.ts'
import type { Place, Root } from './names.ts'
import { parseExpression, type Parsed } from './parse.ts'

/** @throws EngineError E_FLOW_INVALID with `at`, line and column */
export function compileExpression(source: string, sandbox: Sandbox, place: Place, at: string): Expression {
  const parsed = parseExpression(source, place, at)
  if (parsed.tier === 'constant') return constant(parsed.text, source)
  if (parsed.tier === 'path') return path(parsed.root, parsed.keys, source)
  return code(parsed, sandbox, source)
}

/** @throws EngineError E_FLOW_INVALID with `at`, line and column */
export function compileTransform(transform: InputTransform, sandbox: Sandbox, place: Place, at: string): Expression {
  if (transform.type === 'javascript') return compileExpression(transform.expr, sandbox, place, `${at}.expr`)
  return constant(JSON.stringify(transform.value ?? null))
}

/** An expression that gives this value, whatever there is to see. */
export function constant(text: JsonText, source = ''): Expression {
  // A new value each time it is asked for, so that nobody can change the plan's.
  return { pure: true, uses: nothing, source, text: () => text, value: () => JSON.parse(text) as Json }
}

const nothing: Uses = { roots: [], results: [], inputs: [] }

function pathUses(root: Root, keys: (string | number)[]): Uses {
  const first = keys.length === 0 ? null : [String(keys[0])]
  return { roots: [root], results: root === 'results' ? first : [], inputs: root === 'flow_input' ? first : [] }
}

function path(root: Root, keys: (string | number)[], source: string): Expression {
  const uses = pathUses(root, keys)
  if (root === 'results' && keys.length > 0) {
    const stepId = String(keys[0])
    if (keys.length === 1)
      return { pure: true, uses, source, text: (scope) => scope.resultText(stepId), value: (scope) => scope.result(stepId) }
    return walk((scope) => scope.result(stepId), keys.slice(1), uses, source)
  }
  if (keys.length > 0) return walk(rootValue(root), keys, uses, source)
  return { pure: true, uses, source, text: (scope) => rootText(root, null, scope), value: rootValue(root) }
}

function walk(start: (scope: Scope) => Json, keys: (string | number)[], uses: Uses, source: string): Expression {
  const value = (scope: Scope): Json => {
    let at = start(scope)
    for (let i = 0; i < keys.length && at !== null; i++) at = property(at, keys[i]!)
    return at
  }
  return { pure: true, uses, source, value, text: (scope) => JSON.stringify(value(scope)) }
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
  const { body, roots, stepIds, inputs } = parsed
  const text = (scope: Scope): JsonText => {
    const values = roots.map((root) => rootText(root, stepIds, scope))
    return storable(sandbox.evaluate(body, roots, values))
  }
  const uses = { roots, results: stepIds, inputs }
  return { pure: false, uses, source, text, value: (scope) => JSON.parse(text(scope)) as Json }
}
