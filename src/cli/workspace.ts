// `millrace workspace …`: what holds for a whole workspace.
import type { Command } from 'commander'
import type { ErrorHandler } from '../client/client.ts'
import { EngineError } from '../core/errors.ts'
import { connect } from './connect.ts'
import { givenObject } from './given.ts'
import { note, print, printable, printJson } from './output.ts'
import { clientCommand, type ClientOptions } from './program.ts'

export function addWorkspaceCommands(program: Command): void {
  const workspace = program.command('workspace').description('settings of a workspace, for its admins')

  clientCommand(workspace.command('error-handler'))
    .option('--set <path>', 'what is started for each job that fails: flow/<path> or script/<path>')
    .option('--args <json>', 'with --set: further arguments of it: a JSON object, @file, or - for stdin')
    .option('--muted-on-cancel', 'with --set: not for jobs that were canceled')
    .option('--muted-on-user-path', 'with --set: not for what lies under u/')
    .option('--clear', 'nothing is started any more')
    .description('what is started when a job fails; without options, shows it')
    .addHelpText(
      'after',
      `
Examples:
  $ millrace workspace error-handler --set flow/f/ops/tell --args '{"channel": "#alerts"}'
  $ millrace workspace error-handler
  $ millrace workspace error-handler --clear`,
    )
    .action(errorHandler)
}

interface HandlerOptions extends ClientOptions {
  set?: string
  args?: string
  mutedOnCancel?: boolean
  mutedOnUserPath?: boolean
  clear?: boolean
}

async function errorHandler(options: HandlerOptions): Promise<void> {
  const handler = handlerOf(options)
  const client = connect(options)
  if (handler !== undefined) await client.setErrorHandler(handler)
  const now = await client.errorHandler()
  if (options.json) printJson(now)
  else if (now === null) note('no error handler; name one with `millrace workspace error-handler --set flow/<path>`')
  else print(printable(handlerText(now)))
}

/** undefined: it stays as it is. */
function handlerOf({ set, args, mutedOnCancel, mutedOnUserPath, clear }: HandlerOptions): ErrorHandler | null | undefined {
  if (set !== undefined && clear) throw new EngineError('E_INVALID', 'give --set or --clear, not both', { at: '--clear' })
  if (set !== undefined) {
    return {
      path: set,
      extra_args: args === undefined ? null : givenObject(args, '--args', 'one field for each further argument'),
      muted_on_cancel: mutedOnCancel ?? false,
      muted_on_user_path: mutedOnUserPath ?? false,
    }
  }
  const alone = Object.entries({ '--args': args, '--muted-on-cancel': mutedOnCancel, '--muted-on-user-path': mutedOnUserPath })
  const [at] = alone.find(([, value]) => value !== undefined) ?? []
  if (at !== undefined) throw new EngineError('E_INVALID', `${at} belongs to a handler: give --set too`, { at })
  return clear ? null : undefined
}

function handlerText({ path, extra_args, muted_on_cancel, muted_on_user_path }: ErrorHandler): string {
  const more: string[] = []
  if (extra_args !== null) more.push(`with ${JSON.stringify(extra_args)}`)
  if (muted_on_cancel) more.push('not for canceled jobs')
  if (muted_on_user_path) more.push('not for u/')
  return [path, ...more].join(', ')
}
