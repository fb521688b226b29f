// Building steps: what runs, what is refused and where the fault is, in every language.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { EngineError } from '../../src/core/errors.ts'
import type { Language } from '../../src/core/flow/definition.ts'
import { createBuilder, type Made } from '../../src/deploy/build.ts'
import type { Source } from '../../src/deploy/source.ts'

const home = mkdtempSync(join(tmpdir(), 'millrace-build-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
const builder = createBuilder({ home })

function source(language: Language, content: string, more: Partial<Source> = {}): Source {
  return { language, content, lock: null, name: 'f/shop/step.ts', at: '$.value.modules[0].value.content', ...more }
}

async function made(language: Language, content: string, more: Partial<Source> = {}): Promise<Made> {
  const [only] = await builder.build([source(language, content, more)])
  return only!
}

/** Loads a bundle as a runner does, from a file, and calls its main. */
async function call(bundle: string, ...args: unknown[]): Promise<unknown> {
  const file = join(home, `${Math.random().toString(36).slice(2)}.mjs`)
  writeFileSync(file, bundle)
  const module = (await import(/* @vite-ignore */ pathToFileURL(file).href)) as { main(...args: unknown[]): unknown }
  return module.main(...args)
}

describe('what is refused, and where', () => {
  const cases: [what: string, language: Language, content: string, message: RegExp][] = [
    ['TypeScript without main', 'bun', 'export const x = 1', /no exported function "main"/],
    ['a main that is not exported', 'deno', 'function main() {}', /no exported function "main"/],
    ['a main that is no function', 'nativets', 'export const main = 3', /parameters of "main" cannot be read/],
    ['a main that no function in sight defines', 'bun', 'const { main } = { main: (x) => x }\nexport { main }', /cannot be read/],
    ['a syntax error in TypeScript', 'bun', 'export function main() {\n  return 1 +* 2\n}', /step\.ts:2:13: Unexpected "\*"/],
    [
      'an import of a file',
      'bun',
      'import x from "./other"\nexport const main = () => x',
      /step\.ts:1:15: "\.\/other": steps cannot import/,
    ],
    [
      'an import of a file by its full path',
      'bun',
      'import x from "/etc/hosts"\nexport const main = () => x',
      /steps cannot import files/,
    ],
    ['an import by address', 'deno', 'import x from "https://x.y/z.ts"\nexport const main = () => x', /import it from npm/],
    ['a Bun module', 'bun', 'import { $ } from "bun"\nexport const main = () => $', /steps run on Node/],
    ['a package path as version', 'bun', 'import x from "a@file:b"\nexport const main = () => x', /"file:b" is not a version/],
    [
      'one package in two versions',
      'bun',
      'import a from "x@1"\nimport b from "x@2"\nexport const main = () => [a, b]',
      /"x" is imported in two versions, 1 and 2/,
    ],
    ['Python without main', 'python3', 'x = 1', /no function "main"/],
    ['a syntax error in Python', 'python3', 'def main():\n    return (1 +', /step\.ts:2:12: '\(' was never closed/],
    ['a Python main that is no function', 'python3', 'x = 1\nmain = x', /step\.ts:2:1: .*define it with def/],
    ['a syntax error in Bash', 'bash', 'echo a\nif true; then\n', /step\.ts:3:1: syntax error: unexpected end of file/],
    [
      'TypeScript nested too deeply',
      'bun',
      `export const main = (x = ${'('.repeat(20_000)}1${')'.repeat(20_000)}) => x`,
      /nested too deeply/,
    ],
    ['Python nested too deeply', 'python3', `def main(): return ${'('.repeat(5_000)}`, /too many nested parentheses/],
    ['no Bash at all', 'bash', '\n', /no code/],
  ]
  test.each(cases)('%s', async (_what, language, content, message) => {
    const error = await made(language, content).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(EngineError)
    expect(error).toMatchObject({ code: 'E_CODE_INVALID' })
    expect((error as EngineError).message).toMatch(message)
    expect((error as EngineError).details.at).toMatch(/^\$\.value\.modules\[0\]\.value\.content f\/shop\/step\.ts/)
  })

  test('of several faulty steps the first is told', async () => {
    const faulty = [
      source('bash', 'echo ok'),
      source('python3', 'x = 1', { name: 'first.py' }),
      source('bun', '1', { name: 'second.ts' }),
    ]
    await expect(builder.build(faulty)).rejects.toThrow(/^first\.py: no function "main"/)
  })
})

describe('TypeScript', () => {
  test('a bundle runs, with enums and generics, and its types are gone', async () => {
    const code =
      'enum Kind { a = "A" }\nexport async function main<T extends string>(x: T, n: number = 2) { return `${Kind.a}${x}${n}` }'
    const { artifact, built } = await made('bun', code)
    expect(await call(artifact.content, 'x')).toBe('Ax2')
    expect(built).toMatchObject({ params: ['x', 'n'], language: 'bun' })
    expect(artifact.lock).toBeNull()
  })

  test('every way to export main is found', async () => {
    const ways: [code: string, params: string[]][] = [
      [
        'export async function main(a: string, { b }: { b: number }, c?: boolean, ...rest: string[]) {}',
        ['a', 'arg2', 'c', 'rest'],
      ],
      ['export const main = async (a = 1, [b] = [2]) => a + b', ['a', 'arg2']],
      ['const main = function (x) { return x }\nexport { main }', ['x']],
      ['function work(this: void, job: string) {}\nexport { work as main }', ['job']],
      ['const inner = (deep: number) => deep\nexport const main = inner satisfies Function', ['deep']],
      [
        'export function main(a: string): void\nexport function main(a: number, b?: number): void\nexport function main(a: any, b?: any) {}',
        ['a', 'b'],
      ],
    ]
    const results = await builder.build(ways.map(([code]) => source('bun', code)))
    expect(results.map(({ built }) => built.params)).toEqual(ways.map(([, params]) => params))
  })

  test("Node's modules stay imports, also by require", async () => {
    const code = "import { posix } from 'path'\nexport const main = () => require('node:os').EOL + posix.join('a', 'b')"
    const { artifact } = await made('bun', code)
    expect(await call(artifact.content)).toBe('\na/b')
  })

  test('a require of its own does not collide with ours', async () => {
    const code =
      "import { createRequire } from 'node:module'\nconst require = createRequire(import.meta.url)\nexport const main = () => require('path').sep"
    expect(await call((await made('bun', code)).artifact.content)).toBe('/')
  })

  test('the source map carries the code as it was written, under a name that runtimes put the step’s own in place of', async () => {
    const code = 'export function main(x: number) {\n  return x\n}'
    const { artifact } = await made('bun', code)
    const base64 = artifact.content.slice(artifact.content.lastIndexOf('base64,') + 7)
    expect(JSON.parse(Buffer.from(base64, 'base64').toString())).toMatchObject({
      sources: ['step.ts'],
      sourcesContent: [code],
    })
  })

  test('only code that clearly cannot read the token goes without one', async () => {
    const plain = await made('bun', 'export const main = (x: number) => x + 1')
    const reads = await made('bun', 'export const main = () => process.env.WM_TOKEN')
    const hides = await made('bun', "export const main = () => globalThis['proc' + 'ess']")
    expect([plain, reads, hides].map(({ built }) => built.wantsToken)).toEqual([false, true, true])
  })

  test('the schema follows the types', async () => {
    const code = `
      type Colour = 'red' | 'green'
      interface Item { id: number; tags?: string[]; at: Date }
      export async function main(item: Item, colour: Colour = 'red', note?: string, any: unknown = null, many: Record<string, Item>[] = []) {}`
    const { schema } = await made('deno', code)
    expect(schema).toMatchObject({
      type: 'object',
      properties: {
        item: {
          type: 'object',
          properties: {
            id: { type: 'number' },
            tags: { type: 'array', items: { type: 'string' } },
            at: { type: 'string', format: 'date-time' },
          },
          required: ['id', 'at'],
        },
        colour: { type: 'string', enum: ['red', 'green'], default: 'red' },
        note: { type: 'string' },
        any: { default: null },
        many: { type: 'array', items: { type: 'object' }, default: [] },
      },
      required: ['item'],
    })
  })

  test('long code is read as short code is', async () => {
    const code = `type A = { b: 1n | string }\nexport async function main(a: A, re = /x/, n = 2) {}\n${Array.from({ length: 1_000 }, (_, i) => `function f${i}() {}\n`).join('')}`
    const { built, schema } = await made('bun', code)
    expect(built.params).toEqual(['a', 're', 'n'])
    expect(schema).toMatchObject({ properties: { a: { type: 'object' }, n: { type: 'number', default: 2 } }, required: ['a'] })
  })

  test.runIf(process.platform === 'linux')('builds under way outlive the end of the bundler', async () => {
    await made('bun', 'export const main = () => "started"')
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ')
    const services = children.filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('esbuild'))
    expect(services).not.toEqual([])
    const building = builder.build(Array.from({ length: 40 }, (_, i) => source('bun', `export const main = () => ${i}`)))
    for (const pid of services) process.kill(Number(pid), 'SIGKILL')
    expect(await building).toHaveLength(40)
  })

  test('a type that names itself ends', async () => {
    const { schema } = await made('bun', 'interface Tree { left?: Tree }\nexport function main(tree: Tree) {}')
    expect(schema).toHaveProperty('properties.tree.properties.left.type', 'object')
  })
})

describe('Python', () => {
  test('parameters, defaults and annotations are read', async () => {
    const code = 'def main(a: str, b: int = 3, c: "list[str]" = None, *, d: float | None = 1.5, e=[1, 2]):\n    return a'
    const { built, schema, artifact } = await made('python3', code)
    expect(built).toMatchObject({ params: ['a', 'b', 'c', 'd', 'e'], wantsToken: false })
    expect(schema).toMatchObject({
      properties: {
        a: { type: 'string' },
        b: { type: 'integer', default: 3 },
        c: { type: 'array', items: { type: 'string' }, default: null },
        d: { type: 'number', default: 1.5 },
        e: { default: [1, 2] },
      },
      required: ['a'],
    })
    expect(artifact).toMatchObject({ content: code, lock: null })
  })

  test('main may be asynchronous, given another name, or defined in a try', async () => {
    const codes = [
      'async def main(x): pass',
      'def work(y): pass\nmain = work',
      'try:\n  import a\n  def main(z): pass\nexcept ImportError:\n  pass',
    ]
    const results = await builder.build(codes.map((code) => source('python3', code)))
    expect(results.map(({ built }) => built.params)).toEqual([['x'], ['y'], ['z']])
  })

  test('requirements come from the lock, or the comment at the top', async () => {
    const code = '# requirements:\n# pkg==1.0\n#other>=2\n\nimport pkg\ndef main(): pass'
    expect(await made('python3', code)).toMatchObject({ artifact: { lock: 'pkg==1.0\nother>=2\n' }, built: { wantsToken: true } })
    expect((await made('python3', code, { lock: 'pkg==1.0.1' })).artifact.lock).toBe('pkg==1.0.1\n')
    expect((await made('python3', 'def main():\n  pass\n# requirements:\n# late==1')).artifact.lock).toBeNull()
  })

  test('nothing of the code is run', async () => {
    await expect(made('python3', 'raise SystemExit(3)\ndef main(): pass')).resolves.toMatchObject({ built: { params: [] } })
  })
})

describe('Bash', () => {
  test('the positional parameters named at the top are its parameters', async () => {
    const code = '#!/bin/bash\nset -euo pipefail\nname="$1"\nlocal_port=${3:-8080} # where\nlevel="${2}"\necho "$name"\nlate="$4"'
    const { built, schema } = await made('bash', code)
    expect(built).toMatchObject({ params: ['name', 'level', 'local_port'], wantsToken: true })
    expect(schema).toMatchObject({ properties: { local_port: { default: '8080' } }, required: ['name', 'level'] })
  })

  test('checking the syntax runs nothing', async () => {
    const marker = join(home, 'ran')
    await made('bash', `touch ${marker}`)
    await expect(import('node:fs/promises').then((fs) => fs.access(marker))).rejects.toThrow(/ENOENT/)
  })
})

describe('artifacts', () => {
  test('equal code has one key, whatever the step is called; another runtime has another', async () => {
    const code = 'export const main = () => 1'
    const [a, b, thread, named] = await builder.build([
      source('bun', code),
      source('deno', code),
      source('nativets', code),
      source('bun', code, { name: 'f/other.ts' }),
    ])
    expect(new Set([a, b, named].map((m) => m!.artifact.key)).size).toBe(1)
    expect(thread!.artifact.key).not.toBe(a!.artifact.key)
  })
})
