// A plan: a flow version compiled once, so that running it is look-ups.
//   P1. `steps` holds every step of the flow, nested ones included, the preprocessor and the failure module last; a step's `index` is its place there.
//   P2. `root` and every block inside a step name steps by index.
//   P3. A step refers to a flow or a script by path: which version runs is decided when it begins, and recorded.
//   P4. Pure and immutable: shared by all jobs of the version.
import type { Expression } from '../expr/expression.ts'
import type { JsonText } from '../json.ts'
import type { Look } from '../lookups.ts'
import type { Language, Retry, RuntimeName } from './definition.ts'
import type { TurnRule } from './turns.ts'

/** What deploying made of one step's code; stored with the version. */
export interface BuiltStep {
  /** Content address of the artifact in table `artifact`. Equal code has an equal key. */
  artifactKey: string
  language: Language
  /** Names of main's parameters, in order. */
  params: string[]
  /** The code can read WM_TOKEN: its calls carry one. */
  wantsToken: boolean
  /** What is called in place of `main`: another function that the code exports. */
  entry?: string
}

export interface Built {
  steps: Record<string, BuiltStep>
}

export interface CodeRun {
  kind: 'code'
  runtime: RuntimeName
  built: BuiltStep
}

export interface LoopRun {
  kind: 'loop'
  /** Null: a while loop. */
  iterator: Expression | null
  body: Block
  skipFailures: boolean
  parallel: boolean
  /** How many iterations at a time, if parallel; null: all. */
  parallelism: Expression | null
  /** Over all workers, however few iterations there are. */
  spread: boolean
}

export interface ChoiceRun {
  kind: 'choice'
  branches: { when: Expression; body: Block }[]
  otherwise: Block
}

export interface BranchesRun {
  kind: 'branches'
  branches: { body: Block; skipFailure: boolean }[]
  parallel: boolean
}

export interface FlowRun {
  kind: 'flow'
  path: string
}

export interface ScriptRun {
  kind: 'script'
  path: string
  /** A version of it; null: the one deployed when the step begins. */
  hash: string | null
}

export interface Stop {
  expression: Expression
  skipIfStopped: boolean
  errorMessage: string | null
  includeResult: boolean
}

/** Who may answer a wait: whoever has its URL, a member who is logged in, or one who did not start the job. */
export const answerers = ['anyone', 'member', 'other'] as const
export type Answerer = (typeof answerers)[number]

export interface Suspend {
  events: number
  by: Answerer
  /** Gives the groups whose members may; null: nobody asks for a group. */
  groups: Expression | null
  timeoutMs: number
  /** Refused or timed out, the flow goes on with the error as this step's result. */
  goesOn: boolean
  /** What the flow goes on with when the time is over; null: nothing, that is a failure. */
  onTimeout: JsonText | null
  /** The answer becomes the step's result. */
  resultIsAnswer: boolean
}

/** A step that is a job of its own: apart.ts. */
export interface Apart {
  /** Which workers run it; null: those of its job. */
  tag: string | null
  /** What its jobs wait for. */
  turns: TurnRule | null
  /** Of a workflow's task; missing: that of its job. */
  priority?: number
}

export interface PlanStep {
  index: number
  id: string
  run:
    | CodeRun
    | LoopRun
    | ChoiceRun
    | BranchesRun
    | FlowRun
    | ScriptRun
    | { kind: 'identity' }
    | { kind: 'mock'; value: JsonText }
  /** null: it runs in its job. */
  apart: Apart | null
  /** Binds main's arguments: names and the expressions that give their values. */
  inputs: { name: string; expression: Expression }[]
  skipIf: Expression | null
  /** Of a loop: asked after each iteration. */
  stopAfterIf: Stop | null
  /** Of a loop or branchall: asked once, after all. */
  stopAfterAllIf: Stop | null
  /** Seconds to wait after the step. */
  sleep: Expression | null
  suspend: Suspend | null
  retry: Retry | null
  retryIf: Expression | null
  continueOnError: boolean
  /** Seconds. */
  timeout: Expression | null
  /** A result of the same code and arguments is used again for so long; null: never. */
  cacheMs: number | null
  /** What it comes to is deleted so many seconds after the end of the job; null: never. Of the steps around it too, and of its flow. */
  deleteS: number | null
}

/** Of a step with nothing around it: it is run, once, with the arguments that it is given. */
export const nothingAround = {
  apart: null,
  inputs: [],
  skipIf: null,
  stopAfterIf: null,
  stopAfterAllIf: null,
  sleep: null,
  suspend: null,
  retry: null,
  retryIf: null,
  continueOnError: false,
  timeout: null,
  cacheMs: null,
} satisfies Partial<PlanStep>

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
  /** The whole flow is skipped if it gives true. */
  skipIf: Expression | null
  failure: PlanStep | null
  /** Runs first in a job that an event started (eventOf). */
  preprocessor: PlanStep | null
  flowEnv: JsonText
  /** It names variables or resources. */
  envNames: boolean
  /** What variables and resources of the workspace are worth now. */
  look: Look
  strict: boolean
  /** Its steps share a folder: runner/shared_folder.ts. */
  sharesFolder: boolean
  /** What its jobs wait for; null: nothing. */
  turns: TurnRule | null
  /** It has one step, which gets the job's arguments as they came: a script's, or a step apart. */
  alone: boolean
  /** The step whose result is answered before the job is over. */
  early: string | null
  /** As cacheMs of a step, for the whole. */
  cacheMs: number | null
  /** All of a job is deleted so many seconds after its end; null: never. */
  deleteS: number | null
  /** Something of its jobs is. */
  deletes: boolean
  /** Its jobs are tasks that another job has started: they call another function than `main`. */
  isTask: boolean
}

/** What a version is a version of. Previews are versions nobody deployed. A script runs as a flow of one step. */
export const runnableKinds = ['flow', 'script', 'flowpreview', 'preview'] as const
export type RunnableKind = (typeof runnableKinds)[number]
