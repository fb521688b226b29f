// What is made once per installation and read by every process of it.
import type { Json } from '../core/json.ts'
import { run, type Queryable } from './db.ts'

/** The setting of this name; `made` becomes it if there is none yet. */
export async function settingOrMade(on: Queryable, name: string, made: Json): Promise<Json> {
  for (;;) {
    const [row] = await run<{ value: string }>(on, 'setting_get_or_create', [name, JSON.stringify(made)])
    if (row) return JSON.parse(row.value) as Json
    // Another process made it while this statement ran: its snapshot did not see the row yet.
  }
}
