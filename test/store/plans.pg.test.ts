// Plans that were made when there was nothing yet (statements.ts, P1).
import { readdirSync, readFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Database } from '../../src/store/db.ts'
import { testDatabase } from '../support/database.ts'

const folder = new URL('../../src/store/sql/', import.meta.url)
/** What grows with the number of jobs. */
const large = /^(job|job_journal|signal|job_wait|turn|job_key|deletion|failure|job_done.*)$/
/** They look at many rows on purpose, a few times a minute or when somebody asks. */
const reports = [
  // Beginnings of names.
  'count_',
  'list_',
  'queue_',
  'delete_',
  'replay',
  'read_audit',
  'record_',
  'clear_',
  'pulse',
  'database_health',
  'dedicated_bindings',
  'restart_job',
]
/** Which jobs a worker has is not indexed; asked when one has died, or after the answer to a claim was lost. */
const ofWorkers = ['give_back_jobs', 'give_back_unknown']

interface PlanNode {
  'Node Type': string
  'Relation Name'?: string
  'Index Cond'?: string
  'TID Cond'?: string
  'Recheck Cond'?: string
  Plans?: PlanNode[]
}

function nodesOf(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)]
}

let db: Database

beforeAll(async () => {
  db = await testDatabase()
  await db.pool.query('vacuum analyze')
})

const names = readdirSync(folder)
  .filter((file) => file.endsWith('.sql'))
  .map((file) => file.slice(0, -4))
  .filter((name) => !reports.some((beginning) => name.startsWith(beginning)))

describe('planned for empty tables, it finds its rows by an index', () => {
  test.each(names)('%s', async (name) => {
    const { rows } = await db.pool.query(
      `explain (generic_plan, format json) ${readFileSync(new URL(`${name}.sql`, folder), 'utf8')}`,
    )
    const [{ Plan: plan }] = JSON.parse((rows[0] as { 'QUERY PLAN': string })['QUERY PLAN']) as [{ Plan: PlanNode }]
    const whole = nodesOf(plan).filter((node) => {
      const table = node['Relation Name']
      if (table === undefined || !large.test(table) || !node['Node Type'].includes('Scan')) return false
      if (table === 'job' && ofWorkers.includes(name)) return false
      return !node['Index Cond'] && !node['TID Cond'] && !node['Recheck Cond']
    })
    expect(whole).toEqual([])
  })
})
