import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { testDatabase } from '../support/database.ts'

const db = await testDatabase()
const folder = 'src/store/sql'
const files = readdirSync(folder).filter((file) => file.endsWith('.sql'))

test('every statement fits the schema', async () => {
  const faults: string[] = []
  const client = await db.connect({ name: 'test' })
  for (const file of files) {
    const text = readFileSync(`${folder}/${file}`, 'utf8')
    await client.query(`prepare statement_of_file as ${text}`).then(
      () => client.query('deallocate statement_of_file'),
      (error: Error) => faults.push(`${file}: ${error.message}`),
    )
  }
  await client.end()
  expect(faults).toEqual([])
  expect(files.length).toBeGreaterThan(50)
})

test('every statement opens with its name and what it is for, and is used', () => {
  const code = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(`src/${file}`, 'utf8'))
    .join('\n')
  const faults = files.flatMap((file) => {
    const name = file.slice(0, -'.sql'.length)
    const opens = readFileSync(`${folder}/${file}`, 'utf8').startsWith(`-- ${name}: `)
    return [
      ...(opens ? [] : [`${file}: does not open with "-- ${name}: "`]),
      ...(code.includes(`'${name}'`) ? [] : [`${file}: unused`]),
    ]
  })
  expect(faults).toEqual([])
})
