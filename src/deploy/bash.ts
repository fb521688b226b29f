// Bash steps: the syntax is checked by bash itself, the parameters are the positional ones named at the top.
import type { Json } from '../core/json.ts'
import { runTool } from './exec.ts'
import { argumentsSchema, codeError, type BuiltCode, type Source } from './source.ts'

const checkTimeoutMs = 10_000

/** @throws EngineError E_CODE_INVALID */
export async function buildBash(source: Source): Promise<BuiltCode> {
  if (source.content.trim() === '') throw codeError(source, 'no code: write the commands to run')
  const parameters = bashParameters(source.content)
  const checked = await runTool('bash', ['--norc', '--noprofile', '-n', '-s'], {
    input: source.content,
    timeoutMs: checkTimeoutMs,
    env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    missing: 'install bash to deploy steps written in it',
  })
  if (checked.exitCode !== 0 || checked.stderr.includes('syntax error')) throw syntaxError(source, checked.stderr)
  const schema = argumentsSchema(parameters)
  return { content: source.content, lock: null, params: parameters.map((p) => p.name), schema, wantsToken: true }
}

function syntaxError(source: Source, stderr: string): Error {
  const first = /line (\d+): (.*)/.exec(stderr)
  if (!first) return codeError(source, `bash cannot read it: ${stderr.trim().slice(0, 300) || 'it may be nested too deeply'}`)
  return codeError(source, first[2]!, { line: Number(first[1]), column: 1 })
}

/**
 * `name="$1"` and `name="${2:-default}"` at the start of a line, before any other command.
 * A position that no line names is `arg<N>`.
 */
function bashParameters(content: string): { name: string; schema: { [key: string]: Json }; required: boolean }[] {
  const named = new Map<number, { name: string; preset: string | undefined }>()
  for (const line of content.split('\n')) {
    const text = line.trim()
    if (text === '' || text.startsWith('#') || /^(set|shopt) /.test(text)) continue
    const match =
      /^(?:(?:local|export|readonly|declare)\s+)?([A-Za-z_]\w*)=(["']?)\$(?:(\d)|\{(\d+)(?::?-(.*?))?\})\2\s*;?\s*(?:#.*)?$/.exec(
        text,
      )
    if (!match) break
    const position = Number(match[3] ?? match[4])
    if (position > 0 && position < 100 && !named.has(position)) named.set(position, { name: match[1]!, preset: match[5] })
  }
  const last = Math.max(0, ...named.keys())
  return Array.from({ length: last }, (_, i) => {
    const { name, preset } = named.get(i + 1) ?? { name: `arg${i + 1}`, preset: undefined }
    const schema: { [key: string]: Json } = preset === undefined ? { type: 'string' } : { type: 'string', default: preset }
    return { name, schema, required: preset === undefined && named.has(i + 1) }
  })
}
