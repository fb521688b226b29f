// Looking around in a flow's modules, nested ones included.
import type { FlowModule, FlowValue } from './definition.ts'

export interface PlacedModule {
  module: FlowModule
  /** Its JSON path. */
  at: string
}

/** The lists of modules inside a module, with their JSON paths. */
export function listsIn({ value }: FlowModule, at: string): { modules: FlowModule[]; at: string }[] {
  switch (value.type) {
    case 'forloopflow':
    case 'whileloopflow':
      return [{ modules: value.modules, at: `${at}.value.modules` }]
    case 'branchone': {
      const branches = value.branches.map(({ modules }, i) => ({ modules, at: `${at}.value.branches[${i}].modules` }))
      return [...branches, { modules: value.default, at: `${at}.value.default` }]
    }
    case 'branchall':
      return value.branches.map(({ modules }, i) => ({ modules, at: `${at}.value.branches[${i}].modules` }))
    default:
      return []
  }
}

/** Every module of a flow, outer ones before inner ones, the preprocessor and the failure module last. */
export function modulesOf(value: FlowValue, at: string): PlacedModule[] {
  const found: PlacedModule[] = []
  const visit = (modules: readonly FlowModule[], at: string): void => {
    for (const [i, module] of modules.entries()) {
      const here = `${at}[${i}]`
      found.push({ module, at: here })
      for (const list of listsIn(module, here)) visit(list.modules, list.at)
    }
  }
  visit(value.modules, `${at}.modules`)
  if (value.preprocessor_module) found.push({ module: value.preprocessor_module, at: `${at}.preprocessor_module` })
  if (value.failure_module) found.push({ module: value.failure_module, at: `${at}.failure_module` })
  return found
}
