// Flow files: YAML or JSON OpenFlow documents, with code beside them (`content: '!inline a.ts'`).
//   F1. Folders as Windmill's command line writes them are read: `name__flow/flow.yaml`, `name.flow/flow.yaml`.
//   F2. A fault named by JSON path is told by file, line and column (placeOf).
import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path'
import { isNode, isScalar, LineCounter, parseDocument, type Document } from 'yaml'
import type { FlowDocument } from '../client/client.ts'
import { EngineError, messageOf } from '../core/errors.ts'
import type { Json } from '../core/json.ts'

export interface FlowFile {
  file: string
  flow: FlowDocument
  /** The flow's path, from the document or from where the file lies. */
  path: string
  /** `file:line:column` of a JSON path, or undefined if it names nothing here. */
  placeOf(at: string): string | undefined
}

const fileNames = ['flow.yaml', 'flow.yml', 'flow.json']
const inlined = /^!inline\s+(.+)$/

/** @throws EngineError E_INVALID or E_FLOW_INVALID, with the file and line */
export function readFlowFile(given: string): FlowFile {
  const file = fileOf(given)
  const lines = new LineCounter()
  const text = readFileSync(file, 'utf8')
  const document = parseDocument(text, { lineCounter: lines, customTags: [inlineTag] })
  const where = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${line}:${col}`
  }
  const fault = document.errors[0]
  if (fault) {
    const at = where(fault.pos[0])
    throw new EngineError(
      'E_FLOW_INVALID',
      `${at}: ${fault.message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, '')}`,
      { at },
    )
  }
  const flow = document.toJS() as FlowDocument | null
  if (flow === null || typeof flow !== 'object' || Array.isArray(flow) || flow.value === undefined) {
    throw new EngineError('E_FLOW_INVALID', `${file} is not an OpenFlow document: it needs \`value.modules\``, { at: file })
  }
  const codeFiles = new Map<string, string>() // JSON path of a content → the file it came from
  inline(flow, '$', { folder: dirname(file), codeFiles, placeOf: (at) => nodePlace(document, at, where) ?? file })
  return {
    file,
    flow,
    path: typeof flow['path'] === 'string' ? flow['path'] : pathOfFile(file),
    placeOf(at) {
      const inCode = /^(\$.*\bcontent)(?: .*?)?:(\d+)(?::(\d+))?$/.exec(at)
      if (inCode === null) return codeFiles.get(at) ?? nodePlace(document, at, where)
      const [, content, line, column = '1'] = inCode
      const codeFile = codeFiles.get(content!)
      if (codeFile !== undefined) return `${codeFile}:${line}:${column}`
      return blockPlace({ document, text, at: content!, line: Number(line), column: Number(column), where })
    },
  }
}

const inlineTag = { tag: '!inline', resolve: (text: string) => `!inline ${text}` }

function fileOf(given: string): string {
  if (!existsSync(given))
    throw new EngineError('E_INVALID', `${given} does not exist; give a flow file or its folder`, { at: given })
  if (!statSync(given).isDirectory()) return given
  const name = fileNames.find((candidate) => existsSync(join(given, candidate)))
  if (name === undefined) throw new EngineError('E_INVALID', `${given} holds no ${fileNames.join(', ')}`, { at: given })
  return join(given, name)
}

/** `f/news/digest__flow/flow.yaml` → `f/news/digest`; `digest.yaml` → `digest`. */
function pathOfFile(file: string): string {
  const place = fileNames.includes(basename(file)) ? dirname(file) : file
  const inside = relative(process.cwd(), place)
  const path = inside.startsWith('..') || isAbsolute(inside) || inside === '' ? basename(place) : inside
  return path
    .split(sep)
    .join('/')
    .replace(/(__flow|\.flow)?(\.(ya?ml|json))?$/, '')
}

interface Inlining {
  folder: string
  codeFiles: Map<string, string>
  placeOf(at: string): string
}

/** Puts the text of files where documents name them. Only `content` and `lock` may. */
function inline(value: Json | object, at: string, context: Inlining): void {
  if (value === null || typeof value !== 'object') return
  for (const [key, inner] of Object.entries(value) as [string, Json][]) {
    const place = Array.isArray(value) ? `${at}[${key}]` : `${at}.${key}`
    const named = (key === 'content' || key === 'lock') && typeof inner === 'string' ? inlined.exec(inner) : null
    if (named) {
      const codeFile = join(context.folder, named[1]!.trim())
      context.codeFiles.set(place, codeFile)
      ;(value as Record<string, Json>)[key] = readCode(codeFile, place, context)
    } else {
      inline(inner, place, context)
    }
  }
}

function readCode(codeFile: string, at: string, context: Inlining): string {
  try {
    return readFileSync(codeFile, 'utf8')
  } catch (error) {
    const place = context.placeOf(at)
    throw new EngineError('E_INVALID', `${place}: \`!inline\` names a file that cannot be read (${messageOf(error)})`, {
      at: place,
    })
  }
}

/** `$.value.modules[2]["a b"]` → ['value', 'modules', 2, 'a b'] */
function keysOf(at: string): (string | number)[] {
  const keys: (string | number)[] = []
  for (const [, name, index, quoted] of at.matchAll(/\.([A-Za-z_$][\w$]*)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]/g)) {
    keys.push(name ?? (quoted === undefined ? Number(index) : (JSON.parse(quoted) as string)))
  }
  return keys
}

/** A place inside code that stands in the document as a block (`content: |`). */
function blockPlace(of: {
  document: Document
  text: string
  at: string
  line: number
  column: number
  where: (offset: number) => string
}): string | undefined {
  const node = of.document.getIn(keysOf(of.at), true)
  if (!isScalar(node) || !node.range || node.type !== 'BLOCK_LITERAL') return nodePlace(of.document, of.at, of.where)
  let offset = node.range[0]
  const nextLine = (from: number) => of.text.indexOf('\n', from) + 1
  for (let n = 0; n < of.line; n++) offset = nextLine(offset)
  const indent = /^(?:[ \t]*\n)*( +)/.exec(of.text.slice(nextLine(node.range[0])))?.[1]!.length ?? 0
  return of.where(offset + indent + of.column - 1)
}

function nodePlace(document: Document, at: string, where: (offset: number) => string): string | undefined {
  if (!at.startsWith('$')) return undefined
  // What is missing has no place; what should hold it has.
  for (const keys = keysOf(at); ; keys.pop()) {
    const node = keys.length === 0 ? document.contents : document.getIn(keys, true)
    if (isNode(node) && node.range) return where(node.range[0])
    if (keys.length === 0) return undefined
  }
}
