// The flows of docs/flows come to what they say they do. A file is one flow document; documents before it (`---`) are deployed under
// their `path`. Its first lines are comments: `# args: <JSON>` and `# result: <JSON>`; `# answers: <JSON>` if it waits for some (cases.ts),
// `# variables: <JSON>` and `# resources: <JSON>` if it names any (kept.ts).
import { readdirSync, readFileSync } from 'node:fs'
import { beforeAll, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import type { FlowValue } from '../../src/core/flow/definition.ts'
import type { Json } from '../../src/core/json.ts'
import { testEngine, type Deployed, type Engine } from '../support/engine.ts'
import { keep, type Kept } from '../support/kept.ts'
import { sendAnswers } from './answers.ts'
import type { FlowAnswer } from './cases.ts'

const folder = new URL('../../docs/flows/', import.meta.url)
const names = readdirSync(folder).filter((name) => name.endsWith('.yaml'))

interface Document {
  path?: string
  content?: string
  language?: string
  value?: FlowValue
}

let engine: Engine
beforeAll(async () => {
  engine = await testEngine()
  await engine.work([], { tags: ['flow', 'gpu'] })
})

function said(text: string, what: 'args' | 'result'): Json {
  const found = maybeSaid(text, what)
  if (found === undefined) throw new Error(`no line "# ${what}: …"`)
  return found
}

function maybeSaid(text: string, what: string): Json | undefined {
  const line = new RegExp(`^# ${what}: (.*)$`, 'm').exec(text)
  return line ? (JSON.parse(line[1]!) as Json) : undefined
}

async function deploy({ path, content, language, value }: Document, name: string): Promise<Deployed | undefined> {
  if (value) {
    const { modules, ...more } = value
    return engine.deploy(path ?? `docs/${name.replace('.yaml', '')}`, modules, more, false)
  }
  await engine.script(path!, content!, language)
  return undefined
}

test.each(names)('%s', async (name) => {
  const text = readFileSync(new URL(name, folder), 'utf8')
  const [variables, resources] = [maybeSaid(text, 'variables'), maybeSaid(text, 'resources')]
  await keep(engine.db, { variables, resources } as Kept)
  const documents = parseAllDocuments(text).map((document) => document.toJS() as Document)
  let flow: Deployed | undefined
  for (const document of documents) flow = await deploy(document, name)
  const id = await engine.start(flow!, said(text, 'args'))
  const answers = maybeSaid(text, 'answers')
  if (answers !== undefined) await sendAnswers(engine.db, id, answers as unknown as FlowAnswer[])
  const done = await engine.done(id)
  expect({ status: done.status, result: done.result }).toEqual({ status: 'success', result: said(text, 'result') })
})

test('every flow has its page', () => {
  const pages = readdirSync(folder).filter((name) => name.endsWith('.md'))
  for (const name of names) expect(pages).toContain(name.replace('.yaml', '.md'))
})
