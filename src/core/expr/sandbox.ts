// The sandbox: user JavaScript in QuickJS, a JavaScript engine inside WebAssembly.
//   S1. Code in it reaches nothing of the host: no modules, no files, no network, no timers. Values enter and leave as JSON text.
//   S2. An evaluation leaves no trace for the next: the globals and everything reachable from them are frozen, and the engine
//       is replaced after it ran out of time, memory or stack, and every `usesMax` evaluations.
//   S3. Time is checked between operations of the interpreter (a single call of a built-in is not cut short); memory at each
//       allocation. This is the one place of core with a clock: it decides when to give up, never what a value is.
//   S4. Date and Math.random are there, so two evaluations may differ. What an expression decided is recorded, once.
//   S5. HOT. Per evaluation: one call into WebAssembly a value, one for the function; sources are compiled once.
import variant from '@jitl/quickjs-wasmfile-release-sync'
import {
  newQuickJSWASMModuleFromVariant,
  type QuickJSContext,
  type QuickJSHandle,
  type QuickJSRuntime,
  type QuickJSSyncVariant,
  type QuickJSWASMModule,
} from 'quickjs-emscripten-core'
import type { JsonText } from '../json.ts'
import type { Sandbox } from './expression.ts'
import { freezeScript, harnessScript } from './sandbox_scripts.ts'

export interface SandboxOptions {
  timeMs: number
  memoryBytes: number
}

/** What went wrong in the user's code: `name` and `message` are those of the error it threw. */
export class SandboxError extends Error {
  constructor(name: string, message: string) {
    super(message)
    this.name = name
  }
}

const functionsMax = 500
const usesMax = 50_000
// Deep recursion must end in an error of QuickJS before the stack of WebAssembly itself (5 MiB here) is used up.
const stackBytes = 256 * 1024

/** Loads QuickJS, about 20 ms. One sandbox serves a whole process. */
export async function createSandbox(options: SandboxOptions): Promise<Sandbox> {
  return new QuickJsSandbox(await loadModule(), options)
}

function loadModule(): Promise<QuickJSWASMModule> {
  // The package's types describe its CommonJS form, where the variant is one `default` further in.
  return newQuickJSWASMModuleFromVariant(variant as unknown as QuickJSSyncVariant)
}

class QuickJsSandbox implements Sandbox {
  #module: QuickJSWASMModule
  readonly #options: SandboxOptions
  #engine: Engine | null = null

  constructor(module: QuickJSWASMModule, options: SandboxOptions) {
    this.#module = module
    this.#options = options
  }

  evaluate(source: string, names: readonly string[], values: readonly JsonText[]): JsonText {
    const engine = (this.#engine ??= new Engine(this.#module, this.#options))
    try {
      return engine.run(source, names, values)
    } catch (fault) {
      if (fault instanceof SandboxError) throw fault
      this.#trapped()
      throw new SandboxError('RangeError', 'the expression overflowed the stack of the sandbox')
    } finally {
      if (engine.spent) this.#retire(engine)
    }
  }

  #retire(engine: Engine): void {
    this.#engine = null
    try {
      engine.dispose()
    } catch {
      this.#trapped()
    }
  }

  /**
   * A built-in overflowed the stack of WebAssembly itself (JSON.parse of '[[[[…' does). That engine cannot be used or even freed;
   * the next one starts beside it at once, and a new module takes the place of this one, with all its memory, when it is loaded.
   */
  #trapped(): void {
    this.#engine = null
    void this.#replaceModule()
  }

  async #replaceModule(): Promise<void> {
    const module = await loadModule().catch(() => null)
    if (!module) return // the old one goes on working
    this.#module = module
    if (this.#engine) this.#engine.spent = true
  }
}

/** One runtime and context, used until `spent`. */
class Engine {
  spent = false
  readonly #options: SandboxOptions
  readonly #runtime: QuickJSRuntime
  readonly #context: QuickJSContext
  readonly #harness: QuickJSHandle
  readonly #functions = new Map<string, QuickJSHandle>()
  #uses = 0
  #deadline = 0

  constructor(module: QuickJSWASMModule, options: SandboxOptions) {
    this.#options = options
    this.#runtime = module.newRuntime()
    this.#runtime.setMemoryLimit(options.memoryBytes)
    this.#runtime.setMaxStackSize(stackBytes)
    this.#context = this.#runtime.newContext()
    this.#harness = this.#context.unwrapResult(this.#context.evalCode(harnessScript, 'harness'))
    this.#context.unwrapResult(this.#context.evalCode(freezeScript, 'freeze')).dispose()
    this.#runtime.setInterruptHandler(() => performance.now() > this.#deadline)
  }

  run(source: string, names: readonly string[], values: readonly JsonText[]): JsonText {
    this.#uses += 1
    if (this.#uses >= usesMax) this.spent = true
    this.#deadline = performance.now() + this.#options.timeMs
    const call = this.#functionOf(source, names)
    const handles = values.map((value) => this.#context.newString(value))
    const called = this.#context.callFunction(call, this.#context.undefined, handles)
    for (const handle of handles) handle.dispose()
    const result = this.#unwrap(called)
    if (this.#runtime.hasPendingJob()) this.#runJobs()
    return this.#textOf(result)
  }

  dispose(): void {
    for (const handle of this.#functions.values()) handle.dispose()
    this.#harness.dispose()
    this.#context.dispose()
    this.#runtime.dispose()
  }

  #functionOf(source: string, names: readonly string[]): QuickJSHandle {
    const key = `${names.join()}:${source}`
    const known = this.#functions.get(key)
    if (known) return known
    // A block of its own, so that the source may declare a name that is also a root.
    const code = `"use strict";(function (${names.join()}) {{${source}\n}})`
    const inner = this.#unwrap(this.#context.evalCode(code, 'expression'))
    const wrapped = this.#context.callFunction(this.#harness, this.#context.undefined, inner)
    inner.dispose()
    const made = this.#unwrap(wrapped)
    this.#functions.set(key, made)
    if (this.#functions.size >= functionsMax) this.spent = true
    return made
  }

  #runJobs(): void {
    this.#runtime.executePendingJobs().dispose()
    // Jobs left over did not fit in the time; they must not run in the time of the next evaluation.
    if (this.#runtime.hasPendingJob() || performance.now() > this.#deadline) this.spent = true
  }

  /** The harness gives a string, or a promise of one. */
  #textOf(result: QuickJSHandle): JsonText {
    if (this.#context.typeof(result) === 'string') return this.#take(result)
    const state = this.#context.getPromiseState(result)
    result.dispose()
    if (state.type === 'fulfilled') return this.#take(state.value)
    // An async function that was interrupted is left pending, or rejected with an error that says nothing.
    const late = performance.now() > this.#deadline
    if (late && state.type === 'rejected') state.error.dispose()
    if (late) this.#failOfEngine('interrupted')
    if (state.type === 'rejected') this.#fail(state.error)
    throw new SandboxError('Error', 'the expression waits for a promise that nothing settles')
  }

  #take(text: QuickJSHandle): string {
    const value = this.#context.getString(text)
    text.dispose()
    return value
  }

  #unwrap(result: { value: QuickJSHandle; error?: undefined } | { error: QuickJSHandle }): QuickJSHandle {
    if (result.error) this.#fail(result.error)
    return result.value
  }

  /** The harness throws what it caught as JSON text; anything else comes from the engine itself. */
  #fail(error: QuickJSHandle): never {
    const thrown = this.#context.typeof(error) === 'string' ? this.#take(error) : null
    if (thrown !== null) {
      const { name, message } = JSON.parse(thrown) as { name: string; message: string }
      if (name === 'InternalError') this.#failOfEngine(message)
      throw new SandboxError(name, message)
    }
    const read = (key: string) => this.#take(this.#context.getProp(error, key))
    const [name, message] = [read('name'), read('message')]
    error.dispose()
    if (name === 'InternalError') this.#failOfEngine(message)
    throw new SandboxError(name, message)
  }

  #failOfEngine(message: string): never {
    this.spent = true
    const { timeMs, memoryBytes } = this.#options
    switch (message) {
      case 'interrupted':
        throw new SandboxError('TimeoutError', `the expression ran longer than ${timeMs} ms`)
      case 'out of memory':
        throw new SandboxError('RangeError', `the expression used more than ${Math.round(memoryBytes / 2 ** 20)} MiB of memory`)
      case 'stack overflow':
        throw new SandboxError('RangeError', 'the expression recursed too deeply')
      default:
        throw new SandboxError('RangeError', message)
    }
  }
}
