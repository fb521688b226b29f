// Packages from the real registry: one small one, found, pinned, refused.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { defaultLimits } from '../../src/core/limits.ts'
import { createBuilder, type Made } from '../../src/deploy/build.ts'
import { createDeployer } from '../../src/deploy/deploy.ts'
import { loadArtifact } from '../../src/store/artifacts.ts'
import { loadVersion } from '../../src/store/versions.ts'
import { testDatabase } from '../support/database.ts'

const home = mkdtempSync(join(tmpdir(), 'millrace-npm-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
const folders = (): string[] => readdirSync(join(home, 'cache', 'npm'))

/** Builds with a builder of its own, which remembers nothing: only the folder is shared. */
async function made(content: string, lock: string | null = null, of = home): Promise<Made> {
  const source = { language: 'bun' as const, content, lock, name: 'f/a/step.ts', at: '$.content' }
  const [only] = await createBuilder({ home: of }).build([source])
  return only!
}

async function call(bundle: string, ...args: unknown[]): Promise<unknown> {
  const file = join(home, `${Math.random().toString(36).slice(2)}.mjs`)
  writeFileSync(file, bundle)
  const module = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as { main(...args: unknown[]): unknown }
  return module.main(...args)
}

function lockedVersion(lock: string | null, name: string): string {
  const { packages } = JSON.parse(lock!) as { packages: Record<string, { version: string; resolved?: string }> }
  expect(packages[`node_modules/${name}`]!.resolved).toBeUndefined()
  return packages[`node_modules/${name}`]!.version
}

const old = 'import isNumber from "npm:is-number@6"\nexport const main = (x: any) => isNumber(x)'
const any = 'import isNumber from "is-number"\nexport const main = (x: any) => isNumber(x)'

test('an imported package is bundled in, and its exact version is the lock', async () => {
  const { artifact, built } = await made(old)
  expect(await call(artifact.content, '12')).toBe(true)
  expect(artifact.content).not.toContain(home)
  expect(built.params).toEqual(['x'])
  expect(lockedVersion(artifact.lock, 'is-number')).toBe('6.0.0')
})

test('its lock pins it, here and where nothing is installed yet', async () => {
  const first = await made(old)
  const before = folders()
  expect((await made(old, first.artifact.lock)).artifact).toEqual(first.artifact)
  expect(folders()).toEqual(before)
  const elsewhere = mkdtempSync(join(tmpdir(), 'millrace-npm-'))
  try {
    expect((await made(old, first.artifact.lock, elsewhere)).artifact).toEqual(first.artifact)
  } finally {
    rmSync(elsewhere, { recursive: true, force: true })
  }
})

test('versions of a package.json before a Bun lock, or of name@version lines, hold where the code names none', async () => {
  const bun = '{"dependencies": {"is-number": "6.0.0"}}\n//bun.lock\n{"lockfileVersion": 1}'
  const [fromBun, fromLines] = await Promise.all([made(any, bun), made(any, 'is-number@6.0.0\n')])
  expect(lockedVersion(fromBun.artifact.lock, 'is-number')).toBe('6.0.0')
  expect(fromLines.artifact.key).toBe(fromBun.artifact.key)
})

test('a lock for other imports still says the version of what is imported without one; a broken one says nothing', async () => {
  const first = await made(old)
  const both = 'import a from "is-number"\nimport b from "is-odd@3"\nexport const main = () => [a, b]'
  expect(lockedVersion((await made(both, first.artifact.lock)).artifact.lock, 'is-number')).toBe('6.0.0')
  const { artifact } = await made(any, '{ not a lock')
  expect(lockedVersion(artifact.lock, 'is-number')).not.toBe('6.0.0')
  expect((await made(any)).artifact.key).toBe(artifact.key)
})

test('a flow deployed again keeps the versions of its packages', async () => {
  const db = await testDatabase()
  const deployer = createDeployer({ db, limits: defaultLimits, home })
  const lockOf = async (content: string, lock?: string): Promise<string | null> => {
    const value = { type: 'rawscript', language: 'bun', content, lock, input_transforms: {} }
    const document = { summary: '', value: { modules: [{ id: 'a', value }] } }
    const { versionId } = await deployer.deployFlow({ workspaceId: 'main', path: 'f/kept', document, by: 'ann' })
    const { built } = await loadVersion(db.pool, versionId)
    return (await loadArtifact(db.pool, built.steps['a']!.artifactKey)).lock
  }
  const first = await lockOf(any, 'is-number@6.0.0')
  expect(lockedVersion(first, 'is-number')).toBe('6.0.0')
  expect(await lockOf(`${any} // changed`)).toBe(first)
})

test('a package or version that does not exist is named, and leaves nothing behind', async () => {
  const unknown = 'import x from "@millrace/no-such-package"\nexport const main = () => x'
  await expect(made(unknown)).rejects.toMatchObject({
    code: 'E_CODE_INVALID',
    message: expect.stringContaining('package "@millrace/no-such-package" is not in the npm registry') as string,
  })
  await expect(made('import x from "is-number@99"\nexport const main = () => x')).rejects.toMatchObject({
    code: 'E_CODE_INVALID',
    message: expect.stringContaining('package "is-number@99" has no such version') as string,
  })
  expect(folders().filter((name) => name.endsWith('.tmp'))).toEqual([])
})

test('a part of a package that does not exist is told at the import', async () => {
  const error = await made('\nimport x from "is-number@6/nowhere"\nexport const main = () => x').catch((e: unknown) => e)
  expect(error).toMatchObject({ code: 'E_CODE_INVALID', message: expect.stringMatching(/^f\/a\/step\.ts:2:15: /) as string })
})

test('an import for its types alone installs nothing', async () => {
  const before = folders()
  await made('import type { X } from "only-types-here"\nexport const main = (x: X) => x')
  expect(folders()).toEqual(before)
})
