// The documents, held to what is there: links, commands, settings.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { settingRows, settingsMarkdown } from '../../src/cli/settings.ts'
import { readChecks } from '../../src/store/audit.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

function markdownFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.md') && !entry.parentPath.includes('node_modules'))
    .map((entry) => join(entry.parentPath, entry.name))
}

const top = readdirSync(root)
  .filter((name) => name.endsWith('.md'))
  .map((name) => join(root, name))
const files = [...top, ...['docs', 'examples', 'bench'].flatMap(markdownFiles)]

/** Text without code blocks: links in them are examples. */
function prose(text: string): string {
  return text.replaceAll(/^```[\s\S]*?^```/gm, '')
}

function headings(text: string): string[] {
  return [...prose(text).matchAll(/^#+\s+(.+)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(/\s/g, '-'),
  )
}

test('every relative link leads somewhere', () => {
  const broken: string[] = []
  for (const file of files) {
    for (const [, target] of prose(readFileSync(file, 'utf8')).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue
      const [path = '', anchor] = target!.split('#')
      const to = path === '' ? file : join(dirname(file), path)
      if (!existsSync(to)) broken.push(`${file}: ${target}`)
      else if (anchor && to.endsWith('.md') && !headings(readFileSync(to, 'utf8')).includes(anchor))
        broken.push(`${file}: ${target}`)
    }
  }
  expect(broken).toEqual([])
})

test('every npm script that is mentioned exists', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
  const unknown = files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/\bnpm run ([a-z:]+)/g)]
      .map(([, name]) => name!)
      .filter((name) => !(name in scripts)),
  )
  expect(unknown).toEqual([])
})

test('every variable that is mentioned is one of the settings', () => {
  // The protocol's own are those the pool sets for a runtime.
  const told = [...top, ...markdownFiles('docs')].filter((file) => !file.endsWith('runtime-protocol.md'))
  const known = new Set(settingRows().map((row) => row.env))
  const named = told.flatMap((file) => readFileSync(file, 'utf8').match(/\bMILLRACE_[A-Z_]+\b/g) ?? [])
  expect(named.filter((name) => !known.has(name))).toEqual([])
})

test('the settings in docs/operations.md are those of `millrace settings --markdown`', () => {
  expect(readFileSync(join(root, 'docs', 'operations.md'), 'utf8')).toContain(`\n\n${settingsMarkdown()}\n\n`)
})

test('the checks in docs/audit.md are those there are', () => {
  const rows = readChecks().map((check) => `| ${check.id} | ${check.says} | ${check.needs.join(', ')} |`)
  expect(readFileSync(join(root, 'docs', 'audit.md'), 'utf8')).toContain(`|---|---|---|\n${rows.join('\n')}\n\n`)
})
