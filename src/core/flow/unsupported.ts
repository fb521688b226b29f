// What OpenFlow has and this version does not run. A document that asks for it is refused: a flow that does something
// else than it says is worse than one that cannot be saved.
import { pathOf } from '../json.ts'
import type { Faults, Fields } from './faults.ts'

/** field → what it would do, for the message */
type FieldTable = Record<string, string>

const caching = { cache_ttl: 'cache results by code; set cache_ttl on the module' } satisfies FieldTable
export const unsupported = {
  flow: {
    timeout: 'limit the time of a whole flow; set timeout on its modules',
    on_behalf_of_email: 'run flows as someone else than their caller',
    on_behalf_of: 'run flows as someone else than their caller',
    visible_to_runner_only: 'hide jobs from other members',
  },
  flowValue: {
    chat_input_enabled: 'keep conversations',
  },
  rawScript: caching,
} as const satisfies Record<string, FieldTable>

/** OpenFlow's module types and languages beyond those of definition.ts. */
export const otherModuleTypes = 'aiagent flowscript'.split(' ')
export const otherLanguages = (
  'bunnative go powershell postgresql mysql bigquery snowflake mssql oracledb graphql php ' +
  'rust ansible csharp nu java ruby rlang duckdb'
).split(' ')

export function refuseUnsupported(fields: Fields, table: FieldTable, at: string, faults: Faults): void {
  for (const [field, what] of Object.entries(table)) {
    if (Object.hasOwn(fields, field) && !isOff(fields[field])) {
      faults.add(pathOf(at, field), `this version does not ${what} (remove the field)`)
    }
  }
}

/** Editors write these for "not set". A suspend that requires no events waits for none. */
function isOff(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === '') return true
  if (Array.isArray(value)) return value.length === 0
  if (typeof value !== 'object') return false
  const { required_events: events } = value as { required_events?: unknown }
  return Object.keys(value).length === 0 || ('required_events' in value && (events === 0 || events === null))
}
