// What a run came to, for people and for docs.
import Table from 'cli-table3'
import { percentile } from '../../bench/machine.ts'
import { histogram, type ChaosReport } from './chaos.ts'
import { faults, phases } from './faults.ts'
import type { Strike } from './nemesis.ts'

const head = ['fault', 'struck', ...phases, 'next result, ms', 'jobs held', 'all taken over, ms']

function rowsOf(report: ChaosReport): string[][] {
  return [...histogram(report.strikes)].map(([fault, counts]) => {
    const fired = report.strikes.filter((strike) => strike.fault === fault && strike.fired)
    const held = fired.reduce((sum, strike) => sum + (strike.held ?? 0), 0)
    return [
      fault,
      String(fired.length),
      ...phases.map((phase) => (counts[phase] === 0 ? '' : String(counts[phase]))),
      spread(fired, (strike) => strike.recoveredMs),
      held === 0 ? '' : held.toLocaleString('en'),
      spread(fired, (strike) => strike.takenOverMs),
    ]
  })
}

/** `median / p99`, or nothing. */
function spread(strikes: readonly Strike[], of: (strike: Strike) => number | undefined): string {
  const values = strikes.flatMap((strike) => of(strike) ?? []).sort((a, b) => a - b)
  if (values.length === 0) return ''
  return `${Math.round(percentile(values, 0.5))} / ${Math.round(percentile(values, 0.99))}`
}

function summaryOf(report: ChaosReport): string[] {
  const { history: h, counts, executions } = report
  const n = (value: number): string => value.toLocaleString('en')
  const fired = report.strikes.filter((strike) => strike.fired).length
  const missed = report.strikes.length - fired
  const refused = Object.entries(report.refused).map(([kind, count]) => `${n(count)} ${kind}`)
  return [
    `seed ${report.seed}: ${report.seconds} s of load and faults, then ${report.settledSeconds.toFixed(0)} s without`,
    `${n(fired)} faults${missed > 0 ? ` (and ${missed} that met nothing to hit)` : ''}, ${n(counts.deploys)} deploys, ${n(counts.canceled)} cancels`,
    `events: ${n(h.attempted)} sent, ${n(h.acknowledged)} answered 2xx, ${n(h.landed)} there, ${n(h.finished)} finished; ${n(h.recovered)} had an unknown end and were there`,
    `steps: ${n(executions.executed)} executions, ${n(executions.again)} of them again`,
    `claims lost with their worker: ${n(report.attemptsLost)}; late or repeated writes refused: ${refused.join(', ') || 'none'}`,
    `lost ${h.lost} · recorded twice ${twiceOf(report)} · stuck ${h.unfinished} · never sent ${h.phantom}; ${report.checks} checks of millrace audit and the results of ${n(report.finished)} jobs: ${report.findings.length === 0 ? 'all right' : 'see below'}`,
    ...report.notAvailable.map(({ fault, why }) => `not run: ${fault} (${why})`),
  ]
}

/** By the checks that say so: one job per event, one result per job. */
function twiceOf(report: ChaosReport): number {
  return report.findings.filter(({ check }) => /^audit (i03|i04|i05|m15)/i.test(check)).reduce((sum, { count }) => sum + count, 0)
}

export function printReport(report: ChaosReport): string {
  const table = new Table({ head, style: { head: [], border: [] } })
  for (const row of rowsOf(report)) table.push(row)
  const findings = report.findings.flatMap((finding) => [
    `  ${finding.check}: ${finding.count}`,
    ...finding.examples.map((example) => `    ${example.replaceAll('\n', '\n    ')}`),
  ])
  return [
    table.toString(),
    'The last three columns: from the fault (where Postgres, its disk or the network was away: from its end) to the next job that',
    'finished, median / p99; jobs that the struck workers held; until the last of them was no longer theirs, median / p99.',
    '',
    ...summaryOf(report),
    '',
    report.findings.length === 0 ? 'GREEN: nothing is wrong' : 'RED:',
    ...findings,
  ].join('\n')
}

export function markdownReport(report: ChaosReport, about: string): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const texts = faults.filter((fault) => histogram(report.strikes).has(fault.name))
  return [
    `${about}.`,
    '',
    ...summaryOf(report).map((line) => `- ${line}`),
    `- ${report.findings.length === 0 ? 'nothing is wrong' : `RED: ${report.findings.map((one) => `${one.check} ${one.count}`).join(', ')}`}`,
    '',
    row(head),
    row(head.map(() => '---')),
    ...rowsOf(report).map(row),
    '',
    ...texts.map((fault) => `- \`${fault.name}\`: ${fault.text}`),
  ].join('\n')
}
