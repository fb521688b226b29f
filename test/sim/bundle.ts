// The simulation as one JavaScript file, with a planted bug or without: edits are made to what the bundler reads.
import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { applyEdit, type Mutant } from '../support/mutants.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** @throws Error if an edit of the mutant does not fit the source */
export async function bundleSimulation(outfile: string, mutant: Mutant | null): Promise<void> {
  const unused = new Set(mutant?.edits)
  await build({
    entryPoints: [join(root, 'test/sim/batch.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'silent',
    plugins: [
      {
        name: 'edits',
        setup(builder) {
          builder.onLoad({ filter: /\.ts$/ }, ({ path }) => {
            let contents = readFileSync(path, 'utf8')
            const file = relative(root, path).replaceAll('\\', '/')
            for (const edit of mutant?.edits ?? []) {
              if (edit.file !== file) continue
              contents = applyEdit(contents, edit)
              unused.delete(edit)
            }
            // Files that are read beside the source stay where they are.
            contents = contents.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href))
            return { contents, loader: 'ts' }
          })
        },
      },
    ],
  })
  for (const edit of unused) throw new Error(`${mutant!.name}: ${edit.file} is no part of the simulation`)
}
