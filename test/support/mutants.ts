// Planted bugs: edits of our own source, made in a copy (a bundle of a simulation, a folder of a chaos run), never in the tree.
// Nothing in the product knows of them, so none can be switched on by accident.

export interface Mutant {
  name: string
  /** What is removed or wrong, in a sentence. */
  text: string
  edits: readonly Edit[]
}

export interface Edit {
  /** Path from the project's root. */
  file: string
  /** Must be there exactly once: an edit that no longer fits fails loudly. */
  find: string
  replace: string
}

export function applyEdit(source: string, edit: Edit): string {
  const parts = source.split(edit.find)
  if (parts.length !== 2) {
    throw new Error(`${edit.file}: the text to edit is there ${parts.length - 1} times, not once:\n${edit.find}`)
  }
  return parts.join(edit.replace)
}
