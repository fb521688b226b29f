import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readFlowFile } from '../../src/cli/flow_file.ts'
import { EngineError } from '../../src/core/errors.ts'

let folder = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-flow-'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

function write(name: string, text: string): string {
  const file = join(folder, name)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  return file
}

function errorOf(work: () => unknown): EngineError {
  try {
    work()
  } catch (error) {
    if (error instanceof EngineError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

const document = `summary: two steps
value:
  modules:
    - id: a
      value:
        type: rawscript
        language: bun
        content: '!inline a.ts'
        input_transforms: {}
    - id: b
      value:
        type: rawscript
        language: bun
        content: !inline lib/b.ts
        input_transforms:
          "odd name": { type: javascript, expr: results.a }
`

test('code beside the document is put in, named as text or as a tag', () => {
  const file = write('flow.yaml', document)
  write('a.ts', 'export function main() { return 1 }')
  write('lib/b.ts', 'export function main() { return 2 }')
  const modules = readFlowFile(file).flow.value.modules as { value: { content: string } }[]
  expect(modules.map((one) => one.value.content)).toEqual([
    'export function main() { return 1 }',
    'export function main() { return 2 }',
  ])
})

test('a JSON path is told as file, line and column', () => {
  const file = write('flow.yaml', document)
  const a = write('a.ts', '')
  write('lib/b.ts', '')
  const { placeOf } = readFlowFile(file)
  expect(placeOf('$.value.modules[1].id')).toBe(`${file}:10:11`)
  expect(placeOf('$.value.modules[1].value.input_transforms["odd name"].expr')).toBe(`${file}:16:49`)
  // What is missing has the place of what should hold it.
  expect(placeOf('$.value.modules[0].value.tag')).toBe(`${file}:6:9`)
  expect(placeOf('$.value.modules[0].value.content')).toBe(a)
  expect(placeOf('$.value.modules[0].value.content f/step2.ts:3:5')).toBe(`${a}:3:5`)
  expect(placeOf('Authorization')).toBeUndefined()
})

test('a place in code that stands in the document is one of the document', () => {
  const file = write(
    'flow.yaml',
    'value:\n  modules:\n    - value:\n        content: |\n          first\n          second line\n',
  )
  expect(readFlowFile(file).placeOf('$.value.modules[0].value.content hello/a.ts:2:8')).toBe(`${file}:6:18`)
})

test('a folder is read by its flow.yaml, flow.yml or flow.json', () => {
  write('digest__flow/flow.json', '{"value": {"modules": []}}')
  expect(readFlowFile(join(folder, 'digest__flow')).flow).toEqual({ value: { modules: [] } })
})

test.each([
  ['digest__flow/flow.yaml', 'digest'],
  ['digest.flow/flow.yaml', 'digest'],
  ['digest.yaml', 'digest'],
  ['digest.flow.json', 'digest'],
])('%s is the flow %s', (name, path) => {
  expect(readFlowFile(write(name, 'value: { modules: [] }')).path).toBe(path)
})

test('a path that the document names goes first', () => {
  expect(readFlowFile(write('x.yaml', 'path: f/news/digest\nvalue: { modules: [] }')).path).toBe('f/news/digest')
})

test.each([
  ['YAML that does not parse', 'value:\n  modules: [\n', /flow\.yaml:\d+:\d+: /, 'E_FLOW_INVALID'],
  ['a document that is no flow', 'summary: nothing else\n', /flow\.yaml is not an OpenFlow document/, 'E_FLOW_INVALID'],
  [
    'code that is not there',
    'value:\n  modules:\n    - id: a\n      value: { type: rawscript, content: "!inline gone.ts" }\n',
    /flow\.yaml:4:\d+: `!inline` names a file that cannot be read/,
    'E_INVALID',
  ],
])('%s is told with its place', (_name, text, message, code) => {
  const error = errorOf(() => readFlowFile(write('flow.yaml', text)))
  expect(error.message).toMatch(message)
  expect(error.code).toBe(code)
})

test('a file or folder that is not there is told', () => {
  expect(errorOf(() => readFlowFile(join(folder, 'none.yaml'))).message).toMatch(/none\.yaml does not exist/)
  mkdirSync(join(folder, 'empty'))
  expect(errorOf(() => readFlowFile(join(folder, 'empty'))).message).toMatch(/empty holds no flow\.yaml/)
})
