// A plan: a flow version compiled once, so that running it is look-ups.
//   P1. `steps` holds every step of the flow, the failure module last; a step's `index` is its place there.
//   P2. `root` and every nested block name steps by index. (Loops and branches give their step blocks of their own.)
//   P3. Pure and immutable: shared by all jobs of the version.
import type { Expression } from '../expr/expression.ts'
import type { JsonText } from '../json.ts'
import type { Language, Retry, RuntimeName } from './definition.ts'

/** What deploying made of one step's code; stored with the version. */
export interface BuiltStep {
  /** Content address of the artifact in table `artifact`. Equal code has an equal key. */
  artifactKey: string
  language: Language
  /** Names of main's parameters, in order. */
  params: string[]
  /** The code can read WM_TOKEN: its calls carry one. */
  wantsToken: boolean
}

export interface Built {
  steps: Record<string, BuiltStep>
}

export interface CodeRun {
  kind: 'code'
  runtime: RuntimeName
  built: BuiltStep
}

export interface PlanStep {
  index: number
  id: string
  run: CodeRun | { kind: 'identity' } | { kind: 'mock'; value: JsonText }
  /** Binds main's arguments: names and the expressions that give their values. */
  inputs: { name: string; expression: Expression }[]
  skipIf: Expression | null
  stopAfterIf: { expression: Expression; skipIfStopped: boolean; errorMessage: string | null; includeResult: boolean } | null
  retry: Retry | null
  retryIf: Expression | null
  continueOnError: boolean
  /** Seconds. */
  timeout: Expression | null
}

export interface Block {
  steps: number[]
}

export interface Plan {
  versionId: string
  workspaceId: string
  path: string
  kind: RunnableKind
  steps: PlanStep[]
  root: Block
  failure: PlanStep | null
  flowEnv: JsonText
  strict: boolean
}

/** What a version is a version of. Previews are versions nobody deployed. A script runs as a flow of one step. */
export const runnableKinds = ['flow', 'script', 'flowpreview', 'preview'] as const
export type RunnableKind = (typeof runnableKinds)[number]
