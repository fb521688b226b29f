// Parses TypeScript without risking the process: the parser is native code, and nesting deeper than its stack ends whoever
// calls it. Short code cannot be nested so deeply; longer code is parsed in a process of its own.
import { createRequire } from 'node:module'
import { parseSync, type Program } from 'oxc-parser'
import { runTool } from './exec.ts'

// Measured with a stack of 8 MiB: 28 ways to nest, the first that ended the process needed 8,000 characters.
const shortCharsMax = 5_000
const parseTimeoutMs = 30_000

// What is inside of functions and classes is of no use here, and is left out of the answer.
const parseProgram = `
import { readFileSync } from 'node:fs'
const { default: oxc, parseSync = oxc.parseSync } = await import(process.argv[1])
const { program } = parseSync('step.ts', readFileSync(0, 'utf8'), { lang: 'ts' })
process.stdout.write(JSON.stringify(program, (key, value) =>
  typeof value === 'bigint' || value instanceof RegExp ? undefined
  : key === 'body' && (value?.type === 'BlockStatement' || value?.type === 'ClassBody') ? { type: value.type }
  : value))
`

/** The syntax tree of code that esbuild has accepted; null if it is nested too deeply. Inner code may be left out. */
export async function parseTypescript(code: string): Promise<Program | null> {
  if (code.length <= shortCharsMax) return parseSync('step.ts', code, { lang: 'ts' }).program
  const parser = createRequire(import.meta.url).resolve('oxc-parser')
  const { exitCode, stdout } = await runTool(process.execPath, ['--input-type=module', '-e', parseProgram, parser], {
    input: code,
    env: {},
    timeoutMs: parseTimeoutMs,
    missing: 'install Node again',
  })
  return exitCode === 0 ? (JSON.parse(stdout) as Program) : null
}
