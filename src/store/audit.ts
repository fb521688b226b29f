// The audit: what the engine promises, asked of the database. Each check is a file of sql/audit/, and finds what breaks it.
//   A1. A check is one statement with one snapshot, read-only. It gives rows (subject, detail); none: it holds.
//   A2. A check that cannot be told from what is there (nothing was recorded, no history was given) is not passed, and says why.
//   A3. Checks that need quiescence are asked twice; what both looks have counts.
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type pg from 'pg'
import { assert, messageOf } from '../core/errors.ts'
import { firstIdAt } from '../core/job/ids.ts'
import type { AuditHistory } from './audit_history.ts'
import { run, type Database, type Queryable } from './db.ts'
import { plansByCost } from './statements.ts'

const auditNeeds = ['recording', 'history', 'effects', 'settle'] as const
export type AuditNeed = (typeof auditNeeds)[number]

export interface AuditCheck {
  /** I05, M01, …: docs/audit.md lists them. */
  id: string
  /** What holds, as a sentence. */
  says: string
  needs: AuditNeed[]
  text: string
}

export interface Violation {
  /** The job, event or key it is about. */
  subject: string
  detail: string
}

export interface CheckOutcome {
  id: string
  says: string
  /** `untold`: it needs what is not there. `failed`: it could not be asked. */
  status: 'holds' | 'violated' | 'untold' | 'failed'
  /** What it needs and has not, or why it failed. */
  why?: string
  violations: number
  /** The first of them. */
  rows: Violation[]
  ms: number
}

export interface AuditScope {
  /** Jobs accepted before are left out. */
  sinceMs?: number
  lostMax: number
  retentionDays: number
  /** Violations that are listed of each check. */
  rowsMax: number
  /** Between the two looks of a check that needs quiescence; 0: one look counts. */
  settleMs: number
}

const folder = new URL('sql/audit/', import.meta.url)
// Of a check that is asked twice, so many rows of each look are compared.
const settleRowsMax = 100_000

/** All checks, in the order of their ids. */
export function readChecks(): AuditCheck[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.sql'))
    .sort()
    .map((file) => checkOf(file.slice(0, -'.sql'.length), readFileSync(new URL(file, folder), 'utf8')))
}

function checkOf(name: string, text: string): AuditCheck {
  const says = new RegExp(`^-- ${name}: (.+)$`, 'm').exec(text)?.[1]
  assert(says, `sql/audit/${name}.sql does not open with what it says`)
  const needs = (/^-- needs: (.+)$/m.exec(text)?.[1] ?? '').split(', ').filter((need) => need !== '')
  for (const need of needs)
    assert(
      auditNeeds.some((known) => known === need),
      `sql/audit/${name}.sql needs ${need}, which is nothing`,
    )
  return {
    id: name.slice(0, name.indexOf('_')).toUpperCase(),
    says,
    needs: needs as AuditNeed[],
    text: text.trimEnd().replace(/;$/, ''),
  }
}

const needTexts: Record<AuditNeed, string> = {
  recording: 'audit mode',
  history: '--history',
  effects: '--effects',
  settle: '',
}

/** Asks every check. `history`: what a tester saw, put beside it. */
export async function auditDatabase(
  db: Database,
  scope: AuditScope,
  history: AuditHistory | null = null,
): Promise<{ recording: Recording | null; outcomes: CheckOutcome[] }> {
  const client = await db.connect({ name: 'millrace audit' })
  if (!db.pooled) await client.query(plansByCost)
  try {
    await history?.load(client)
    const recording = await readRecording(client)
    const here = new Set<AuditNeed>(['settle'])
    if (recording) here.add('recording')
    if (history?.has.ops) here.add('history')
    if (history?.has.effects) here.add('effects')
    const outcomes: CheckOutcome[] = []
    for (const check of readChecks()) outcomes.push(await outcomeOf(client, check, scope, here))
    await lookAgain(client, outcomes, scope)
    return { recording, outcomes }
  } finally {
    await client.end()
  }
}

async function outcomeOf(client: pg.Client, check: AuditCheck, scope: AuditScope, here: Set<AuditNeed>): Promise<CheckOutcome> {
  const { id, says } = check
  const missing = check.needs.filter((need) => !here.has(need)).map((need) => needTexts[need])
  if (missing.length > 0)
    return { id, says, status: 'untold', why: `needs ${missing.join(' and ')}`, violations: 0, rows: [], ms: 0 }
  const startedMs = performance.now()
  try {
    const twice = check.needs.includes('settle') && scope.settleMs > 0
    const { count, rows } = await inSnapshot(client, () => askCheck(client, check, scope, twice ? settleRowsMax : scope.rowsMax))
    return { id, says, status: count === 0 ? 'holds' : 'violated', violations: count, rows, ms: performance.now() - startedMs }
  } catch (error) {
    return { id, says, status: 'failed', why: messageOf(error), violations: 0, rows: [], ms: performance.now() - startedMs }
  }
}

/** Of the checks that need quiescence, only what is found again stays. */
async function lookAgain(client: pg.Client, outcomes: CheckOutcome[], scope: AuditScope): Promise<void> {
  const checks = new Map(readChecks().map((check) => [check.id, check]))
  const again = outcomes.filter((outcome) => outcome.status === 'violated' && checks.get(outcome.id)!.needs.includes('settle'))
  if (again.length === 0 || scope.settleMs === 0) return
  await pause(scope.settleMs)
  for (const outcome of again) {
    const { rows } = await inSnapshot(client, () => askCheck(client, checks.get(outcome.id)!, scope, settleRowsMax))
    const before = new Set(outcome.rows.map(nameOf))
    const both = rows.filter((row) => before.has(nameOf(row)))
    outcome.violations = both.length
    outcome.rows = both.slice(0, scope.rowsMax)
    outcome.status = both.length === 0 ? 'holds' : 'violated'
  }
}

const nameOf = (row: Violation): string => `${row.subject}\0${row.detail}`

async function inSnapshot<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
  await client.query('begin transaction isolation level repeatable read read only')
  try {
    return await work()
  } finally {
    await client.query('rollback')
  }
}

/** Inside a transaction: the first `rowsMax` violations, and how many there are. A cursor, so that a million of them cost no memory. */
export async function askCheck(
  client: Pick<pg.Client, 'query'>,
  check: AuditCheck,
  scope: Pick<AuditScope, 'sinceMs' | 'lostMax' | 'retentionDays'>,
  rowsMax: number,
): Promise<{ count: number; rows: Violation[] }> {
  const given = [firstIdAt(scope.sinceMs ?? 0), scope.lostMax, scope.retentionDays]
  const taken = Math.max(0, ...[...check.text.matchAll(/^(?!--).*\$(\d)/gm)].map(([, n]) => Number(n)))
  await client.query(`declare violation no scroll cursor for ${check.text}`, given.slice(0, taken))
  const { rows } = await client.query<Violation>(`fetch forward ${rowsMax} from violation`)
  const { rowCount } = await client.query('move forward all in violation')
  await client.query('close violation')
  return { count: rows.length + (rowCount ?? 0), rows }
}

export interface Recording {
  startedAt: Date
  /** null: audit mode is on. */
  endedAt: Date | null
  transitions: number
  refusals: number
  bytes: number
}

/** What audit mode has recorded; null if it never was on. */
export async function readRecording(on: pg.Client | pg.Pool): Promise<Recording | null> {
  const [row] = await run<Recording>(on, 'read_audit_recording', [])
  return row ?? null
}

// Commits wait behind the lock, so it is asked for briefly and often.
const lockWaitMs = 200
const attemptsMax = 100
const retryMs = 100
const lockBusy = ['55P03', '40P01'] // lock_not_available, deadlock_detected

async function record(client: Queryable, to: 'on' | 'off' | 'clear'): Promise<boolean> {
  if (to !== 'clear') return (await run<{ changed: boolean }>(client, 'record_audit', [to === 'on']))[0]!.changed
  await run(client, 'clear_audit', [])
  return true
}

/**
 * Switches audit mode on (a new record begins) or off (what was recorded stays), or forgets what was recorded. False if it was so already.
 */
export async function setRecording(db: Database, to: 'on' | 'off' | 'clear'): Promise<boolean> {
  const client = await db.connect({ name: 'millrace audit' })
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        // `local`: through a transaction pooler, the session is lent to others.
        await client.query(`begin; set local lock_timeout = ${lockWaitMs}`)
        const changed = await record(client, to)
        await client.query('commit')
        return changed
      } catch (error) {
        await client.query('rollback').catch(() => {}) // the connection may be what failed
        if (!lockBusy.includes((error as { code?: string }).code ?? '') || attempt === attemptsMax) throw error
        await pause(retryMs)
      }
    }
  } finally {
    await client.end()
  }
}
