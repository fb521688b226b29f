// `millrace resource …`: JSON that steps read by name, mostly how to reach something.
import type { Command } from 'commander'
import { connect } from './connect.ts'
import { givenJson } from './given.ts'
import { note, print, printJson, printOutcome, table } from './output.ts'
import { clientCommand, type ClientOptions } from './program.ts'

export function addResourceCommands(program: Command): void {
  const resource = program.command('resource').description('JSON that steps read by name, such as how to reach a database')

  clientCommand(resource.command('list'))
    .option('--type <types>', 'only of these types, by comma')
    .description('what there is')
    .action(list)

  clientCommand(resource.command('get'))
    .argument('<path>', 'the resource')
    .option('--resolve', 'with the variables and resources that it names in place: secrets too')
    .description('prints its value; with --json all that is known of it')
    .action(get)

  clientCommand(resource.command('set'))
    .argument('<path>', 'the resource; it is made if there is none')
    .argument('<value>', 'JSON, @file, or - for stdin; "$var:<path>" and "$res:<path>" in it name others')
    .option('--type <type>', 'what kind of thing it is, for people and lists')
    .option('--description <text>', 'what it is for')
    .description('makes a resource, or gives it another value')
    .addHelpText(
      'after',
      `
Examples:
  $ millrace resource set f/shop/api '{"url": "https://api.example.org", "key": "$var:f/shop/api_key"}'
  $ millrace resource set f/shop/db @database.json --type postgresql`,
    )
    .action(set)

  clientCommand(resource.command('delete')).argument('<path>', 'the resource').description('deletes it').action(remove)
}

async function list(options: ClientOptions & { type?: string }): Promise<void> {
  const resources = await connect(options).resources(options.type)
  if (options.json) return printJson(resources)
  if (resources.length === 0) return note('no resources; make one with `millrace resource set <path> <json>`')
  const rows = resources.map((one) => [one.path, one.resource_type, JSON.stringify(one.value).slice(0, 60), one.description])
  print(table(['PATH', 'TYPE', 'VALUE', 'DESCRIPTION'], rows))
}

async function get(path: string, options: ClientOptions & { resolve?: boolean }): Promise<void> {
  const client = connect(options)
  if (options.resolve) return printJson(await client.resourceValue(path))
  const resource = await client.resource(path)
  printJson(options.json ? resource : resource.value)
}

interface SetOptions extends ClientOptions {
  type?: string
  description?: string
}

async function set(path: string, given: string, { type, description, ...options }: SetOptions): Promise<void> {
  const value = givenJson(given, 'value')
  const client = connect(options)
  const outcome = await client.setResource(path, {
    value,
    ...(type === undefined ? {} : { resource_type: type }),
    ...(description === undefined ? {} : { description }),
  })
  printOutcome(outcome, client.workspace, path, options)
}

async function remove(path: string, options: ClientOptions): Promise<void> {
  const client = connect(options)
  await client.deleteResource(path)
  printOutcome('deleted', client.workspace, path, options)
}
