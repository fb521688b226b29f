// Runs with planted bugs take minutes and are not all part of the tests; that each bug can still be planted is.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { controls as chaosControls } from '../chaos/controls.ts'
import { controls as failpointControls } from '../failpoints/control.ts'
import { mutants } from '../sim/mutants.ts'
import { applyEdit } from './mutants.ts'

const all = [...mutants, ...chaosControls, ...Object.values(failpointControls)]
const edits = all.flatMap((one) => one.edits.map((edit) => [one.name, edit] as const))

test.each(edits)('%s fits the source', (_name, edit) => {
  const source = readFileSync(new URL(`../../${edit.file}`, import.meta.url), 'utf8')
  expect(applyEdit(source, edit)).not.toBe(source)
})
