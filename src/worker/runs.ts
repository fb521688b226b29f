// Runs: the jobs in progress. Drives each job's machine: its effects out to runners, what came back in as records.
//   R1. A run is in `runs` from its claim until its end is committed (or it was given back): that is what `held` counts.
//   R2. After `finish` a run takes no more records; late results of its calls change nothing.
//   R3. Pipelined: a record is journaled once its job is older than journalAfterMs, and before anything that waits.
//       Strict: every result is durable before the next step starts.
// HOT. Per step: one machine step, one bind, one call object. Per job: one string for the commit. No await, no closure.
import { messageOf, type UserError } from '../core/errors.ts'
import type { Expression } from '../core/expr/expression.ts'
import { advance, errorResult, fold, open, type Effect } from '../core/flow/machine.ts'
import { parseRecord, printRecord, type JobRecord } from '../core/flow/records.ts'
import { JobScope } from '../core/flow/scope.ts'
import { retryDelayMs } from '../core/job/retry.ts'
import type { Json, JsonText } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import type { RunnerPool } from '../runner/pool_types.ts'
import type { Clock } from '../store/clock.ts'
import type { ClaimedJob, JournalRow } from '../store/jobs.ts'
import type { Committer } from './committer.ts'
import type { LoadedPlan, LoadedStep, Plans } from './plans.ts'
import type { WorkerCounters } from './report.ts'
import type { Tracing } from './tracing.ts'
import { isScript, JournalEntry, Run, StepCall, unstorableResult, type Driver, type JournalEnds, type RunEnd } from './run.ts'

export interface RunsParts {
  clock: Clock
  limits: Limits
  pool: RunnerPool
  plans: Plans
  committer: Committer
  counters: WorkerCounters
  tracing: Tracing
  /** A token for user code of this job (WM_TOKEN). */
  issueToken(job: { jobId: string; workspaceId: string; createdBy: string }): string
  setProgress(stepJobId: string, percent: number): void
  onCommitted: RunEnd
  /** Gives a job back to the queue as run.parkUntilMs says. Its records are journaled. Ends in drop(). */
  giveBack(run: Run): void
  onDropped(run: Run): void
  /** A bug of ours was met while driving this job: logs it, and gives the id under which the log has it. */
  fault(run: Run, error: unknown): string
}

export interface Runs {
  /** Jobs held: claimed, not yet committed or given back. */
  held(): number
  get(jobId: string): Run | undefined
  start(job: ClaimedJob, plan: LoadedPlan, journal: readonly JournalRow[]): void
  /** A job whose plan cannot be loaded, or that cannot be given back, ends as a failure with the records its journal has. */
  refuse(job: ClaimedJob, reason: string, records?: readonly JsonText[]): void
  /** True if it was still running. */
  cancel(jobId: string, by: string, reason: string): boolean
  /** Journals what runs too long without being journaled. Called a few times a second. */
  journalOld(nowMs: number): void
  /** The run is no longer ours: forget it, cancel its calls. */
  drop(run: Run): void
  /** From now on no step starts: runs that come to one are given back. */
  closing(): void
  /** Gives a run back as it stands; a step under way will run again elsewhere. */
  giveBackNow(run: Run): void
  all(): Iterable<Run>
}

export function createRuns(parts: RunsParts): Runs {
  const { clock, limits, pool, plans, committer, counters } = parts
  const runs = new Map<string, Run>()
  const driver: Driver = { nowMs: clock.nowMs, take, say, progress }
  const journalEnds: JournalEnds = { durable, refused: drop, unstorable }
  /** It is no longer held. False if it left before: a dropped run whose commit is answered late, say. */
  const leave = (run: Run): boolean => {
    if (run.left) return false
    run.left = true
    if (runs.get(run.id) === run) runs.delete(run.id) // not if it was given back and claimed again meanwhile
    return true
  }
  const ended: RunEnd = (run, silent) => {
    if (!leave(run)) return
    run.trace?.end(run.status)
    parts.onCommitted(run, silent)
  }
  let closing = false

  function start(job: ClaimedJob, loaded: LoadedPlan, journal: readonly JournalRow[]): void {
    const run = new Run(job, loaded, ended, clock.nowMs())
    if (job.trace) run.trace = parts.tracing.begin(job, loaded)
    runs.set(run.id, run)
    try {
      if (journal.length > 0) resume(run, loaded, journal)
      else {
        const effects: Effect[] = []
        run.state = open(loaded.plan, job.args, limits, effects)
        act(run, effects)
      }
    } catch (error) {
      fault(run, error)
    }
  }

  /** Goes on where another worker, or this one before a wait, has left. */
  function resume(run: Run, loaded: LoadedPlan, journal: readonly JournalRow[]): void {
    const records: JobRecord[] = []
    for (const row of journal) {
      const record = parseRecord(JSON.parse(row.record) as Json)
      if (record) records.push(record)
      run.records.push(row.record)
    }
    run.journaled = run.kept = journal.length
    const { state, outstanding } = fold(loaded.plan, run.job.args, records, limits)
    run.state = state
    // The database has waited. Otherwise a wait begins anew: the clock of the worker that began it may not be ours.
    if (run.job.waited) for (const effect of outstanding) if (effect.e === 'sleep') effect.ms = 0
    act(run, outstanding)
  }

  /** A bug of ours ends the job it was met in, not the worker. */
  function fault(run: Run, error: unknown): void {
    const id = parts.fault(run, error)
    if (run.over) return
    end(run, 'failure', errorResult({ name: 'InternalError', message: `the engine failed on this job; its log has it as ${id}` }))
  }

  /** A record has come in: the state moves on, and what that calls for is done. */
  function take(run: Run, record: JobRecord, call: StepCall | null): void {
    try {
      moveOn(run, record, call)
    } catch (error) {
      fault(run, error)
    }
  }

  function moveOn(run: Run, record: JobRecord, call: StepCall | null): void {
    if (call) {
      if (run.calls.length === 1 && run.calls[0] === call) run.calls.length = 0
      else run.calls = run.calls.filter((other) => other !== call)
    }
    if (run.over) return
    const effects: Effect[] = []
    advance(run.loaded!.plan, run.state, record, limits, effects)
    if (record.k === 'ok' || record.k === 'err') {
      counters.stepsFinished += 1
      run.loaded!.meter.stepsFinished += 1
    }
    const last = effects.length === 1 ? effects[0]! : null
    if (last?.e === 'finish') {
      run.records.push(printRecord(record, !(record.k === 'ok' && record.v === last.result)))
    } else {
      run.records.push(printRecord(record))
      if (run.loaded!.plan.strict && record.k !== 'pick') {
        run.held = effects
        journal(run, goOn)
        return
      }
    }
    act(run, effects)
  }

  function goOn(run: Run): void {
    const effects = run.held
    run.held = null
    if (effects && !run.over) act(run, effects)
  }

  /** Hands all records not yet journaled to the journal; `after` is called once they are durable. */
  function journal(run: Run, after: ((run: Run) => void) | null): void {
    run.afterJournal = after ?? run.afterJournal
    run.journaling += run.records.length - run.journaled
    while (run.journaled < run.records.length) {
      const record = run.records[run.journaled++]!
      committer.journal(new JournalEntry(run, run.journaled, record, journalEnds))
    }
    if (run.journaling === 0) durable(run)
  }

  /** A record of the run is in the journal. When the last one is, what waited for it goes on. */
  function durable(run: Run): void {
    if (run.journaling > 0) return
    const after = run.afterJournal
    run.afterJournal = null
    after?.(run)
  }

  /** The database does not take a record: the job ends as a failure that says so. One that has ended meanwhile finds out by itself. */
  function unstorable(run: Run, reason: string): void {
    if (run.over) return durable(run)
    run.held = null
    run.records = run.records.slice(0, run.kept)
    end(run, 'failure', unstorableResult(reason))
  }

  function act(run: Run, effects: Effect[]): void {
    // Grows while it is walked: a pick is answered here, and its answer's effects come behind.
    for (let i = 0; i < effects.length && !run.over; i++) {
      const effect = effects[i]!
      switch (effect.e) {
        case 'start':
          if (closing) giveBackNow(run)
          else dispatch(run, effect)
          break
        case 'pick':
          decide(run, effect, effects)
          break
        case 'sleep':
          sleep(run, effect)
          break
        case 'finish':
          end(run, effect.status, effect.result)
          break
      }
    }
  }

  function dispatch(run: Run, effect: Effect & { e: 'start' }): void {
    const { step, n } = effect
    switch (step.run.kind) {
      case 'code': {
        const loaded = run.loaded!
        let args: JsonText
        let timeoutMs = limits.stepTimeoutMs
        try {
          args = isScript(loaded) ? scopeOf(run).flowInputText() : bind(run, loaded.steps[step.index]!.inputs)
          assertSize(args, limits.resultBytesMax)
          if (step.timeout) timeoutMs = timeoutOf(step.timeout.value(scopeOf(run)), limits)
        } catch (error) {
          take(run, { k: 'err', n, s: step.id, at: clock.nowMs(), ms: 0, e: expressionError(error) }, null)
          return
        }
        const token = step.run.built.wantsToken
          ? parts.issueToken({ jobId: run.id, workspaceId: loaded.plan.workspaceId, createdBy: run.job.created_by })
          : ''
        const environment = plans.environment(loaded, step.index, run.job.created_by)
        const call = new StepCall(
          driver,
          run,
          n,
          loaded.steps[step.index]!,
          environment,
          args,
          token,
          timeoutMs,
          run.trace && run.trace.step(n, step.id),
        )
        run.calls.push(call)
        pool.call(loaded.steps[step.index]!.spec!, call)
        return
      }
      case 'identity':
        take(run, { k: 'ok', n, s: step.id, at: clock.nowMs(), ms: 0, v: scopeOf(run).previousText() }, null)
        return
      case 'mock':
        take(run, { k: 'ok', n, s: step.id, at: clock.nowMs(), ms: 0, v: step.run.value }, null)
        return
    }
  }

  function decide(run: Run, effect: Effect & { e: 'pick' }, effects: Effect[]): void {
    const { step, what } = effect
    const record: JobRecord & { k: 'pick' } = { k: 'pick', s: step.id, w: what, v: null }
    try {
      switch (what) {
        case 'skip':
          record.v = truthy(step.skipIf!, run)
          break
        case 'stop':
          record.v = truthy(step.stopAfterIf!.expression, run)
          break
        case 'retry':
          record.v = truthy(step.retryIf!, run)
          break
        case 'delay':
          record.v = retryDelayMs(step.retry!, effect.failures, clock.random())
          break
      }
    } catch (error) {
      record.error = { ...expressionError(error), step_id: step.id }
    }
    run.records.push(printRecord(record))
    advance(run.loaded!.plan, run.state, record, limits, effects)
  }

  function truthy(expression: Expression, run: Run): boolean {
    return Boolean(expression.value(scopeOf(run)))
  }

  function sleep(run: Run, effect: Effect & { e: 'sleep' }): void {
    const record: JobRecord = { k: 'wake', s: effect.step.id }
    if (effect.ms <= limits.parkAfterMs) {
      run.timer = clock.after(Math.max(0, effect.ms), () => {
        run.timer = null
        take(run, record, null)
      })
      return
    }
    run.parkUntilMs = clock.monotonicMs() + effect.ms
    journal(run, park)
  }

  function park(run: Run): void {
    if (run.over) return
    run.over = true
    parts.giveBack(run)
  }

  function giveBackNow(run: Run): void {
    if (run.over) return
    run.parkUntilMs = null
    journal(run, park)
  }

  function end(run: Run, status: string, result: JsonText): void {
    run.over = true
    run.status = status
    run.result = result
    count(run.loaded, status !== 'success')
    for (const call of run.calls) pool.cancel(call, 'the job is over')
    run.timer?.cancel()
    run.print()
    counters.bytesFinished += run.text.length
    // Not through journal(): records that are not on their way need not go there any more.
    if (run.journaling > 0) run.afterJournal = finish
    else finish(run)
  }

  function count(loaded: LoadedPlan | null, failed: boolean): void {
    counters.jobsFinished += 1
    if (loaded) loaded.meter.jobs += 1
    if (!failed) return
    counters.jobsFailed += 1
    if (loaded) loaded.meter.jobsFailed += 1
  }

  function finish(run: Run): void {
    committer.finish(run)
  }

  function refuse(job: ClaimedJob, reason: string, records: readonly JsonText[] = []): void {
    const run = new Run(job, null, ended, clock.nowMs())
    run.records = [...records]
    run.journaled = run.kept = records.length
    runs.set(run.id, run)
    end(run, 'failure', errorResult({ name: 'PlanError', message: reason }))
  }

  function cancel(jobId: string, by: string, reason: string): boolean {
    const run = runs.get(jobId)
    if (!run || run.over) return false
    // What was running has its record, so that it can be found by its id; the cancel then overrides what would follow.
    const e: UserError = { name: 'Canceled', message: reason }
    for (const call of run.calls) {
      run.records.push(printRecord({ k: 'err', n: call.n, s: call.stepId, at: clock.nowMs(), ms: 0, e }))
    }
    take(run, { k: 'cancel', by, reason }, null)
    return true
  }

  function drop(run: Run): void {
    run.over = true
    run.timer?.cancel()
    for (const call of run.calls) pool.cancel(call, 'the job was given to another worker')
    if (!leave(run)) return
    run.trace?.end('')
    parts.onDropped(run)
  }

  function say(call: StepCall, channel: 0 | 1, n: number, text: string): void {
    committer.log({ id: call.logId, channel, n, text })
  }

  function progress(call: StepCall, percent: number): void {
    parts.setProgress(call.logId, percent)
  }

  return {
    held: () => runs.size,
    get: (jobId) => runs.get(jobId),
    start,
    refuse,
    cancel,
    journalOld(nowMs) {
      const before = nowMs - limits.journalAfterMs
      // In order of claiming: the first young run ends the walk.
      for (const run of runs.values()) {
        if (run.claimedMs > before) break
        if (!run.over && run.journaled < run.records.length) journal(run, null)
      }
    },
    drop,
    closing() {
      closing = true
    },
    giveBackNow,
    all: () => runs.values(),
  }
}

function scopeOf(run: Run): JobScope {
  return (run.scope ??= new JobScope(run.loaded!.plan, run.state))
}

function bind(run: Run, inputs: LoadedStep['inputs']): JsonText {
  let text = '{'
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i]!
    text += (i === 0 ? input.key : ',' + input.key) + input.expression.text(scopeOf(run))
  }
  return text + '}'
}

/** Arguments put together of several results may be larger than any of them. */
function assertSize(args: JsonText, bytesMax: number): void {
  if (args.length * 3 <= bytesMax) return
  const bytes = Buffer.byteLength(args)
  if (bytes <= bytesMax) return
  const limit = `the limit is ${bytesMax} (MILLRACE_RESULT_BYTES_MAX)`
  throw new StepFault(
    'ArgumentsTooLarge',
    `its arguments are ${bytes} bytes of JSON; ${limit}. Keep what is large elsewhere, and pass on where it is`,
  )
}

/** What fails a step before it has begun. */
class StepFault extends Error {
  constructor(name: string, message: string) {
    super(message)
    this.name = name
  }
}

function timeoutOf(seconds: Json, limits: Limits): number {
  if (typeof seconds !== 'number' || !(seconds > 0)) {
    throw new Error(`timeout is ${JSON.stringify(seconds)}; it must be a number of seconds above 0`)
  }
  return Math.min(seconds * 1_000, limits.stepTimeoutMs)
}

function expressionError(error: unknown): UserError {
  return { name: error instanceof StepFault ? error.name : 'ExpressionError', message: messageOf(error) }
}
