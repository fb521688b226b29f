// What building takes and gives, and how it says what is wrong with code.
import { EngineError } from '../core/errors.ts'
import type { Language } from '../core/flow/definition.ts'
import type { Json } from '../core/json.ts'

/** The code of one step. */
export interface Source {
  language: Language
  content: string
  lock: string | null
  /** The file name that stack traces and messages show: `<path>/<step>.ts`. */
  name: string
  /** JSON path of the content in the document. */
  at: string
}

/** Code that is ready for a runner. */
export interface BuiltCode {
  content: string
  lock: string | null
  /** Names of main's parameters, in order. */
  params: string[]
  /** JSON Schema of the arguments, as far as the signature tells. */
  schema: { [key: string]: Json }
  /** False only if the code clearly cannot read WM_TOKEN. */
  wantsToken: boolean
}

export interface Place {
  line: number
  /** From 1. */
  column: number
}

export function codeError(source: Source, text: string, place?: Place, cause?: unknown): EngineError {
  const where = place ? `${source.name}:${place.line}:${place.column}` : source.name
  return new EngineError('E_CODE_INVALID', `${where}: ${text}`, { at: `${source.at} ${where}`, cause })
}

/** JSON Schema of an object with these arguments. */
export function argumentsSchema(parameters: { name: string; schema: { [key: string]: Json }; required: boolean }[]): {
  [key: string]: Json
} {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties: Object.fromEntries(parameters.map((p) => [p.name, p.schema])),
    required: parameters.filter((p) => p.required).map((p) => p.name),
  }
}
