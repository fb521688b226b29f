#!/usr/bin/env node
// The command `millrace`. Commands are loaded when they are used, so that `millrace flow list` does not load the engine.
//   M1. Exit codes: 0 done, 1 it failed (one plain message says what, where, and the way out), 2 wrong usage.
import { Command, CommanderError } from 'commander'
import { addFlowCommands } from './flow.ts'
import { addJobCommands } from './job.ts'
import { addResourceCommands } from './resource.ts'
import { addVariableCommands } from './variable.ts'
import { print, printError, printJson, table } from './output.ts'
import { clientCommand, listed, packageVersion } from './program.ts'
import { settingRows, settingsMarkdown, withSettings } from './settings.ts'
import { addWorkspaceCommands } from './workspace.ts'

function buildProgram(): Command {
  const program = new Command('millrace')
    .description('Runs flows at the speed of an event stream, on nothing but Postgres.')
    .version(packageVersion())
    .showHelpAfterError('(`--help` after any command shows what it takes)')
    .exitOverride()
    .addHelpText('after', examples)

  withSettings(program.command('up'), 'home', 'database', 'host', 'port', 'metricsPort', 'metricsHost', 'logLevel')
    .description('everything: API, a shared worker, and a dedicated worker for each flow that asks for one')
    .option('--sample', 'deploy the sample flow and feed it with GitHub webhooks')
    .option('--rate <n>', 'events per second of the sample', '100')
    .action(async (options) => (await import('./up.ts')).up(options))

  withSettings(program.command('server'), 'home', 'database', 'host', 'port', 'logLevel')
    .description('the HTTP API alone')
    .action(async (options) => (await import('./server.ts')).server(options))

  withSettings(program.command('worker'), 'home', 'database', 'url', 'metricsPort', 'metricsHost', 'logLevel')
    .description('a worker: dedicated to flows, or shared by all that have none')
    .option(
      '--dedicated <binding>',
      'bind to <workspace>:flow/<path> or <workspace>:<script path>; may be given again',
      listed,
      [],
    )
    .option('--tags <tags>', 'shared: which jobs to take, by comma; may be given again (preset: all common ones)', listed, [])
    .option('--replicas <step=n>', 'warm runners of a step; may be given again', listed, [])
    .option('--concurrency <n>', 'jobs held at a time')
    .option('--name <name>', 'shown in logs and lists (preset: host and process id)')
    .addHelpText(
      'after',
      '\nExamples:\n  $ millrace worker --dedicated main:flow/github/triage --replicas score=2\n  $ millrace worker --tags flow,python3',
    )
    .action(async (options) => (await import('./worker.ts')).worker(options))

  addFlowCommands(program)
  addJobCommands(program)
  addVariableCommands(program)
  addResourceCommands(program)
  addWorkspaceCommands(program)

  clientCommand(program.command('top'))
    .description('a live view of workers, flows and queue: steps per second, failures, lag')
    .option('--once', 'print it once, without a terminal')
    .addHelpText('after', '\nExamples:\n  $ millrace top\n  $ millrace top --json | jq .totals')
    .action(async (options) => (await import('./top.ts')).top(options))

  withSettings(program.command('migrate'), 'home', 'database')
    .description('bring the database up to this version; `up`, `server` and `worker` do it themselves')
    .option('--json', 'print JSON')
    .action(async (options) => (await import('./migrate.ts')).migrateCommand(options))

  addAuditCommands(program)

  program
    .command('bench')
    .description('measure this machine (in a clone): `millrace bench --only drain-3-typescript`')
    .allowUnknownOption()
    .argument('[arguments...]', 'passed on to the benchmark')
    .helpOption(false)
    .action(async (args: string[]) => (await import('./bench.ts')).bench(args))

  program
    .command('settings')
    .description('every setting, its variable, and what holds without it')
    .option('--json', 'print JSON')
    .option('--markdown', 'print a Markdown table')
    .action(showSettings)
  return program
}

function addAuditCommands(program: Command): void {
  const command = withSettings(program.command('audit'), 'home', 'database')
    .description('check that nothing was lost, recorded twice or left stuck')
    .option('--since <duration>', 'only jobs accepted in that time: 90s, 15m, 2h, 7d (preset: all there are)')
    .option('--settle <seconds>', 'what must be quiet is looked at twice, so far apart; 0: one look counts', '5')
    .option('--rows <n>', 'violations listed of each check', '20')
    .option('--history <file>', 'compare with what the sender of the events saw (docs/audit.md)')
    .option('--effects <file>', 'compare with what the steps noted when they ran (docs/audit.md)')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  $ millrace audit\n  $ millrace audit --since 1h --json\n  $ millrace audit record on     record claims, changes and refusals from now on',
    )
    .action(async (options) => (await import('./audit.ts')).auditCommand(options))

  withSettings(command.command('record'), 'home', 'database')
    .argument('<what>', 'on: a new record begins; off: nothing more is recorded; clear: forget it; status')
    .option('--json', 'print JSON')
    .description('audit mode: whether what happens to jobs is recorded, for the checks that need it')
    // The options are those of `audit` as well, which takes them wherever they stand.
    .action(async (what, _options, self) => (await import('./audit.ts')).recordCommand(what, self.optsWithGlobals()))
}

const examples = `
Examples:
  $ millrace up                                       start everything here
  $ millrace flow push hello.yaml hello               deploy a flow
  $ millrace flow run hello -d '{"name": "Ada"}' --wait
  $ millrace job list --failed                        what went wrong
  $ millrace audit                                    is everything there, once?
  $ millrace settings                                 what can be set`

function showSettings(options: { json?: boolean; markdown?: boolean }): void {
  if (options.markdown) return print(settingsMarkdown())
  if (options.json) return printJson(settingRows())
  const rows = settingRows().map((row) => [
    row.env,
    process.env[row.env] && !/TOKEN|URL/.test(row.env) ? process.env[row.env]! : row.preset,
    row.text,
  ])
  print(table(['VARIABLE', 'VALUE', ''], rows))
}

// A reader that went away (`millrace job list | head`), or a terminal that was closed, is no fault.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

try {
  await buildProgram().parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2 // commander has printed it
  } else {
    printError(error, { json: process.argv.includes('--json') })
    process.exitCode = 1
    setTimeout(() => process.exit(), 2_000).unref() // whatever the part that failed has left open
  }
}
