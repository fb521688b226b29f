// What the runs share: one Postgres, a template database with the canonical flows deployed, and lanes: a database each, with a
// worker's and a server's parts in this process, which take over when the process under test is dead.
//   R1. The process under test is `dist/cli/main.js`, as a user starts it. Runs of one lane come one after another.
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { freePort } from '../../bench/ports.ts'
import { createSandbox } from '../../src/core/expr/sandbox.ts'
import { defaultLimits, type Limits } from '../../src/core/limits.ts'
import { createDeployer } from '../../src/deploy/deploy.ts'
import { createRunnerPool } from '../../src/runner/pool.ts'
import { createServer } from '../../src/server/app.ts'
import { ensureAdmin } from '../../src/store/accounts.ts'
import { loadArtifact } from '../../src/store/artifacts.ts'
import { setRecording } from '../../src/store/audit.ts'
import { openDatabase, type Database } from '../../src/store/db.ts'
import { openPostgres } from '../../src/store/embedded/postgres.ts'
import { createJobTokens } from '../../src/store/job_tokens.ts'
import { migrate } from '../../src/store/migrate.ts'
import { keepPartitions } from '../../src/store/partitions.ts'
import { createWorker } from '../../src/worker/worker.ts'
import { flows, script, type FlowName } from './flows.ts'

const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const token = 'failpoints-token-failpoints-token'
const sessionsMs = 30_000
const log = pino({ level: process.env['TEST_LOG'] ?? 'silent' }, pino.destination(2))

export type Runnable = FlowName | 'script'

export interface Lane {
  db: Database
  home: string
  port: number
  url: string
  token: string
  versions: Record<Runnable, string>
  /** A folder of its own for a run, and its effects and record files in it. */
  files(): { tag: string; effects: string; record: string }
  /** `millrace worker` or `millrace server`, made to fail. */
  start(args: string[], env: Record<string, string>): Subject
  /** A worker in this process, beside or after the one under test. */
  rescue(tags: string[]): { stop(): Promise<void> }
  /** A server in this process, in the place of one that died. */
  serve(): Promise<{ close(): Promise<void> }>
  /** Once a run is over: sessions of the product that do not end, as faults. */
  sessionsLeft(): Promise<string[]>
  close(): Promise<void>
}

/** The process under test. */
export interface Subject {
  child: ChildProcess
  /** Exit code or signal, once it has ended. */
  ended: Promise<number | string>
  isOver(): boolean
  said(pattern: RegExp): boolean
  output(): string
}

export interface Rig {
  lane(): Promise<Lane>
  close(): Promise<void>
}

/** `url`: a Postgres to use; an embedded one is started otherwise. */
export async function openRig(given: { url?: string } = {}): Promise<Rig> {
  const home = mkdtempSync(join(tmpdir(), 'millrace-failpoints-'))
  const postgres = await openPostgres({ home, databaseUrl: given.url, report: () => {} })
  const admin = openDatabase({ url: postgres.url, name: 'failpoints', poolMax: 1 })
  const prefix = `millrace_fp_${randomBytes(4).toString('hex')}`
  const template = `${prefix}_template`
  const urlOf = (database: string): string => Object.assign(new URL(postgres.url), { pathname: `/${database}` }).href
  const lanes: Lane[] = []
  let made = 0
  await admin.pool.query(`create database ${template}`)
  const versions = await fillTemplate(urlOf(template), home)

  return {
    async lane() {
      const number = made++
      const name = `${prefix}_${number}`
      await admin.pool.query(`create database ${name} template ${template}`)
      const lane = await openLane({ url: urlOf(name), home, versions, number })
      lanes.push(lane)
      return lane
    },
    async close() {
      await Promise.all(lanes.map((lane) => lane.close()))
      for (const name of [...Array.from({ length: made }).keys(), 'template'])
        await admin.pool.query(`drop database ${prefix}_${name} with (force)`)
      await admin.close()
      await postgres.stop()
      rmSync(home, { recursive: true, force: true })
    },
  }
}

async function fillTemplate(url: string, home: string): Promise<Record<Runnable, string>> {
  const db = openDatabase({ url, name: 'failpoints', poolMax: 2 })
  try {
    await migrate(db)
    await keepPartitions(db, { retentionDays: defaultLimits.retentionDays })
    await ensureAdmin(db, { home, token })
    await createJobTokens(db)
    await setRecording(db, 'on')
    const deployer = createDeployer({ db, limits: defaultLimits, home })
    const versions = {} as Record<Runnable, string>
    for (const [name, value] of Object.entries(flows)) {
      const document = { summary: name, value }
      const deployed = await deployer.deployFlow({ workspaceId: 'main', path: `fp/${name}`, document, by: 'test' })
      versions[name as FlowName] = deployed.versionId
    }
    const made = await deployer.deployScript({ workspaceId: 'main', path: 'fp/script', document: script, by: 'test' })
    return { ...versions, script: made.versionId }
  } finally {
    await db.close()
  }
}

async function openLane(parts: { url: string; home: string; versions: Record<Runnable, string>; number: number }): Promise<Lane> {
  const { home, versions } = parts
  const db = openDatabase({ url: parts.url, name: 'failpoints', poolMax: 6 })
  const port = await freePort()
  // This process does not wait for what a user's would: a dead worker is seen at once.
  const limits: Limits = { ...defaultLimits, hintAfterMs: 50, reapMs: 50, pollMs: 100, heartbeatMs: 100 }
  const pool = createRunnerPool({
    limits,
    home,
    policy: 'shared',
    artifacts: { load: (key) => loadArtifact(db.pool, key) },
  })
  const sandbox = await createSandbox({ timeMs: limits.expressionMs, memoryBytes: limits.expressionMemoryBytes })
  const tokens = await createJobTokens(db)
  const subjects = new Set<Subject>()
  let runs = 0

  return {
    db,
    home,
    port,
    url: `http://127.0.0.1:${port}`,
    token,
    versions,
    files() {
      runs += 1
      const folder = mkdtempSync(join(home, 'run-'))
      writeFileSync(join(folder, 'effects'), '')
      return { tag: `fp-${parts.number}-${runs}`, effects: join(folder, 'effects'), record: join(folder, 'record') }
    },
    start(args, env) {
      const subject = startSubject(args, {
        ...process.env,
        DATABASE_URL: parts.url,
        MILLRACE_HOME: home,
        MILLRACE_PORT: String(port),
        MILLRACE_ADMIN_TOKEN: token,
        MILLRACE_LOG_LEVEL: 'info',
        MILLRACE_POLL_MS: '200',
        ...env,
      })
      subjects.add(subject)
      void subject.ended.then(() => subjects.delete(subject))
      return subject
    },
    rescue(tags) {
      const stop = new AbortController()
      const worker = createWorker({
        db,
        limits,
        pool,
        sandbox,
        tokens,
        bindings: [],
        tags,
        baseUrl: 'http://127.0.0.1:1',
        name: 'rescuer',
        version: '0.0.0',
        log,
      })
      const running = worker.run(stop.signal)
      return {
        async stop() {
          stop.abort()
          await running
        },
      }
    },
    async serve() {
      const app = await createServer({ db, limits, home, baseUrl: `http://127.0.0.1:${port}`, log })
      await app.listen({ host: '127.0.0.1', port })
      return app
    },
    async sessionsLeft() {
      for (const deadline = performance.now() + sessionsMs; ;) {
        const { rows } = await db.pool.query<{ name: string }>(
          `select application_name as name from pg_stat_activity
            where datname = current_database() and backend_type = 'client backend' and application_name <> 'failpoints'`,
        )
        if (rows.length === 0) return []
        if (performance.now() > deadline) return rows.map(({ name }) => `a session is left open: ${name}`)
        await pause(20)
      }
    },
    async close() {
      for (const subject of subjects) subject.child.kill('SIGKILL')
      await Promise.all([...subjects].map((subject) => subject.ended))
      await pool.close()
      await db.close()
    },
  }
}

function startSubject(args: string[], env: NodeJS.ProcessEnv): Subject {
  const child = spawn(process.execPath, [cli, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let over = false
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => (output += piece.toString()))
  // `exit`, not `close`: runners that outlive it for a moment hold its pipes.
  const ended = new Promise<number | string>((resolve) => {
    child.once('exit', (code, signal) => {
      over = true
      resolve(code ?? signal ?? 'unknown')
    })
  })
  return { child, ended, isOver: () => over, said: (pattern) => pattern.test(output), output: () => output }
}

export function linesOf(file: string): string[] {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []
}
