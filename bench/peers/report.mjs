// From samples to what people read: median, min and max, the table on screen and the Markdown page.
import { machineSentence } from './machine.mjs'

/** The median of numbers with their minimum and maximum. */
export function spread(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  return { median, min: sorted[0], max: sorted.at(-1) }
}

export function percentile(samples, share) {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]
}

const columns = ['engine', 'flows/s', 'steps/s', 'result p50 ms', 'result p99 ms', 'worker MiB', 'note']

/** One row per engine, fastest first; what failed comes last, with its reason. */
export function tableRows(engines) {
  const rank = (engine) => engine.stepsPerSecond?.median ?? -1
  return [...engines].sort((a, b) => rank(b) - rank(a)).map(tableRow)
}

function tableRow(engine) {
  const result = engine.keepsResults ? engine.latencyMs : null
  const notes = [engine.keepsResults ? '' : 'keeps no results', engine.failed ? `failed: ${engine.failed}` : '']
  return [
    engine.version ? `${engine.name} ${engine.version}` : engine.name,
    figure(engine.flowsPerSecond, 0),
    figure(engine.stepsPerSecond, 0),
    figure(result?.p50, 1),
    figure(result?.p99, 1),
    figure(engine.workerRssMiB, 0, { range: false }),
    notes.filter(Boolean).join('; '),
  ]
}

function figure(spreadOut, digits, { range = true } = {}) {
  if (!spreadOut) return '–'
  const text = (value) => value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  if (!range || spreadOut.min === spreadOut.max) return text(spreadOut.median)
  return `${text(spreadOut.median)} (${text(spreadOut.min)}–${text(spreadOut.max)})`
}

export function screenTable(engines) {
  const rows = [columns, ...tableRows(engines)].map((row) => row.with(-1, row.at(-1).slice(0, 90)))
  const widths = columns.map((_, index) => Math.max(...rows.map((row) => row[index].length)))
  const line = (row) =>
    row.map((cell, index) => (index === 0 || index === 6 ? cell.padEnd(widths[index]) : cell.padStart(widths[index]))).join('  ')
  return [line(rows[0]), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.slice(1).map(line)]
    .map((text) => text.trimEnd())
    .join('\n')
}

export function markdownPage({ date, machine, versions, servers, repeat, engines }) {
  const rows = tableRows(engines).map(
    (row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`,
  )
  return `# Millrace next to other engines

Measured ${date} by \`npm run bench:peers\`: one run, one machine, one engine at a time; client, worker and database share the machine.
Every figure is the median of ${repeat} repetitions on a fresh database, with min and max in brackets.

| ${columns.join(' | ')} |
|---|---:|---:|---:|---:|---:|---|
${rows.join('\n')}

- **The work**: flows of 3 steps; each step is a small pure function over about 100 bytes of JSON, its input the output of the step before. Each step's
  result is durable where the engine keeps results. A backlog, enqueued beforehand, is drained by one worker process, which has drained a fifth as many
  flows just before, to be warm.
- **The clock** runs from the first step until the engine's own store holds every flow as finished; for Millrace, from the first claim to the last
  completion by its database's account.
- **Result p50 and p99**: from the submission of a one-step job on an idle engine until its result is in the caller's hands, by the
  engine's own way of waiting, one job after the other.
- **Worker MiB**: peak memory of the worker process, without the database.

## Machine

${machineSentence(machine)}. ${versions}.

${servers.map((server) => `- ${server}`).join('\n')}

## Configurations

| engine | flows | configuration |
|---|---:|---|
${engines.map((engine) => `| ${engine.name} ${engine.version ?? ''} | ${engine.flows?.toLocaleString('en-US') ?? '–'} | ${engine.configuration} |`).join('\n')}

In the queues (graphile-worker, pg-boss, BullMQ) "add the next step" and "finish this one" are two transactions, as their users would write it: a crash
between the two runs a step twice. Millrace, DBOS and Restate record each step under its flow. graphile-worker deletes a job's row when the job is done,
and so keeps no result.
`
}
