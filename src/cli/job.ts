// `millrace job …`: look at jobs, follow them, stop them.
import type { Command } from 'commander'
import type { Job, StepStatus } from '../client/client.ts'
import { connect } from './connect.ts'
import { faint, note, print, printJson, table } from './output.ts'
import { clientCommand, type ClientOptions } from './program.ts'
import { wholeNumber } from './settings.ts'

export function addJobCommands(program: Command): void {
  const job = program.command('job').description('list, show, follow and cancel jobs')

  clientCommand(job.command('list'))
    .option('-n, --count <n>', 'how many, newest first', '30')
    .option('--path <path>', 'only jobs of this flow')
    .option('--running', 'only jobs that run now')
    .option('--failed', 'only jobs that failed')
    .description('the newest jobs')
    .action(list)

  clientCommand(job.command('show')).argument('<id>', 'the job').description('a job, its steps and its result').action(show)

  clientCommand(job.command('logs'))
    .argument('<id>', 'the job, or one of its steps')
    .option('-f, --follow', 'go on until the job is over')
    .description('what the steps of a job print')
    .action(logs)

  clientCommand(job.command('cancel'))
    .argument('<id>', 'the job')
    .option('--reason <text>', 'kept with the job')
    .description('ask a job to stop')
    .action(cancel)
}

interface ListOptions extends ClientOptions {
  count: string
  path?: string
  running?: boolean
  failed?: boolean
}

async function list(options: ListOptions): Promise<void> {
  const count = wholeNumber(options.count, '--count', { min: 1, max: 1_000 })
  const filter = { count, path: options.path, running: options.running, success: options.failed ? false : undefined }
  const jobs = await connect(options).jobs(filter)
  if (options.json) return printJson(jobs)
  if (jobs.length === 0) return note('no such jobs')
  print(table(['ID', 'FLOW', 'STATE', 'STARTED', 'MS'], jobs.map(row)))
}

function stateOf(job: Job): string {
  if (job.type === 'CompletedJob') return job.canceled ? 'canceled' : job.success ? 'success' : 'failure'
  return job.running ? 'running' : 'queued'
}

function row(job: Job): string[] {
  return [
    job.id,
    job.script_path ?? '',
    stateOf(job),
    job.started_at ?? '',
    job.duration_ms === undefined ? '' : String(job.duration_ms),
  ]
}

async function show(id: string, options: ClientOptions): Promise<void> {
  const job = await connect(options).job(id)
  if (options.json) return printJson(job)
  const facts = [
    ['job', job.id],
    ['flow', job.script_path ?? ''],
    ['state', stateOf(job)],
    ['by', job.created_by ?? ''],
    ['created', job.created_at ?? ''],
    ['started', job.started_at ?? ''],
    ['took', job.duration_ms === undefined ? '' : `${job.duration_ms} ms`],
  ]
  for (const [name, value] of facts) if (value) print(`${faint(name!.padEnd(8))} ${value}`)
  const status = job.flow_status
  const steps: StepStatus[] = [...(status?.modules ?? []), ...(status?.failure_module?.job ? [status.failure_module] : [])]
  if (steps.length > 0) {
    print(
      `\n${table(
        ['STEP', 'STATE', 'ID'],
        steps.map((step) => [step.id, step.type, step.job ?? '']),
      )}`,
    )
  }
  if (job.type === 'CompletedJob') print(`\n${JSON.stringify(job.result ?? null, null, 2)}`)
}

async function logs(id: string, options: ClientOptions & { follow?: boolean }): Promise<void> {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  for await (const piece of connect(options).logs(id, { follow: options.follow ?? false, stop: stop.signal })) {
    if (options.json) printJson(piece)
    else process.stdout.write(piece.text)
  }
}

async function cancel(id: string, options: ClientOptions & { reason?: string }): Promise<void> {
  await connect(options).cancel(id, options.reason)
  if (options.json) printJson({ id, canceled: true })
  else print(`asked job ${id} to stop`)
}
