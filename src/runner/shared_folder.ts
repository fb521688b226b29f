// The folder that all steps of a same_worker job see as ./shared, whatever language they are in.
//   F1. A folder is one job's under one claim: empty when that begins, gone when it ends. What a killed worker leaves is swept.
//   F2. A runner of such steps has one call at a time (Runner.window), so its ./shared, a link, can be that call's.
import { mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RunnerSpec } from './pool_types.ts'

export const sharedFolderPrefix = 'millrace-shared-'
const linkName = 'shared'

export function makeSharedFolder(job: { id: string; epoch: number }): string {
  const folder = join(tmpdir(), `${sharedFolderPrefix}${process.pid}-${job.id}-${job.epoch}`)
  // Another engine of this process (in a test) may have had the job under this claim before it lost its database.
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { mode: 0o700 })
  return folder
}

/** Never rejects: what is left is swept. */
export async function removeSharedFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 3 }).catch(() => {})
}

/** Makes `folder` the ./shared of whatever runs in `runnerFolder`. */
export function linkSharedFolder(runnerFolder: string, folder: string): void {
  const link = join(runnerFolder, linkName)
  rmSync(link, { recursive: true, force: true }) // the link, not what it leads to; user code may have put something else there
  symlinkSync(folder, link)
}

/** The same code, in runners that share folders. A thread has no folder of its own: it becomes a process. */
export function sharingSpec(spec: RunnerSpec): RunnerSpec {
  const runtime = spec.runtime === 'node-thread' ? 'node' : spec.runtime
  return { ...spec, runtime, key: `${spec.key}:folder`, sharesFolder: true }
}
