// The log: JSON lines when read by programs, words when read by people. And the one live line of a terminal.
//   L1. Everything goes to stderr, except what a command was asked for.
//   L2. What is written for people is one line each, whatever a text holds: control characters are shown, not obeyed.
//   L3. The live line is the last of the terminal: every other line goes above it.
import { styleText } from 'node:util'
import { pino, type Logger } from 'pino'
import { EngineError } from '../core/errors.ts'
import { printable } from './output.ts'

const levels: Record<number, { name: string; style: 'red' | 'yellow' | 'cyan' | 'gray' }> = {
  20: { name: 'debug', style: 'gray' },
  30: { name: 'info', style: 'cyan' },
  40: { name: 'warn', style: 'yellow' },
  50: { name: 'error', style: 'red' },
  60: { name: 'fatal', style: 'red' },
}

export interface Screen {
  /** One line of log: JSON from this process or a child, or anything else a child printed. */
  line(text: string): void
  /** What the live line says; '' takes it away. Where there is no terminal, it is an ordinary line. */
  live(text: string): void
}

export function createScreen(stream: NodeJS.WriteStream = process.stderr): Screen {
  const terminal = stream.isTTY
  let live = ''
  return {
    line(text) {
      if (text === '') return
      if (!terminal) stream.write(`${text}\n`)
      else stream.write(`\r\x1b[K${readable(text)}\n${live}`)
    },
    live(text) {
      if (!terminal) {
        if (text !== '') stream.write(`${text}\n`)
        return
      }
      live = text.slice(0, Math.max(20, (stream.columns || 80) - 1)) // a line that wraps could not be taken back
      stream.write(`\r\x1b[K${live}`)
    },
  }
}

const levelNames = ['debug', 'info', 'warn', 'error', 'silent']

/** @throws EngineError E_INVALID for a level that is none */
export function createLog(level: string, screen: Screen): Logger {
  if (!levelNames.includes(level)) {
    const text = `log level ${JSON.stringify(level)} is none; use one of ${levelNames.join(', ')}`
    throw new EngineError('E_INVALID', text, { at: 'MILLRACE_LOG_LEVEL', allowed: levelNames })
  }
  const log = pino(
    { level, base: undefined, timestamp: pino.stdTimeFunctions.epochTime },
    { write: (text: string) => screen.line(text.trimEnd()) },
  )
  return log
}

const quiet = new Set(['level', 'time', 'msg', 'pid', 'hostname', 'part', 'err'])

/** `21:03:04 warn  worker main/github/triage: runner died  exitCode=1` */
function readable(text: string): string {
  if (!text.startsWith('{')) return printable(text)
  let entry: Record<string, unknown>
  try {
    entry = JSON.parse(text) as Record<string, unknown>
  } catch {
    return printable(text)
  }
  const level = levels[Number(entry['level'])] ?? { name: 'info', style: 'cyan' as const }
  const time = new Date(Number(entry['time'] ?? Date.now())).toTimeString().slice(0, 8)
  const part = typeof entry['part'] === 'string' ? printable(`${entry['part']}: `) : ''
  const err = entry['err'] as { message?: string } | undefined
  const facts = Object.entries(entry)
    .filter(([name]) => !quiet.has(name))
    .map(([name, value]) => printable(`${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`))
  if (err?.message) facts.push(printable(`error=${err.message}`))
  const rest = facts.length === 0 ? '' : `  ${styleText('dim', facts.join(' '))}`
  return `${styleText('dim', time)} ${styleText(level.style, level.name.padEnd(5))} ${part}${typeof entry['msg'] === 'string' ? printable(entry['msg']) : ''}${rest}`
}
