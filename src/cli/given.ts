// Values given to a command: as they are, `@file`, or `-` for stdin.
import { readFileSync } from 'node:fs'
import { EngineError, messageOf } from '../core/errors.ts'
import type { Json } from '../core/json.ts'

/** `where`: the option or argument, for what is said of it. @throws EngineError E_INVALID */
export function givenText(given: string, where: string): string {
  try {
    if (given === '-') return readFileSync(0, 'utf8')
    return given.startsWith('@') ? readFileSync(given.slice(1), 'utf8') : given
  } catch (error) {
    throw new EngineError('E_INVALID', `${where}: ${messageOf(error)}`, { at: where })
  }
}

/** @throws EngineError E_INVALID, E_JSON */
export function givenJson(given: string, where: string): Json {
  const text = givenText(given, where)
  try {
    return JSON.parse(text) as Json
  } catch (error) {
    throw new EngineError('E_JSON', `${where} is not JSON: ${messageOf(error)}`, { at: where })
  }
}

/** The same, where it has to be an object. `what` says of what. */
export function givenObject(given: string, where: string, what: string): Record<string, Json> {
  const value = givenJson(given, where)
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value
  throw new EngineError('E_INVALID', `${where} must be a JSON object: ${what}`, { at: where })
}
