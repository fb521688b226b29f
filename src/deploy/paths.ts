// Names of what is deployed, and the tags their jobs wait under.
import { EngineError } from '../core/errors.ts'
import { languages } from '../core/flow/definition.ts'
import { isPath, pathRule } from '../core/path.ts'

/** @throws EngineError E_INVALID with the rule. */
export function assertPath(path: string, at = '$.path'): void {
  if (isPath(path)) return
  const text = `"${path.slice(0, 80)}" cannot be a path: use ${pathRule} (such as "f/shop/orders")`
  throw new EngineError('E_INVALID', text, { at })
}

/** Tags a shared worker takes unless it is told others: flows, and scripts by their language. */
export const defaultTags: readonly string[] = ['flow', ...Object.keys(languages)]

/**
 * The tag of a flow or script with a worker of its own.
 * @throws EngineError E_INVALID for a script below `flow/`: its tag would be that of a flow.
 */
export function dedicatedTag(kind: 'flow' | 'script', workspaceId: string, path: string): string {
  if (kind === 'flow') return `${workspaceId}:flow/${path}`
  if (!path.startsWith('flow/')) return `${workspaceId}:${path}`
  const text = `"${path}": a script below "flow/" cannot have a worker of its own; choose another path, or leave out dedicated_worker`
  throw new EngineError('E_INVALID', text, { at: '$.dedicated_worker' })
}
