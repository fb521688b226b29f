// Workflows as code: the WorkflowCtx of the step's own windmill-client runs the body of `workflow()`, one round per call.
//   F1. A round runs the body from the top with the results that there are. It ends as the body does, or with what the body waits for
//       and what has no result yet: tasks, a sleep, an approval.
//   F2. An inline step that was begun comes to its end, and the engine has its result before the body sees it: it never runs twice.
//   F3. A task is a round of its own, which ends where the task does. What the body does beside it is ignored.
//   F4. The context of a call is found by its AsyncLocalStorage, so the rounds of many jobs overlap in one runner.

/** Deploying exports the class under this name. */
export const contextExport = '__millrace_WorkflowCtx'

const { parse, stringify } = JSON

/** As windmill-client prints what it keeps: a missing value is null, wherever it is. */
export const missingAsNull = (_key, value) => (value === undefined ? null : value)

/** Carries a finished inline step out of the client's own function. */
class Finished {
  info

  constructor(info) {
    this.info = info
  }
}

/**
 * @param {object} options
 * @param {any} options.WorkflowCtx
 * @param {(...values: unknown[]) => Promise<unknown>} options.main
 * @param {import('node:async_hooks').AsyncLocalStorage<any>} options.storage
 * @param {(call: any, value: unknown, replacer?: typeof missingAsNull) => void} options.succeeded
 * @param {(call: any, error: unknown) => void} options.failed
 * @param {(call: any, info: object) => void} options.asked  the round is over, and asks for this
 * @param {(call: any, key: string, text: string) => Promise<void>} options.keep  resolves once the engine has it
 */
export function createRounds({ WorkflowCtx, main, storage, succeeded, failed, asked, keep }) {
  class Round extends WorkflowCtx {
    #call
    /** Inline steps that were begun and have no end yet. */
    #begun = 0
    /** How the round ends, once those have. */
    #end = null

    constructor(call, checkpoint) {
      super(checkpoint)
      this.#call = call
    }

    async run() {
      try {
        const value = await main.apply(undefined, this.#call.values)
        this.#settled(() => {
          this._warnUnobservedTaskFailures()
          succeeded(this.#call, value)
        })
      } catch (error) {
        this.#settled(() => failed(this.#call, error))
      }
    }

    /** The body is over. What it has not awaited is still asked for. */
    #settled(end) {
      if (this._executingKey !== null) {
        this.#endWith(() => failed(this.#call, new Error(missed(this._executingKey))))
        return
      }
      const steps = this._flushPending()
      this.#endWith(steps.length > 0 ? () => asked(this.#call, { mode: 'parallel', steps }) : end)
    }

    /** The first end counts: after it the body only unwinds. */
    #endWith(end) {
      this.#end ??= end
      if (this.#begun === 0) this.#end()
    }

    _raiseSuspend(info) {
      if (info.mode === 'inline_checkpoint') throw new Finished(info)
      if (info.mode === 'step_complete') this.#endWith(() => succeeded(this.#call, info.result, missingAsNull))
      else this.#endWith(() => asked(this.#call, info))
      return super._raiseSuspend(info)
    }

    _raiseStepFailure(error) {
      this.#endWith(() => failed(this.#call, error))
      return super._raiseStepFailure(error)
    }

    async _runInlineStep(name, fn) {
      if (this._executingKey !== null) return await super._runInlineStep(name, fn)
      if (this.#call.over) return await new Promise(() => {}) // canceled: nothing more begins
      this.#begun += 1
      try {
        return await super._runInlineStep(name, fn)
      } catch (finished) {
        if (!(finished instanceof Finished)) throw finished
        return await this.#kept(finished.info)
      } finally {
        this.#begun -= 1
        if (this.#begun === 0) this.#end?.()
      }
    }

    /** The body gets what every later round will get. */
    async #kept({ key, result }) {
      let text
      try {
        text = stringify(result, missingAsNull)
      } catch (error) {
        this.#endWith(() =>
          failed(this.#call, new Error(`the result of step "${key}" cannot be written as JSON: ${String(error)}`)),
        )
        throw error
      }
      await keep(this.#call, key, text)
      const value = (this.completed[key] = parse(text))
      if (value?.__wmill_error) throw taskError(value)
      return value
    }
  }

  // The client looks here where nobody has set a context for the whole process.
  Object.defineProperty(globalThis, '__wmill_wf_ctx', {
    configurable: true,
    get: () => storage.getStore()?.round ?? null,
    set() {},
  })

  return (call, checkpoint) => {
    call.round = new Round(call, checkpoint === undefined ? {} : parse(checkpoint))
    void call.round.run()
  }
}

/** As the client makes it of a result that is kept. */
function taskError({ message, result, step_key, child_job_id }) {
  return Object.assign(new Error(message), { name: 'TaskError', result, step_key, child_job_id })
}

function missed(key) {
  return `the workflow did not come to task "${key}" again: its body must do the same in every round, so put times, random values and calls to others into step()`
}
