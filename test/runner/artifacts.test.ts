import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createArtifactCache } from '../../src/runner/artifacts.ts'
import type { RunnerSpec } from '../../src/runner/pool_types.ts'

const spec: RunnerSpec = {
  key: 'shared:k',
  runtime: 'node',
  language: 'bun',
  artifactKey: 'k',
  params: [],
  sourceName: 'f/a.ts',
  sharesFolder: false,
}
const artifact = { key: 'k', language: 'bun', content: 'export const main = () => 1', lock: null }

/** A cache whose database fails in these ways, then answers. */
function cacheAfter(failures: Error[]) {
  const left = [...failures]
  return createArtifactCache({
    home: mkdtempSync(join(tmpdir(), 'millrace-artifacts-')),
    async load() {
      const failure = left.shift()
      if (failure) throw failure
      return artifact
    },
  })
}

test('a connection that breaks while code is read is no fault of the step: it is read again', async () => {
  const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
  const { code } = await cacheAfter([reset, new Error('Connection terminated unexpectedly')]).prepare(spec)
  expect(readFileSync(code, 'utf8')).toBe(artifact.content)
})

test('code that is not there is a fault at once', async () => {
  const missing = new Error('no artifact k')
  await expect(cacheAfter([missing]).prepare(spec)).rejects.toBe(missing)
})
