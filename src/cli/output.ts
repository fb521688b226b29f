// What commands print: results on stdout, everything else on stderr, and errors as people can read them.
//   O1. With --json, stdout carries JSON and nothing else.
//   O2. A stack is shown only with MILLRACE_DEBUG set.
import { styleText } from 'node:util'
import Table from 'cli-table3'
import { ClientError, RunFailedError } from '../client/client.ts'
import { EngineError, messageOf } from '../core/errors.ts'

export function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`)
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, process.stdout.isTTY ? 2 : undefined))
}

/** What became of something of a workspace: `created main/f/a/b`. */
export function printOutcome(outcome: string, workspace: string, path: string, { json }: { json?: boolean }): void {
  if (json) printJson({ path, outcome })
  else print(`${outcome} ${workspace}/${path}`)
}

export function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

const bare = {
  ...Object.fromEntries(['top', 'bottom', 'left', 'right', 'mid'].map((side) => [side, ''])),
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  'left-mid': '',
  'mid-mid': '',
  'right-mid': '',
  middle: '  ',
}

/** Columns without lines, wide as they must be. */
export function table(head: string[], rows: string[][]): string {
  const grid = new Table({
    head: head.map(strong),
    chars: bare,
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  })
  grid.push(...rows)
  return grid
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}

// Control characters, and marks that change the direction or the place of what follows.
// oxlint-disable-next-line no-control-regex
const unsafe = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g

/** Text that someone else wrote, on one line of a terminal: it cannot move the cursor, colour, or pass for another line. */
export function printable(text: string): string {
  return text.replace(unsafe, (character) => {
    if (character === '\n') return '\\n'
    if (character === '\t') return ' '
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}

export function strong(text: string): string {
  return process.stdout.isTTY ? styleText('bold', text) : text
}

export function faint(text: string): string {
  return process.stdout.isTTY ? styleText('dim', text) : text
}

/** What to do next, for errors whose message does not say it itself. */
function wayOut(error: unknown): string | undefined {
  if (!(error instanceof ClientError)) return undefined
  if (error.code === 'E_UNREACHABLE') return 'start one with `millrace up`, or name one with --url or MILLRACE_URL'
  if (error.status === 401) return 'give a token of that server with --token or MILLRACE_TOKEN'
  if (error.status === 429 || error.status === 503) return 'the same request may succeed in a moment'
  return undefined
}

interface ToldError {
  code: string
  message: string
  at?: string
  help?: string
}

function toldError(error: unknown): ToldError {
  if (error instanceof RunFailedError) return { code: error.code, message: error.message, at: error.at && `step ${error.at}` }
  if (error instanceof ClientError) return { code: error.code, message: error.message, at: error.at, help: wayOut(error) }
  if (error instanceof EngineError) return { code: error.code, message: error.message, at: error.details.at }
  return {
    code: 'E_INTERNAL',
    message: messageOf(error),
    help: 'this looks like a fault of millrace; MILLRACE_DEBUG=1 shows where',
  }
}

export function printError(error: unknown, options: { json: boolean }): void {
  const told = toldError(error)
  if (options.json) {
    note(JSON.stringify({ error: told }))
  } else {
    const label = process.stderr.isTTY ? styleText(['red', 'bold'], 'error') : 'error'
    const place = told.at === undefined || told.message.includes(told.at) ? '' : `\n  at ${told.at}`
    note(`${label}: ${told.message}${place}${told.help ? `\n  ${told.help}` : ''}`)
  }
  if (process.env['MILLRACE_DEBUG'] && error instanceof Error) note(error.stack ?? '')
}
