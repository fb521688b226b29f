// `millrace migrate`: brings the database to this version.
import { createLog, createScreen } from './log.ts'
import { print, printJson } from './output.ts'
import type { GivenSettings } from './program.ts'
import { openStore } from './store.ts'

export async function migrateCommand(options: GivenSettings & { json?: boolean }): Promise<void> {
  const log = createLog('warn', createScreen())
  const store = await openStore(options, { name: 'millrace migrate', log })
  try {
    if (options.json) printJson({ applied: store.applied })
    else print(store.applied.length === 0 ? 'the database is up to date' : `applied ${store.applied.join(', ')}`)
  } finally {
    await store.close()
  }
}
