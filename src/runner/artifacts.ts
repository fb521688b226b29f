// Built code on disk, where a runtime can load it, and the packages it needs.
//   A1. A folder is named by what is in it, made elsewhere and renamed into place: whoever sees it sees all of it.
//   A2. Several processes may share the home folder: losing the race to rename is success.
//   A3. A database that is away is waited for: that its code cannot be read now is no fault of a step.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { EngineError } from '../core/errors.ts'
import { isOutage } from '../store/db.ts'
import { lastLines } from './failures.ts'
import type { Artifact, RunnerSpec } from './pool_types.ts'
import { runtimes } from './runtimes.ts'

const run = promisify(execFile)
const installMs = 600_000
const retryMaxMs = 1_000

export interface PreparedCode {
  code: string
  /** A folder with the code's packages, or ''. */
  dependencies: string
}

export interface ArtifactCache {
  prepare(spec: RunnerSpec): Promise<PreparedCode>
}

export function createArtifactCache({ home, load }: { home: string; load(key: string): Promise<Artifact> }): ArtifactCache {
  const root = resolve(home, 'cache')
  const installs = new Map<string, Promise<string>>()

  async function prepare(spec: RunnerSpec): Promise<PreparedCode> {
    const artifact = await whenReachable(() => load(spec.artifactKey))
    const { codeFile } = runtimes[spec.runtime]
    const folder = join(root, 'artifacts', spec.artifactKey)
    if (!existsSync(join(folder, codeFile))) await intoPlace(folder, (made) => writeFile(join(made, codeFile), artifact.content))
    const lock = spec.runtime === 'python' ? requirementsOf(artifact.lock) : ''
    return { code: join(folder, codeFile), dependencies: lock === '' ? '' : await installed(lock, spec.sourceName) }
  }

  function installed(lock: string, sourceName: string): Promise<string> {
    let install = installs.get(lock)
    if (install === undefined) {
      install = installPython(root, lock, sourceName)
      install.catch(() => installs.delete(lock)) // the next runner tries again; the error goes to whoever waits
      installs.set(lock, install)
    }
    return install
  }

  return { prepare }
}

async function whenReachable<T>(read: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await read()
    } catch (error) {
      if (!isOutage(error)) throw error
      await pause(Math.min(retryMaxMs, 50 * 2 ** attempt), undefined, { ref: false })
    }
  }
}

/** Makes a folder under a temporary name beside its place, then renames it. */
async function intoPlace(folder: string, fill: (made: string) => Promise<unknown>): Promise<void> {
  await mkdir(resolve(folder, '..'), { recursive: true })
  const made = await mkdtemp(`${folder}.tmp-`)
  try {
    await fill(made)
    await rename(made, folder)
  } catch (error) {
    await rm(made, { recursive: true, force: true })
    const code = (error as NodeJS.ErrnoException).code
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error // another process was first
  }
}

function requirementsOf(lock: string | null): string {
  const lines = (lock ?? '').split('\n').map((line) => line.trim())
  return lines.filter((line) => line !== '' && !line.startsWith('#')).join('\n')
}

async function installPython(root: string, lock: string, sourceName: string): Promise<string> {
  const { stdout } = await run('python3', ['-V'])
  const folder = join(root, 'python', createHash('sha256').update(`${stdout.trim()}\n${lock}`).digest('hex'))
  if (existsSync(folder)) return folder
  const uv = await run('uv', ['--version']).then(
    () => true,
    () => false,
  )
  const [command, ...start] = uv
    ? ['uv', 'pip', 'install']
    : ['python3', '-m', 'pip', 'install', '--no-input', '--disable-pip-version-check']
  await intoPlace(folder, async (made) => {
    const requirements = `${made}.txt`
    await writeFile(requirements, `${lock}\n`)
    try {
      await run(command, [...start, '--target', made, '-r', requirements], { timeout: installMs, maxBuffer: 64 << 20 })
    } catch (error) {
      const { stderr, message } = error as Error & { stderr?: string }
      const reason = lastLines(stderr || message)
      const text = `${sourceName}: ${uv ? 'uv' : 'pip'} could not install the step's requirements: ${reason}`
      throw new EngineError('E_CODE_INVALID', text, { at: sourceName, cause: error })
    } finally {
      await rm(requirements, { force: true })
    }
  })
  return folder
}
