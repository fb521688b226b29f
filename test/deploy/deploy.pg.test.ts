// Deploying against a real database: what is stored, what is refused, and what two at once leave behind.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { EngineError } from '../../src/core/errors.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import { createDeployer } from '../../src/deploy/deploy.ts'
import { loadArtifact } from '../../src/store/artifacts.ts'
import { archiveFlow, deleteFlow, findFlow, getFlow } from '../../src/store/flows.ts'
import { archiveScript, getScript } from '../../src/store/scripts.ts'
import { currentFlow, currentScript, dedicatedBindings, loadVersion, scriptByHash } from '../../src/store/versions.ts'
import { createWorkspace } from '../../src/store/workspaces.ts'
import { testDatabase } from '../support/database.ts'

const db = await testDatabase()
const home = mkdtempSync(join(tmpdir(), 'millrace-deploy-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
const deployer = createDeployer({ db, limits: defaultLimits, home })
const workspaceId = 'main'
const by = 'ann'

function step(id: string, content = `export const main = (x: number) => x /* ${id} */`, language = 'bun'): object {
  return {
    id,
    value: { type: 'rawscript', language, content, input_transforms: { x: { type: 'javascript', expr: 'flow_input.x' } } },
  }
}

function document(modules: object[], more: object = {}): object {
  return { summary: 'Counts', value: { modules }, schema: { type: 'object', properties: {} }, ...more }
}

async function count(table: 'artifact' | 'flow_version'): Promise<number> {
  const { rows } = await db.pool.query<{ n: number }>(`select count(*)::int as n from ${table}`)
  return rows[0]!.n
}

describe('flows', () => {
  test('a deployed flow can be loaded, with every step built', async () => {
    const path = 'f/shop/orders'
    const python = step('score', 'def main(x: int): return x', 'python3')
    const failure = { ...step('failure'), id: 'failure' }
    const value = { modules: [step('a'), python, { id: 'last', value: { type: 'identity' } }], failure_module: failure }
    const { versionId } = await deployer.deployFlow({ workspaceId, path, by, document: document([], { value, labels: ['x'] }) })

    const version = await loadVersion(db.pool, versionId)
    expect(version).toMatchObject({ workspaceId, path, kind: 'flow', tag: 'flow', priority: 0, value })
    expect(Object.keys(version.built.steps)).toEqual(['a', 'score', 'failure'])
    const { artifactKey } = version.built.steps['score']!
    expect(await loadArtifact(db.pool, artifactKey)).toMatchObject({ language: 'python3', content: 'def main(x: int): return x' })
    expect(await currentFlow(db.pool, workspaceId, path)).toEqual({
      versionId,
      tag: 'flow',
      priority: 0,
      dedicatedWorker: false,
      turns: null,
      preprocessed: false,
      early: false,
    })
    const row = await getFlow(db.pool, workspaceId, path)
    expect(row).toMatchObject({ summary: 'Counts', editedBy: by, archived: false, document: '{"labels":["x"]}' })
    expect(JSON.parse(row.value)).toEqual(value)
  })

  test('deploying equal code again adds a version and no artifact', async () => {
    const request = { workspaceId, path: 'f/again', by, document: document([step('a')]) }
    const first = await deployer.deployFlow(request)
    const artifacts = await count('artifact')
    const second = await deployer.deployFlow(request)
    expect(BigInt(second.versionId)).toBeGreaterThan(BigInt(first.versionId))
    expect(await count('artifact')).toBe(artifacts)
    expect(await currentFlow(db.pool, workspaceId, 'f/again')).toMatchObject({ versionId: second.versionId })
  })

  test('creating refuses a path that is taken, updating one that is free, and archived counts as free', async () => {
    const request = { workspaceId, path: 'f/once', by, document: document([step('a')]) }
    await expect(deployer.deployFlow({ ...request, mustExist: true })).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await deployer.deployFlow({ ...request, mustExist: false })
    await expect(deployer.deployFlow({ ...request, mustExist: false })).rejects.toMatchObject({ code: 'E_CONFLICT' })
    await deployer.deployFlow({ ...request, mustExist: true })
    await archiveFlow(db.pool, workspaceId, 'f/once')
    expect(await currentFlow(db.pool, workspaceId, 'f/once')).toBeNull()
    await expect(archiveFlow(db.pool, workspaceId, 'f/once')).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
    await deployer.deployFlow({ ...request, mustExist: false })
    expect(await currentFlow(db.pool, workspaceId, 'f/once')).not.toBeNull()
    await deleteFlow(db.pool, workspaceId, 'f/once')
    expect(await findFlow(db.pool, workspaceId, 'f/once')).toBeNull()
  })

  test('of many creating one path at once, one wins; of many updating it, the highest version is current', async () => {
    const path = 'f/race'
    const request = (n: number): Parameters<typeof deployer.deployFlow>[0] => ({
      workspaceId,
      path,
      by,
      document: document([step(`s${n}`)], { summary: `${n}` }),
    })
    const created = await Promise.allSettled([1, 2, 3, 4].map((n) => deployer.deployFlow({ ...request(n), mustExist: false })))
    expect(created.filter((r) => r.status === 'fulfilled')).toHaveLength(1)
    const reasons = created.flatMap((r) => (r.status === 'rejected' ? [(r.reason as EngineError).code] : []))
    expect(new Set(reasons)).toEqual(new Set(['E_CONFLICT']))

    const updated = await Promise.all([5, 6, 7, 8].map((n) => deployer.deployFlow({ ...request(n), mustExist: true })))
    const highest = updated.map((u) => BigInt(u.versionId)).reduce((a, b) => (a > b ? a : b))
    const row = await getFlow(db.pool, workspaceId, path)
    expect(BigInt(row.versionId)).toBe(highest)
    const version = await loadVersion(db.pool, row.versionId)
    expect(Object.keys(version.built.steps)).toEqual([`s${row.summary}`])
  })

  test('workers hear of a deploy, with path and version, and of what is archived', async () => {
    const listener = await db.connect({ name: 'test' })
    const heard: string[] = []
    try {
      await listener.query('listen millrace_control')
      const both = new Promise<void>((resolve) => {
        listener.on('notification', ({ payload }) => {
          if (heard.push(payload ?? '') === 2) resolve()
        })
      })
      const { versionId } = await deployer.deployFlow({ workspaceId, path: 'f/heard', by, document: document([step('a')]) })
      await archiveFlow(db.pool, workspaceId, 'f/heard')
      await both
      expect(heard).toEqual([`deploy main f/heard ${versionId}`, `deploy main f/heard ${versionId}`])
    } finally {
      await listener.end()
    }
  })

  test('the tag is that of its own worker, which stays while jobs wait under it, or the one it names, or flow', async () => {
    const tagOf = async (path: string, more: object): Promise<string> => {
      const { versionId } = await deployer.deployFlow({ workspaceId, path, by, document: document([step('a')], more) })
      return (await loadVersion(db.pool, versionId)).tag
    }
    expect(await tagOf('f/plain', {})).toBe('flow')
    expect(await tagOf('f/named', { tag: 'gpu' })).toBe('gpu')
    expect(await tagOf('f/own', { tag: 'gpu', dedicated_worker: true })).toBe('main:flow/f/own')
    expect(await dedicatedBindings(db.pool)).toMatchObject([{ workspaceId, path: 'f/own', kind: 'flow' }])

    const id = '01900000-0000-7000-8000-000000000000'
    const columns = 'id, workspace_id, version_id, tag, args, created_by'
    await db.pool.query(`insert into job (${columns}) values ($1, 'main', 1, 'main:flow/f/own', '{}', 'ann')`, [id])
    expect(await tagOf('f/own', {})).toBe('flow')
    expect(await dedicatedBindings(db.pool)).toMatchObject([{ path: 'f/own' }])
    await db.pool.query('delete from job')
    expect(await dedicatedBindings(db.pool)).toEqual([])

    await expect(tagOf('f/bad', { tag: 'main:flow/f/own' })).rejects.toMatchObject({ code: 'E_INVALID' })
  })
})

describe('what is refused stores nothing', () => {
  const good = document([step('a')])
  const cases: [what: string, request: { path?: string; workspaceId?: string; document: unknown }, code: string, at: string][] = [
    ['a path with a space', { path: 'f/a b', document: good }, 'E_INVALID', '$.path'],
    ['a path that climbs', { path: 'f/../x', document: good }, 'E_INVALID', '$.path'],
    ['a document with another path', { document: document([step('a')], { path: 'f/moved' }) }, 'E_INVALID', '$.path'],
    ['a document that is no flow', { document: { value: { modules: 3 } } }, 'E_FLOW_INVALID', '$.value.modules'],
    [
      'a priority out of range',
      { document: document([], { value: { modules: [], priority: 1e6 } }) },
      'E_FLOW_INVALID',
      '$.value.priority',
    ],
    [
      'the code of the second step',
      { document: document([step('a'), step('b', 'export const x = 1')]) },
      'E_CODE_INVALID',
      '$.value.modules[1].value.content f/bad/b.ts',
    ],
    [
      'the code of the failure module',
      { document: document([], { value: { modules: [step('a')], failure_module: step('failure', 'def main(:', 'python3') } }) },
      'E_CODE_INVALID',
      '$.value.failure_module.value.content f/bad/failure.py:1:10',
    ],
  ]
  test.each(cases)('%s', async (_what, request, code, at) => {
    const before = [await count('artifact'), await count('flow_version')]
    const refused = deployer.deployFlow({ workspaceId, path: 'f/bad', by, ...request })
    await expect(refused).rejects.toMatchObject({ code, details: { at } })
    expect([await count('artifact'), await count('flow_version')]).toEqual(before)
  })

  test('a workspace that does not exist is named', async () => {
    const refused = deployer.deployFlow({ workspaceId: 'nowhere', path: 'f/a', by, document: good })
    await expect(refused).rejects.toMatchObject({ code: 'E_NOT_FOUND', message: expect.stringContaining('"nowhere"') as string })
  })
})

describe('scripts', () => {
  const content = 'export async function main(name: string, times = 2) { return name.repeat(times) }'

  test('a script is a flow of one step that takes the arguments of the job', async () => {
    const document = { content, language: 'bun', summary: 'Repeats', timeout: 5, priority: 3 }
    const { versionId, hash } = await deployer.deployScript({ workspaceId, path: 'u/ann/repeat', document, by })
    expect(hash).toBe(BigInt(versionId).toString(16).padStart(16, '0'))
    const version = await loadVersion(db.pool, versionId)
    expect(version).toMatchObject({ kind: 'script', tag: 'bun', priority: 3 })
    expect(version.value.modules).toMatchObject([
      {
        id: 'script',
        timeout: 5,
        value: {
          input_transforms: {
            name: { type: 'javascript', expr: 'flow_input.name' },
            times: { type: 'javascript', expr: 'flow_input.times' },
          },
        },
      },
    ])
    const row = await getScript(db.pool, workspaceId, 'u/ann/repeat')
    expect(row).toMatchObject({ content, language: 'bun', lock: null, kind: 'script', createdBy: by })
    expect(JSON.parse(row.schema!)).toMatchObject({ required: ['name'], properties: { times: { default: 2 } } })
    expect(await scriptByHash(db.pool, workspaceId, hash)).toMatchObject({ versionId, path: 'u/ann/repeat', tag: 'bun' })
  })

  test('a schema that was given is kept', async () => {
    const document = { content, language: 'deno', schema: { type: 'object', order: ['name'] } }
    await deployer.deployScript({ workspaceId, path: 'f/schema', document, by })
    expect(JSON.parse((await getScript(db.pool, workspaceId, 'f/schema')).schema!)).toEqual(document.schema)
  })

  test('an old version is still found by its hash, a foreign or broken hash is not', async () => {
    const document = { content, language: 'bun', dedicated_worker: true }
    const first = await deployer.deployScript({ workspaceId, path: 'f/versions', document, by })
    const second = await deployer.deployScript({ workspaceId, path: 'f/versions', document, by })
    expect(await currentScript(db.pool, workspaceId, 'f/versions')).toMatchObject({
      versionId: second.versionId,
      dedicatedWorker: true,
    })
    expect(await scriptByHash(db.pool, workspaceId, first.hash)).toMatchObject({
      versionId: first.versionId,
      tag: 'main:f/versions',
    })
    await createWorkspace(db.pool, { id: 'other', name: 'Other' })
    expect(await scriptByHash(db.pool, 'other', first.hash)).toBeNull()
    for (const hash of ['', 'x', 'ffffffffffffffff', '0000000000000000'])
      expect(await scriptByHash(db.pool, workspaceId, hash)).toBeNull()
    await archiveScript(db.pool, workspaceId, 'f/versions')
    expect(await currentScript(db.pool, workspaceId, 'f/versions')).toBeNull()
  })

  test('a change made from a version that is not current any more is a conflict', async () => {
    const request = { workspaceId, path: 'f/parents', by }
    const first = await deployer.deployScript({ ...request, document: { content, language: 'bun' } })
    const document = { content: `${content} //`, language: 'bun', parent_hash: first.hash }
    await deployer.deployScript({ ...request, document })
    await expect(deployer.deployScript({ ...request, document })).rejects.toMatchObject({
      code: 'E_CONFLICT',
      details: { at: '$.parent_hash' },
    })
  })

  const wrong: [what: string, document: unknown, at: string, path?: string][] = [
    ['no object', [], '$'],
    ['no content', { language: 'bun' }, '$.content'],
    ['an unknown language', { content, language: 'cobol' }, '$.language'],
    ['a language named as an inherited property', { content, language: 'toString' }, '$.language'],
    ['a tag that is no text', { content, language: 'bun', tag: 3 }, '$.tag'],
    ['a NUL character', { content: 'a\0b', language: 'bash' }, '$.content'],
    ['a lock of numbers', { content, language: 'bun', lock: [1] }, '$.lock'],
    ['a kind that is none', { content, language: 'bun', kind: 'poem' }, '$.kind'],
    ['a time-out of half a second', { content, language: 'bun', timeout: 0.5 }, '$.timeout'],
    [
      'a worker of its own under a flow tag',
      { content, language: 'bun', dedicated_worker: true },
      '$.dedicated_worker',
      'flow/x',
    ],
    ['a schema that is a list', { content, language: 'bun', schema: [] }, '$.schema'],
    ['code without main', { content: 'x = 1', language: 'python3' }, '$.content f/wrong/script.py'],
  ]
  test.each(wrong)('%s is refused with its place', async (_what, document, at, path = 'f/wrong') => {
    await expect(deployer.deployScript({ workspaceId, path, document, by })).rejects.toMatchObject({
      status: 400,
      details: { at },
    })
  })
})

describe('previews', () => {
  test('an equal preview is one version, even when asked for by many at once; another tag is another', async () => {
    const ask = (tag?: string): Promise<{ versionId: string; tag: string }> =>
      deployer.previewScript({ workspaceId, content: 'echo "$1"', language: 'bash', by, tag })
    const all = await Promise.all([ask(), ask(), ask(), ask()])
    const later = await ask()
    expect(new Set([...all, later].map((p) => p.versionId)).size).toBe(1)
    expect(later.tag).toBe('bash')
    const other = await ask('gpu')
    expect(other.tag).toBe('gpu')
    expect(other.versionId).not.toBe(later.versionId)
  })

  test('a flow is previewed without being deployed', async () => {
    const { versionId, tag } = await deployer.previewFlow({ workspaceId, path: 'f/draft', value: { modules: [step('a')] }, by })
    expect(tag).toBe('flow')
    expect(await loadVersion(db.pool, versionId)).toMatchObject({ kind: 'flowpreview', path: 'f/draft' })
    expect(await currentFlow(db.pool, workspaceId, 'f/draft')).toBeNull()
    const faulty = deployer.previewFlow({ workspaceId, value: { modules: [step('a', 'const')] }, by })
    await expect(faulty).rejects.toMatchObject({
      code: 'E_CODE_INVALID',
      details: { at: '$.value.modules[0].value.content preview/a.ts:1:6' },
    })
  })
})
