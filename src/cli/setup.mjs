// Makes a clone ready and runs one thing in it: node src/cli/setup.mjs <command> [arguments…]; see `commands` below.
// Plain JavaScript on Node's own modules, because it runs before anything is installed.
//   U1. What is already right is not done again: packages by the versions in the lock file, dist by a digest of src.
//   U2. Two at once are safe: work happens under a lock, and dist changes by renaming a finished folder.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const nodeMin = [20, 20]
const lockStaleMs = 15 * 60_000 // an npm ci on a slow line; older is left over from a machine that went down
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const lockFile = join(root, '.setup.lock')
const dist = join(root, 'dist')

class SetupError extends Error {}

function say(text) {
  process.stderr.write(`setup: ${text}\n`)
}

function seconds(sinceMs) {
  return `${((Date.now() - sinceMs) / 1000).toFixed(1)} s`
}

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major > nodeMin[0] || (major === nodeMin[0] && minor >= nodeMin[1])) return
  throw new SetupError(
    `Node ${nodeMin.join('.')} or newer is needed; this is ${process.versions.node} (${process.execPath}).\n` +
      'Install a newer one (https://nodejs.org, or your version manager: `nvm install 24`) and run the same command again.',
  )
}

/** Is every package of the lock file installed in exactly that version? npm lists what it installed in node_modules. */
function packagesAreRight() {
  try {
    const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
    const have = JSON.parse(readFileSync(join(root, 'node_modules', '.package-lock.json'), 'utf8')).packages
    return Object.entries(wanted).every(([path, entry]) => {
      if (path === '') return true
      const installed = have[path]
      return installed === undefined ? entry.optional === true : installed.version === entry.version
    })
  } catch {
    return false
  }
}

function installPackages() {
  say('installing packages (npm ci) …')
  const startedMs = Date.now()
  const npm = process.env.npm_execpath
  const [command, before] = npm && /npm-cli\.c?js$/.test(npm) ? [process.execPath, [npm]] : ['npm', []]
  // Development packages belong to a clone: the compiler, the tests and the sample's payloads.
  const flags = ['ci', '--include=dev', '--include=optional', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']
  const ran = spawnSync(command, [...before, ...flags], { cwd: root, stdio: ['ignore', process.stderr, process.stderr] })
  if (ran.error?.code === 'ENOENT') {
    throw new SetupError(
      'npm was not found on the PATH. It comes with Node (Debian: `apt install npm`); then run the same command again.',
    )
  }
  if (ran.status !== 0) {
    throw new SetupError(
      'npm ci failed, its message is above. Without a network it works only from a filled cache: run `npm ci` once online,\n' +
        'or point npm at a mirror you can reach (`npm config set registry <url>`), then run the same command again.',
    )
  }
  say(`packages are installed (${seconds(startedMs)})`)
}

function filesUnder(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort()
}

function sourceDigest() {
  const hash = createHash('sha256')
  for (const file of [...filesUnder(join(root, 'src')), join(root, 'tsconfig.json'), join(root, 'tsconfig.build.json')]) {
    hash
      .update(`${relative(root, file)}\0`)
      .update(readFileSync(file))
      .update('\0')
  }
  return hash.digest('hex')
}

function builtDigest() {
  try {
    return readFileSync(join(dist, '.digest'), 'utf8')
  } catch {
    return ''
  }
}

function build(digest) {
  say('building dist …')
  const startedMs = Date.now()
  const fresh = `${dist}.${process.pid}`
  const old = `${dist}.old.${process.pid}`
  rmSync(fresh, { recursive: true, force: true })
  const tsc = join(root, 'node_modules', '@typescript', 'native', 'bin', 'tsc')
  try {
    const ran = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--outDir', fresh], {
      cwd: root,
      stdio: ['ignore', process.stderr, process.stderr],
    })
    if (ran.status !== 0) throw new SetupError('the compiler found errors, they are above; dist is as it was')
    // What is read at run time beside the code: statements, and the Python that looks into Python.
    for (const file of filesUnder(join(root, 'src')).filter((name) => /\.(sql|py)$/.test(name))) {
      const target = join(fresh, relative(join(root, 'src'), file))
      mkdirSync(dirname(target), { recursive: true })
      copyFileSync(file, target)
    }
    chmodSync(join(fresh, 'cli', 'main.js'), 0o755)
    writeFileSync(join(fresh, '.digest'), digest)
    if (existsSync(dist)) renameSync(dist, old)
    renameSync(fresh, dist)
  } finally {
    rmSync(fresh, { recursive: true, force: true })
    rmSync(old, { recursive: true, force: true })
  }
  say(`dist is built (${seconds(startedMs)})`)
}

function alive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

/** Who holds the lock, or undefined if it can be taken over. */
function holder() {
  try {
    const pid = Number(readFileSync(lockFile, 'utf8'))
    const old = Date.now() - statSync(lockFile).mtimeMs > lockStaleMs
    // An empty file was made a moment ago and is being written.
    return old || (pid > 0 && !alive(pid)) ? undefined : pid
  } catch {
    return undefined
  }
}

async function underLock(work) {
  let told = false
  for (;;) {
    try {
      writeFileSync(lockFile, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') {
        throw new SetupError(
          `this folder cannot be written (${error.message}); make ${root} yours, or clone it again as this user`,
        )
      }
    }
    const pid = holder()
    if (pid === undefined) rmSync(lockFile, { force: true })
    else if (!told) say(`another setup is at work here (process ${pid}), waiting for it`)
    if (pid !== undefined) told = true
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  const release = () => rmSync(lockFile, { force: true })
  process.once('exit', release)
  try {
    work()
  } finally {
    release()
    process.off('exit', release)
  }
}

async function makeReady() {
  const digest = sourceDigest()
  if (packagesAreRight() && builtDigest() === digest) return
  await underLock(() => {
    if (!packagesAreRight()) installPackages() // whoever had the lock before may have done it
    if (builtDigest() !== digest) build(digest)
  })
}

/** Runs a program in this terminal and ends as it ends. Ctrl-C reaches it by itself; other signals are passed on. */
function become(args) {
  const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit' })
  process.on('SIGINT', () => {})
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.once('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)))
}

const commands = {
  build() {},
  async start(args) {
    // In this very process: no signal has to be passed on, and Ctrl-C counts once.
    process.argv = [process.execPath, join(dist, 'cli', 'main.js'), 'up', '--sample', ...args]
    await import(pathToFileURL(process.argv[1]).href)
  },
  test: (args) => become([join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', ...args]),
  sim: (args) => become(['--import', 'tsx', join(root, 'test', 'sim', 'main.ts'), ...args]),
  bench: (args) => become(['--import', 'tsx', join(root, 'bench', 'run.ts'), ...args]),
  failpoints: (args) => become(['--import', 'tsx', join(root, 'test', 'failpoints', 'run.ts'), ...args]),
  chaos: (args) => become(['--import', 'tsx', join(root, 'test', 'chaos', 'run.ts'), ...args]),
}

async function main([name = '', ...args]) {
  checkNode()
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (!command) throw new SetupError(`unknown command ${JSON.stringify(name)}; use one of: ${Object.keys(commands).join(', ')}`)
  await makeReady()
  await command(args)
}

// No await at the top level: a Node too old for it could not say that it is.
main(process.argv.slice(2)).catch((error) => {
  if (!(error instanceof SetupError)) throw error
  say(error.message)
  process.exitCode = 1
})
