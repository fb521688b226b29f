// The daily partitions of finished jobs and logs: made ahead, dropped by retention.
//   D1. Any number of processes may call this; one works at a time. The lock for that is taken by each step's transaction, and
//       what the step is for is looked at again under it: so it also holds through a transaction pooler.
//   D2. Commits are never held up for long. A lock they would queue behind is asked for only while no long transaction holds
//       the tables, is waited for partitionLockMs at most, and is held for a change of the catalogue alone (no flush, no data).
//   D3. Nothing depends on a partition being there: what has none goes to the default partition, and is moved when its
//       day gets one.
// The statements that make and drop tables are built here, because names cannot be parameters. Every part is a constant,
// a date or an id.
import { setTimeout as pause } from 'node:timers/promises'
import type pg from 'pg'
import { EngineError } from '../core/errors.ts'
import { firstIdAt } from '../core/job/ids.ts'
import { defaultLimits } from '../core/limits.ts'
import type { Database } from './db.ts'
import { run } from './db.ts'

const parents = ['job_done', 'job_log'] as const
type Parent = (typeof parents)[number]

const dayMs = 86_400_000
const daysAhead = 3 // a server that does not run for so long finds new jobs in the default partition, and moves them
const lookPastMs = 10 // a transaction that has lasted so long is not waited for in the queue of a lock: it may last for hours
const patiencePresetMs = 30_000
const retryMs = [50, 100, 200, 400, 800, 1_000] as const
const answerMsMax = 600_000 // dropping a large table, or moving many rows, takes a while
const lockBusy = ['55P03', '40P01'] // lock_not_available, deadlock_detected

export interface PartitionOptions {
  /** Whole days that finished jobs are kept after their own. */
  retentionDays: number
  /** What a commit may have to wait behind us. */
  partitionLockMs?: number
  nowMs?: number
  aheadDays?: number
  /** How long a table in use is waited for. */
  patienceMs?: number
}

/**
 * Makes the partitions of the coming days and drops those past retention. Call it at start and every hour.
 * @throws EngineError E_DATABASE if a table stayed locked; what was done until then holds, and the next call goes on
 */
export async function keepPartitions(db: Database, options: PartitionOptions): Promise<{ made: string[]; dropped: string[] }> {
  const { retentionDays, nowMs = Date.now(), aheadDays = daysAhead, patienceMs = patiencePresetMs } = options
  const today = Math.floor(nowMs / dayMs)
  const firstKept = today - retentionDays
  const client = await db.connect({ name: 'millrace partitions', answerMs: answerMsMax })
  try {
    const on: Session = { client, patienceMs, lockMs: options.partitionLockMs ?? defaultLimits.partitionLockMs }
    const tables = await run<Table>(client, 'list_partitions', [])
    // Yesterday's too: its jobs may still be running when the first partitions are made.
    const made = await makeMissing(on, tables, { firstDay: Math.max(today - 1, firstKept), lastDay: today + aheadDays })
    const dropped = await dropOld(on, tables, nameOfDay(firstKept))
    await deleteRest(client, { firstKeptMs: firstKept * dayMs, keysToo: dropped.length > 0 })
    return { made, dropped }
  } finally {
    await client.end()
  }
}

interface Session {
  client: pg.Client
  patienceMs: number
  lockMs: number
}

interface Table {
  name: string
  attached: boolean
}

function nameOfDay(day: number): string {
  return new Date(day * dayMs).toISOString().slice(0, 10).replaceAll('-', '')
}

async function makeMissing(on: Session, tables: Table[], days: { firstDay: number; lastDay: number }): Promise<string[]> {
  const attached = new Set(tables.filter((table) => table.attached).map((table) => table.name))
  const made: string[] = []
  for (const parent of parents) {
    for (let day = days.firstDay; day <= days.lastDay; day++) {
      const name = `${parent}_${nameOfDay(day)}`
      if (attached.has(name)) continue
      const make = () => makePartition(on, { parent, name, day })
      if (await patiently(on, { table: name, tables: [`${parent}_rest`] }, make)) made.push(name)
    }
  }
  return made
}

/** False if another process was first. */
async function makePartition(on: Session, options: { parent: Parent; name: string; day: number }): Promise<boolean> {
  const { parent, name, day } = options
  const rest = `${parent}_rest`
  const from = firstIdAt(day * dayMs)
  const to = firstIdAt((day + 1) * dayMs)
  // A finished table is attached: that leaves the parent open to reading and writing, which `partition of` would not.
  return inTransaction(on, { name, attached: false }, [
    `create table if not exists ${name} (like ${parent} including defaults including constraints including storage)`,
    `lock table ${rest} in access exclusive mode`,
    `with moved as (delete from ${rest} where id >= '${from}' and id < '${to}' returning *) insert into ${name} select * from moved`,
    `alter table ${parent} attach partition ${name} for values from ('${from}') to ('${to}')`,
  ])
}

async function dropOld(on: Session, tables: Table[], firstKept: string): Promise<string[]> {
  const old = tables.filter((table) => table.name.slice(-8) < firstKept)
  const dropped: string[] = []
  for (const { name, attached } of old) {
    // Detached first, because that is quick, and dropping a large table is not: the parent is locked for the former only.
    // (`concurrently` is not for tables with a default partition.)
    if (attached) {
      const parent = name.slice(0, -9)
      const detach = () => inTransaction(on, { name, attached: true }, [`alter table ${parent} detach partition ${name}`])
      await patiently(on, { table: name, tables: [parent, `${parent}_rest`, name] }, detach)
    }
    const drop = () => inTransaction(on, { name, attached: false }, [`drop table if exists ${name}`])
    if (await patiently(on, { table: name, tables: [name] }, drop)) dropped.push(name)
  }
  return dropped
}

async function deleteRest(client: pg.Client, options: { firstKeptMs: number; keysToo: boolean }): Promise<void> {
  const { firstKeptMs } = options
  const firstKeptId = firstIdAt(firstKeptMs)
  await run(client, 'delete_old_done_rest', [firstKeptId, firstKeptMs])
  await run(client, 'delete_old_log_rest', [firstKeptId])
  await run(client, 'delete_old_progress', [firstKeptId, firstKeptMs])
  await run(client, 'delete_old_replays', [firstKeptId])
  await run(client, 'delete_old_user_states', [firstKeptId])
  await run(client, 'delete_left_signals', [])
  await run(client, 'delete_left_waits', [])
  await run(client, 'delete_old_workers', [firstKeptMs])
  await run(client, 'delete_old_cached', [])
  // Keys are found by reading all of them, so only when a day has gone.
  if (options.keysToo) await run(client, 'delete_old_job_keys', [firstKeptMs])
}

/**
 * Does it unless the table is not (any more) as it should be for that; says whether it did.
 * Its locks are gone at its commit: that is not flushed, because after a crash the next call simply does it again.
 */
async function inTransaction({ client, lockMs }: Session, table: Table, statements: string[]): Promise<boolean> {
  await client.query('begin; set local synchronous_commit = off')
  try {
    await client.query(`select pg_advisory_xact_lock(hashtextextended('millrace partitions', 0))`)
    await client.query(`set local lock_timeout = ${lockMs}`)
    const now = (await run<Table>(client, 'list_partitions', [])).find(({ name }) => name === table.name)
    const due = (now?.attached ?? false) === table.attached
    if (due) for (const statement of statements) await client.query(statement)
    await client.query('commit')
    return due
  } catch (error) {
    await client.query('rollback').catch(() => {}) // the connection may be what failed
    throw error
  }
}

/** Does what locks these tables, between the transactions that use them. */
async function patiently<T>(on: Session, of: { table: string; tables: string[] }, work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now()
  for (let attempt = 0; ; attempt++) {
    const holders = await run<{ pid: number }>(on.client, 'long_lock_holders', [of.tables, lookPastMs])
    let fault: unknown
    if (holders.length === 0) {
      try {
        return await work()
      } catch (error) {
        if (!lockBusy.includes((error as { code?: string }).code ?? '')) throw error
        fault = error
      }
    }
    if (performance.now() - startedMs > on.patienceMs) {
      const who = holders.length > 0 ? `; sessions in long transactions: ${holders.map(({ pid }) => pid).join(', ')}` : ''
      throw new EngineError('E_DATABASE', `the table ${of.table} or its parent stayed locked${who}`, {
        at: of.table,
        cause: fault,
      })
    }
    await pause(retryMs[Math.min(attempt, retryMs.length - 1)])
  }
}
