// A small disk for what grows, so that it can be filled: a tmpfs of limited size, with a tablespace that holds today's finished jobs.
// Only root can mount one; elsewhere the fault is not available, and the report says so.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Database } from '../../src/store/db.ts'

/** Why no disk can be filled here, or null. */
export function noSmallDisk(): string | null {
  if (process.platform !== 'linux') return 'needs Linux'
  if (process.getuid?.() !== 0) return 'only root can mount a small disk'
  const probe = spawnSync('unshare', ['-m', 'sh', '-c', 'mount -t tmpfs -o size=1m tmpfs /mnt'], { stdio: 'ignore' })
  return probe.status === 0 ? null : 'mounting is not allowed here'
}

export function mountSmallDisk(home: string, mib: number): string {
  const folder = join(home, 'small')
  mkdirSync(folder)
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', folder], { encoding: 'utf8' })
  if (mounted.status !== 0) throw new Error(`no small disk: ${mounted.stderr.trim()}`)
  chmodSync(folder, 0o777) // Postgres may run as somebody else
  return folder
}

/** Also while Postgres still has files open there: the mount goes when they are closed. */
export function unmountSmallDisk(folder: string): void {
  spawnSync('umount', ['-l', folder], { stdio: 'ignore' })
}

/** Puts today's partition of finished jobs on it, while it is empty. */
export async function useSmallDisk(db: Database, folder: string): Promise<void> {
  await db.pool.query(`create tablespace small location '${folder}'`)
  const { rows } = await db.pool.query(
    "select 'job_done_' || to_char(clock_timestamp() at time zone 'utc', 'YYYYMMDD') as partition",
  )
  const { partition } = rows[0] as { partition: string }
  await db.pool.query(`alter table ${partition} set tablespace small`)
}

/** How often Postgres has said that it found no room, by its log. */
export function diskRefusals(home: string): number {
  const log = join(home, 'pg', 'log')
  if (!existsSync(log)) return 0
  return readFileSync(log, 'utf8').split('No space left on device').length - 1
}
