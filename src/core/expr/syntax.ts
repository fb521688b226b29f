// Looking around in a syntax tree: children, names, keys.
import type { AnyNode } from 'acorn'

/** HOT at deploy only. Every child node, in source order. */
export function childrenOf(node: AnyNode): AnyNode[] {
  const children: AnyNode[] = []
  for (const value of Object.values(node) as unknown[]) {
    if (Array.isArray(value)) children.push(...value.filter(isNode))
    else if (isNode(value)) children.push(value)
  }
  return children
}

function isNode(value: unknown): value is AnyNode {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string'
}

/** The node without parentheses and the wrapper of `?.` around it. */
export function unwrapped(node: AnyNode): AnyNode {
  while (node.type === 'ParenthesizedExpression' || node.type === 'ChainExpression') node = node.expression
  return node
}

/** The name a key stands for, if the source alone says it. */
export function staticKey(node: AnyNode): string | number | undefined {
  if (node.type === 'Identifier') return node.name
  if (node.type !== 'Literal') return undefined
  return typeof node.value === 'string' || typeof node.value === 'number' ? node.value : undefined
}

/** false for functions: what is inside runs when they are called. */
export function evaluatesHere(node: AnyNode): boolean {
  return !/Function/.test(node.type)
}

/** Every identifier that stands for a variable, with the first place it is seen. */
export function mentionedNames(root: AnyNode): Map<string, AnyNode> {
  const names = new Map<string, AnyNode>()
  const visit = (node: AnyNode): void => {
    if (node.type === 'Identifier') {
      if (!names.has(node.name)) names.set(node.name, node)
      return
    }
    const skipped = nameOnly(node)
    for (const child of childrenOf(node)) if (child !== skipped) visit(child)
  }
  visit(root)
  return names
}

/** The child of a node that is a mere name: `b` in `a.b`, in `{b: 1}`, in `break b`. */
export function nameOnly(node: AnyNode): AnyNode | null | undefined {
  switch (node.type) {
    case 'MemberExpression':
      return node.computed ? null : node.property
    case 'Property':
    case 'MethodDefinition':
    case 'PropertyDefinition':
      return node.computed || (node.type === 'Property' && node.shorthand) ? null : node.key
    case 'LabeledStatement':
    case 'BreakStatement':
    case 'ContinueStatement':
      return node.label
    case 'MetaProperty':
      return node.property
    default:
      return null
  }
}

/** Every name the source declares, wherever. */
export function declaredNames(root: AnyNode): Set<string> {
  const names = new Set<string>()
  const visit = (node: AnyNode): void => {
    switch (node.type) {
      case 'VariableDeclarator':
        bind(node.id, names)
        break
      case 'FunctionDeclaration':
      case 'FunctionExpression':
      case 'ArrowFunctionExpression':
        if (node.id) bind(node.id, names)
        for (const parameter of node.params) bind(parameter, names)
        break
      case 'ClassDeclaration':
      case 'ClassExpression':
        if (node.id) bind(node.id, names)
        break
      case 'CatchClause':
        if (node.param) bind(node.param, names)
        break
    }
    for (const child of childrenOf(node)) visit(child)
  }
  visit(root)
  return names
}

function bind(pattern: AnyNode, names: Set<string>): void {
  switch (pattern.type) {
    case 'Identifier':
      names.add(pattern.name)
      break
    case 'ObjectPattern':
      for (const property of pattern.properties) bind(property.type === 'Property' ? property.value : property.argument, names)
      break
    case 'ArrayPattern':
      for (const element of pattern.elements) if (element) bind(element, names)
      break
    case 'AssignmentPattern':
      bind(pattern.left, names)
      break
    case 'RestElement':
      bind(pattern.argument, names)
      break
  }
}
