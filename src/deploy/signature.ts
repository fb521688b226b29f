// Reads the parameters of a function that a TypeScript step exports: names in order, and a JSON Schema as far as the types tell.
//   S1. Types known: primitives, literals and unions of them, arrays, tuples, object types, Record, Date, and types and
//       interfaces declared in the same file. Anything else is {}: every value is allowed.
import type { BindingPattern, ExportDefaultDeclarationKind, Expression, ParamPattern, Program, Statement } from 'oxc-parser'
import type { TSSignature, TSType, TSTypeReference } from 'oxc-parser'
import type { Json } from '../core/json.ts'

export type Schema = { [key: string]: Json }

export interface Parameter {
  name: string
  schema: Schema
  required: boolean
}

type LocalTypes = Map<string, TSType | TSSignature[]>

const depthMax = 8

/** The parameters of the function exported under this name; null if this file does not define it as a function. */
export function parametersOfExport(program: Program, name: string): Parameter[] | null {
  const params = exportedFunction(program, name)
  if (!params) return null
  const types = localTypes(program)
  const usual = params.filter((param) => !(param.type === 'Identifier' && param.name === 'this'))
  return usual.map((param, index) => parameterOf(param, index, types))
}

function exportedFunction(program: Program, name: string): ParamPattern[] | null {
  for (const statement of program.body) {
    if (statement.type === 'ExportDefaultDeclaration' && name === 'default')
      return defaultFunction(program, statement.declaration)
    if (statement.type !== 'ExportNamedDeclaration') continue
    const found = statement.declaration && declaredFunction(program, statement.declaration, name, 0)
    if (found) return found
    if (statement.source) continue
    for (const { exported, local } of statement.specifiers) {
      const exportedAs = exported.type === 'Literal' ? exported.value : exported.name
      if (exportedAs === name && local.type === 'Identifier') return localFunction(program, local.name, 0)
    }
  }
  return null
}

function defaultFunction(program: Program, declared: ExportDefaultDeclarationKind): ParamPattern[] | null {
  if (declared.type === 'FunctionDeclaration') return declared.body ? declared.params : null
  if (declared.type === 'ClassDeclaration' || declared.type === 'TSInterfaceDeclaration') return null
  return functionIn(program, declared, 0)
}

function localFunction(program: Program, name: string, hops: number): ParamPattern[] | null {
  if (hops > depthMax) return null
  for (const statement of program.body) {
    const declaration = statement.type === 'ExportNamedDeclaration' ? statement.declaration : statement
    const found = declaration && declaredFunction(program, declaration, name, hops)
    if (found) return found
  }
  return null
}

function declaredFunction(program: Program, statement: Statement, name: string, hops: number): ParamPattern[] | null {
  if (statement.type === 'FunctionDeclaration') return statement.id?.name === name && statement.body ? statement.params : null
  if (statement.type !== 'VariableDeclaration') return null
  for (const { id, init } of statement.declarations) {
    if (id.type === 'Identifier' && id.name === name && init) return functionIn(program, init, hops)
  }
  return null
}

function functionIn(program: Program, expression: Expression, hops: number): ParamPattern[] | null {
  switch (expression.type) {
    case 'ArrowFunctionExpression':
    case 'FunctionExpression':
      return expression.params
    case 'TSAsExpression':
    case 'TSSatisfiesExpression':
    case 'TSNonNullExpression':
    case 'ParenthesizedExpression':
      return functionIn(program, expression.expression, hops)
    case 'Identifier':
      return localFunction(program, expression.name, hops + 1)
    case 'CallExpression': {
      if (!isWrapper(expression.callee)) return null
      for (const inner of expression.arguments) {
        const found = inner.type === 'SpreadElement' ? null : functionIn(program, inner, hops)
        if (found) return found
      }
      return null
    }
    default:
      return null
  }
}

const wrappers = ['workflow', 'task', '__name']

/** windmill-client's `workflow(f)` and `task('f/a/b', f)`, or `wmill.workflow(f)`: called as f is; and what bundling makes to keep a name. */
function isWrapper(callee: Expression): boolean {
  const named = callee.type === 'MemberExpression' ? callee.property : callee
  return named.type === 'Identifier' && wrappers.includes(named.name)
}

function parameterOf(param: ParamPattern, index: number, types: LocalTypes): Parameter {
  if (param.type === 'TSParameterProperty') return parameterOf(param.parameter, index, types)
  if (param.type === 'RestElement') {
    return { name: nameOf(param.argument, index), schema: { type: 'array' }, required: false }
  }
  const target: BindingPattern = param.type === 'AssignmentPattern' ? param.left : param
  const preset = param.type === 'AssignmentPattern' ? literalOf(param.right) : undefined
  const annotation = target.type === 'AssignmentPattern' ? null : target.typeAnnotation
  const schema = annotation ? schemaOf(annotation.typeAnnotation, types, 0) : preset === undefined ? {} : schemaOfValue(preset)
  const optional = param.type === 'AssignmentPattern' || (target as { optional?: boolean }).optional === true
  return {
    name: nameOf(target, index),
    schema: preset === undefined ? schema : { ...schema, default: preset },
    required: !optional,
  }
}

function nameOf(target: BindingPattern, index: number): string {
  return target.type === 'Identifier' ? target.name : `arg${index + 1}`
}

/** The value of a literal, array or object of literals; undefined for anything that must be run. */
function literalOf(expression: Expression): Json | undefined {
  switch (expression.type) {
    case 'Literal':
      return typeof expression.value === 'bigint' || expression.value instanceof RegExp ? undefined : expression.value
    case 'UnaryExpression': {
      const value = literalOf(expression.argument)
      return expression.operator === '-' && typeof value === 'number' ? -value : undefined
    }
    case 'TSAsExpression':
    case 'TSSatisfiesExpression':
      return literalOf(expression.expression)
    case 'ArrayExpression': {
      const items = expression.elements.map((e) => (e === null || e.type === 'SpreadElement' ? undefined : literalOf(e)))
      return items.includes(undefined) ? undefined : (items as Json[])
    }
    case 'ObjectExpression': {
      const object: { [key: string]: Json } = {}
      for (const property of expression.properties) {
        const key = property.type === 'Property' && !property.computed ? keyOf(property.key) : undefined
        const value = property.type === 'Property' ? literalOf(property.value) : undefined
        if (key === undefined || value === undefined) return undefined
        object[key] = value
      }
      return object
    }
    default:
      return undefined
  }
}

function keyOf(key: { type: string; name?: unknown; value?: unknown }): string | undefined {
  if (key.type === 'Identifier') return key.name as string
  return key.type === 'Literal' ? String(key.value) : undefined
}

function schemaOfValue(value: Json): Schema {
  if (value === null) return {}
  if (Array.isArray(value)) return { type: 'array' }
  return { type: typeof value }
}

function localTypes(program: Program): LocalTypes {
  const types: LocalTypes = new Map()
  for (const statement of program.body) {
    const declaration = statement.type === 'ExportNamedDeclaration' ? statement.declaration : statement
    if (declaration?.type === 'TSTypeAliasDeclaration' && !declaration.typeParameters) {
      types.set(declaration.id.name, declaration.typeAnnotation)
    } else if (
      declaration?.type === 'TSInterfaceDeclaration' &&
      !declaration.typeParameters &&
      declaration.extends.length === 0
    ) {
      types.set(declaration.id.name, declaration.body.body)
    }
  }
  return types
}

function schemaOf(type: TSType, types: LocalTypes, depth: number): Schema {
  if (depth > depthMax) return {}
  switch (type.type) {
    case 'TSStringKeyword':
      return { type: 'string' }
    case 'TSNumberKeyword':
      return { type: 'number' }
    case 'TSBooleanKeyword':
      return { type: 'boolean' }
    case 'TSBigIntKeyword':
      return { type: 'integer' }
    case 'TSNullKeyword':
      return { type: 'null' }
    case 'TSObjectKeyword':
      return { type: 'object' }
    case 'TSLiteralType': {
      const value = literalOf(type.literal)
      return value === undefined ? {} : { const: value }
    }
    case 'TSArrayType':
      return { type: 'array', items: schemaOf(type.elementType, types, depth + 1) }
    case 'TSTupleType':
      return { type: 'array' }
    case 'TSParenthesizedType':
      return schemaOf(type.typeAnnotation, types, depth + 1)
    case 'TSTypeOperator':
      return type.operator === 'readonly' ? schemaOf(type.typeAnnotation, types, depth + 1) : {}
    case 'TSUnionType':
      return unionOf(type.types, types, depth)
    case 'TSTypeLiteral':
      return objectOf(type.members, types, depth)
    case 'TSTypeReference':
      return referenceOf(type, types, depth)
    default:
      return {}
  }
}

function unionOf(members: TSType[], types: LocalTypes, depth: number): Schema {
  const all = members.filter((m) => m.type !== 'TSUndefinedKeyword').map((m) => schemaOf(m, types, depth + 1))
  if (all.length === 1) return all[0]!
  if (all.every((s) => 'const' in s)) {
    const values = all.map((s) => s['const']!)
    const kinds = new Set(values.map((v) => typeof v))
    return kinds.size === 1 && !kinds.has('object') ? { type: [...kinds][0]!, enum: values } : { enum: values }
  }
  return all.some((s) => Object.keys(s).length === 0) ? {} : { anyOf: all }
}

function objectOf(members: TSSignature[], types: LocalTypes, depth: number): Schema {
  const properties: Schema = {}
  const required: string[] = []
  for (const member of members) {
    if (member.type !== 'TSPropertySignature' || member.computed) continue
    const key = keyOf(member.key)
    if (key === undefined) continue
    properties[key] = member.typeAnnotation ? schemaOf(member.typeAnnotation.typeAnnotation, types, depth + 1) : {}
    if (!member.optional) required.push(key)
  }
  return { type: 'object', properties, required }
}

function referenceOf(type: TSTypeReference, types: LocalTypes, depth: number): Schema {
  if (type.typeName.type !== 'Identifier') return {}
  const name = type.typeName.name
  const local = types.get(name)
  if (local) return Array.isArray(local) ? objectOf(local, types, depth + 1) : schemaOf(local, types, depth + 1)
  const inner = type.typeArguments?.params[0]
  switch (name) {
    case 'Array':
    case 'ReadonlyArray':
    case 'Set':
      return inner ? { type: 'array', items: schemaOf(inner, types, depth + 1) } : { type: 'array' }
    case 'Record':
      return { type: 'object' }
    case 'Date':
      return { type: 'string', format: 'date-time' }
    case 'Partial':
    case 'Required':
    case 'Readonly':
      return name === 'Readonly' && inner ? schemaOf(inner, types, depth + 1) : { type: 'object' }
    default:
      return {}
  }
}
