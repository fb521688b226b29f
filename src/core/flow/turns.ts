// Turns: what a version asks of its jobs before they are ready. Decided when a job is accepted, from its arguments (store/turns.ts).
//   T1. A rule is stored with the version as JSON; null for the usual version, which costs nothing.
// Semantics of concurrent_limit, concurrency_key and debounce_*: OpenFlow, as Windmill's documentation describes them; ordering_key
// is an extension of this engine. docs/flows/limits.md and docs/flows/debouncing.md.
import type { Debouncing, Queueing, StepLimit } from './definition.ts'

export interface TurnRule {
  /** Whose jobs count together: a template. Null: those of one value of `order`. */
  key: string | null
  /** An expression over the arguments: jobs of one value run one after another. */
  order: string | null
  /** How many at a time; null: any number. */
  jobsMax: number | null
  /** At most so many begin within this time; null: whenever there is room. */
  windowMs: number | null
  debounce: {
    /** A template; null: all jobs of the runnable. */
    key: string | null
    delayMs: number
    withinMs: number | null
    amount: number | null
    merge: string[]
  } | null
}

/** The rule of a flow's or script's value; null if it has none. */
export function turnRuleOf(value: Queueing): TurnRule | null {
  const { concurrent_limit: jobsMax, ordering_key: order } = value
  const debounce = debounceOf(value)
  if (!jobsMax && !order && !debounce) return null
  return {
    key: jobsMax ? (value.concurrency_key ?? null) : null,
    order: order ?? null,
    jobsMax: order ? 1 : (jobsMax ?? null),
    windowMs: jobsMax ? windowMsOf(value) : null,
    debounce,
  }
}

function debounceOf(value: Debouncing): TurnRule['debounce'] {
  if (!value.debounce_delay_s) return null
  return {
    key: value.debounce_key ?? null,
    delayMs: Math.ceil(value.debounce_delay_s * 1_000),
    withinMs: value.max_total_debouncing_time ? Math.ceil(value.max_total_debouncing_time * 1_000) : null,
    amount: value.max_total_debounces_amount ?? null,
    merge: value.debounce_args_to_accumulate ?? [],
  }
}

/** The rule of a step that has a limit of its own, or is debounced. */
export function stepRuleOf(limit: StepLimit, debouncing: Debouncing = {}): TurnRule | null {
  const { concurrent_limit: jobsMax, custom_concurrency_key: key } = limit
  const debounce = debounceOf(debouncing)
  if (!jobsMax && !debounce) return null
  return {
    key: jobsMax ? (key ?? null) : null,
    order: null,
    jobsMax: jobsMax ?? null,
    windowMs: jobsMax ? windowMsOf(limit) : null,
    debounce,
  }
}

function windowMsOf({ concurrency_time_window_s: seconds }: Pick<Queueing, 'concurrency_time_window_s'>): number | null {
  return seconds ? Math.ceil(seconds * 1_000) : null
}

/** `$args[name]`, also `$args[a.b]`, and `$workspace`. */
export const placeholder = /\$workspace|\$args\[([^\]]*)\]/g
const argName = /^\w+(\.\w+)*$/

/** What is wrong with a template; undefined: nothing. */
export function keyFault(template: string): string | undefined {
  for (const [whole, name] of template.matchAll(placeholder)) {
    if (name !== undefined && !argName.test(name)) return `${whole} is not $args[name] with the name of an argument`
  }
  const rest = template.replaceAll(placeholder, '')
  const odd = /\$args|\$\w+/.exec(rest)
  return odd ? `${odd[0]} is not known; a key may hold $workspace and $args[name]` : undefined
}
