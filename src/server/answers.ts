// Answers to steps that wait: who may give one, and what becomes of it.
//   W1. An answer is taken once: 201 means it is stored and will count, or that its wait is over by then. A repeated resume id is refused.
//   W2. What a step asks of who answers is checked where it is known that the step waits. An answer that comes before has to meet
//       the strictest of what the flow's steps ask; the machine has the last word (core/flow/state.ts, mayAnswer).
//   W3. The groups of a sender are those of the moment when the answer is taken, and are stored with it: both judge by the same ones.
import { randomInt } from 'node:crypto'
import { EngineError } from '../core/errors.ts'
import { parseTarget } from '../core/flow/apart.ts'
import { isAsked, noGroups } from '../core/flow/groups.ts'
import { isAlive } from '../core/flow/state.ts'
import { modulesOf } from '../core/flow/modules.ts'
import type { Answerer } from '../core/flow/plan.ts'
import { jobIdOf, stepIdOf, stepNumberOf } from '../core/job/ids.ts'
import type { Json, JsonText } from '../core/json.ts'
import type { Identity } from '../store/accounts.ts'
import type { Queryable } from '../store/db.ts'
import { readOutcome, readPart } from '../store/job_reads.ts'
import { readAnswers, readWaiting, sendSignal, type Waiting, type WaitingJob } from '../store/signals.ts'
import { loadVersion } from '../store/versions.ts'
import { findJob, foundResultOf, noJob, type Look } from './job_lookup.ts'
import { assertMayName } from './naming.ts'

export interface Answer {
  workspaceId: string
  /** A step's id; a job's: for whatever waits next. */
  id: string
  resumeId: number
  /** A name that its URL was made for. */
  approver: string | undefined
  approved: boolean
  payload: JsonText
  caller: Identity | null
}

/** @throws EngineError E_CONFLICT: sent already, or the job is over; E_UNAUTHORIZED, E_FORBIDDEN: not by this caller; E_NOT_FOUND */
export async function takeAnswer(on: Queryable, answer: Answer): Promise<void> {
  const { workspaceId, id, resumeId, approved, payload, caller } = answer
  assertMayName(caller, payload, 'body')
  const jobId = jobIdOf(id)
  const step = stepNumberOf(id)
  const job = await readWaiting(on, workspaceId, jobId, caller?.email)
  if (!job) throw await notActive(on, workspaceId, jobId)
  const waits = job.waits.filter((wait) => step === 0 || wait.step === step)
  for (const asks of waits.length > 0 ? waits : [{ by: job.strictest, groups: noGroups }]) assertMayAnswer(asks, job, caller)
  const approver = answer.approver ?? caller?.username ?? null
  const account = caller?.username ?? null
  const { groups } = job
  const sent = await sendSignal(on, { workspaceId, jobId, step, resumeId, approver, account, groups, approved, payload })
  if (sent) return
  const outcome = await readOutcome(on, workspaceId, jobId)
  if (!outcome || outcome.status !== null) throw await notActive(on, workspaceId, jobId)
  throw new EngineError('E_CONFLICT', 'resume request already sent', { at: 'resume_id' })
}

/** What an answer is for that code asks for under an id of its own: of a step apart, the step. */
export async function answeredId(on: Queryable, workspaceId: string, id: string): Promise<string> {
  const part = await readPart(on, workspaceId, jobIdOf(id))
  return part ? stepIdOf(part.jobId, part.step) : id
}

/** Whose approvals code asks about under an id of its own: of a task that is a job, those of its workflow. */
export async function approvalOwner(on: Queryable, workspaceId: string, id: string): Promise<string> {
  const part = await readPart(on, workspaceId, jobIdOf(id))
  return part && parseTarget(part.part)?.kind === 'task' ? stepIdOf(part.jobId, part.step) : id
}

/** Why there is no active job of this id. */
async function notActive(on: Queryable, workspaceId: string, jobId: string): Promise<EngineError> {
  const outcome = await readOutcome(on, workspaceId, jobId)
  return outcome ? new EngineError('E_CONFLICT', `job ${jobId} is over: nothing waits for an answer`, { at: 'id' }) : noJob(jobId)
}

/**
 * What an answer is to: its own id; of one to an approval of a workflow (by its key) the approval, while that waits.
 * @throws EngineError E_CONFLICT, E_NOT_FOUND
 */
export async function waitOfWorkflow(
  look: Look,
  { workspaceId, id, stepKey }: { workspaceId: string; id: string; stepKey?: string | undefined },
): Promise<string> {
  if (stepKey === undefined) return id
  const jobId = jobIdOf(id)
  const n = stepNumberOf(id)
  const found = await findJob(look, workspaceId, jobId)
  const history = found.kind === 'job' && found.job.status === null ? await look.histories.of(found.job) : null
  const minted = history?.numbered(n)
  // In a task, or in the workflow itself.
  const task = minted?.kind === 'attempt' ? minted.of.list.cursor : null
  for (const cursor of history?.state.inside.values() ?? []) {
    const waits = cursor.ask?.kind === 'approval' && cursor.ask.key === stepKey && cursor.phase === 'suspended'
    const isOfIt = n === 0 || cursor.parent!.n === n || (task?.ask && task.parent === cursor.parent)
    if (waits && isOfIt && isAlive(history!.state, cursor)) return stepIdOf(jobId, cursor.n)
  }
  throw new EngineError('E_CONFLICT', `approval "${stepKey.slice(0, 100)}" of job ${jobId} does not wait for an answer now`, {
    at: 'step_key',
  })
}

/** An answer to what waits now, without a URL. Of several waits: to the one whose time is over first. */
export async function answerAsMember(
  on: Queryable,
  answer: Omit<Answer, 'resumeId' | 'approver'> & { caller: Identity },
): Promise<void> {
  const { workspaceId, id, caller } = answer
  const { wait } = await waitOf(on, workspaceId, id, caller)
  // To the step, not to whatever waits next: of two who answer at once, the second one's must not count for a later wait.
  const stepId = stepIdOf(jobIdOf(id), wait.step)
  await takeAnswer(on, { ...answer, id: stepId, resumeId: randomInt(2 ** 32), approver: undefined })
}

/** The wait that an id names: a step's, or of a job's the one whose time is over first. @throws EngineError E_CONFLICT, E_NOT_FOUND */
async function waitOf(
  on: Queryable,
  workspaceId: string,
  id: string,
  caller: Identity | null,
): Promise<{ job: WaitingJob; wait: Waiting }> {
  const jobId = jobIdOf(id)
  const step = stepNumberOf(id)
  const job = await readWaiting(on, workspaceId, jobId, caller?.email)
  if (!job) throw await notActive(on, workspaceId, jobId)
  const wait = job.waits.find((one) => step === 0 || one.step === step)
  if (wait) return { job, wait }
  throw new EngineError('E_CONFLICT', `${step === 0 ? 'job' : 'step'} ${id} does not wait for an answer now`, { at: 'id' })
}

/** Who has answered a step, or (a job's id) whatever waits. */
export async function approversOf(on: Queryable, id: string): Promise<Approver[]> {
  const answers = await readAnswers(on, jobIdOf(id), stepNumberOf(id))
  return answers.map(({ resumeId, approver }) => ({ resume_id: resumeId, approver: approver ?? 'anonymous' }))
}

/** What whoever answers is shown. */
export interface ApprovalInfo {
  flow_id: string
  step_id: string
  path: string
  form_schema: Json | undefined
  /** What the step says to whoever answers: `{description, default_args, …}` as its result. */
  description: Json | undefined
  default_args: Json | undefined
  approval_conditions: { user_auth_required: boolean; user_groups_required: string[]; self_approval_disabled: boolean }
  can_approve: boolean
  user_auth_required: boolean
  hide_cancel: boolean
  skin: 'detailed'
  step_summary: string | undefined
  /** How many answers more will do, and until when. */
  wanted: number
  until: Date
  approvers: Approver[]
}

interface Approver {
  resume_id: number
  approver: string
}

/** @throws EngineError E_CONFLICT: nothing waits; E_NOT_FOUND */
export async function approvalInfo(
  look: Look,
  { workspaceId, id, caller }: { workspaceId: string; id: string; caller: Identity | null },
): Promise<ApprovalInfo> {
  const jobId = jobIdOf(id)
  const { reads: on } = look
  const { job, wait } = await waitOf(on, workspaceId, id, caller)
  const stepId = stepIdOf(jobId, wait.step)
  const [version, step, ofStep, ofJob] = await Promise.all([
    loadVersion(on, wait.versionId),
    findJob(look, workspaceId, stepId),
    approversOf(on, stepId),
    approversOf(on, jobId),
  ])
  const module = modulesOf(version.value, '$').find((one) => one.module.id === wait.moduleId)?.module
  const suspend = module?.suspend
  const asked = step.kind === 'inside' && step.inside.past.kind === 'attempt' ? step.inside.past.of.list.cursor.ask : null
  const ask = asked?.kind === 'approval' ? asked : null
  const result = JSON.parse(foundResultOf(step) ?? 'null') as { description?: Json; default_args?: Json } | null
  return {
    flow_id: jobId,
    step_id: stepId,
    path: version.path,
    form_schema: ask ? formOf(ask.form) : (suspend?.resume_form as { schema?: Json } | undefined)?.schema,
    description: ask ? ask.description : result?.description,
    default_args: result?.default_args,
    approval_conditions: {
      user_auth_required: wait.by !== 'anyone',
      user_groups_required: wait.groups,
      self_approval_disabled: wait.by === 'other',
    },
    can_approve: whyNot(wait, job, caller) === null,
    user_auth_required: wait.by !== 'anyone',
    hide_cancel: suspend?.hide_cancel ?? false,
    skin: 'detailed',
    step_summary: module?.summary,
    wanted: wait.wanted,
    until: wait.until,
    approvers: [...ofStep, ...ofJob],
  }
}

/** The form of a workflow's approval: a schema, or an object that has one. */
function formOf(form: Json | undefined): Json | undefined {
  return (form as { schema?: Json } | undefined)?.schema ?? form
}

/** What a step asks of who answers. */
interface Asks {
  by: Answerer
  groups: readonly string[]
}

/** Why this caller may not answer; null if they may. */
function whyNot({ by, groups }: Asks, job: WaitingJob, caller: Identity | null): EngineError | null {
  if (by === 'anyone') return null
  const members = membersOf(groups)
  if (!caller)
    return new EngineError('E_UNAUTHORIZED', `only ${members} who are logged in may answer this step`, { at: 'authorization' })
  const { username } = caller
  if (by === 'other' && username === job.createdBy)
    return new EngineError('E_FORBIDDEN', `${username} started this job, and someone else has to answer this step`)
  if (isAsked(groups, job.groups)) return null
  return new EngineError('E_FORBIDDEN', `only ${members} may answer this step, and ${username} is none`, { allowed: groups })
}

/** As a text says it. */
export function membersOf(groups: readonly string[]): string {
  if (groups.length === 0) return 'members'
  return `members of ${groups.length === 1 ? 'group' : 'one of the groups'} ${groups.join(', ')}`
}

function assertMayAnswer(asks: Asks, job: WaitingJob, caller: Identity | null): void {
  const error = whyNot(asks, job, caller)
  if (error) throw error
}
