// What the expressions of one job see: a view of its state (expr/expression.ts).
//   O1. A result is parsed at most once, and only when an expression looks inside it.
import type { Scope } from '../expr/expression.ts'
import type { Json, JsonText } from '../json.ts'
import type { JobState } from './machine.ts'
import type { Plan } from './plan.ts'

export class JobScope implements Scope {
  readonly #plan: Plan
  readonly #state: JobState
  #parsed: Map<JsonText, Json> | null = null

  constructor(plan: Plan, state: JobState) {
    this.#plan = plan
    this.#state = state
  }

  flowInputText(): JsonText {
    return this.#state.args
  }

  flowInput(): Json {
    return this.#parse(this.#state.args)
  }

  resultText(stepId: string): JsonText {
    return this.#state.results.get(stepId) ?? 'null'
  }

  result(stepId: string): Json {
    const text = this.#state.results.get(stepId)
    return text === undefined ? null : this.#parse(text)
  }

  resultIds(): Iterable<string> {
    return this.#state.results.keys()
  }

  previousText(): JsonText {
    return this.#state.cursors[0]!.previous
  }

  previous(): Json {
    return this.#parse(this.previousText())
  }

  flowEnvText(): JsonText {
    return this.#plan.flowEnv
  }

  errorText(): JsonText | undefined {
    return this.#state.error === null ? undefined : JSON.stringify(this.#state.error)
  }

  #parse(text: JsonText): Json {
    this.#parsed ??= new Map()
    let value = this.#parsed.get(text)
    if (value === undefined) {
      value = JSON.parse(text) as Json
      this.#parsed.set(text, value)
    }
    return value
  }
}
