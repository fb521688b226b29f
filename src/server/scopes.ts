// Scopes of tokens: `domain:action[:kind][:path]`, with `*` for anything, as `jobs:run:flows:f/shop/*` or `scripts:read`.
//   S1. What a scope leaves out, it allows: `jobs:run` covers every flow, script and preview.
//   S2. `write` includes `read`. `run` includes neither.
import { EngineError } from '../core/errors.ts'

export interface Wanted {
  domain: string
  action: string
  kind?: string | undefined
  path?: string | undefined
}

export function scopesAllow(scopes: readonly string[], wanted: Wanted): boolean {
  return scopes.some((scope) => scopeAllows(scope, wanted))
}

function scopeAllows(scope: string, wanted: Wanted): boolean {
  const [domain, action, ...rest] = scope.split(':')
  if (domain !== '*' && domain !== wanted.domain) return false
  if (action !== undefined && action !== '*' && action !== wanted.action && !(action === 'write' && wanted.action === 'read'))
    return false
  const kind = wanted.kind === undefined ? undefined : rest.shift()
  if (kind !== undefined && kind !== '*' && kind !== wanted.kind) return false
  const pattern = rest[0]
  return pattern === undefined || pattern === '*' || (wanted.path !== undefined && pathMatches(pattern, wanted.path))
}

function pathMatches(pattern: string, path: string): boolean {
  if (!pattern.includes('*')) return pattern === path
  const source = pattern
    .split('*')
    .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('.*')
  return new RegExp(`^${source}$`).test(path)
}

/** @throws EngineError E_INVALID naming the scope */
export function assertScopes(scopes: readonly string[]): void {
  for (const [i, scope] of scopes.entries()) {
    if (scope.length <= 300 && /^(\*|[a-z_]+)(:(\*|[a-z_]+)(:[^\s:*]*\*?[^\s:*]*){0,2})?$/.test(scope)) continue
    throw new EngineError(
      'E_INVALID',
      `"${scope.slice(0, 60)}" is not a scope: write domain:action, or domain:action:kind:path`,
      {
        at: `$.scopes[${i}]`,
      },
    )
  }
}
