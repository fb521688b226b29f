// Variables and resources, as a user of the command line has them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { command, stateFolder, start } from '../e2e/up_support.ts'

const home = stateFolder()
const files = mkdtempSync(join(tmpdir(), 'millrace-kept-'))
afterAll(() => rmSync(files, { recursive: true, force: true }))
beforeAll(async () => start(home, ['up']).says(/Millrace is up/), 60_000)

const ran = (...words: string[]) => command(home, words)

test('a variable is set, shown, listed without secrets, and deleted', () => {
  writeFileSync(join(files, 'key.txt'), 'k-123')
  const set = ['variable', 'set', 'f/shop/key', '--value', `@${join(files, 'key.txt')}`]
  expect(ran(...set, '--secret')).toMatchObject({ exitCode: 0, out: 'created main/f/shop/key\n' })
  expect(ran(...set, '--description', 'of the shop')).toMatchObject({ exitCode: 0, out: 'updated main/f/shop/key\n' })
  expect(ran('variable', 'get', 'f/shop/key')).toMatchObject({ exitCode: 0, out: 'k-123\n' })
  ran('variable', 'set', 'f/shop/region', '--value', 'eu')
  const { out } = ran('variable', 'list')
  expect(out).toMatch(/f\/shop\/key +\(secret\) +of the shop/)
  expect(out).toMatch(/f\/shop\/region +eu/)
  expect(out).not.toContain('k-123')
  expect(JSON.parse(ran('variable', 'list', '--json').out)).toMatchObject([{ value: null, is_secret: true }, { value: 'eu' }])
  expect(ran('variable', 'delete', 'f/shop/region')).toMatchObject({ exitCode: 0, out: 'deleted main/f/shop/region\n' })
  expect(ran('variable', 'get', 'f/shop/region')).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('no variable "f/shop/region"'),
  })
})

test('a resource is set, shown as written or with what it names, listed, and deleted', () => {
  ran('variable', 'set', 'f/shop/password', '--value', 'open sesame', '--secret')
  const value = '{"host":"h","password":"$var:f/shop/password"}'
  expect(ran('resource', 'set', 'f/shop/db', value, '--type', 'postgresql')).toMatchObject({
    exitCode: 0,
    out: 'created main/f/shop/db\n',
  })
  expect(ran('resource', 'get', 'f/shop/db').out).toBe(`${value}\n`)
  expect(ran('resource', 'get', 'f/shop/db', '--resolve').out).toBe('{"host":"h","password":"open sesame"}\n')
  expect(ran('resource', 'list').out).toMatch(/f\/shop\/db +postgresql/)
  expect(ran('resource', 'list', '--type', 'mysql')).toMatchObject({ exitCode: 0, out: '' })
  expect(ran('resource', 'set', 'f/shop/db', '{"host"')).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining('value is not JSON'),
  })
  expect(ran('resource', 'delete', 'f/shop/db')).toMatchObject({ exitCode: 0, out: 'deleted main/f/shop/db\n' })
})
