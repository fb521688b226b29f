// flow_status: where a flow stands, as clients of the Windmill API read it. Made of the job's history, for the job itself and for
// each list of modules inside of it (an iteration, a branch, a sub-flow), which clients see as a flow job of its own.
//   S1. A list's id is the job's with its cursor's number, an attempt's with its step's (core/job/ids.ts); a step apart has its own job's.
//   S2. A step that waits for answers is a success; the one behind it waits for events, under the id of the one answered
//       (as in Windmill). The last of a list has none behind it, and waits itself.
import type { AttemptPast, History, ListPast, StepPast } from '../core/flow/history.ts'
import type { PlanStep } from '../core/flow/plan.ts'
import { stepIdOf } from '../core/job/ids.ts'
import type { Json, JsonText } from '../core/json.ts'
import type { ActiveState, JobStatus } from '../store/job_reads.ts'

export const moduleStates = [
  'WaitingForPriorSteps',
  'WaitingForEvents',
  'WaitingForExecutor',
  'InProgress',
  'Success',
  'Failure',
] as const

export interface ModuleStatus {
  type: (typeof moduleStates)[number]
  id: string
  job?: string
  /** Answers that are still to come. */
  count?: number
  /** In percent. */
  progress?: number
  iterator?: { index: number; itered?: Json[]; itered_len?: number }
  parallel?: boolean
  while_loop?: boolean
  flow_jobs?: string[]
  /** null: not over. */
  flow_jobs_success?: (boolean | null)[]
  flow_jobs_duration?: { started_at: (string | null)[]; duration_ms: (number | null)[] }
  branch_chosen?: { type: 'branch'; branch: number } | { type: 'default' }
  branchall?: { branch: number; len: number }
  approvers?: { resume_id: number; approver: string }[]
  failed_retries?: string[]
  skipped?: boolean
}

export interface FlowStatus {
  step: number
  modules: ModuleStatus[]
  failure_module: ModuleStatus & { parent_module?: string }
  preprocessor_module?: ModuleStatus
  retry?: { fail_count: number; failed_jobs: string[] }
}

/** What is known of a job beside its history. */
export interface Standing {
  id: string
  state: ActiveState | 'done'
  status: JobStatus | null
  startedAt: Date | null
  /** How far steps say they are, in percent, by step id. */
  progress?: Record<string, number> | null
}

// A client is not sent the items of a loop with every look at it if they are long: iterations have theirs as arguments.
const iteredCharsMax = 10_000

export function flowStatusOf(history: History, list: ListPast, job: Standing): FlowStatus {
  const { cursor, steps } = list
  const { plan, root } = cursor.frame
  const view = new ListView(history, list, job)
  const modules = cursor.block.steps.map((index) => view.statusOf(plan.steps[index]!))
  const failurePast = cursor === root && plan.failure ? steps.get(plan.failure.index) : undefined
  const failure = cursor === root && plan.failure ? view.statusOf(plan.failure) : later('failure')
  const status: FlowStatus = { step: view.position(modules, failurePast !== undefined), modules, failure_module: failure }
  if (failurePast) status.failure_module.parent_module = modules[cursor.at]?.id ?? 'preprocessor'
  if (plan.preprocessor && steps.has(plan.preprocessor.index)) status.preprocessor_module = view.statusOf(plan.preprocessor)
  view.markNext(modules)
  const retrying = view.retrying()
  if (retrying) status.retry = { fail_count: retrying.length, failed_jobs: retrying }
  return status
}

/** Has anything of the job run? Before its first claim the machine knows what is to come, and nothing has. */
export function hasBegun(history: History, job: Standing): boolean {
  return !history.cached && (job.startedAt !== null || history.root.records.length > 0)
}

/** A list of modules with everything inside of it. */
export interface ListTree {
  job: string
  /** What it is of its step: `#2` of a loop, `branch 0`, `default`, `flow f/a/b`, the key of a task; '' of the job itself. */
  label: string
  /** null: not over. */
  success: boolean | null
  duration_ms: number | null
  steps: StepTree[]
}

export interface StepTree extends Pick<
  ModuleStatus,
  'type' | 'id' | 'job' | 'count' | 'progress' | 'approvers' | 'failed_retries' | 'skipped'
> {
  /** Of the last try; null: it has not begun, or is not over. */
  duration_ms: number | null
  /** It did not run: an earlier result was used. */
  cached?: boolean
  error?: { name: string; message: string }
  /** Iterations, branches, the flow: of the last try. */
  inside?: ListTree[]
}

export function treeOf(history: History, list: ListPast, job: Standing): ListTree {
  const { cursor, steps, end } = list
  const status = flowStatusOf(history, list, job)
  if (cursor.ask) return treeOfAsk(history, list, job)
  const trees = status.modules.map((module, at) => {
    const past = steps.get(cursor.block.steps[at]!)
    return stepTreeOf(history, module, past, job)
  })
  const { failure } = cursor.frame.plan
  const failurePast = failure ? steps.get(failure.index) : undefined
  const { preprocessor } = cursor.frame.plan
  const preprocessorPast = preprocessor ? steps.get(preprocessor.index) : undefined
  if (preprocessorPast) trees.unshift(stepTreeOf(history, status.preprocessor_module!, preprocessorPast, job))
  if (failurePast) trees.push(stepTreeOf(history, status.failure_module, failurePast, job))
  return {
    job: stepIdOf(job.id, cursor.id),
    label: labelOf(list),
    success: end ? end.how !== 'failed' : job.status === null && history.isAlive(list) ? null : job.status === 'success',
    duration_ms: end ? list.endedMs - list.beganMs : null,
    steps: trees,
  }
}

/** What a workflow asked for: of a flow, its steps. */
function treeOfAsk(history: History, list: ListPast, job: Standing): ListTree {
  const { cursor, steps, end } = list
  const [attempt] = [...steps.values()].flatMap((past) => past.attempts)
  const [flow] = cursor.ask!.kind === 'flow' ? (attempt?.bodies ?? []) : []
  return {
    job: attempt?.apart ?? stepIdOf(job.id, cursor.id),
    label: labelOf(list),
    success: end ? end.how !== 'failed' : job.status === null && history.isAlive(list) ? null : job.status === 'success',
    duration_ms: attempt?.end?.ms ?? (end ? list.endedMs - list.beganMs : null),
    steps: flow ? treeOf(history, flow, job).steps : [],
  }
}

function stepTreeOf(history: History, status: ModuleStatus, past: StepPast | undefined, job: Standing): StepTree {
  const { type, id, job: stepJob, count, progress, approvers, failed_retries, skipped } = status
  const tree: StepTree = { id, type, job: stepJob, duration_ms: null, count, progress, approvers, failed_retries, skipped }
  const attempt = past?.attempts.at(-1)
  if (!past || !attempt || !hasBegun(history, job)) return tree
  if (attempt.end?.k === 'ok' && attempt.end.cached) tree.cached = true
  if (past.outcome) tree.duration_ms = attempt.end?.ms ?? attempt.endedMs - attempt.beganMs
  if (past.outcome === 'failed') {
    const result = JSON.parse(past.list.cursor.results.get(past.step.id) ?? 'null') as {
      error?: { [field: string]: Json }
    } | null
    if (result?.error) tree.error = { name: plainText(result.error['name']), message: plainText(result.error['message']) }
  }
  if (attempt.bodies.length > 0) tree.inside = attempt.bodies.map((body) => treeOf(history, body, job))
  return tree
}

/** User code may throw anything. */
function plainText(value: Json | undefined): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null)
}

function labelOf({ cursor, inside }: ListPast): string {
  if (!inside) return ''
  if (cursor.ask) return cursor.ask.key
  const { run } = inside.of.step
  switch (run.kind) {
    case 'loop':
      return `#${cursor.slot}`
    case 'flow':
      return `flow ${run.path}`
    default:
      return cursor.slot < 0 ? 'default' : `branch ${cursor.slot}`
  }
}

function later(id: string): ModuleStatus {
  return { type: 'WaitingForPriorSteps', id }
}

class ListView {
  readonly #history: History
  readonly #list: ListPast
  readonly #job: Standing
  readonly #alive: boolean

  constructor(history: History, list: ListPast, job: Standing) {
    this.#history = history
    this.#list = list
    this.#job = job
    this.#alive = job.status === null && history.isAlive(list)
  }

  statusOf(step: PlanStep): ModuleStatus {
    const past = this.#list.steps.get(step.index)
    if (!hasBegun(this.#history, this.#job)) return this.#unclaimed(step)
    if (!past) {
      if (!this.#isAt(step)) return later(step.id)
      return { type: this.#working(), id: step.id } // about to be asked whether to skip it
    }
    if (past.outcome === 'skipped') return { type: 'Success', id: step.id, skipped: true }
    const status = this.#detailsOf(past)
    status.type = this.#typeOf(past)
    const { progress } = this.#job
    if (status.type === 'InProgress' && status.job && progress?.[status.job] !== undefined)
      status.progress = progress[status.job]!
    if (past.approvals?.length) {
      status.approvers = past.approvals.map(({ id, approver }) => ({ resume_id: id, approver: approver ?? '' }))
    }
    return status
  }

  /** Which module the list is at, as an index; their number when it is through, or at the failure module. */
  position(modules: readonly ModuleStatus[], failing: boolean): number {
    const { cursor, steps, end } = this.#list
    if (failing || end?.how === 'done' || this.#history.cached) return modules.length
    const index = cursor.block.steps[cursor.at]
    if (cursor.step && cursor.step === cursor.frame.plan.preprocessor) return -1 // as in Windmill
    if (index === undefined) return Math.max(0, cursor.at)
    const outcome = steps.get(index)?.outcome
    return outcome === 'settled' || outcome === 'skipped' ? cursor.at + 1 : cursor.at
  }

  /** A step that waits after its end shows at the one behind it (S2). */
  markNext(modules: ModuleStatus[]): void {
    const { cursor } = this.#list
    if (!this.#alive || (cursor.phase !== 'suspended' && cursor.phase !== 'resting')) return
    const at = cursor.block.steps[cursor.at] === cursor.step?.index ? cursor.at : -1
    if (at < 0) return
    const status = modules[at + 1] ?? (cursor.phase === 'suspended' ? modules[at]! : undefined)
    if (!status) return
    if (cursor.phase === 'resting') {
      status.type = 'WaitingForExecutor'
      return
    }
    status.type = 'WaitingForEvents'
    status.count = Math.max(0, cursor.step!.suspend!.events - (cursor.approvals?.length ?? 0))
    status.job = this.#id(cursor.n)
  }

  /** Attempts of the current step that failed. */
  retrying(): string[] | null {
    const { cursor, steps } = this.#list
    if (!this.#alive || cursor.failures === 0 || !cursor.step) return null
    const past = steps.get(cursor.step.index)
    return past?.outcome === null ? past.attempts.slice(0, cursor.failures).map((attempt) => this.#attemptId(attempt)) : null
  }

  #unclaimed(step: PlanStep): ModuleStatus {
    const first = this.#job.status === null && this.#list.cursor.block.steps[0] === step.index
    return first ? { type: 'WaitingForExecutor', id: step.id } : later(step.id)
  }

  #isAt(step: PlanStep): boolean {
    return this.#alive && this.#list.cursor.step === step
  }

  #working(): 'InProgress' | 'WaitingForExecutor' {
    return this.#job.state === 'running' ? 'InProgress' : 'WaitingForExecutor'
  }

  #typeOf(past: StepPast): ModuleStatus['type'] {
    const { end, cursor } = this.#list
    if (past.outcome === 'settled') return 'Success'
    if (past.outcome === 'failed') return 'Failure'
    if (end) return end.how === 'failed' ? 'Failure' : 'Success' // a body of it has ended the list
    if (!this.#isAt(past.step)) return 'Failure' // what it was left with: canceled, or given up around it
    if (cursor.phase === 'inside' || cursor.phase === 'joining') return 'InProgress'
    if (cursor.phase === 'asleep') return 'WaitingForExecutor'
    return this.#working()
  }

  /** All but the type. */
  #detailsOf(past: StepPast): ModuleStatus {
    const { step, attempts } = past
    const status: ModuleStatus = { type: 'InProgress', id: step.id }
    const attempt = attempts.at(-1)
    if (!attempt) return status
    // An attempt that nobody has begun has no id to look at yet.
    const waits =
      past.outcome === null && this.#isAt(step) && this.#list.cursor.phase === 'running' && this.#job.state !== 'running'
    const shown = waits ? attempts.at(-2) : attempt
    const failed = attempts.slice(0, shown ? attempts.indexOf(shown) : 0)
    if (failed.length > 0) status.failed_retries = failed.map((one) => this.#attemptId(one))
    if (!shown) return status
    status.job = this.#attemptId(shown)
    this.#addBodies(status, shown)
    return status
  }

  #addBodies(status: ModuleStatus, attempt: AttemptPast): void {
    const { run } = attempt.of.step
    const { bodies } = attempt
    const last = bodies.at(-1)?.cursor.slot ?? -1
    switch (run.kind) {
      case 'loop':
        this.#addFlowJobs(status, bodies)
        status.parallel = run.parallel || undefined
        if (!run.iterator) status.while_loop = true
        status.iterator = { index: last, ...itemsOf(attempt.items) }
        return
      case 'branches':
        this.#addFlowJobs(status, bodies)
        status.parallel = run.parallel || undefined
        status.branchall = { branch: last, len: run.branches.length }
        return
      case 'choice':
        if (bodies.length > 0) status.branch_chosen = last < 0 ? { type: 'default' } : { type: 'branch', branch: last }
        return
      default:
    }
  }

  #addFlowJobs(status: ModuleStatus, bodies: readonly ListPast[]): void {
    status.flow_jobs = bodies.map(({ cursor }) => this.#id(cursor.id))
    status.flow_jobs_success = bodies.map(({ end }) => (end === null ? null : end.how !== 'failed'))
    status.flow_jobs_duration = {
      started_at: bodies.map(({ beganMs }) => new Date(beganMs).toISOString()),
      duration_ms: bodies.map(({ end, beganMs, endedMs }) => (end === null ? null : endedMs - beganMs)),
    }
  }

  /** What an attempt ran as: a job, its code, or the last of its bodies. */
  #attemptId(attempt: AttemptPast): string {
    if (attempt.apart !== null) return attempt.apart
    const { kind } = attempt.of.step.run
    const isCode = kind === 'code' || kind === 'script'
    return this.#id((isCode ? undefined : attempt.bodies.at(-1)?.cursor.id) ?? attempt.n)
  }

  #id(n: number): string {
    return stepIdOf(this.#job.id, n)
  }
}

/** How a workflow's tasks, sleeps and approvals went, by their ids. */
export type WorkflowStatus = Record<
  string,
  { name: string; key: string; scheduled_for: string; started_at: string; duration_ms: number | null }
>

/** undefined: it is no workflow, or asked for nothing yet. */
export function workflowStatusOf({ bodies, of }: AttemptPast, jobId: string): WorkflowStatus | undefined {
  const status: WorkflowStatus = {}
  for (const { cursor, steps, end, beganMs, endedMs } of bodies) {
    const { ask } = cursor
    if (!ask) continue
    const attempt = steps.get(of.step.index)?.attempts.at(-1)
    const ran = attempt?.end
    status[attempt?.apart ?? stepIdOf(jobId, cursor.id)] = {
      name: 'name' in ask ? ask.name : ask.kind,
      key: ask.key,
      scheduled_for: new Date(beganMs).toISOString(),
      started_at: new Date(ran?.at ?? beganMs).toISOString(),
      duration_ms: ran?.ms ?? (end ? endedMs - beganMs : null),
    }
  }
  return Object.keys(status).length > 0 ? status : undefined
}

function itemsOf(items: readonly JsonText[] | null): { itered?: Json[]; itered_len?: number } {
  if (items === null) return {}
  let chars = 0
  for (const item of items) chars += item.length + 1
  const length = { itered_len: items.length }
  return chars > iteredCharsMax ? length : { itered: items.map((item) => JSON.parse(item) as Json), ...length }
}
