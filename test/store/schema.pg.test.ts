import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Database } from '../../src/store/db.ts'
import { testDatabase } from '../support/database.ts'

// Everything the catalog says of our schema, one line each, in an order that does not depend on how it came to be.
const catalog = {
  relations: `
    select c.relname, c.relkind, c.reloptions, pg_get_partkeydef(c.oid) as partitioned_by, pg_get_expr(c.relpartbound, c.oid) as bounds,
           (select inhparent::regclass::text from pg_inherits where inhrelid = c.oid) as parent
      from pg_class c where c.relnamespace = 'public'::regnamespace`,
  columns: `
    select c.relname, a.attname, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull, a.attidentity, a.attgenerated,
           a.attstorage, pg_get_expr(d.adbin, d.adrelid) as value
      from pg_attribute a join pg_class c on c.oid = a.attrelid
      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and a.attnum > 0 and not a.attisdropped`,
  indexes: `select tablename, indexname, indexdef from pg_indexes where schemaname = 'public'`,
  constraints: `
    select conrelid::regclass::text as on, conname, pg_get_constraintdef(oid) as definition
      from pg_constraint where connamespace = 'public'::regnamespace`,
  types: `
    select t.typname, t.typtype, (select array_agg(enumlabel::text order by enumsortorder) from pg_enum where enumtypid = t.oid) as labels
      from pg_type t where t.typnamespace = 'public'::regnamespace and t.typtype in ('e', 'd')`,
  functions: `
    select p.proname, pg_get_functiondef(p.oid) as definition from pg_proc p
     where p.pronamespace = 'public'::regnamespace and p.prokind in ('f', 'p')`,
  triggers: `select pg_get_triggerdef(oid) as definition from pg_trigger where not tgisinternal`,
  views: `select viewname, definition from pg_views where schemaname = 'public'`,
  rows: `select id, name from workspace`,
}

async function contentsOf(db: Database): Promise<Record<string, string[]>> {
  const contents: Record<string, string[]> = {}
  for (const [kind, statement] of Object.entries(catalog)) {
    const { rows } = await db.pool.query<Record<string, unknown>>(statement)
    contents[kind] = rows
      .map((row) => JSON.stringify(row))
      .filter((line) => !/"migration(_|")/.test(line)) // the list of what was applied, which migrate.ts makes
      .sort()
  }
  return contents
}

const migrated = await testDatabase()
const read = await testDatabase({ empty: true })

test('schema.sql is what all migrations together make', async () => {
  await read.pool.query(readFileSync('migrations/schema.sql', 'utf8'))
  const [expected, found] = [await contentsOf(migrated), await contentsOf(read)]
  expect(expected['relations']!.length).toBeGreaterThan(20)
  for (const kind of Object.keys(catalog)) expect({ [kind]: found[kind] }).toEqual({ [kind]: expected[kind] })
})
