// Lists and names: flows, scripts and workspaces as the API reads them.
import { describe, expect, test } from 'vitest'
import { getFlow, listFlows, saveFlow } from '../../src/store/flows.ts'
import { deleteScript, getScript, listScripts, saveScript } from '../../src/store/scripts.ts'
import { insertVersion } from '../../src/store/versions.ts'
import { createWorkspace, findWorkspace, getWorkspace, listWorkspaces, workspaceExists } from '../../src/store/workspaces.ts'
import { testDatabase } from '../support/database.ts'

const db = await testDatabase()
const workspaceId = 'main'

async function version(path: string, kind: 'flow' | 'script'): Promise<string> {
  const parts = { workspaceId, path, kind, tag: 'flow', priority: 0, value: '{"modules":[]}', built: '{"steps":{}}' }
  return insertVersion(db.pool, { ...parts, contentHash: path, by: 'ann', turns: null })
}

const shown = { summary: '', description: '', schema: null, document: '{}', dedicatedWorker: false, by: 'ann' }

describe('flows', () => {
  test('are listed in pages, newest or oldest first, below a path, archived ones apart', async () => {
    const paths = ['f/a/1', 'f/a/2', 'f/a_b/3', 'f/b/4']
    for (const path of paths) await saveFlow(db.pool, { ...shown, workspaceId, path, versionId: await version(path, 'flow') })
    const pathsOf = async (options: Parameters<typeof listFlows>[2]): Promise<string[]> =>
      (await listFlows(db.pool, workspaceId, options)).map((row) => row.path)
    expect(await pathsOf({})).toEqual(['f/b/4', 'f/a_b/3', 'f/a/2', 'f/a/1'])
    expect(await pathsOf({ newestFirst: false })).toEqual(paths)
    expect(await pathsOf({ newestFirst: false, perPage: 3, page: 2 })).toEqual(['f/b/4'])
    expect(await pathsOf({ newestFirst: false, pathStart: 'f/a' })).toEqual(['f/a/1', 'f/a/2', 'f/a_b/3'])
    expect(await pathsOf({ archived: true })).toEqual([])
  })

  test('that do not exist are named', async () => {
    await expect(getFlow(db.pool, workspaceId, 'f/none')).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  })
})

describe('scripts', () => {
  test('are listed without their code, and gone once deleted', async () => {
    const code = { language: 'bash', content: 'echo', lock: null, kind: 'script' }
    const versionId = await version('f/s', 'script')
    await saveScript(db.pool, { ...shown, ...code, workspaceId, path: 'f/s', versionId })
    const [listed] = await listScripts(db.pool, workspaceId)
    expect(listed).toMatchObject({ path: 'f/s', language: 'bash', versionId })
    expect(listed).not.toHaveProperty('content')
    expect((await getScript(db.pool, workspaceId, 'f/s')).content).toBe('echo')
    await deleteScript(db.pool, workspaceId, 'f/s')
    await expect(getScript(db.pool, workspaceId, 'f/s')).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  })
})

describe('workspaces', () => {
  test('are made once, under an id that can be one', async () => {
    expect(await createWorkspace(db.pool, { id: 'shop', name: 'Shop' })).toMatchObject({ id: 'shop', name: 'Shop' })
    await expect(createWorkspace(db.pool, { id: 'shop', name: 'Again' })).rejects.toMatchObject({ code: 'E_CONFLICT' })
    await expect(createWorkspace(db.pool, { id: 'No Shop', name: '' })).rejects.toMatchObject({ code: 'E_INVALID' })
    expect((await listWorkspaces(db.pool)).map((w) => w.id)).toEqual(['main', 'shop'])
    expect([await workspaceExists(db.pool, 'shop'), await findWorkspace(db.pool, 'none')]).toEqual([true, null])
    await expect(getWorkspace(db.pool, 'none')).rejects.toMatchObject({ code: 'E_NOT_FOUND' })
  })
})
