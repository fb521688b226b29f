// `millrace audit`: is what the engine promises true of this database? And audit mode, which records what the checks need.
//   U1. Exit code 1 if a check is violated or could not be asked. A check that needs what is not there is neither.
import { EngineError } from '../core/errors.ts'
import { auditDatabase, readRecording, setRecording, type CheckOutcome, type Recording } from '../store/audit.ts'
import { openHistory, type HistoryCounts } from '../store/audit_history.ts'
import { createLog, createScreen } from './log.ts'
import { faint, print, printJson, strong, table } from './output.ts'
import type { GivenSettings } from './program.ts'
import { readLimits, wholeNumber } from './settings.ts'
import { openStore, type Store } from './store.ts'

export interface AuditOptions extends GivenSettings {
  since?: string
  settle: string
  rows: string
  history?: string
  effects?: string
  json?: boolean
}

export async function auditCommand(options: AuditOptions): Promise<void> {
  const sinceMs = options.since === undefined ? undefined : Date.now() - durationMs(options.since)
  const settleMs = wholeNumber(options.settle, '--settle', { min: 0, max: 3_600 }) * 1_000
  const rowsMax = wholeNumber(options.rows, '--rows', { min: 1, max: 100_000 })
  const { lostMax, retentionDays } = readLimits()
  const given = options.history ?? options.effects
  const history =
    given === undefined
      ? null
      : openHistory({
          ...(options.history === undefined ? {} : { history: options.history }),
          ...(options.effects === undefined ? {} : { effects: options.effects }),
          ...(sinceMs === undefined ? {} : { sinceMs }),
        })
  const scope = { lostMax, retentionDays, rowsMax, settleMs, ...(sinceMs === undefined ? {} : { sinceMs }) }
  await withStore(options, async ({ db }) => {
    const { recording, outcomes } = await auditDatabase(db, scope, history)
    const wrong = outcomes.some((outcome) => outcome.status === 'violated' || outcome.status === 'failed')
    if (options.json)
      printJson({ holds: !wrong, recording: recordingView(recording), history: history?.counts ?? null, checks: outcomes })
    else printReport(outcomes, recording, history?.counts ?? null)
    if (wrong) process.exitCode = 1
  })
}

function printReport(outcomes: CheckOutcome[], recording: Recording | null, counts: HistoryCounts | null): void {
  print(
    table(
      ['CHECK', 'VIOLATIONS', 'WHAT HOLDS'],
      outcomes.map((one) => [one.id, verdict(one), one.says]),
    ),
  )
  for (const outcome of outcomes) {
    if (outcome.violations === 0) continue
    print(`\n${strong(`${outcome.id}: ${outcome.says}`)}`)
    print(
      table(
        ['', ''],
        outcome.rows.map((row) => [row.subject, row.detail]),
      )
        .split('\n')
        .slice(1)
        .map((line) => `  ${line}`)
        .join('\n'),
    )
    const more = outcome.violations - outcome.rows.length
    if (more > 0) print(faint(`  … and ${more} more (--rows lists them)`))
  }
  if (counts) {
    print(
      `\nevents: ${counts.attempted} attempted, ${counts.acknowledged} acknowledged, ${counts.landed} there, ${counts.finished} finished\n` +
        `        ${counts.lost} lost, ${counts.unfinished} unfinished, ${counts.phantom} never sent, ${counts.recovered} of unknown outcome had landed`,
    )
  }
  print(`\n${summary(outcomes, recording)}`)
}

function verdict(outcome: CheckOutcome): string {
  if (outcome.status === 'untold') return faint(outcome.why!)
  if (outcome.status === 'failed') return `failed: ${outcome.why}`
  return outcome.violations === 0 ? '0' : strong(String(outcome.violations))
}

function summary(outcomes: CheckOutcome[], recording: Recording | null): string {
  const count = (status: CheckOutcome['status']) => outcomes.filter((one) => one.status === status).length
  const parts = [`${count('holds')} checks hold`, `${count('violated')} violated`]
  if (count('failed') > 0) parts.push(`${count('failed')} could not be asked`)
  if (count('untold') > 0) parts.push(`${count('untold')} not asked`)
  const way = recording === null && count('untold') > 0 ? '; audit mode: `millrace audit record on`' : ''
  return parts.join(', ') + way
}

export async function recordCommand(what: string, options: GivenSettings & { json?: boolean }): Promise<void> {
  if (what !== 'on' && what !== 'off' && what !== 'clear' && what !== 'status') {
    throw new EngineError('E_INVALID', `${JSON.stringify(what)} is none; use on, off, clear or status`, { at: 'what' })
  }
  await withStore(options, async ({ db }) => {
    const changed = what === 'status' ? false : await setRecording(db, what)
    const recording = await readRecording(db.pool)
    if (options.json) return printJson({ changed, ...recordingView(recording) })
    print(recordingText(recording))
  })
}

function recordingView(recording: Recording | null): { on: boolean } & Partial<Recording> {
  return recording === null ? { on: false } : { on: recording.endedAt === null, ...recording }
}

function recordingText(recording: Recording | null): string {
  if (recording === null) return 'audit mode is off, and never was on'
  const { startedAt, endedAt, transitions, refusals, bytes } = recording
  const held = `${transitions} changes and ${refusals} refusals, ${(bytes / 2 ** 20).toFixed(1)} MiB`
  return endedAt === null
    ? `audit mode is on since ${startedAt.toISOString()}: ${held}`
    : `audit mode is off; recorded from ${startedAt.toISOString()} to ${endedAt.toISOString()}: ${held}`
}

async function withStore(options: GivenSettings, work: (store: Store) => Promise<void>): Promise<void> {
  const log = createLog('warn', createScreen())
  const store = await openStore(options, { name: 'millrace audit', log })
  try {
    await work(store)
  } finally {
    await store.close()
  }
}

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `90s`, `15m`, `2h`, `7d` @throws EngineError E_INVALID */
function durationMs(text: string): number {
  const [, count, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  if (count !== undefined) return Number(count) * unitMs[unit as keyof typeof unitMs]
  throw new EngineError('E_INVALID', `--since is ${JSON.stringify(text)}; write a number and s, m, h or d: 90s, 2h`, {
    at: '--since',
  })
}
