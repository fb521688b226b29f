// Expressions of OpenFlow, compiled once per plan, evaluated often.
//   X1. Three tiers: a constant; a property path, read by a closure; anything else, run in a QuickJS sandbox.
//   X2. An expression sees exactly the names below. Its value is JSON; undefined is null.
//   X3. A path never throws: a missing property anywhere along it gives null (as in Windmill). JavaScript does throw.
import type { Json, JsonText } from '../json.ts'
import type { Look, Lookup } from '../lookups.ts'
import type { Root } from './names.ts'

/** What an expression can see. Text is parsed by whoever looks inside, at most once. */
export interface Scope {
  /** The job's arguments. */
  flowInput(): Json
  flowInputText(): JsonText
  /** Result of an earlier step, null if it has none. */
  result(stepId: string): Json
  resultText(stepId: string): JsonText
  /** Ids of all steps with a result in scope. */
  resultIds(): Iterable<string>
  previousText(): JsonText
  previous(): Json
  flowEnvText(): JsonText
  /** Results of the iterations so far, in a loop's own conditions. */
  allItersText(): JsonText
  /** Answers to the last wait, oldest first. */
  approvalsOf(): readonly { approver: string | null; v: JsonText }[]
  /** Only where it exists: `error` of a failure module or retry_if. Undefined elsewhere. */
  errorText(): JsonText | undefined
  /** What variables and resources are worth now. */
  readonly look: Look
}

/** What an expression may read. */
export interface Uses {
  readonly roots: readonly Root[]
  /** Steps whose results it reads; null: of any. */
  readonly results: readonly string[] | null
  /** Fields of flow_input that it reads; null: any. */
  readonly inputs: readonly string[] | null
  /** Variables and resources that it names. */
  readonly lookups: readonly Lookup[]
}

export interface Expression {
  /** A constant or a path: asked again in the same scope it gives the same. */
  readonly pure: boolean
  readonly uses: Uses
  /** The user's source, for error messages; '' for constants. */
  readonly source: string
  /** The value as a document that names variables or resources, for whoever resolves it later; null: it is no such value. */
  readonly unresolved: JsonText | null
  /** The value as JSON text, without printing again what is passed through whole. */
  text(scope: Scope): JsonText
  /** Both throw NotAtHand as long as what it looks up is not there. */
  value(scope: Scope): Json
}

/** Runs JavaScript that is not a path. One per process; see sandbox.ts. */
export interface Sandbox {
  /**
   * @param names the roots the source mentions, with their values as JSON text
   * @throws SandboxError if it throws, runs past its time or memory, or gives a value JSON cannot carry
   */
  evaluate(source: string, names: readonly string[], values: readonly JsonText[]): JsonText
}
