// Statements: sql/<name>.sql, each sent under its name (S1 of db.ts).
//   P1. Plans are made once for a connection, often when its tables are empty, and must be right for a backlog of a million that comes a
//       second later: it takes Postgres until the next autovacuum to see it, and a claim that was planned for no rows takes half a
//       minute. So no plan may read a table of jobs from end to end, however small it looked: sessions have enable_seqscan and
//       enable_sort off (an order that an index has is taken from it: a claim that sorts reads all that are ready); a
//       batch is joined by `id = any (array[batch.id])`, which no order of joins can turn around (the index is needed for it), or by
//       ctid; and `<= (select clock_timestamp())` is a condition of an index, what is volatile would be asked of every row.
//       test/store/plans.pg.test.ts looks at each of them.
//   P2. They are generic, since making one anew takes longer than a job's claim. Who reads what may be large plans by cost: plansByCost.
import { readFileSync } from 'node:fs'
import type pg from 'pg'

const texts = new Map<string, string>()

function statementText(name: string): string {
  let text = texts.get(name)
  if (text === undefined) {
    text = readFileSync(new URL(`sql/${name}.sql`, import.meta.url), 'utf8')
    texts.set(name, text)
  }
  return text
}

/** For a session that reads much of large tables, once. */
export const plansByCost = 'set enable_seqscan = on; set enable_sort = on; set plan_cache_mode = auto'

/** What can run a statement: the pool, or a connection of one's own. */
export interface Queryable {
  query(config: { name: string; text: string; values: unknown[] }): Promise<pg.QueryResult>
}

/** Runs sql/<name>.sql. Rows are typed by the caller, who has the statement's column list beside it. */
export async function run<Row extends object>(on: Queryable, name: string, values: unknown[]): Promise<Row[]> {
  const result = await on.query({ name, text: statementText(name), values })
  return result.rows as Row[]
}
