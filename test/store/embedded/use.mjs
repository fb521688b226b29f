// A program that uses the database of a home until it is told to stop: what the command line does, and nothing else.
// Prints one JSON line once the database is open; ends after a line on stdin.
import { once } from 'node:events'
import { openPostgres } from '../../../src/store/embedded/postgres.ts'

try {
  const report = (message) => console.error(message)
  const postgres = await openPostgres({ home: process.argv[2], databaseUrl: process.env['DATABASE_URL'], report })
  console.log(JSON.stringify({ url: postgres.url, owner: postgres.owner, embedded: postgres.embedded }))
  await once(process.stdin, 'data')
  await postgres.stop()
  process.exit(0)
} catch (error) {
  console.log(JSON.stringify({ code: error.code, message: error.message }))
  process.exit(1)
}
