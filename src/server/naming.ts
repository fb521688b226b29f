// Who may name variables and resources (core/lookups.ts) in what they send: whoever may read them, or the code of the step that is
// given the values would read them out to someone who may not.
import { EngineError } from '../core/errors.ts'
import { lookupsIn, mayName, textOf, type Lookup } from '../core/lookups.ts'
import type { JsonText } from '../core/json.ts'
import type { Identity } from '../store/accounts.ts'
import { scopesAllow } from './scopes.ts'

/** HOT for tokens without scopes: no look at the text. `caller`: null: nobody is known. @throws EngineError E_FORBIDDEN */
export function assertMayName(caller: Identity | null, text: JsonText, at: string): void {
  if (caller !== null && caller.scopes === null) return
  // An expression prints what was escaped without its escapes.
  const printed = text.includes('\\') ? JSON.stringify(JSON.parse(text)) : text
  if (!mayName(printed)) return
  for (const lookup of lookupsIn(printed)) assertMayRead(caller, lookup, at)
}

/** @throws EngineError E_FORBIDDEN */
export function assertMayRead(caller: Identity | null, lookup: Lookup, at: string): void {
  const { kind, path } = lookup
  const scopes = caller === null ? [] : caller.scopes
  const domain = kind === 'variable' ? 'variables' : 'resources'
  if (scopes === null || scopesAllow(scopes, { domain, action: 'read', path })) return
  const who = caller === null ? 'only a token that may read it' : `only a token whose scopes allow ${domain}:read:${path}`
  throw new EngineError('E_FORBIDDEN', `${textOf(lookup).slice(0, 100)} names a ${kind}; ${who} may do that`, { at })
}
