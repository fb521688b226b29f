// `millrace audit` and its audit mode, as a user runs them, over the run's history and effects.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { CheckOutcome } from '../../src/store/audit.ts'
import type { HistoryCounts } from '../../src/store/audit_history.ts'
import type { Findings } from './checks.ts'
import type { Rig } from './rig.ts'

const cli = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

async function millrace(rig: Rig, args: string[]): Promise<{ exitCode: number | null; out: string; errors: string }> {
  const child = spawn(process.execPath, [cli, ...args], {
    env: { ...process.env, DATABASE_URL: rig.databaseUrl, MILLRACE_HOME: join(rig.home, 'audit'), ...rig.limits },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let errors = ''
  child.stdout.on('data', (piece: Buffer) => (out += piece.toString()))
  child.stderr.on('data', (piece: Buffer) => (errors += piece.toString()))
  const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { exitCode, out, errors }
}

/** From now on claims, changes and refusals are rows. */
export async function recordOn(rig: Rig): Promise<void> {
  const { exitCode, errors } = await millrace(rig, ['audit', 'record', 'on'])
  if (exitCode !== 0) throw new Error(`millrace audit record on: ${errors}`)
}

/** Asks every check; what does not hold is found. Gives the history's arithmetic, where there is a history. */
export async function audit(
  rig: Rig,
  findings: Findings,
  options: { history: boolean },
): Promise<{ checks: number; counts: HistoryCounts | null }> {
  const files = options.history ? ['--history', rig.historyFile, '--effects', rig.effectsFile] : []
  const { out, errors } = await millrace(rig, ['audit', '--json', '--settle', '2', ...files])
  let report: { checks: CheckOutcome[]; history: HistoryCounts | null }
  try {
    report = JSON.parse(out) as typeof report
  } catch {
    findings.add('the audit failed', errors || out)
    return { checks: 0, counts: null }
  }
  for (const { id, says, status, why, violations, rows } of report.checks) {
    if (status === 'failed') findings.add(`audit ${id}`, `could not be asked: ${why}`)
    if (status !== 'violated') continue
    findings.add(`audit ${id}, ${says}`, ...rows.slice(0, 5).map((row) => `${row.subject}: ${row.detail}`))
    findings.count(`audit ${id}, ${says}`, violations)
  }
  return {
    checks: report.checks.filter((one) => one.status === 'holds' || one.status === 'violated').length,
    counts: report.history,
  }
}
