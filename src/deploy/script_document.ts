// Script documents as clients send them, and the flow of one step that a script runs as.
import { EngineError } from '../core/errors.ts'
import { Faults } from '../core/flow/faults.ts'
import { checkCacheTtl, checkQueueing, deleteAfterSecsOf, queueingFields } from '../core/flow/validate.ts'
import { languages, type FlowValue, type InputTransform, type Language, type Queueing } from '../core/flow/definition.ts'
import { assertStorable, pathOf, type Json } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'

export const scriptStepId = 'script'

/** A script document that was checked. */
export interface ScriptDocument {
  content: string
  language: Language
  summary: string
  description: string
  schema: { [key: string]: Json } | null
  lock: string | null
  tag: string | null
  kind: string
  dedicatedWorker: boolean
  /** The version this one is meant to replace. */
  parentHash: string | null
  priority: number
  /** Seconds. */
  timeout: number | null
  queueing: Queueing
  /** Seconds. */
  cacheTtl: number | null
  /** Seconds after the end of a job. */
  deleteAfterS: number | null
}

const kinds = ['script', 'preprocessor', 'trigger', 'failure', 'approval', 'command']

/** @throws EngineError E_INVALID or E_JSON with the JSON path. */
export function parseScript(document: unknown, limits: Limits): ScriptDocument {
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw new EngineError('E_INVALID', 'a script is an object with "content" and "language"', { at: '$' })
  }
  assertStorable(document, '$', limits.jsonDepthMax)
  const fields = document as Record<string, unknown>
  const { content, language, schema } = fields
  if (typeof content !== 'string') throw invalid('content', 'the code of the script, as text')
  if (typeof language !== 'string' || !Object.hasOwn(languages, language)) {
    const allowed = Object.keys(languages)
    const named = typeof language === 'string' ? `"${language.slice(0, 40)}" is not a language this version runs` : 'missing'
    throw new EngineError('E_INVALID', `$.language: ${named}; use one of ${allowed.join(', ')}`, { at: '$.language', allowed })
  }
  if (schema !== undefined && schema !== null && (typeof schema !== 'object' || Array.isArray(schema))) {
    throw invalid('schema', 'a JSON Schema object')
  }
  const kind = textOf(fields, 'kind') ?? 'script'
  if (!kinds.includes(kind)) throw invalid('kind', `one of ${kinds.join(', ')}`)
  return {
    content,
    language: language as Language,
    summary: textOf(fields, 'summary') ?? '',
    description: textOf(fields, 'description') ?? '',
    schema: (schema ?? null) as { [key: string]: Json } | null,
    lock: lockOf(fields['lock']),
    tag: textOf(fields, 'tag') || null,
    kind,
    dedicatedWorker: flagOf(fields, 'dedicated_worker'),
    parentHash: textOf(fields, 'parent_hash') || null,
    priority: integerOf(fields, 'priority', { min: -32_768, max: 32_767 }) ?? 0,
    timeout: integerOf(fields, 'timeout', { min: 1, max: 31_536_000 }),
    ...queueingOf(fields),
  }
}

/** The flow that a script runs as: one step, its inputs the arguments of the job. */
export function scriptValue(script: ScriptDocument, params: string[]): FlowValue {
  const { content, language, lock, priority, timeout, queueing, cacheTtl, deleteAfterS } = script
  const inputs = params.map((name): [string, InputTransform] => [name, { type: 'javascript', expr: pathOf('flow_input', name) }])
  return {
    modules: [
      {
        id: scriptStepId,
        value: { type: 'rawscript', content, language, lock, input_transforms: Object.fromEntries(inputs) },
        ...(timeout === null ? {} : { timeout }),
      },
    ],
    ...(priority === 0 ? {} : { priority }),
    ...queueing,
    ...(cacheTtl === null ? {} : { cache_ttl: cacheTtl }),
    ...(deleteAfterS === null ? {} : { delete_after_secs: deleteAfterS }),
  }
}

function queueingOf(fields: Record<string, unknown>): Pick<ScriptDocument, 'queueing' | 'cacheTtl' | 'deleteAfterS'> {
  const faults = new Faults()
  checkQueueing(fields, '$', faults)
  const cacheTtl = checkCacheTtl(fields, '$', faults)
  const deleteAfterS = deleteAfterSecsOf(fields, '$', faults)
  try {
    faults.throwAny()
  } catch (fault) {
    const { message, details } = fault as EngineError
    throw new EngineError('E_INVALID', message, details)
  }
  const queueing = Object.fromEntries(queueingFields.flatMap((key) => (fields[key] ? [[key, fields[key]]] : [])))
  return { queueing, cacheTtl: cacheTtl > 0 ? cacheTtl : null, deleteAfterS }
}

function lockOf(lock: unknown): string | null {
  if (lock === undefined || lock === null || lock === '') return null
  if (typeof lock === 'string') return lock
  if (Array.isArray(lock) && lock.every((line) => typeof line === 'string')) return lock.join('\n')
  throw invalid('lock', 'text, or a list of lines')
}

function textOf(fields: Record<string, unknown>, name: string): string | null {
  const value = fields[name]
  if (value === undefined || value === null) return null
  if (typeof value !== 'string') throw invalid(name, 'text')
  return value
}

function flagOf(fields: Record<string, unknown>, name: string): boolean {
  const value = fields[name]
  if (value === undefined || value === null) return false
  if (typeof value !== 'boolean') throw invalid(name, 'true or false')
  return value
}

function integerOf(fields: Record<string, unknown>, name: string, { min, max }: { min: number; max: number }): number | null {
  const value = fields[name]
  if (value === undefined || value === null) return null
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw invalid(name, `a whole number from ${min} to ${max}`)
  }
  return value
}

function invalid(name: string, wanted: string): EngineError {
  return new EngineError('E_INVALID', `$.${name}: must be ${wanted}`, { at: `$.${name}` })
}
