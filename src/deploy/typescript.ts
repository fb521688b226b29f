// TypeScript and JavaScript steps: one ES module each, with everything it imports bundled in.
//   T1. Only Node's own modules stay imports. Code reaches no file but its own and those of its installed packages.
//   T2. The source map is part of the bundle, so stack traces name the user's file and lines.
//   T3. A step that may be a workflow (windmill-client's `workflow`) exports that client's WorkflowCtx too: the runtime runs its rounds with it.
import { realpath } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { join, sep } from 'node:path'
import { build, stop, type BuildFailure, type BuildOptions, type BuildResult, type Message, type Plugin } from 'esbuild'
import { messageOf, type EngineError } from '../core/errors.ts'
import { isRange, type NpmCache, type Packages } from './npm.ts'
import { parseTypescript } from './parse.ts'
import { parametersOfExport, type Parameter } from './signature.ts'
import { argumentsSchema, codeError, type BuiltCode, type Source } from './source.ts'

type Bundle = BuildResult<{ write: false; metafile: true }>

// CommonJS packages call require for Node's modules; esbuild's own stand-in uses this one where it exists.
const requireBanner =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);"

const bundleCharsMax = 64 << 20
const tooDeep = 'it is nested too deeply to be read; divide it into smaller functions or expressions'

/** @throws EngineError E_CODE_INVALID */
export async function buildTypescript(given: Source, npm: NpmCache): Promise<BuiltCode> {
  const source = withContext(given)
  const found: Packages = new Map()
  const alone = await bundle(source, collectPackages(found), undefined)
  let lock: string | null = null
  let made = alone
  if (found.size > 0) {
    const installed = await npm.install(found, source)
    lock = installed.lock
    const folder = await realpath(installed.folder)
    made = await bundle(source, packagesFrom(folder), folder)
  }
  return described(source, made, lock)
}

/** The runtime finds it under this name: runtimes/node/workflow.mjs. */
const contextExport = '__millrace_WorkflowCtx'
const clientImport = /\bfrom\s*(['"])((?:npm:\/?)?windmill-client(?:@[^'"/]+)?)\1/

/** Its tasks go by the names of their functions, which bundling may change. */
function keepsNames({ content }: Source): boolean {
  return /\btask\b/.test(content) && clientImport.test(content)
}

/** Behind the user's code, so that its lines stay. A version of the client without workflows gives undefined. */
function withContext(source: Source): Source {
  const from = /\bworkflow\b/.test(source.content) ? clientImport.exec(source.content)?.[2] : undefined
  if (from === undefined) return source
  const more = `import * as __millrace_client from '${from}'\nexport const ${contextExport} = __millrace_client.WorkflowCtx`
  return { ...source, content: `${source.content}\n${more}\n` }
}

async function described(source: Source, made: Bundle, lock: string | null): Promise<BuiltCode> {
  const output = Object.values(made.metafile.outputs).find((one) => one.entryPoint !== undefined)!
  const isWorkflow = output.exports.includes(contextExport)
  const entry = isWorkflow && !output.exports.includes('main') ? 'default' : 'main'
  if (!output.exports.includes(entry)) {
    throw codeError(source, 'no exported function "main"; export one: export async function main(x: string) { … }')
  }
  const map = textOf(made, '.map')
  const code = textOf(made, '.mjs').replaceAll('\0', '\\x00') // Postgres stores no NUL; in strings and patterns this means the same
  const content = `${code}//# sourceMappingURL=data:application/json;base64,${Buffer.from(withoutPackages(map)).toString('base64')}\n`
  if (content.length > bundleCharsMax) {
    const sizeMiB = (content.length / (1 << 20)).toFixed(0)
    throw codeError(source, `with the packages it imports it has ${sizeMiB} MiB; a step may have ${bundleCharsMax >> 20}`)
  }
  const parameters = (await parametersOf(source, source.content, entry)) ?? (await parametersOf(source, code, entry))
  if (!parameters) {
    throw codeError(
      source,
      'the parameters of "main" cannot be read; write it as a function: export async function main(x) { … }',
    )
  }
  const ofUser = code.startsWith(requireBanner) ? code.slice(requireBanner.length) : code
  return {
    content,
    lock,
    params: parameters.map((p) => p.name),
    schema: argumentsSchema(parameters),
    wantsToken: /env|WM_TOKEN|process|globalThis|\brequire\b|\beval\b|\bFunction\b|\bimport\s*\(/.test(ofUser),
  }
}

/** The names of the parameters of an exported function; null: there is none of this name. */
export async function paramsOfExport(content: string, name: string): Promise<string[] | null> {
  const program = await parseTypescript(content)
  return (program && parametersOfExport(program, name))?.map((parameter) => parameter.name) ?? null
}

async function parametersOf(source: Source, code: string, entry: string): Promise<Parameter[] | null> {
  const program = await parseTypescript(code)
  try {
    if (program) return parametersOfExport(program, entry)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error // else the stack is full
  }
  throw codeError(source, tooDeep)
}

function textOf(made: Bundle, ending: string): string {
  return made.outputFiles.find(({ path }) => path.endsWith(ending))!.text
}

/** The code of packages is most of a map, and nobody reads it there: their names and lines stay. */
function withoutPackages(map: string): string {
  const document = JSON.parse(map) as { sources: string[]; sourcesContent: (string | null)[] }
  document.sourcesContent = document.sourcesContent.map((content, i) => (document.sources[i] === stepFile ? content : null))
  return JSON.stringify(document)
}

async function bundle(source: Source, plugin: Plugin, folder: string | undefined): Promise<Bundle> {
  const options = bundleOptions(source, plugin, folder)
  const made = await builtBy(options).catch((error: Partial<BuildFailure>) => {
    const first = error.errors?.[0]
    throw first ? buildError(source, first) : isServiceLost(error) ? codeError(source, tooDeep) : error
  })
  const outside = Object.keys(made.metafile.inputs).find(
    (path) => path !== stepFile && !/^(\(disabled\):)?node_modules\//.test(path),
  )
  if (outside !== undefined) throw codeError(source, `a package reaches outside of its folder (${outside}); it cannot be bundled`)
  return made
}

type Options = BuildOptions & { write: false; metafile: true }

function bundleOptions(source: Source, plugin: Plugin, folder: string | undefined): Options {
  return {
    stdin: { contents: source.content, sourcefile: stepFile, loader: 'ts' },
    absWorkingDir: folder ?? sep,
    outfile: join(folder ?? sep, 'step.mjs'),
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: 'external',
    sourcesContent: true,
    charset: 'utf8',
    logLevel: 'silent',
    tsconfigRaw: '{}',
    keepNames: keepsNames(source),
    banner: folder === undefined && !/\brequire\b/.test(source.content) ? {} : { js: requireBanner },
    plugins: [plugin],
  }
}

// The same for every step, so that equal code is one artifact and shares a runner; runtimes put the step's own name in its place.
const stepFile = 'step.ts'

let service = 0 // esbuild's process, counted: it is one for the whole of ours

/** Code nested past a limit ends esbuild's process, and with it every build under way: those get another, once or twice. */
async function builtBy(options: Options, attempts = 3): Promise<Bundle> {
  const mine = service
  try {
    return await build(options)
  } catch (error) {
    if (!isServiceLost(error)) throw error
    if (mine === service) {
      service += 1
      await stop() // forgets the process that ended, so that the next build starts one
    }
    if (attempts === 1) throw error
    return builtBy(options, attempts - 1)
  }
}

function isServiceLost(error: unknown): boolean {
  return (error as Partial<BuildFailure>).errors === undefined && messageOf(error).startsWith('The service ')
}

function buildError(source: Source, { location, text }: Message): EngineError {
  if (!location) return codeError(source, text)
  const place = { line: location.line, column: location.column + 1 }
  if (location.file === stepFile) return codeError(source, text, place)
  return codeError(source, `in an imported package: ${location.file}:${place.line}:${place.column}: ${text}`)
}

/** Leaves every import outside, and notes the packages. Code that imports none is done after this. */
function collectPackages(found: Packages): Plugin {
  return {
    name: 'collect',
    setup(on) {
      on.onResolve({ filter: /.*/ }, ({ path, kind }) => {
        if (kind === 'entry-point') return undefined
        const read = readSpecifier(path)
        if ('error' in read) return { errors: [{ text: read.error }] }
        if ('builtin' in read) return { path, external: true }
        const { name, range } = read
        const before = found.get(name)
        if (before !== undefined && before !== range && before !== '*' && range !== '*') {
          return { errors: [{ text: `"${name}" is imported in two versions, ${before} and ${range}; choose one` }] }
        }
        found.set(name, range === '*' ? (before ?? range) : range)
        return { path, external: true }
      })
    },
  }
}

/** Finds packages in the folder, and only there: for the step's own imports, and as Node would for those of packages. */
function packagesFrom(folder: string): Plugin {
  const resolving = {} // marks our own question, which comes back to this plugin
  return {
    name: 'packages',
    setup(on) {
      on.onResolve({ filter: /^[^./]/ }, async ({ path, kind, resolveDir, importer, pluginData }) => {
        if (pluginData === resolving || kind === 'entry-point') return undefined
        const ofStep = resolveDir === ''
        if (isBuiltin(path)) return { path, external: true }
        const read = ofStep ? readSpecifier(path) : undefined
        const wanted = read && 'name' in read ? `${read.name}${read.subpath}` : path
        const options = { kind, importer, resolveDir: ofStep ? folder : resolveDir, pluginData: resolving }
        const { path: file, external, errors, sideEffects, namespace } = await on.resolve(wanted, options)
        if (errors.length > 0) return ofStep ? { errors } : undefined // esbuild lets a package go on without an optional one
        if (external || namespace !== 'file' || file.startsWith(folder + sep))
          return { path: file, external, sideEffects, namespace }
        // Found above the folder, where it is there by chance: as good as not there.
        return kind === 'require-call' ? { path, external: true } : { errors: [{ text: `Could not resolve "${path}"` }] }
      })
    },
  }
}

type Specifier = { builtin: true } | { error: string } | { name: string; range: string; subpath: string }

const packagePattern = /^(?:npm:\/?)?((?:@[a-z0-9~_-][\w.~-]*\/)?[a-z0-9~_-][\w.~-]*)(?:@([^/]+))?((?:\/[^/]+)*)$/i

/** Reads an import as Windmill's users write them: `lodash`, `lodash@4.17.21`, `npm:lodash@4`, `lodash@4/fp`, `node:fs`. */
function readSpecifier(path: string): Specifier {
  if (isBuiltin(path)) return { builtin: true }
  if (/^(\.{1,2})?\//.test(path) || path === '.' || path === '..') {
    return { error: `"${path}": steps cannot import files or other scripts; put the code in this step or in an npm package` }
  }
  const match = packagePattern.exec(path)
  if (!match || path === 'bun') {
    const hint = path.startsWith('bun') ? 'steps run on Node, use its own modules' : 'import it from npm, such as "npm:lodash@4"'
    return { error: `"${path}" cannot be imported: ${hint}` }
  }
  const range = match[2] ?? '*'
  if (!isRange(range)) return { error: `"${path}": "${range}" is not a version; use one such as "${match[1]}@1.2.3"` }
  return { name: match[1]!, range, subpath: match[3]! }
}
