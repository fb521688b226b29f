// npm packages that steps import: installed once per set of versions, into a content-addressed cache.
//   N1. A folder of the cache is complete (it is made beside and renamed) and never changed.
//   N2. No package's install script runs. Ranges are versions or tags of the registry: no paths, no addresses.
//   N3. The lock is npm's own lock file without addresses, so it means the same on another machine.
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { EngineError } from '../core/errors.ts'
import { runTool } from './exec.ts'
import { codeError, type Source } from './source.ts'

type Wanted = Record<string, string>

/** name → range, `*` where the source names none. */
export type Packages = Map<string, string>

export interface Installed {
  /** The folder that holds node_modules. */
  folder: string
  lock: string
}

export interface NpmCache {
  /** @throws EngineError E_CODE_INVALID naming the package, E_BUSY if the registry cannot be reached. */
  install(packages: Packages, source: Source): Promise<Installed>
}

const installTimeoutMs = 180_000
const nodeMajor = process.versions.node.split('.')[0]!

export function createNpmCache({ home }: { home: string }): NpmCache {
  const folders = resolve(home, 'cache', 'npm')
  const underWay = new Map<string, Promise<Installed>>()
  return {
    install(packages, source) {
      const { wanted, pinned } = wantedOf(packages, parseLock(source.lock))
      const key = keyOf(wanted, pinned)
      let installing = underWay.get(key)
      if (!installing) {
        installing = installOnce(wanted, pinned, source).finally(() => underWay.delete(key))
        underWay.set(key, installing)
      }
      return installing
    },
  }

  async function installOnce(wanted: Wanted, pinned: string | null, source: Source): Promise<Installed> {
    const unpinned = join(folders, keyOf(wanted, null))
    // The usual lock is the one that this server made when it installed the same packages without one.
    if (pinned !== null && (await exists(unpinned)) && (await lockOf(unpinned)) === pinned)
      return { folder: unpinned, lock: pinned }
    const folder = join(folders, keyOf(wanted, pinned))
    if (!(await exists(folder))) await install(folder, wanted, pinned, source)
    return { folder, lock: await lockOf(folder) }
  }
}

/**
 * What to install. A lock for exactly these imports pins everything; one for other imports still says the versions of
 * packages that the source imports without one.
 */
function wantedOf(packages: Packages, lock: Lock): { wanted: Wanted; pinned: string | null } {
  const names = [...packages.keys()].sort()
  const pinnedBy = (pins: Packages): Wanted =>
    Object.fromEntries(names.map((name) => [name, packages.get(name) === '*' ? (pins.get(name) ?? '*') : packages.get(name)!]))
  if (lock.file) {
    const wanted = pinnedBy(rangesOf(lock.file.root))
    if (JSON.stringify(wanted) === JSON.stringify(lock.file.root)) return { wanted, pinned: lock.file.text }
  }
  return { wanted: pinnedBy(lock.pins), pinned: null }
}

function keyOf(wanted: Wanted, pinned: string | null): string {
  return sha256(JSON.stringify([`node${nodeMajor}`, wanted, pinned]))
}

async function lockOf(folder: string): Promise<string> {
  const document = JSON.parse(await readFile(join(folder, 'package-lock.json'), 'utf8')) as object
  return `${JSON.stringify({ ...document, name: 'step' }, null, 1)}\n`
}

async function install(folder: string, wanted: Wanted, pinned: string | null, source: Source): Promise<void> {
  const making = `${folder}.${randomUUID()}.tmp`
  await mkdir(making, { recursive: true })
  try {
    await writeFile(join(making, 'package.json'), JSON.stringify({ private: true, dependencies: wanted }))
    if (pinned !== null) await writeFile(join(making, 'package-lock.json'), pinned)
    await runNpm(making, pinned === null ? 'install' : 'ci', wanted, source)
    await rename(making, folder).catch(async (error: unknown) => {
      if (!(await exists(folder))) throw error // else another process made the same folder first
    })
  } finally {
    await rm(making, { recursive: true, force: true })
  }
}

async function runNpm(folder: string, command: string, wanted: Wanted, source: Source): Promise<void> {
  const quiet = ['--no-audit', '--no-fund', '--no-progress', '--no-update-notifier', '--loglevel=error']
  const patience = ['--fetch-retries=2', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=4000'] // someone waits for the answer
  const flags = ['--ignore-scripts', '--omit-lockfile-registry-resolved', ...quiet, ...patience]
  const { exitCode, stderr } = await runTool('npm', [command, '--prefix', folder, ...flags], {
    cwd: folder,
    env: npmEnvironment(),
    timeoutMs: installTimeoutMs,
    missing: 'install npm to deploy steps that import packages',
  })
  if (exitCode === 0) return
  throw npmError(stderr, Object.entries(wanted), source, exitCode === null)
}

/** What npm needs to find the registry, without what an `npm start` around this process adds about its own package. */
function npmEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { NODE_ENV: 'development' }
  for (const [name, value] of Object.entries(process.env)) {
    const usual = /^(PATH|HOME|USER|LANG|TMPDIR|SystemRoot|APPDATA|(https?|no|all)_proxy|NODE_EXTRA_CA_CERTS)$/i.test(name)
    if (usual || /^npm_config_(.*registry|userconfig|globalconfig|cache|.*proxy|ca|cafile|.*_auth.*|strict_ssl)$/i.test(name)) {
      env[name] = value
    }
  }
  return env
}

function npmError(stderr: string, wanted: [string, string][], source: Source, killed: boolean): EngineError {
  const named = wanted.map(([name, range]) => (range === '*' ? name : `${name}@${range}`))
  const all = named.join(', ')
  const code = /code (E\w+)/.exec(stderr)?.[1] ?? ''
  if (code === 'E404') {
    const name =
      wanted.find(([name]) => stderr.includes(`'${name}@`) || stderr.includes(`/${name.replace('/', '%2f')} `))?.[0] ?? all
    return codeError(source, `package "${name}" is not in the npm registry; check its name`)
  }
  if (code === 'ETARGET') {
    const spec = /No matching version found for (\S+?)\.?(\s|$)/.exec(stderr)?.[1] ?? all
    return codeError(source, `package "${spec}" has no such version in the npm registry`)
  }
  if (killed || /^E(NOTFOUND|CONNREFUSED|CONNRESET|TIMEDOUT|AI_AGAIN|NETUNREACH|HOSTUNREACH|SOCKETTIMEOUT)$/.test(code)) {
    const text = `${source.name}: the npm registry cannot be reached to install ${all}; try again, or set npm's registry on the server`
    return new EngineError('E_BUSY', text, { at: source.at, retryAfterS: 10 })
  }
  const lines = stderr.split('\n').map((line) => line.replace(/^npm (error|ERR!) ?/, '').trim())
  const shown = lines.filter((line) => line !== '' && !/complete log|^code /.test(line)).slice(0, 3)
  return codeError(source, `npm cannot install ${all}: ${shown.join(' ').slice(0, 400) || `code ${code}`}`)
}

interface Lock {
  /** npm's lock file, and what its root asks for. */
  file: { text: string; root: Wanted } | null
  /** Versions for packages that the source imports without one. */
  pins: Packages
}

type Document = { packages?: Record<string, { dependencies?: unknown; version?: unknown }>; dependencies?: unknown }

/** Reads a lock: npm's lock file, a package.json (alone, or before a Bun lock), or `name@version` lines. Else it says nothing. */
function parseLock(text: string | null): Lock {
  const none: Lock = { file: null, pins: new Map() }
  if (text === null || text.trim() === '') return none
  if (!text.trimStart().startsWith('{')) {
    const lines = text.matchAll(/^((?:@[\w.-]+\/)?[\w.-]+)@([\w.+-]+)$/gm)
    return { file: null, pins: new Map([...lines].map((m) => [m[1]!, m[2]!])) }
  }
  try {
    const { packages, dependencies } = JSON.parse(text.split(/^\/\/bun\.lock/m)[0]!) as Document
    if (!packages) return { file: null, pins: rangesOf(dependencies) }
    const versions = Object.entries(packages).map(([folder, { version }]) => [folder.replace(/^node_modules\//, ''), version])
    return { file: { text, root: stringsOf(packages['']?.dependencies) }, pins: rangesOf(Object.fromEntries(versions)) }
  } catch {
    return none
  }
}

function rangesOf(value: unknown): Packages {
  return new Map(Object.entries(stringsOf(value)).filter(([, range]) => isRange(range)))
}

function stringsOf(value: unknown): Record<string, string> {
  const entries = Object.entries(value ?? {}).filter((e): e is [string, string] => typeof e[1] === 'string')
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** A version, range or tag of the registry; not an address, a path or an alias. */
export function isRange(text: string): boolean {
  return /^[\w.^~<>=|*+ -]+$/.test(text) && text.length <= 100
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
