// The rig: the product as a user runs it (a server process, worker processes, embedded Postgres), and what drives it.
//   G1. Everything is on this machine and ends with close(). Postgres is durable: fsync on.
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createClient, type Client } from '../../src/client/client.ts'
import { newJobId, printNewJob, workChannel } from '../../src/store/jobs.ts'
import { openDatabase, type Database } from '../../src/store/db.ts'
import { openPostgres } from '../../src/store/embedded/postgres.ts'
import { migrate } from '../../src/store/migrate.ts'
import { benchFlows, eventOf, type BenchFlow } from '../flows.ts'
import { cpuOf, peakRssMib, type Cpu } from '../machine.ts'
import { freePort } from '../ports.ts'

const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const token = 'bench-token-bench-token-bench'
const startMs = 60_000

export interface Version {
  id: string
  tag: string
}

export interface Rig {
  db: Database
  url: string
  token: string
  client: Client
  postgresVersion: string
  versions: Record<BenchFlow, Version>
  /** Runs workers dedicated to these flows; resolves once their runners are warm. */
  startWorker(flows: readonly BenchFlow[]): Promise<void>
  stopWorkers(): Promise<void>
  workerPids(): number[]
  readonly serverPid: number
  cpu(): Cpu
  workerPeakRssMib(): number
  /** A worker's row without a worker, for what claims by plain SQL. */
  registerWorker(): Promise<number>
  /** A backlog that becomes visible at once: stored in one transaction. */
  enqueueAtOnce(flow: BenchFlow, jobs: number): Promise<void>
  close(): Promise<void>
}

export async function openRig(report: (line: string) => void): Promise<Rig> {
  const home = mkdtempSync(join(tmpdir(), 'millrace-bench-'))
  const postgres = await openPostgres({ home, databaseUrl: process.env['DATABASE_URL'], report })
  const db = openDatabase({ url: postgres.url, name: 'bench', poolMax: 8 })
  await migrate(db)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const environment = {
    ...process.env,
    DATABASE_URL: postgres.url,
    MILLRACE_HOME: home,
    MILLRACE_PORT: String(port),
    MILLRACE_URL: url,
    MILLRACE_ADMIN_TOKEN: token,
    MILLRACE_LOG_LEVEL: 'info',
  }
  const children = new Set<ChildProcess>()
  const start = (args: string[]): ChildProcess => {
    const child = spawn(process.execPath, [...nodeFlags(args[0]!), cli, ...args], {
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    children.add(child)
    child.once('exit', () => children.delete(child))
    return child
  }
  const server = start(['server'])
  await said(server, /listening|ready|http:\/\//i)
  const client = createClient({ url, token })
  const versions = {} as Record<BenchFlow, Version>
  for (const [name, modules] of Object.entries(benchFlows)) {
    const path = `bench/${name}`
    await client.deploy(path, { summary: name, value: { modules: modules as never }, dedicated_worker: true })
    const { rows } = await db.pool.query(
      'select version_id, tag from flow join flow_version v on v.id = flow.version_id where flow.path = $1',
      [path],
    )
    const row = rows[0] as { version_id: string; tag: string }
    versions[name as BenchFlow] = { id: row.version_id, tag: row.tag }
  }
  const { rows } = await db.pool.query(
    "select current_setting('server_version') as version, current_setting('data_directory') as data",
  )
  const { version, data } = rows[0] as { version: string; data: string }
  const postmaster = Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0])
  let workers: ChildProcess[] = []

  const rig: Rig = {
    db,
    url,
    token,
    client,
    postgresVersion: version,
    versions,
    async startWorker(flows) {
      const worker = start(['worker', ...flows.flatMap((flow) => ['--dedicated', versions[flow].tag])])
      workers.push(worker)
      await said(worker, /worker ready/)
    },
    async stopWorkers() {
      await Promise.all(workers.map(ended))
      workers = []
    },
    serverPid: server.pid!,
    workerPids: () => workers.map((worker) => worker.pid!),
    cpu: () => cpuOf({ workers: rig.workerPids(), postgres: postmaster, client: [process.pid, server.pid!] }),
    workerPeakRssMib: () => Math.round(Math.max(0, ...rig.workerPids().map(peakRssMib))),
    async registerWorker() {
      const { rows } = await db.pool.query(
        `insert into worker (name, tags, host, pid, version, lease_ms, hint_lock) values ('bench', '{}', '', 0, '', 3600000, false) returning id`,
      )
      return (rows[0] as { id: number }).id
    },
    async enqueueAtOnce(flow, jobs) {
      const { id, tag } = versions[flow]
      await db.transaction(async (tx) => {
        for (let from = 0; from < jobs; from += 2_000) {
          const count = Math.min(2_000, jobs - from)
          const batch = Array.from({ length: count }, (_, i) =>
            printNewJob({
              id: newJobId(),
              workspaceId: 'main',
              versionId: id,
              tag,
              priority: 0,
              args: eventOf(from + i),
              createdBy: 'bench',
            }),
          )
          await tx.query({
            name: 'bench_enqueue',
            text: `insert into job (id, workspace_id, version_id, tag, args, created_by)
                   select id, ws, v, tag, args, by from json_to_recordset($1) as x (id uuid, ws text, v bigint, tag text, args json, by text)`,
            values: [`[${batch.join(',')}]`],
          })
        }
        await tx.query('select pg_notify($1, $2)', [workChannel, tag])
      })
    },
    async close() {
      await rig.stopWorkers()
      await Promise.all([...children].map(ended))
      await db.close()
      await postgres.stop()
      rmSync(home, { recursive: true, force: true })
    },
  }
  return rig
}

/** BENCH_CPU_PROF=worker: a profile of that process is written to the working folder. */
function nodeFlags(command: string): string[] {
  return process.env['BENCH_CPU_PROF'] === command ? ['--cpu-prof', '--cpu-prof-interval=200'] : []
}

/** Resolves once the process has printed the pattern; rejects with what it said if it ends first. */
function said(child: ChildProcess, pattern: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    const timer = setTimeout(() => reject(new Error(`no ${String(pattern)} within ${startMs} ms:\n${text}`)), startMs)
    const hear = (chunk: Buffer) => {
      text = (text + chunk.toString()).slice(-20_000)
      if (!pattern.test(text)) return
      clearTimeout(timer)
      resolve()
    }
    child.stdout!.on('data', hear)
    child.stderr!.on('data', hear)
    for (const stream of [child.stdout!, child.stderr!]) {
      if (process.env['BENCH_VERBOSE']) stream.on('data', (chunk: Buffer) => process.stderr.write(chunk))
    }
    child.once('exit', (code) => {
      clearTimeout(timer)
      reject(new Error(`ended with ${code}:\n${text}`))
    })
  })
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await exit
}
