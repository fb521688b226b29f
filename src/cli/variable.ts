// `millrace variable …`: texts that steps read by name, secrets among them.
import type { Command } from 'commander'
import { connect } from './connect.ts'
import { givenText } from './given.ts'
import { note, print, printJson, printOutcome, table } from './output.ts'
import { clientCommand, type ClientOptions } from './program.ts'

export function addVariableCommands(program: Command): void {
  const variable = program.command('variable').description('texts that steps read by name; secrets')

  clientCommand(variable.command('list')).description('what there is; not what secrets are').action(list)

  clientCommand(variable.command('get'))
    .argument('<path>', 'the variable')
    .description('prints its value, of a secret too')
    .action(get)

  clientCommand(variable.command('set'))
    .argument('<path>', 'the variable; it is made if there is none')
    .requiredOption('--value <text>', 'its value: a text, @file, or - for stdin (others may see what stands on a command line)')
    .option('--secret', 'seal it in the database; what is a secret stays one')
    .option('--plain', 'it is no secret any more')
    .option('--description <text>', 'what it is for')
    .description('makes a variable, or gives it another value')
    .addHelpText(
      'after',
      '\nExamples:\n  $ millrace variable set f/shop/region --value eu\n  $ millrace variable set f/shop/api_key --secret --value - < key.txt',
    )
    .action(set)

  clientCommand(variable.command('delete')).argument('<path>', 'the variable').description('deletes it').action(remove)
}

async function list(options: ClientOptions): Promise<void> {
  const variables = await connect(options).variables()
  if (options.json) return printJson(variables)
  if (variables.length === 0) return note('no variables yet; make one with `millrace variable set <path> --value <text>`')
  const rows = variables.map((one) => [one.path, one.is_secret ? '(secret)' : (one.value ?? '').slice(0, 60), one.description])
  print(table(['PATH', 'VALUE', 'DESCRIPTION'], rows))
}

async function get(path: string, options: ClientOptions): Promise<void> {
  const variable = await connect(options).variable(path)
  if (options.json) printJson(variable)
  else print(variable.value ?? '')
}

interface SetOptions extends ClientOptions {
  value: string
  secret?: boolean
  plain?: boolean
  description?: string
}

async function set(path: string, options: SetOptions): Promise<void> {
  const { description } = options
  const secret = options.secret ? true : options.plain ? false : undefined
  const value = givenText(options.value, '--value')
  const client = connect(options)
  const outcome = await client.setVariable(path, {
    value,
    ...(secret === undefined ? {} : { is_secret: secret }),
    ...(description === undefined ? {} : { description }),
  })
  printOutcome(outcome, client.workspace, path, options)
}

async function remove(path: string, options: ClientOptions): Promise<void> {
  const client = connect(options)
  await client.deleteVariable(path)
  printOutcome('deleted', client.workspace, path, options)
}
