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
  'Index Name'?: string
  'Index Cond'?: string
  'TID Cond'?: string
  'Recheck Cond'?: string
  Plans?: PlanNode[]
}

function nodesOf(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)]
}

async function planOf(on: Database, name: string): Promise<PlanNode> {
  const text = readFileSync(new URL(`${name}.sql`, folder), 'utf8')
  const { rows } = await on.pool.query(`explain (generic_plan, format json) ${text}`)
  const [{ Plan: plan }] = JSON.parse((rows[0] as { 'QUERY PLAN': string })['QUERY PLAN']) as [{ Plan: PlanNode }]
  return plan
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
    const plan = await planOf(db, name)
    const whole = nodesOf(plan).filter((node) => {
      const table = node['Relation Name']
      if (table === undefined || !large.test(table) || !node['Node Type'].includes('Scan')) return false
      if (table === 'job' && ofWorkers.includes(name)) return false
      return !node['Index Cond'] && !node['TID Cond'] && !node['Recheck Cond']
    })
    expect(whole).toEqual([])
  })
})

describe('a claim takes the first that are ready, in the order of job_ready', () => {
  const rows = `insert into job (id, workspace_id, version_id, tag, args, created_by, state)
                select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'main', 1, 't', '{}', 'test', $1::job_state
                  from generate_series(1, 20000) n`
  test.each([
    ['ready', 'vacuum'],
    ['running', 'vacuum'],
    ['ready', 'truncate'],
    ['running', 'truncate'],
  ])('planned when all were %s, after a %s', async (state, then) => {
    const own = await testDatabase()
    await own.pool.query(rows, [state])
    await own.pool.query('analyze job')
    await own.pool.query(`${then} job`)
    const plan = nodesOf(await planOf(own, 'claim_jobs'))
    expect(plan.map((node) => node['Node Type'])).not.toContain('Sort')
    expect(plan.filter((node) => node['Relation Name'] === 'job' && node['Index Name'])).toMatchObject([
      { 'Index Name': 'job_ready', 'Index Cond': '((tag = $2) AND (id > $6))' },
    ])
  })
})
