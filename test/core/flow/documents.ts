import type { Json } from '../../../src/core/json.ts'

type Fields = Record<string, unknown>

/** A rawscript module, with whatever a test changes. */
export function step(id: string, fields: Fields = {}, value: Fields = {}): Fields {
  return {
    id,
    value: { type: 'rawscript', language: 'bun', content: 'export function main() {}', input_transforms: {}, ...value },
    ...fields,
  }
}

export function flow(modules: unknown, value: Fields = {}): { summary: string; value: Fields } {
  return { summary: 'a flow', value: { modules, ...value } }
}

export function nested(depth: number): Json {
  let value: Json = 1
  for (let i = 0; i < depth; i++) value = [value]
  return value
}
