// The product as a user runs it, made to be broken: an embedded Postgres, servers and workers as processes of their own, each behind a
// proxy of its own. What dies is started again, as a service manager would.
//   G1. Everything is on this machine, in one temporary folder, and ends with close(), or with this process however it ends.
//   G2. A process that ends and was not killed by us is a fault of the product: it is in `unexpected`.
import { spawn, type ChildProcess } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { descendants } from '../../bench/machine.ts'
import { freePort } from '../../bench/ports.ts'
import { createClient, type Client, type FlowDocument } from '../../src/client/client.ts'
import { openDatabase, type Database } from '../../src/store/db.ts'
import { onParentDeath } from '../../src/store/embedded/account.ts'
import { openPostgres, type Postgres } from '../../src/store/embedded/postgres.ts'
import { findPostmaster } from '../../src/store/embedded/postmaster.ts'
import { migrate } from '../../src/store/migrate.ts'
import { startProxy, type Proxy } from '../support/proxy.ts'
import { mountSmallDisk, unmountSmallDisk, useSmallDisk } from './disk.ts'
import { flowDocument, flowNames, tagOf, type FlowName } from './flows.ts'

const projectRoot = fileURLToPath(new URL('../..', import.meta.url))
const clockPreload = fileURLToPath(new URL('clock.mjs', import.meta.url))
const adminToken = 'chaos-token-chaos-token-chaos'
const startMs = 60_000
const stopMs = 40_000
const endMs = 300

export interface RigOptions {
  /** Whose dist is run: the project's, or a copy with a planted bug. */
  root?: string
  servers: number
  workers: number
  leaseMs: number
  /** Flows that exist and that workers are bound to. */
  flows?: readonly FlowName[]
  /** Further flows, deployed and bound. */
  more?: readonly { path: string; document: FlowDocument }[]
  /** Without proxies, for figures: every process talks to Postgres itself. */
  direct?: boolean
  /** Finished jobs are kept on a disk of this size, to be filled. */
  smallDiskMib?: number
  /** Further variables of servers and workers. */
  env?: Record<string, string>
}

/** A server or a worker: the place of a process, and the process in it now. */
export interface Place {
  readonly kind: 'server' | 'worker'
  readonly name: string
  readonly proxy: Proxy | null
  readonly url: string
  /** The name of the process in it, unlike those before it. */
  processName: string
  child: ChildProcess
  /** Killed by us, and not yet started again. */
  down: boolean
  stopped: boolean
  ready: Promise<void>
  starts: number
}

export interface Rig {
  readonly home: string
  readonly effectsFile: string
  readonly historyFile: string
  /** Straight to Postgres, for looking. */
  readonly db: Database
  readonly databaseUrl: string
  readonly places: Place[]
  readonly client: Client
  readonly token: string
  readonly leaseMs: number
  readonly smallDisk: string | null
  /** Limits of the processes that are not the usual ones, as variables. */
  readonly limits: Record<string, string>
  /** Processes that ended without being killed: a fault of the product. */
  readonly unexpected: string[]
  servers(): Place[]
  workers(): Place[]
  proxies(): Proxy[]
  kill(place: Place): void
  /** Starts a killed one again; resolves when it is ready. */
  restart(place: Place): Promise<void>
  postmasterPid(): number
  /** Kills Postgres and waits until it takes connections again. */
  killPostgres(): Promise<{ downMs: number }>
  deploy(flow: FlowName, version: number): Promise<void>
  setClock(place: Place, offsetMs: number): void
  /** Asks every process to drain; gives those that did not end with 0. */
  stopAll(): Promise<string[]>
  close(): Promise<void>
}

const open = new Set<{ home: string; children: Set<ChildProcess>; smallDisk: string | null }>()
process.on('exit', () => {
  for (const { home, children, smallDisk } of open) {
    for (const child of children) killTree(child.pid!)
    const postmaster = findPostmaster(join(home, 'pg', 'data'))
    if (postmaster) killTree(postmaster.pid)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, endMs) // until the last of them has closed its files
    if (smallDisk) unmountSmallDisk(smallDisk)
    rmSync(home, { recursive: true, force: true })
  }
})

export async function openRig(options: RigOptions): Promise<Rig> {
  const home = mkdtempSync(join(tmpdir(), 'millrace-chaos-'))
  const flows = options.flows ?? flowNames
  const children = new Set<ChildProcess>()
  const smallDisk = options.smallDiskMib === undefined ? null : mountSmallDisk(home, options.smallDiskMib)
  const self = { home, children, smallDisk }
  open.add(self)
  for (const folder of ['tmp', 'logs', 'clocks']) mkdirSync(join(home, folder))
  const effectsFile = join(home, 'effects.jsonl')
  const historyFile = join(home, 'history.jsonl')
  for (const file of [effectsFile, historyFile]) writeFileSync(file, '')
  const logOf = (name: string) => join(home, 'logs', `${name}.log`)
  const prefix = onParentDeath('KILL')
  const limits = {
    MILLRACE_LEASE_MS: String(options.leaseMs),
    // Faults come so often here that an innocent job could meet more than a few of them.
    MILLRACE_LOST_MAX: '1000',
  }
  const postgres: Postgres = await openPostgres({
    home,
    report: (message) => appendFileSync(logOf('postgres'), `${message}\n`),
  })
  const db = openDatabase({ url: postgres.url, name: 'chaos', poolMax: 4 })
  await migrate(db)
  const cli = join(options.root ?? projectRoot, 'dist', 'cli', 'main.js')
  const unexpected: string[] = []
  const places: Place[] = []
  let closing = false

  function start(place: Place, given: { args: string[]; env: Record<string, string> }): void {
    place.starts += 1
    place.processName = `${place.name}.${place.starts}`
    const args = place.kind === 'worker' ? [...given.args, '--name', place.processName] : given.args
    const clockFile = join(home, 'clocks', place.name)
    const command = [...prefix, process.execPath]
    const child = spawn(command[0]!, [...command.slice(1), '--import', clockPreload, cli, ...args], {
      env: {
        ...inherited(),
        ...given.env,
        ...options.env,
        DATABASE_URL: place.proxy?.url ?? postgres.url,
        MILLRACE_HOME: home,
        MILLRACE_ADMIN_TOKEN: adminToken,
        ...limits,
        MILLRACE_LOG_LEVEL: 'info',
        TMPDIR: join(home, 'tmp'),
        CHAOS_CLOCK_FILE: clockFile,
      },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    })
    children.add(child)
    place.child = child
    place.down = false
    place.ready = saysReady(child, logOf(place.processName))
    place.ready.catch(() => {}) // whoever waits for it sees it
    child.once('exit', (code, signal) => {
      children.delete(child)
      if (place.child !== child || place.down || place.stopped || closing) return
      const tail = readFileSync(logOf(place.processName), 'utf8').trimEnd().split('\n').slice(-6).join('\n')
      unexpected.push(`${place.processName} ended with ${code ?? signal}:\n${tail}`)
      place.down = true
      void rig.restart(place).catch(() => {})
    })
  }

  const recipes = new Map<Place, { args: string[]; env: Record<string, string> }>()
  async function addPlace(kind: Place['kind'], name: string, args: string[], env: Record<string, string>, url: string) {
    const place: Place = {
      kind,
      name,
      proxy: options.direct ? null : await startProxy(postgres.url),
      url,
      processName: name,
      child: null as unknown as ChildProcess,
      down: false,
      stopped: false,
      ready: Promise.resolve(),
      starts: 0,
    }
    places.push(place)
    recipes.set(place, { args, env })
    start(place, recipes.get(place)!)
  }

  for (let n = 1; n <= options.servers; n++) {
    const port = await freePort()
    await addPlace('server', `server${n}`, ['server'], { MILLRACE_PORT: String(port) }, `http://127.0.0.1:${port}`)
  }
  await Promise.all(places.map((place) => place.ready))
  if (smallDisk) await useSmallDisk(db, smallDisk)
  const url = places[0]!.url
  const client = createClient({ url, token: adminToken })
  const deploy = async (flow: FlowName, version: number): Promise<void> => {
    await client.deploy(`chaos/${flow}`, flowDocument(flow, { effects: effectsFile, version }))
  }

  const rig: Rig = {
    home,
    effectsFile,
    historyFile,
    db,
    databaseUrl: postgres.url,
    places,
    client,
    token: adminToken,
    leaseMs: options.leaseMs,
    smallDisk,
    limits,
    unexpected,
    servers: () => places.filter((place) => place.kind === 'server'),
    workers: () => places.filter((place) => place.kind === 'worker'),
    proxies: () => places.flatMap((place) => place.proxy ?? []),
    kill(place) {
      place.down = true
      place.child.kill('SIGKILL')
    },
    async restart(place) {
      if (place.child.exitCode === null && place.child.signalCode === null) {
        await new Promise((resolve) => place.child.once('exit', resolve))
      }
      if (closing) return
      start(place, recipes.get(place)!)
      await place.ready
    },
    postmasterPid: () => findPostmaster(join(home, 'pg', 'data'))!.pid,
    async killPostgres() {
      const old = rig.postmasterPid()
      const beganMs = performance.now()
      process.kill(old, 'SIGKILL')
      await takesConnections(postgres.url)
      return { downMs: performance.now() - beganMs }
    },
    deploy,
    setClock: (place, offsetMs) => writeFileSync(join(home, 'clocks', place.name), String(offsetMs)),
    async stopAll() {
      const bad: string[] = []
      await Promise.all(
        places.map(async (place) => {
          place.stopped = true
          const { child } = place
          if (child.exitCode !== null || child.signalCode !== null) return
          const ended = new Promise<string>((resolve) => child.once('exit', (code, signal) => resolve(String(code ?? signal))))
          child.kill('SIGTERM')
          const how = await Promise.race([ended, pause(stopMs, 'is still there after 40 s', { ref: false })])
          if (how !== '0') bad.push(`${place.processName}: ${how}`)
        }),
      )
      return bad
    },
    async close() {
      closing = true
      for (const child of children) killTree(child.pid!)
      await Promise.all([...children].map((child) => new Promise((resolve) => child.once('exit', resolve))))
      await Promise.all(rig.proxies().map((proxy) => proxy.close()))
      await db.close()
      await postgres.stop()
      if (smallDisk) unmountSmallDisk(smallDisk)
      rmSync(home, { recursive: true, force: true, maxRetries: 5 })
      open.delete(self)
    },
  }

  try {
    for (const flow of flows) await deploy(flow, 1)
    for (const { path, document } of options.more ?? []) await client.deploy(path, document)
    const tags = [...flows.map(tagOf), ...(options.more ?? []).map(({ path }) => `main:flow/${path}`)]
    const dedicated = tags.flatMap((tag) => ['--dedicated', tag])
    for (let n = 1; n <= options.workers; n++) {
      await addPlace('worker', `worker${n}`, ['worker', ...dedicated], { MILLRACE_URL: url }, '')
    }
    await Promise.all(places.map((place) => place.ready))
  } catch (error) {
    await rig.close()
    throw error
  }
  return rig
}

/** Nothing of the caller's own settings reaches the product. */
function inherited(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(MILLRACE_|DATABASE_URL$|NODE_OPTIONS$|npm_|VITEST|PG)/.test(name)),
  )
}

function saysReady(child: ChildProcess, log: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    let ready = false
    const timer = setTimeout(() => reject(new Error(`not ready within ${startMs / 1000} s:\n${text}`)), startMs)
    timer.unref()
    const hear = (chunk: Buffer): void => {
      appendFileSync(log, chunk)
      if (ready) return
      text = (text + chunk.toString()).slice(-4_000)
      if (!/worker ready|server is ready/.test(text)) return
      ready = true
      clearTimeout(timer)
      resolve()
    }
    child.stdout!.on('data', hear)
    child.stderr!.on('data', hear)
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      if (!existsSync(log)) return reject(new Error(`ended with ${code ?? signal}`))
      reject(new Error(`ended with ${code ?? signal}:\n${text}`))
    })
  })
}

/** Resolves when a new session can be opened and asks something. */
async function takesConnections(url: string): Promise<void> {
  for (;;) {
    const db = openDatabase({ url, name: 'chaos probe', poolMax: 1 })
    try {
      await db.pool.query('select 1')
      return
    } catch {
      await pause(10)
    } finally {
      await db.close()
    }
  }
}

/** A process, stopped or not, and all it started. */
function killTree(pid: number): void {
  for (const one of [pid, ...descendants(pid)]) {
    try {
      process.kill(one, 'SIGKILL')
    } catch {
      // gone
    }
  }
}
