// Plans with a hundred thousand jobs queued: what workers and pages of lists ask for is found by an index, never by reading all.
import { readFileSync } from 'node:fs'
import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { testDatabase } from '../support/database.ts'

const db = await testDatabase()
const jobs = 100_000
let client: pg.Client

beforeAll(async () => {
  client = await db.connect({ name: 'plans' })
  await client.query(
    `insert into flow_version (workspace_id, path, kind, tag, value, built, content_hash, created_by)
     values ('main', 'a/b', 'flow', 't', '{}', '{}', 'x', 'me')`,
  )
  await client.query(`insert into worker (name, tags, host, pid, version, lease_ms) values ('w', '{t}', 'h', 1, '0', 1000)`)
  await client.query(
    `insert into job (id, workspace_id, version_id, tag, state, worker_id, lost, run_at, args, created_by)
     select lpad(to_hex(n), 32, '0')::uuid, 'main', 1, 't' || n % 10, case when n % 100 = 0 then 'parked' else 'ready' end::job_state,
            null, case when n % 5000 = 1 then 2 else 0 end, case when n % 100 = 0 then now() + n * interval '1 s' end, '{"x":1}', 'me'
       from generate_series(1, $1::integer) n`,
    [jobs],
  )
  await client.query(
    `insert into job_done (id, workspace_id, version_id, tag, status, lost, args, result, steps, created_by)
     select lpad(to_hex(n + 1000000), 32, '0')::uuid, 'main', 1, 't', case when n % 10 = 0 then 'failure' else 'success' end,
            case when n % 1000 = 0 then 4 else 0 end, '{}', '{"error":{"name":"PoisonJob"}}', '[]', 'me'
       from generate_series(1, $1::integer) n`,
    [jobs],
  )
  await client.query('analyze job; analyze job_done; analyze worker')
}, 60_000)
afterAll(() => client.end())

type Value = string | number | boolean | null | (string | number)[]

const uuid = '00000000-0000-0000-0000-000000000000'

/** Tables that the plan reads whole, with the plan. Planned with these values, as a custom plan is. */
async function readWhole(name: string, values: Value[]): Promise<string[]> {
  const text = readFileSync(`src/store/sql/${name}.sql`, 'utf8').replace(/;\s*$/, '')
  const types =
    (await client.query(`prepare p as ${text}`),
    await client.query(`select parameter_types::text[] as types from pg_prepared_statements where name = 'p'`))
  const { types: names } = types.rows[0] as { types: string[] }
  const literal = (value: Value, i: number): string => {
    if (value === null) return 'null'
    const given = Array.isArray(value) ? `{${value.join(',')}}` : String(value)
    return `'${given.replaceAll("'", "''")}'::${names[i]!}`
  }
  await client.query('begin; set local enable_bitmapscan = on; set local plan_cache_mode = force_custom_plan')
  const { rows } = await client.query<{ 'QUERY PLAN': string }>(`explain execute p(${values.map(literal).join(', ')})`)
  await client.query('rollback; deallocate p')
  return rows.map((row) => row['QUERY PLAN']).filter((line) => /Seq Scan on (job|job_done\w*)\b/.test(line))
}

test.each<[string, Value[]]>([
  ['claim_jobs', [1, 't3', 500, 0, 2, uuid]],
  ['claim_suspect', [1, ['t1', 't2'], 0, 2]],
  ['suspects_wait', [['t1', 't2'], 2]],
  ['wake_due_jobs', [null, 1_000]],
  ['canceled_jobs', [1]],
  ['count_tag_ready', ['t3', 100]],
  ['read_job', ['main', uuid]],
  ['read_job_outcome', ['main', uuid]],
  ['read_outcomes', [[uuid]]],
  ['cancel_job', ['main', uuid, 'me', 'why']],
  ['list_jobs', ['main', 'all', '{}', 30, 0]],
  ['list_jobs', ['main', 'queue', '{}', 1_000, 0]],
  ['list_jobs_oldest', ['main', 'completed', '{}', 1_000, 0]],
  ['list_jobs', ['main', 'completed', '{"statuses":"failure"}', 30, 0]],
  ['list_poison', ['main', null, null, null, 30]],
  ['replays_failed', ['main', null, null, null, true, false, 1_000]],
  ['replays_named', ['main', [uuid], false]],
])('%s with %j reads no table whole', async (name, values) => {
  expect(await readWhole(name, values)).toEqual([])
})
