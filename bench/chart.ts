// The picture of the numbers: steps per second of the throughput cases as bars, with minimum and maximum.
import type { CaseResult } from './result.ts'

const width = 760
const rowHeight = 34
const left = 190

export function chart(results: readonly CaseResult[], about: string): string {
  const bars = results.filter((one) => one.name.startsWith('drain-') || one.name.startsWith('http-') || one.name === 'backlog-1m')
  const valueOf = (one: CaseResult) => one.stepsPerSecond ?? one.jobsPerSecond ?? 0
  const most = Math.max(1, ...bars.map((one) => one.max.stepsPerSecond ?? one.max.jobsPerSecond ?? 0))
  const x = (value: number) => left + (value / most) * (width - left - 140)
  const height = 64 + bars.length * rowHeight
  const rows = bars.map((one, index) => {
    const y = 40 + index * rowHeight
    const value = valueOf(one)
    const min = one.min.stepsPerSecond ?? one.min.jobsPerSecond ?? value
    const max = one.max.stepsPerSecond ?? one.max.jobsPerSecond ?? value
    const unit = one.stepsPerSecond === undefined ? 'events/s' : 'steps/s'
    return `  <text x="${left - 10}" y="${y + 15}" text-anchor="end">${one.name}</text>
  <rect x="${left}" y="${y}" width="${(x(value) - left).toFixed(1)}" height="22" rx="3" fill="#2f6f9f"/>
  <line x1="${x(min).toFixed(1)}" x2="${x(max).toFixed(1)}" y1="${y + 11}" y2="${y + 11}" stroke="#c96b2c" stroke-width="3"/>
  <text x="${(x(max) + 8).toFixed(1)}" y="${y + 15}">${Math.round(value).toLocaleString('en')} ${unit}</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="13">
  <rect width="${width}" height="${height}" fill="#ffffff"/>
  <text x="12" y="22" font-size="15" font-weight="600">Millrace: events through one dedicated worker, everything on one machine</text>
${rows.join('\n')}
  <text x="12" y="${height - 8}" font-size="10" fill="#666666">${about.replaceAll('&', '&amp;')}; line: minimum to maximum</text>
</svg>
`
}
