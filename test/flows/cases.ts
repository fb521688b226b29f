// Small flows and what they come to. One file per area has a table of them; flows.e2e.test.ts runs each on a shared worker and
// on a dedicated one, and both must come to the same.
import type { FlowModule, FlowValue, InputTransform, Queueing } from '../../src/core/flow/definition.ts'
import type { Json } from '../../src/core/json.ts'
import type { Kept } from '../support/kept.ts'

export interface FlowCase {
  name: string
  modules: FlowModule[]
  /** The rest of the flow's value. */
  value?: Partial<FlowValue>
  args?: Json
  status?: 'success' | 'failure' | 'skipped'
  /** The job's result, or a part of it where it is an object. */
  result: unknown
  /** Flows and scripts it names, deployed before it. */
  deploy?: Record<
    string,
    { modules: FlowModule[]; value?: Partial<FlowValue> } | { script: string; language?: string; limits?: Queueing }
  >
  /** Variables and resources of the workspace. */
  kept?: Kept
  /** How often steps ran, where that matters. */
  ran?: Record<string, number>
  /** What is sent to the job, one after another. */
  answers?: FlowAnswer[]
}

/** An answer to a step that waits. */
export interface FlowAnswer {
  /** The module that waits for it, or the number of the step; absent: whatever waits next. */
  to?: string | number
  /** Of several waits of that module, in the order of their steps. */
  nth?: number
  /** Sent before the job begins; absent: once the step waits (or, without one, once any does). */
  early?: boolean
  /** Sent once this module waits, though it is for another one, or for whatever waits. */
  once?: string
  approved?: boolean
  payload?: Json
  approver?: string
  /** Its sender was logged in: 'test' started the job. */
  account?: string
  /** And was in these groups. */
  groups?: string[]
  /** Of two with one id the second does not count. */
  id?: number
}

export const js = (expr: string): InputTransform => ({ type: 'javascript', expr })

function rawscript(id: string, content: string, inputs: Record<string, string>, more: Partial<FlowModule>): FlowModule {
  const input_transforms = Object.fromEntries(Object.entries(inputs).map(([name, expr]) => [name, js(expr)]))
  return { id, value: { type: 'rawscript', language: 'bun', content, input_transforms }, ...more }
}

/** A module with further fields of its value: a tag, a limit. */
export const withValue = (module: FlowModule, more: object): FlowModule => ({ ...module, value: { ...module.value, ...more } })

/** A step that gives what an expression gives. */
export function give(id: string, expr: string, more: Partial<FlowModule> = {}): FlowModule {
  return rawscript(id, 'export const main = (x: unknown) => x', { x: expr }, more)
}

/** A step that fails with this message if the expression gives true; else gives `fine`. */
export function fail(id: string, when = 'true', more: Partial<FlowModule> = {}): FlowModule {
  const content = 'export function main(x: boolean, message: string) { if (x) throw new TypeError(message); return "fine" }'
  return rawscript(id, content, { x: when, message: `'${id} failed'` }, more)
}

export const same = (id: string, more: Partial<FlowModule> = {}): FlowModule => ({ id, value: { type: 'identity' }, ...more })

export function each(
  id: string,
  iterator: string,
  modules: FlowModule[],
  loop: object = {},
  more: Partial<FlowModule> = {},
): FlowModule {
  return { id, value: { type: 'forloopflow', iterator: js(iterator), modules, ...loop }, ...more }
}

export function repeat(id: string, modules: FlowModule[], loop: object = {}, more: Partial<FlowModule> = {}): FlowModule {
  return { id, value: { type: 'whileloopflow', modules, ...loop }, ...more }
}

export function choose(
  id: string,
  branches: Record<string, FlowModule[]>,
  otherwise: FlowModule[] = [],
  more: Partial<FlowModule> = {},
): FlowModule {
  const all = Object.entries(branches).map(([expr, modules]) => ({ expr, modules }))
  return { id, value: { type: 'branchone', branches: all, default: otherwise }, ...more }
}

export function all(
  id: string,
  branches: (FlowModule[] | { modules: FlowModule[]; skip_failure: boolean })[],
  parallel = false,
  more: Partial<FlowModule> = {},
): FlowModule {
  const list = branches.map((branch) => (Array.isArray(branch) ? { modules: branch } : branch))
  return { id, value: { type: 'branchall', branches: list, parallel }, ...more }
}

export function flow(id: string, path: string, inputs: Record<string, string> = {}, more: Partial<FlowModule> = {}): FlowModule {
  const input_transforms = Object.fromEntries(Object.entries(inputs).map(([name, expr]) => [name, js(expr)]))
  return { id, value: { type: 'flow', path, input_transforms }, ...more }
}

export function script(
  id: string,
  path: string,
  inputs: Record<string, string> = {},
  more: Partial<FlowModule> = {},
): FlowModule {
  const input_transforms = Object.fromEntries(Object.entries(inputs).map(([name, expr]) => [name, js(expr)]))
  return { id, value: { type: 'script', path, input_transforms }, ...more }
}

/** The error object of a failed step made with `fail`. */
export const failed = (id: string): object => ({ error: { name: 'TypeError', message: `${id} failed`, step_id: id } })
