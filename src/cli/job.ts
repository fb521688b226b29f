// `millrace job …`: look at jobs, follow them, stop them, start them again.
import type { Command } from 'commander'
import type { Job, PoisonJob, ReplayOptions } from '../client/client.ts'
import { EngineError } from '../core/errors.ts'
import type { Json } from '../core/json.ts'
import { connect } from './connect.ts'
import { treeText } from './job_tree.ts'
import { faint, note, print, printJson, table } from './output.ts'
import { clientCommand, type ClientOptions } from './program.ts'
import { wholeNumber } from './settings.ts'

export function addJobCommands(program: Command): void {
  const job = program.command('job').description('list, show, follow, cancel and replay jobs')

  clientCommand(job.command('list'))
    .option('-n, --count <n>', 'how many, newest first', '30')
    .option('--path <path>', 'only jobs of this flow')
    .option('--running', 'only jobs that run now')
    .option('--waiting', 'only jobs that wait for an answer')
    .option('--failed', 'only jobs that failed')
    .option('--poisoned', 'only jobs given up because their workers died of them: how often, and as what they were replayed')
    .description('the newest jobs')
    .action(list)

  clientCommand(job.command('show'))
    .argument('<id>', 'the job, or an iteration, a branch or a step of it')
    .description('a job, everything that ran in it, and its result')
    .action(show)

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

  clientCommand(job.command('resume'))
    .argument('<id>', 'a job that waits for an answer, or the step of it that does')
    .argument('[payload]', 'what the flow goes on with: JSON, or a text', 'null')
    .description('answer what a job waits for')
    .addHelpText(
      'after',
      `
Examples:
  millrace job list --waiting
  millrace job resume 019ac0de-7000-7000-8000-000000000000
  millrace job resume 019ac0de-7000-7000-8000-000000000000 '{"ok": true}'`,
    )
    .action((id: string, payload: string, options: ClientOptions) =>
      answer(id, { approved: true, payload: jsonOr(payload) }, options),
    )

  clientCommand(job.command('disapprove'))
    .argument('<id>', 'a job that waits for an answer, or the step of it that does')
    .argument('[payload]', 'why: JSON, or a text', 'null')
    .description('refuse what a job waits for: it fails, unless its flow goes on then')
    .action((id: string, payload: string, options: ClientOptions) =>
      answer(id, { approved: false, payload: jsonOr(payload) }, options),
    )

  clientCommand(job.command('replay'))
    .argument('[ids...]', 'jobs that are over')
    .option('--all', 'all poison jobs that were not replayed yet, instead of ids')
    .option('--failed', 'with --all: all jobs that failed')
    .option('--path <path>', 'with --all: only jobs of this flow')
    .option('--since <time>', 'with --all: only jobs accepted since then: 30m, 1h, 2d, or a time as 2030-01-31T12:00:00Z')
    .option('--same-version', 'on the version they ran, not on what is deployed now')
    .description('start jobs again with their arguments; each becomes a new job that names the old one')
    .addHelpText(
      'after',
      `
Examples:
  millrace job list --poisoned
  millrace job replay 019ac0de-7000-7000-8000-000000000000
  millrace job replay --all --path f/shop/order --since 1h`,
    )
    .action(replay)

  clientCommand(job.command('restart'))
    .argument('<id>', 'the job of a flow, over')
    .requiredOption('--from <step>', 'the step to start from; it and all after it run again')
    .option(
      '--iteration <n>',
      'of a loop or branchall: from this iteration or branch on; of a step in a loop: in which iteration',
    )
    .option('--latest', 'on what is deployed now; what comes before the step must be the same in it')
    .option('--wait', 'wait, and print the result')
    .description('start a job again from a step, with the results of the steps before; prints the id of the new job')
    .addHelpText(
      'after',
      `
Examples:
  millrace job restart 019ac0de-7000-7000-8000-000000000000 --from charge
  millrace job restart 019ac0de-7000-7000-8000-000000000000 --from each_order --iteration 37 --wait`,
    )
    .action(restart)
}

interface ListOptions extends ClientOptions {
  count: string
  path?: string
  running?: boolean
  waiting?: boolean
  failed?: boolean
  poisoned?: boolean
}

async function list(options: ListOptions): Promise<void> {
  const count = wholeNumber(options.count, '--count', { min: 1, max: 1_000 })
  if (options.poisoned) return listPoisoned(options, count)
  const { path, running, waiting, failed } = options
  const filter = { count, path, running, waiting, success: failed ? false : undefined }
  const jobs = await connect(options).jobs(filter)
  if (options.json) return printJson(jobs)
  if (jobs.length === 0) return note('no such jobs')
  print(table(['ID', 'FLOW', 'STATE', 'STARTED', 'MS'], jobs.map(row)))
}

async function listPoisoned(options: ListOptions, count: number): Promise<void> {
  const jobs = await connect(options).poisoned(options.path === undefined ? { count } : { count, path: options.path })
  if (options.json) return printJson(jobs)
  if (jobs.length === 0) return note('no poison jobs')
  print(table(['ID', 'FLOW', 'LOST', 'GIVEN UP', 'WORKERS THAT DIED', 'REPLAYED AS'], jobs.map(poisonRow)))
}

function poisonRow(job: PoisonJob): string[] {
  const workers = (job.error.workers ?? []).map((worker) => worker.name).join(', ')
  return [job.id, job.script_path ?? '', String(job.lost), job.completed_at ?? '', workers, (job.replayed_as ?? []).join(', ')]
}

function stateOf(job: Job): string {
  if (job.type === 'CompletedJob') return job.canceled ? 'canceled' : job.success ? 'success' : 'failure'
  if (job.suspend) return 'waiting'
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
  const client = connect(options)
  const job = await client.job(id)
  const tree = job.flow_status ? await client.tree(id) : undefined
  if (options.json) return printJson(tree ? { ...job, steps: tree.steps } : job)
  const facts = [
    ['job', job.id],
    ['flow', job.script_path ?? ''],
    ['state', stateOf(job)],
    ['by', job.created_by ?? ''],
    ['created', job.created_at ?? ''],
    ['started', job.started_at ?? ''],
    ['replays', job.replay_of ?? ''],
    ['from', startOf(job)],
    ['replayed', (job.replayed_as ?? []).join(', ')],
    ['took', job.duration_ms === undefined ? '' : `${job.duration_ms} ms`],
  ]
  for (const [name, value] of facts) if (value) print(`${faint(name!.padEnd(8))} ${value}`)
  if (tree?.steps.length) print(`\n${treeText(tree)}`)
  if (job.type === 'CompletedJob') print(`\n${JSON.stringify(job.result ?? null, null, 2)}`)
}

/** Where in the job that it replays it began. */
function startOf(job: Job): string {
  const from = job.flow_status?.restarted_from
  if (!from) return ''
  return from.branch_or_iteration_n === undefined ? from.step_id : `${from.step_id} ${from.branch_or_iteration_n}`
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

interface RestartCommandOptions extends ClientOptions {
  from: string
  iteration?: string
  latest?: boolean
  wait?: boolean
}

async function restart(id: string, options: RestartCommandOptions): Promise<void> {
  const { from, iteration, latest = false, wait } = options
  const client = connect(options)
  const fresh = await client.restart(id, {
    from,
    latestVersion: latest,
    ...(iteration === undefined ? {} : { iteration: wholeNumber(iteration, '--iteration', { min: 0, max: 65_535 }) }),
  })
  if (!wait) {
    if (options.json) printJson({ id: fresh, replay_of: id })
    else print(fresh)
    return
  }
  if (!options.json) note(fresh)
  printJson(await client.result(fresh))
}

async function answer(id: string, said: { approved: boolean; payload: Json }, options: ClientOptions): Promise<void> {
  await connect(options).answer(id, said)
  if (options.json) printJson({ id, ...said })
  else print(`${said.approved ? 'answered' : 'refused'} what job ${id} waits for`)
}

function jsonOr(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch {
    return text
  }
}

interface ReplayCommandOptions extends ClientOptions {
  all?: boolean
  failed?: boolean
  path?: string
  since?: string
  sameVersion?: boolean
}

async function replay(ids: string[], options: ReplayCommandOptions): Promise<void> {
  const { replayed, refused } = await connect(options).replay(replayOptionsOf(ids, options))
  if (options.json) printJson({ replayed, refused })
  else {
    if (replayed.length > 0)
      print(
        table(
          ['NEW JOB', 'REPLAYS'],
          replayed.map((one) => [one.id, one.replay_of]),
        ),
      )
    for (const { id, why } of refused) note(`not replayed: ${id}: ${why}`)
    if (replayed.length + refused.length === 0) note('nothing to replay')
  }
  if (refused.length > 0) process.exitCode = 1
}

function replayOptionsOf(ids: string[], options: ReplayCommandOptions): ReplayOptions {
  const sameVersion = options.sameVersion ?? false
  if (ids.length > 0) {
    const extra = (['all', 'failed', 'path', 'since'] as const).find((name) => options[name] !== undefined)
    if (extra) throw new EngineError('E_INVALID', `give the ids of jobs, or --all, not both`, { at: `--${extra}` })
    return { ids, sameVersion }
  }
  if (!options.all) throw new EngineError('E_INVALID', 'name the jobs by their ids, or give --all', { at: 'ids' })
  const asked: ReplayOptions = { only: options.failed ? 'failed' : 'poisoned', sameVersion }
  if (options.path !== undefined) asked.path = options.path
  if (options.since !== undefined) asked.createdAfter = sinceOf(options.since, Date.now())
  return asked
}

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function sinceOf(text: string, nowMs: number): Date {
  const ago = /^(\d+)([smhd])$/.exec(text)
  const atMs = ago ? nowMs - Number(ago[1]) * unitMs[ago[2] as keyof typeof unitMs] : Date.parse(text)
  if (atMs >= 0) return new Date(atMs)
  throw new EngineError('E_INVALID', `${JSON.stringify(text)} is no time; write 30m, 1h, 2d or 2030-01-31T12:00:00Z`, {
    at: '--since',
  })
}
