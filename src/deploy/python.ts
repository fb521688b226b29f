// Python steps: read by Python's own parser (inspect.py), many in one process, never imported or run.
//   P1. The lock is the text of a requirements file: what the runner's environment is made from. None: the standard library.
import { readFileSync } from 'node:fs'
import { EngineError } from '../core/errors.ts'
import type { Json } from '../core/json.ts'
import { runTool } from './exec.ts'
import { argumentsSchema, codeError, type BuiltCode, type Source } from './source.ts'

const inspectTimeoutMs = 20_000

type Inspected =
  | { params: { name: string; schema: { [key: string]: Json }; required: boolean }[] }
  | { error: { text: string; line?: number; column?: number } }

let inspector: string | undefined

/** One outcome for each source, in order; a fault of one does not touch the others. */
export async function buildPython(sources: Source[]): Promise<(BuiltCode | EngineError)[]> {
  if (sources.length === 0) return []
  inspector ??= readFileSync(new URL('inspect.py', import.meta.url), 'utf8')
  const { exitCode, stdout, stderr } = await runTool('python3', ['-I', '-c', inspector], {
    input: JSON.stringify(sources.map((source) => source.content)),
    timeoutMs: inspectTimeoutMs,
    env: { PATH: process.env['PATH'], PYTHONIOENCODING: 'utf-8', PYTHONUTF8: '1' },
    missing: 'install Python 3.9 or later to deploy steps written in it',
  })
  if (exitCode !== 0) {
    throw new EngineError('E_SETUP', `python3 could not read the code: ${stderr.trim().split('\n').at(-1) ?? 'it was killed'}`)
  }
  const inspected = JSON.parse(stdout) as Inspected[]
  return sources.map((source, i) => built(source, inspected[i]!))
}

function built(source: Source, inspected: Inspected): BuiltCode | EngineError {
  if ('error' in inspected) {
    const { text, line, column } = inspected.error
    if (line === undefined) return codeError(source, 'no function "main"; define one: def main(x): …')
    return codeError(source, text, { line, column: column ?? 1 })
  }
  const lock = requirementsOf(source)
  const wantsToken =
    lock !== null || /environ|getenv|subprocess|\bos\b|wmill|WM_TOKEN|\bexec\b|\beval\b|__import__|importlib/.test(source.content)
  const params = inspected.params.map((p) => p.name)
  return { content: source.content, lock, params, schema: argumentsSchema(inspected.params), wantsToken }
}

/** The step's own lock, or the comment block `# requirements:` at the top of its code. */
function requirementsOf(source: Source): string | null {
  const given = source.lock?.trim()
  if (given) return `${given}\n`
  const lines = source.content.split('\n')
  const start = lines.findIndex((line) => /^#\s*requirements:\s*$/.test(line.trimEnd()))
  if (start < 0 || lines.slice(0, start).some((line) => line.trim() !== '' && !line.startsWith('#'))) return null
  const wanted: string[] = []
  for (const line of lines.slice(start + 1)) {
    if (!line.startsWith('#')) break
    const text = line.slice(1).trim()
    if (text !== '') wanted.push(text)
  }
  return wanted.length === 0 ? null : `${wanted.join('\n')}\n`
}
