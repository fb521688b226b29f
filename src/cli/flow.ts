// `millrace flow …`: deploy flows, run them, look at them.
import type { Command } from 'commander'
import { stringify } from 'yaml'
import { ClientError, type DeployedFlow, type FlowPart } from '../client/client.ts'
import { connect } from './connect.ts'
import { readFlowFile } from './flow_file.ts'
import { givenObject } from './given.ts'
import { note, print, printJson, printOutcome, table } from './output.ts'
import { clientCommand, type ClientOptions } from './program.ts'

export function addFlowCommands(program: Command): void {
  const flow = program.command('flow').description('deploy, run and list flows')

  clientCommand(flow.command('push'))
    .argument('<file>', 'an OpenFlow document (YAML or JSON), or the folder that holds flow.yaml')
    .argument('[path]', "the flow's path; without it, where the file lies: f/news/digest__flow/flow.yaml → f/news/digest")
    .description('deploy a flow; jobs under way finish on their own version')
    .addHelpText(
      'after',
      '\nExamples:\n  $ millrace flow push examples/github-triage/flow.yaml github/triage\n  $ millrace flow push f/news/digest__flow',
    )
    .action(push)

  clientCommand(flow.command('run'))
    .argument('<path>', 'the flow')
    .option('-d, --data <json>', 'its arguments: a JSON object, @file, or - for stdin', '{}')
    .option('--wait', 'wait, and print the result')
    .option('--key <key>', 'name this run: calling again with the same key never starts it twice')
    .option('--until <step>', 'only up to this step')
    .option('--only <step>', 'only this step')
    .option('--results <json>', 'results of steps that are not to run, by step: a JSON object, or the file that holds it')
    .description('start a flow, or a part of it; prints the id of its job')
    .addHelpText(
      'after',
      `
Examples:
  $ millrace flow run hello -d '{"name": "Ada"}' --wait
  $ millrace flow run hello -d @arguments.json
  $ millrace flow run shop/order -d @order.json --until charge --wait
  $ millrace flow run shop/order --only charge --results '{"price": 12}' --wait`,
    )
    .action(run)

  clientCommand(flow.command('list')).description('deployed flows').action(list)

  clientCommand(flow.command('show'))
    .argument('<path>', 'the flow')
    .description('a deployed flow as YAML, or with --json as JSON')
    .action(show)
}

async function push(given: string, path: string | undefined, options: ClientOptions): Promise<void> {
  const read = readFlowFile(given)
  const target = path ?? read.path
  const client = connect(options)
  try {
    const outcome = await client.deploy(target, read.flow)
    printOutcome(outcome, client.workspace, target, options)
  } catch (error) {
    throw placed(error, read.placeOf)
  }
}

/** An error of the server about the document, told at the line it is about. */
function placed(error: unknown, placeOf: (at: string) => string | undefined): unknown {
  if (!(error instanceof ClientError) || error.at === undefined) return error
  const place = placeOf(error.at)
  if (place === undefined) return error
  const message = `${place}: ${error.message}`
  return new ClientError({ status: error.status, code: error.code, message, at: error.at, body: error.body, cause: error })
}

interface RunOptions extends ClientOptions {
  data: string
  wait?: boolean
  key?: string
  until?: string
  only?: string
  results?: string
}

async function run(path: string, options: RunOptions): Promise<void> {
  const args = givenObject(options.data, '--data', 'one field for each input of the flow')
  const part = partOf(options)
  const client = connect(options)
  const named = options.key === undefined ? {} : { key: options.key }
  const id = part ? await client.runPart(path, part, args, named) : await client.run(path, args, named)
  if (!options.wait) {
    if (options.json) printJson({ id })
    else print(id)
    return
  }
  if (!options.json) note(id)
  printJson(await client.result(id))
}

function partOf({ until, only, results }: RunOptions): FlowPart | null {
  const part: FlowPart = {}
  if (until !== undefined) part.until = until
  if (only !== undefined) part.only = only
  if (results !== undefined) {
    const given = /^\s*[{@-]/.test(results) ? results : `@${results}`
    part.results = givenObject(given, '--results', 'one field for each step whose result is given')
  }
  return Object.keys(part).length === 0 ? null : part
}

async function list(options: ClientOptions): Promise<void> {
  const flows = await connect(options).flows()
  if (options.json) return printJson(flows)
  if (flows.length === 0) return note('no flows yet; deploy one with `millrace flow push <file>`')
  print(table(['PATH', 'SUMMARY', 'WORKER', 'EDITED'], flows.map(row)))
}

function row(flow: DeployedFlow): string[] {
  return [flow.path, (flow.summary ?? '').slice(0, 60), flow.dedicated_worker ? 'dedicated' : 'shared', flow.edited_at ?? '']
}

async function show(path: string, options: ClientOptions): Promise<void> {
  const flow = await connect(options).flow(path)
  if (options.json) return printJson(flow)
  const { summary, description, dedicated_worker, tag, value, schema } = flow
  const document = { summary, description, dedicated_worker, tag, value, schema }
  print(stringify(JSON.parse(JSON.stringify(document)), { lineWidth: 0 }))
}
