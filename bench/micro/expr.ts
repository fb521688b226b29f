// What one evaluation of an expression costs, by tier. `npx tsx bench/micro/expr.ts [evaluations]`
//   A context of about 1 kB; the scope's values are parsed already, as they are after their first use in a job.
import { compileExpression } from '../../src/core/expr/compile.ts'
import type { Scope } from '../../src/core/expr/expression.ts'
import { createSandbox } from '../../src/core/expr/sandbox.ts'
import type { Json } from '../../src/core/json.ts'

const evaluations = Number(process.argv[2] ?? 100_000)

const input: Json = { x: 1, items: Array.from({ length: 10 }, (_, id) => ({ id, name: `item ${id}` })), text: 'x'.repeat(600) }
const result: Json = { a: { b: 41 } }
const [inputText, resultText] = [JSON.stringify(input), JSON.stringify(result)]
const scope: Scope = {
  flowInput: () => input,
  flowInputText: () => inputText,
  result: () => result,
  resultText: () => resultText,
  resultIds: () => ['a', 'b'],
  previous: () => result,
  previousText: () => resultText,
  flowEnvText: () => '{"K":1}',
  allItersText: () => '[]',
  approvalsOf: () => [],
  errorText: () => undefined,
  look: () => [],
}

const sources: [tier: string, source: string][] = [
  ['constant', '{a: 1}'],
  ['whole value', 'flow_input'],
  ['path', 'results.a.a.b'],
  ['path, 10 deep in an array', 'flow_input.items[9].name'],
  ['code over 20 bytes', 'results.a.a.b + 1'],
  ['code over 1 kB', 'flow_input.items.length + 1'],
  ['code over 1 kB, out again', '({...flow_input, y: 1})'],
]

const sandbox = await createSandbox({ timeMs: 1_000, memoryBytes: 16 << 20 })
console.log(`${evaluations} evaluations each, Node ${process.version}`)
for (const [tier, source] of sources) {
  const expression = compileExpression(source, sandbox, 'before', '$')
  const count = tier.startsWith('code') ? Math.ceil(evaluations / 10) : evaluations
  let length = 0
  for (let i = 0; i < count / 10; i++) length += expression.text(scope).length // warm
  const startMs = performance.now()
  for (let i = 0; i < count; i++) length += expression.text(scope).length
  const us = ((performance.now() - startMs) * 1_000) / count
  console.log(`${tier.padEnd(28)} ${source.padEnd(30)} ${us.toFixed(3).padStart(8)} µs  (${length} characters)`)
}

const compileStartMs = performance.now()
for (let i = 0; i < 1_000; i++) compileExpression(`results.a.a.b + ${i}`, sandbox, 'before', '$')
console.log(`compiling one: ${(performance.now() - compileStartMs).toFixed(1)} µs`)
