// Statements: sql/<name>.sql, each sent under its name (S1 of db.ts).
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

/** What can run a statement: the pool, or a connection of one's own. */
export interface Queryable {
  query(config: { name: string; text: string; values: unknown[] }): Promise<pg.QueryResult>
}

/** Runs sql/<name>.sql. Rows are typed by the caller, who has the statement's column list beside it. */
export async function run<Row extends object>(on: Queryable, name: string, values: unknown[]): Promise<Row[]> {
  const result = await on.query({ name, text: statementText(name), values })
  return result.rows as Row[]
}
