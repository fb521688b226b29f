// The source of an expression, parsed and sorted into its tier (expression.ts, X1).
//   E1. Whatever is wrong with a source is found here, when a flow is saved: EngineError E_FLOW_INVALID, with line and column.
//   E2. A source is one expression, or statements that `return`. `{a: 1}` is an object, as in a transform's usual place.
//   E3. Names that are neither JavaScript's, nor declared by the source, nor roots of its place are refused.
import {
  parse,
  parseExpressionAt,
  tokenizer,
  type AnyNode,
  type Expression as ExpressionNode,
  type Options,
  type Program,
} from 'acorn'
import { EngineError, messageOf } from '../errors.ts'
import { storable, type Json, type JsonText } from '../json.ts'
import { lookupFault, lookupKinds, type Lookup, type LookupKind } from '../lookups.ts'
import { builtIns, isRoot, refusedNames, rootsOf, type Place, type Root } from './names.ts'
import { childrenOf, declaredNames, evaluatesHere, mentionedNames, nameOnly, staticKey, unwrapped } from './syntax.ts'

export type Parsed =
  | { tier: 'constant'; text: JsonText }
  | { tier: 'path'; root: Root; keys: (string | number)[] }
  | { tier: 'lookup'; lookup: Lookup; keys: (string | number)[] }
  /**
   * `body` is the body of a function; `stepIds` are the results it reads, `inputs` the fields of flow_input; null if it may
   * read any. `lookups`: what it may look up.
   */
  | {
      tier: 'code'
      body: string
      roots: Root[]
      stepIds: string[] | null
      inputs: string[] | null
      lookups: Lookup[]
    }

const options: Options = {
  ecmaVersion: 2023,
  sourceType: 'module', // strict, with `await`; imports are refused below
  allowReturnOutsideFunction: true,
  preserveParens: true,
  locations: true,
}

/** @throws EngineError E_FLOW_INVALID with `at`, and line and column in the message */
export function parseExpression(source: string, place: Place, at: string): Parsed {
  try {
    return sorted(source, place)
  } catch (fault) {
    if (fault instanceof EngineError) throw fault
    const why = fault instanceof RangeError ? 'nested too deeply; split the expression' : messageOf(fault)
    throw new EngineError('E_FLOW_INVALID', `${at}: ${why}`, {
      at,
      allowed: fault instanceof Refusal ? fault.allowed : undefined,
    })
  }
}

/** What is wrong with a source; parseExpression adds the place in the document. */
class Refusal extends Error {
  readonly allowed: readonly string[] | undefined

  constructor(message: string, node?: AnyNode, allowed?: readonly string[]) {
    super(node?.loc ? `${message} (${lineAndColumn(node.loc.start)})` : message)
    this.allowed = allowed
  }
}

function sorted(source: string, place: Place): Parsed {
  if (/^[\s;]*$/.test(source)) throw new Refusal('the expression is empty; write JavaScript such as flow_input.x')
  const plain = plainPathOf(source, place)
  if (plain) return plain
  const whole = parseWhole(source)
  const simple = whole.kind === 'expression' ? whole.node : onlyReturned(whole.node)
  if (simple) {
    const constant = constantOf(simple)
    if (constant !== undefined) return { tier: 'constant', text: storable(JSON.stringify(constant.value)) }
    const path = pathOf(simple)
    const lookup = path && lookupOf(path.start)
    if (lookup) return { tier: 'lookup', lookup, keys: path.keys }
    if (path?.start.type === 'Identifier' && isRoot(path.start.name, place))
      return { tier: 'path', root: path.start.name, keys: path.keys }
  }
  refuseImports(whole.node)
  const declared = declaredNames(whole.node)
  const mentioned = mentionedNames(whole.node)
  for (const [name, node] of mentioned) {
    if (declared.has(name) || builtIns.has(name) || isRoot(name, place) || isLookupKind(name)) continue
    const refused = refusedNames[name]
    const allowed = rootsOf(place)
    throw new Refusal(refused ?? `unknown name '${name}'; known here: ${allowed.join(', ')} and JavaScript's own`, node, allowed)
  }
  // A declared name may hide a root in one place only, so the root is passed all the same; hiding it there still works.
  const roots = rootsOf(place).filter((root) => mentioned.has(root))
  const stepIds = membersOf(whole.node, 'results')
  const lookups = lookupsIn(whole.node, declared)
  const inputs = membersOf(whole.node, 'flow_input')
  return { tier: 'code', body: bodyOf(source, whole, lookups), roots, stepIds, inputs, lookups }
}

type Whole = { kind: 'expression'; node: ExpressionNode } | { kind: 'statements'; node: Program }

function parseWhole(source: string): Whole {
  let first: unknown
  try {
    const node = parseExpressionAt(source, 0, options)
    const rest = [...tokenizer(source.slice(node.end), options)]
    if (rest.every((token) => token.type.label === ';')) return { kind: 'expression', node }
  } catch (fault) {
    first = fault
  }
  let program: Program
  try {
    program = parse(source, options)
  } catch (second) {
    throw new Refusal(syntaxMessage(furthest(first, second)))
  }
  if (!program.body.some(returns)) {
    throw new Refusal('statements give no value; end them with `return value`, or write one expression')
  }
  return { kind: 'statements', node: program }
}

/** Of two readings of a source, the one that got further tells better what is wrong. */
function furthest(first: unknown, second: unknown): unknown {
  return positionOf(first) > positionOf(second) ? first : second
}

function positionOf(fault: unknown): number {
  return (fault as { pos?: number } | undefined)?.pos ?? -1
}

function syntaxMessage(fault: unknown): string {
  if (fault instanceof RangeError) throw fault
  const { loc } = fault as { loc?: { line: number; column: number } }
  const text = messageOf(fault).replace(/ \(\d+:\d+\)$/, '')
  return loc ? `${text} (${lineAndColumn(loc)})` : text
}

function lineAndColumn(at: { line: number; column: number }): string {
  return `line ${at.line}, column ${at.column + 1}`
}

function returns(node: AnyNode): boolean {
  return node.type === 'ReturnStatement' || (evaluatesHere(node) && childrenOf(node).some(returns))
}

function awaits(node: AnyNode): boolean {
  if (node.type === 'AwaitExpression' || (node.type === 'ForOfStatement' && node.await)) return true
  return evaluatesHere(node) && childrenOf(node).some(awaits)
}

function onlyReturned(program: Program): ExpressionNode | null {
  const [statement] = program.body
  return program.body.length === 1 && statement?.type === 'ReturnStatement' ? (statement.argument ?? null) : null
}

/** The user's lines keep their numbers: everything added stands on the first line or after the last. */
function bodyOf(source: string, whole: Whole, lookups: readonly Lookup[]): string {
  const code = whole.kind === 'expression' ? `return (${source.slice(0, whole.node.end)}\n)` : source
  const kinds = lookupKinds.filter((kind) => lookups.some((lookup) => lookup.kind === kind))
  const body = kinds.length === 0 ? code : `const {${kinds.join()}} = ${functionsOfLookups};{${code}\n}`
  return awaits(whole.node) ? `return (async () => {${body}\n})()` : body
}

/** The parameter of a body that is given what it looks up: by kind and path, `{value}` or `{fault}`. */
export const lookedUpName = '$lookedUp'

const functionsOfLookups =
  `Object.fromEntries(Object.entries(${lookedUpName}).map(([kind, found]) => [kind, (path) => { ` +
  `const {value, fault} = found[path]; if (fault !== undefined) throw new Error(fault); return value }]))`

/** The JSON value of a literal, literals in arrays and objects included; undefined for anything else. */
function constantOf(wrapped: ExpressionNode): { value: Json } | undefined {
  const node = unwrapped(wrapped)
  switch (node.type) {
    case 'Literal':
      if (node.regex || node.bigint) return undefined
      return { value: typeof node.value === 'number' ? finite(node.value) : (node.value as string | boolean | null) }
    case 'Identifier':
      return node.name === 'undefined' ? { value: null } : undefined
    case 'TemplateLiteral':
      return node.expressions.length === 0 ? { value: node.quasis[0]!.value.cooked ?? '' } : undefined
    case 'UnaryExpression': {
      const inner = node.operator === '-' ? constantOf(node.argument) : undefined
      return typeof inner?.value === 'number' ? { value: -inner.value } : undefined
    }
    case 'ArrayExpression': {
      const items: Json[] = []
      for (const element of node.elements) {
        const item = element && element.type !== 'SpreadElement' ? constantOf(element) : undefined
        if (item === undefined) return undefined
        items.push(item.value)
      }
      return { value: items }
    }
    case 'ObjectExpression': {
      const object: Record<string, Json> = {}
      for (const property of node.properties) {
        if (property.type === 'SpreadElement' || property.kind !== 'init' || property.method) return undefined
        const key = property.computed || property.shorthand ? undefined : staticKey(property.key)
        const item = key === undefined || key === '__proto__' ? undefined : constantOf(property.value)
        if (item === undefined) return undefined
        // `{a: undefined}` prints as {}; the sandbox knows how.
        if (property.value.type === 'Identifier') return undefined
        object[String(key)] = item.value
      }
      return { value: object }
    }
    default:
      return undefined
  }
}

function finite(number: number): number | null {
  return Number.isFinite(number) ? number : null
}

/** `root.a.b`, as most expressions are: no parser is needed to see it. */
function plainPathOf(source: string, place: Place): Parsed | null {
  if (!/^\w+(\.[A-Za-z_]\w*)*$/.test(source)) return null
  const [root = '', ...keys] = source.split('.')
  return isRoot(root, place) ? { tier: 'path', root, keys } : null
}

/** `start.a["b"][0]`, with or without `?.`; null if a key is computed. */
function pathOf(node: ExpressionNode): { start: AnyNode; keys: (string | number)[] } | null {
  const keys: (string | number)[] = []
  let at: AnyNode = unwrapped(node)
  while (at.type === 'MemberExpression') {
    const key = memberKey(at)
    if (key === undefined) return null
    keys.unshift(key)
    at = unwrapped(at.object)
  }
  return { start: at, keys }
}

/** `variable('path')`, with or without `await`; null if it is anything else. */
function lookupOf(node: AnyNode): Lookup | null {
  const call = node.type === 'AwaitExpression' ? unwrapped(node.argument) : node
  if (call.type !== 'CallExpression' || call.callee.type !== 'Identifier' || !isLookupKind(call.callee.name)) return null
  const kind = call.callee.name
  const [path, ...more] = call.arguments
  const constant = path && path.type !== 'SpreadElement' && more.length === 0 ? constantOf(path)?.value : undefined
  if (typeof constant !== 'string') throw notAPath(kind, call)
  const lookup = { kind, path: constant }
  const fault = lookupFault(lookup)
  if (fault !== null) throw new Refusal(fault, call)
  return lookup
}

function notAPath(kind: LookupKind, node: AnyNode): Refusal {
  const prefix = kind === 'variable' ? '$var:' : '$res:'
  const text = `${kind} is called with a path that is written out, as ${kind}('f/folder/name')`
  return new Refusal(`${text}; where it is computed, give a step the text '${prefix}' + path as its input`, node)
}

function isLookupKind(name: string): name is LookupKind {
  return (lookupKinds as readonly string[]).includes(name)
}

/** Each once. */
function lookupsIn(root: AnyNode, declared: ReadonlySet<string>): Lookup[] {
  const found = new Map<string, Lookup>()
  const visit = (node: AnyNode): void => {
    if (node.type === 'Identifier' && isLookupKind(node.name) && !declared.has(node.name)) throw notAPath(node.name, node)
    const called = node.type === 'CallExpression' && node.callee.type === 'Identifier' && !declared.has(node.callee.name)
    const lookup = called ? lookupOf(node) : null
    if (lookup) {
      found.set(`${lookup.kind} ${lookup.path}`, lookup)
      return
    }
    const skipped = nameOnly(node)
    for (const child of childrenOf(node)) if (child !== skipped) visit(child)
  }
  visit(root)
  return [...found.values()]
}

function memberKey(node: AnyNode & { type: 'MemberExpression' }): string | number | undefined {
  if (!node.computed) return node.property.type === 'Identifier' ? node.property.name : undefined
  const key = unwrapped(node.property)
  return key.type === 'Identifier' ? undefined : staticKey(key)
}

/** What is read as `results.id`, or of another name; null when the name is used in any other way. */
function membersOf(root: AnyNode, name: string): string[] | null {
  const ids = new Set<string>()
  const onlyMembers = (node: AnyNode): boolean => {
    if (node.type === 'Identifier') return node.name !== name
    if (node.type !== 'MemberExpression') return childrenOf(node).every(onlyMembers)
    const object = unwrapped(node.object)
    if (object.type !== 'Identifier' || object.name !== name) {
      return onlyMembers(object) && (!node.computed || onlyMembers(node.property))
    }
    const key = memberKey(node)
    if (key !== undefined) ids.add(String(key))
    return key !== undefined
  }
  return onlyMembers(root) ? [...ids] : null
}

function refuseImports(node: AnyNode): void {
  if (/^(Import|Export)/.test(node.type) || (node.type === 'MetaProperty' && node.meta.name === 'import')) {
    throw new Refusal('import and export are not available in expressions; use them in a step', node)
  }
  for (const child of childrenOf(node)) refuseImports(child)
}
