// Runs: the jobs in progress. Drives each job's machine: its effects out to runners, what came back in as records.
//   R1. A run is in `runs` from its claim until its end is committed (or it was given back): that is what `held` counts.
//   R2. After `finish` a run takes no more records; late results of its calls change nothing.
//   R3. Pipelined: a record is journaled once its job is older than journalAfterMs, and before anything that waits.
//       Strict: every result is durable before the next step starts.
//   R4. A job that only waits, and longer than parkAfterMs, is given back with the times it waits for: no slot, no memory.
//       One that waits for its parts lingers before: in memory, in no slot, as long as its next claim would be dear. The ends of
//       parts that come meanwhile are taken as they come, or its journal would be read and folded once for each of them.
//   R5. The record that a step has become jobs (a loop that is spread, a step apart) becomes durable in one statement with them:
//       all before it is durable then (those before it go the same way), and nothing behind it.
//   R6. A wait that its job is not given back for, since more of it runs, is kept by the database as well, behind the records that
//       lead to it: they give its step the number by which it is found again.
// HOT. Per step: one machine step, one bind, one call object. Per job: one string for the commit. No await, no closure.
import { messageOf, type UserError } from '../core/errors.ts'
import type { Expression } from '../core/expr/expression.ts'
import { parseTarget, printTarget, readApartEnd, type ApartTarget } from '../core/flow/apart.ts'
import type { Cursor } from '../core/flow/cursor.ts'
import { deletionAt, soonerOf, withDeletion } from '../core/flow/deletion.ts'
import { groupsOf } from '../core/flow/groups.ts'
import { advance, deletionIn, errorResult, fold, isAlive, itemsOf, newState, open, type Effect } from '../core/flow/machine.ts'
import type { CodeRun, LoopRun, Plan, PlanStep, ScriptRun } from '../core/flow/plan.ts'
import { parseRecord, printRecord, type JobRecord, type PickKind } from '../core/flow/records.ts'
import { partArgsOf, partDeletionOf, partsOf, spreadOf, type PartEnd } from '../core/flow/spread.ts'
import { checkpointText, parseAsks, printTaskArgs, type TaskAsk, type Workflow } from '../core/flow/workflow.ts'
import { retryDelayMs } from '../core/job/retry.ts'
import type { Json, JsonText } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import { fieldNaming, LookupFault, mayName, NotAtHand, resolved, type Look } from '../core/lookups.ts'
import type { RunnerPool, RunnerSpec } from '../runner/pool_types.ts'
import { makeSharedFolder, removeSharedFolder, sharingSpec } from '../runner/shared_folder.ts'
import type { Clock, Timer } from '../store/clock.ts'
import type { ClaimedJob } from '../store/jobs.ts'
import { partIdOf, type PartsQuit } from '../store/parts.ts'
import type { Turn, TurnMaker } from '../store/turns.ts'
import type { JobPast, SignalRow } from '../store/signals.ts'
import { cacheKey, type CacheEntry, type ResultCache } from './cache.ts'
import type { Committer } from './committer.ts'
import type { Lookups } from './lookups.ts'
import { loadedPart, turnsOfAsk, type LoadedPlan, type LoadedStep, type Plans } from './plans.ts'
import type { References } from './references.ts'
import { releasedWait } from './releases.ts'
import type { WorkerCounters } from './report.ts'
import type { Tracing } from './tracing.ts'
import { JournalEntry, Run, StepCall, unstorableResult, type Driver, type JournalEnds, type RunEnd, type Wait } from './run.ts'

export interface RunsParts {
  clock: Clock
  limits: Limits
  pool: RunnerPool
  plans: Plans
  references: References
  lookups: Lookups
  committer: Committer
  cache: ResultCache
  counters: WorkerCounters
  tracing: Tracing
  /** A token for user code of this job (WM_TOKEN). */
  issueToken(job: { jobId: string; workspaceId: string; createdBy: string }): string
  /** The topmost job that has started this one, through others perhaps. */
  rootOf(workspaceId: string, jobId: string): Promise<string>
  setProgress(stepJobId: string, percent: number): void
  /** It has begun a flow of this version inside; told once per version, until it is committed or dropped. */
  onBegun(versionId: string): void
  onCommitted: RunEnd
  /** A result that its caller is to get before it is over is durable. */
  onEarly(run: Run): void
  /** Gives a job back to the queue as run.parkUntilMs says. Its records are journaled. Ends in drop(). */
  giveBack(run: Run): void
  /** Parts of jobs held here are not needed any more. Never rejects. */
  quitParts(quits: PartsQuit[]): Promise<void>
  onDropped(run: Run): void
  /** As many as it may hold besides: jobs are as large as they are. */
  lingeringMax(): number
  /** It lingers (R4) from now on. */
  onLinger(run: Run): void
  /** A bug of ours was met while driving this job: logs it, and gives the id under which the log has it. */
  fault(run: Run, error: unknown): string
}

export interface Runs {
  /** Jobs held: claimed, not yet committed or given back. */
  held(): number
  /** Those of them that linger. */
  lingering(): number
  get(jobId: string): Run | undefined
  /** `past`: what is known of a job that was held before; null for the others. */
  start(job: ClaimedJob, plan: LoadedPlan, past: JobPast | null): void
  /** What has come for jobs that are held. */
  signal(signals: readonly SignalRow[]): void
  /** A job whose plan cannot be loaded, or that cannot be given back, ends as a failure with the records its journal has. */
  refuse(job: ClaimedJob, reason: string, records?: readonly JsonText[]): void
  /** True if it was still running. */
  cancel(jobId: string, by: string, reason: string): boolean
  /** The run is no longer ours: forget it, cancel its calls. */
  drop(run: Run): void
  /** From now on no step starts: runs that come to one are given back. */
  closing(): void
  /** Gives a run back as it stands; a step under way will run again elsewhere. */
  giveBackNow(run: Run): void
  all(): Iterable<Run>
  /** Journals nothing any more of what is left. */
  close(): void
}

const journalTickMs = 50

export function createRuns(parts: RunsParts): Runs {
  const { clock, limits, pool, plans, committer, counters } = parts
  const runs = new Map<string, Run>()
  const lingering = new Set<Run>()
  const driver: Driver = { nowMs: clock.nowMs, take, say, progress, asked, checkpointed }
  const journalEnds: JournalEnds = { durable, refused: drop, unstorable }
  /** It is no longer held. False if it left before: a dropped run whose commit is answered late, say. */
  const leave = (run: Run): boolean => {
    if (run.left) return false
    run.left = true
    if (runs.get(run.id) === run) runs.delete(run.id) // not if it was given back and claimed again meanwhile
    if (run.folder !== '') void removeSharedFolder(run.folder)
    return true
  }
  const ended: RunEnd = (run, silent) => {
    if (!leave(run)) return
    run.trace?.end(run.status)
    parts.onCommitted(run, silent)
  }
  let closing = false
  /** Ticks while there are runs: a worker without jobs sleeps. */
  let journaling: Timer | null = null

  /** Those that a job needs are loaded before it needs them. */
  function planOf(version: string): Plan {
    return loadedPlan(version).plan
  }

  function loadedPlan(version: string): LoadedPlan {
    const plan = plans.loaded(version)
    if (!plan || plan instanceof Error) throw plan ?? new Error(`version ${version} is not loaded`)
    return plan
  }

  function start(job: ClaimedJob, whole: LoadedPlan, past: JobPast | null): void {
    const loaded = job.part === null ? whole : loadedPart(whole, job.part)
    const run = new Run(job, loaded, ended, clock.nowMs())
    if (job.trace) run.trace = parts.tracing.begin(job, loaded)
    if (loaded.plan.deletes || job.part !== null) noteDeletion(run, loaded.plan)
    runs.set(run.id, run)
    journaling ??= clock.every(journalTickMs, journalOld)
    try {
      if (loaded.plan.sharesFolder) run.folder = makeSharedFolder(run)
      if (job.part !== null && isOverBefore(run, past)) return
      const { cacheMs } = loaded.plan
      if (cacheMs !== null && job.part === null)
        run.cache = { key: cacheKey(loaded.plan.workspaceId, `job ${job.version_id}`, job.args), ttlMs: cacheMs }
      if (loaded.plan.isTask) startTask(run, loaded, past).catch((error: unknown) => fault(run, error))
      else if (past) resume(run, loaded, past)
      else if (run.cache) startCached(run, loaded, run.cache).catch((error: unknown) => fault(run, error))
      else begin(run, loaded)
    } catch (error) {
      fault(run, error)
    }
  }

  /** A part goes as a whole when its loop, or its step, is to go: it was given the items or arguments, and has the results. */
  function noteDeletion(run: Run, plan: Plan): void {
    const { part, args } = run.job
    const target = part === null ? null : parseTarget(part)
    if (plan.deletes) run.deletes = new Map()
    if (target) run.wholeS = run.deleteS = soonerOf(plan.deleteS, target.deleteS)
    else run.wholeS = run.deleteS = part === null ? plan.deleteS : partDeletionOf(args)
  }

  function begin(run: Run, loaded: LoadedPlan): void {
    const { args, part } = run.job
    const effects: Effect[] = []
    run.state = open(loaded.plan, args, limits, planOf, effects, null, part)
    act(run, effects)
  }

  /** Its code is told that it is part of another job: windmill-client starts a task of a script once, not again in the task. */
  async function startTask(run: Run, loaded: LoadedPlan, past: JobPast | null): Promise<void> {
    run.rootId = await parts.rootOf(loaded.plan.workspaceId, run.id)
    if (run.over) return
    if (past) resume(run, loaded, past)
    else begin(run, loaded)
  }

  /** A flow or script with cache_ttl: its result may be there. */
  async function startCached(run: Run, loaded: LoadedPlan, entry: CacheEntry): Promise<void> {
    const value = await parts.cache.find(entry.key)
    if (run.over) return
    if (value === null) {
      begin(run, loaded)
      return
    }
    run.cache = null
    run.state = newState(loaded.plan, run.job.args, limits, planOf)
    moveOn(run, { k: 'cached', v: value }, null)
  }

  /** A part that nobody needs any more, or that is poison, ends without running: its end is told by whoever claims it. */
  function isOverBefore(run: Run, past: JobPast | null): boolean {
    const { canceled_by: by, lost } = run.job
    if (by === null && lost <= limits.lostMax) return false
    keepJournal(run, past?.journal.map((row) => row.record) ?? [])
    if (by !== null) end(run, 'canceled', errorResult({ name: 'Canceled', message: `canceled by ${by}` }))
    else end(run, 'failure', errorResult({ name: 'PoisonJob', message: `the worker running it died ${lost} times` }))
    return true
  }

  function keepJournal(run: Run, records: readonly JsonText[]): void {
    run.records = [...records]
    run.journaled = run.kept = records.length
  }

  /** Goes on where another worker, or this one before a wait, has left. */
  function resume(run: Run, loaded: LoadedPlan, past: JobPast): void {
    const records: JobRecord[] = []
    for (const row of past.journal) {
      const record = parseRecord(row.record)
      if (record) records.push(record)
      if (record?.d !== undefined) run.deleteS = soonerOf(run.deleteS, record.d)
      if (record?.k === 'spread' && record.d !== undefined) (run.deletes ??= new Map()).set(record.n, record.d)
      if (record?.k === 'call' && !record.error) keepFlow(run, loadedPlan(record.version))
      run.records.push(row.record)
    }
    run.journaled = run.kept = past.journal.length
    const { state, outstanding } = fold(loaded.plan, run.job.args, records, limits, planOf, run.job.part)
    run.state = state
    run.waited ||= run.job.signals > 0 || past.waits.length > 0 || state.joins !== null
    const restMs = new Map(past.waits.map((wait) => [wait.key, wait.ms]))
    for (const effect of outstanding) {
      if (effect.e !== 'sleep' && effect.e !== 'wait') continue
      // The database has waited. Otherwise a wait begins anew: the clock of the worker that began it may not be ours.
      const ms = restMs.get(keyOf(effect.cursor))
      if (ms !== undefined) effect.ms = Math.max(0, ms)
      else if (run.job.waited && effect.e === 'sleep') effect.ms = 0
    }
    run.behind = true
    carryOut(run, outstanding)
    if (run.waits) for (const wait of run.waits.values()) wait.kept = restMs.has(wait.key)
    signal(past.signals)
    settle(run) // not before: what has come meanwhile may be what it waits for
  }

  function signal(signals: readonly SignalRow[]): void {
    for (const row of signals) {
      const run = runs.get(row.job_id)
      if (!run || run.over || !run.state || row.seq <= run.state.signals) continue
      run.waited = true
      take(run, signalOf(row, run.job.created_by), null)
    }
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
      forget(run, call)
      if (call.cache !== null && record.k === 'ok') parts.cache.keep(call.cache, record.v)
    }
    if (run.over) return
    run.parking = false
    if (run.linger !== null) stir(run)
    const effects: Effect[] = []
    if (record.k === 'ok' || record.k === 'err') {
      counters.stepsFinished += 1
      run.loaded!.meter.stepsFinished += 1
    }
    answer(run, record, effects)
    if (run.loaded!.plan.strict && record.k !== 'pick' && effects.at(-1)?.e !== 'finish') {
      run.held = run.held ? [...run.held, ...effects] : effects
      journal(run, goOn)
      return
    }
    act(run, effects)
  }

  function forget(run: Run, call: StepCall): void {
    const { calls } = run
    const index = calls.length === 1 ? (calls[0] === call ? 0 : -1) : calls.indexOf(call)
    if (index < 0) return
    const last = calls.pop()!
    if (last !== call) calls[index] = last
  }

  /** The state moves on by this record; what that calls for is appended. The last record leaves out what is the job's result. */
  function answer(run: Run, record: JobRecord, effects: Effect[]): void {
    const before = effects.length
    const deleteS = run.deletes === null ? null : deletionIn(run.state!, record, run.deletes)
    advance(run.state!, record, effects)
    const only = effects.length === before + 1 ? effects[before]! : null
    const { early } = run.loaded!.plan
    if (early !== null && only?.e !== 'finish') findEarly(run, record, early)
    const isResult = only?.e === 'finish' && (record.k === 'ok' || record.k === 'cached') && record.v === only.result
    const text = printRecord(record, !isResult)
    run.records.push(deleteS === null ? text : withDeletion(text, deleteS))
    if (deleteS !== null) run.deleteS = soonerOf(run.deleteS, deleteS)
    if (run.early) journal(run, null)
  }

  /** The result that is answered before the job is over: durable first, so that it cannot become another one. */
  function findEarly(run: Run, record: JobRecord, stepId: string): void {
    if (record.k !== 'ok' && record.k !== 'signal') return
    const value = record.k === 'ok' ? (record.s === stepId ? record.v : null) : apartValue(record)
    // A step of a sub-flow may have the same id.
    if (value === null || run.state!.root.results.get(stepId) !== value) return
    record.early = true
    run.early = run.job.waiter !== null
  }

  function goOn(run: Run): void {
    const { held: effects, keeping } = run
    run.held = run.keeping = null
    if (keeping && !run.over) for (const kept of keeping) kept()
    if (effects && !run.over) act(run, effects)
  }

  /** Hands all records not yet journaled to the journal; `after` is called once they are durable. */
  function journal(run: Run, after: ((run: Run) => void) | null): void {
    run.afterJournal = after ?? run.afterJournal
    while (run.journaled < run.records.length) {
      // Those that jobs come with go one behind another by themselves, with those before them: many in one statement.
      const spreads = run.spreads !== null && run.spreads.size > 0 ? run.spreads : null
      if (spreads ? run.journaling > run.spreading : run.spreading > 0) return // goes on in durable()
      const record = run.records[run.journaled++]!
      run.journaling += 1
      const fields = `"n":${run.journaled},"record":${record}`
      if (spreads === null) committer.journal(new JournalEntry(run, run.journaled, fields, journalEnds))
      else {
        const jobs = spreads.get(run.journaled - 1) ?? ''
        spreads.delete(run.journaled - 1)
        run.spreading += 1
        committer.spread(new JournalEntry(run, run.journaled, fields + jobs, journalEnds))
      }
    }
    if (run.journaling === 0) durable(run)
  }

  /** A record of the run is in the journal. When the last one is, what waited for it goes on. */
  function durable(run: Run): void {
    if (run.journaling > 0) return
    if (run.early) {
      run.early = false
      parts.onEarly(run)
    }
    run.spreading = 0
    if (run.spreads && !run.over && run.journaled < run.records.length) {
      journal(run, null)
      return
    }
    if (run.quits && !run.over) void quitNow(run)
    if (run.waits && !run.over && !run.parking) keepWaits(run, run.waits)
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
    carryOut(run, effects)
    settle(run)
  }

  function carryOut(run: Run, effects: Effect[]): void {
    // Grows while it is walked: what is answered here has its effects come behind.
    for (let i = 0; i < effects.length && !run.over; i++) {
      const effect = effects[i]!
      try {
        carryOutOne(run, effect, effects)
      } catch (error) {
        if (!(error instanceof NotAtHand)) throw error
        carryOutLater(run, effect, error)
      }
    }
  }

  function carryOutOne(run: Run, effect: Effect, effects: Effect[]): void {
    switch (effect.e) {
      case 'start':
        if (closing) giveBackNow(run)
        else dispatch(run, effect, effects)
        break
      case 'pick':
        answer(run, decide(effect), effects)
        break
      case 'items':
        answer(run, items(run, effect), effects)
        break
      case 'call':
        if (closing) giveBackNow(run)
        else callFlow(run, effect).catch((error: unknown) => carryOutLater(run, effect, error))
        break
      case 'sleep':
      case 'wait':
        wait(run, effect)
        break
      case 'spread':
        answer(run, spread(run, effect), effects)
        break
      case 'quit':
        ;(run.quits ??= []).push({ step: effect.n, unbegun: effect.unbegun })
        break
      case 'finish':
        end(run, effect.status, effect.result, effect.part)
        break
    }
  }

  /** Once the variables and resources that it names are at hand, if that is all that is wrong. */
  function carryOutLater(run: Run, effect: Effect, error: unknown): void {
    if (!(error instanceof NotAtHand) || !('cursor' in effect)) fault(run, error)
    else lookUp(run, effect, error).catch((failed: unknown) => fault(run, failed))
  }

  async function lookUp(run: Run, effect: Effect & { cursor: Cursor }, { lookups }: NotAtHand): Promise<void> {
    const { cursor } = effect
    run.loading += 1
    try {
      await parts.lookups.load(cursor.frame.plan.workspaceId, lookups)
    } finally {
      run.loading -= 1
    }
    if (!run.over && isAlive(run.state!, cursor)) act(run, [effect])
    else if (!run.over && run.waits) parkIfIdle(run)
  }

  /** What is left to do once all effects are under way. */
  function settle(run: Run): void {
    // What makes parts needless is durable first, or the job could come to need them again after a crash.
    if ((run.quits || run.spreads) && !run.over) journal(run, null)
    if (run.waits && !run.settling) {
      // Not for each of many that come at once: all waits are looked at.
      run.settling = true
      clock.soon(() => {
        run.settling = false
        parkIfIdle(run)
      })
    }
  }

  /** A loop's iterations become jobs: their texts go with the record (R5). */
  function spread(run: Run, effect: Effect & { e: 'spread' }): JobRecord {
    const { cursor, step, n } = effect
    const { plan } = cursor.frame
    const record: JobRecord & { k: 'spread' } = { k: 'spread', ...at(cursor), s: step.id, n, jobs: 0 }
    try {
      const items = effect.items ?? itemsOf(step.run as LoopRun, cursor)
      record.jobs = partsOf(items.length, effect.spread)
      const parts = partArgsOf({ plan, step, cursor, items, spread: effect.spread })
      assertParts(parts, limits.partsBytesMax)
      const jobs = parts.map((args, slot) => `{"id":"${partIdOf(run.id, n, slot)}","slot":${slot},"args":${args}}`)
      addParts(run, { n, part: step.id, versionId: plan.versionId, atOnce: effect.spread.atOnce, jobs })
    } catch (error) {
      record.error = { ...expressionError(error), step_id: step.id }
    }
    return record
  }

  /** Jobs that are made durable with the run's next record. */
  function addParts(
    run: Run,
    made: { n: number; part: string; versionId: string; atOnce: number; jobs: readonly JsonText[] },
  ): void {
    const { n, part, versionId, atOnce, jobs } = made
    run.spreads ??= new Map()
    run.spreads.set(
      run.records.length,
      `,"step":${n},"part":"${part}","v":${versionId},"at_once":${atOnce},"jobs":[${jobs.join(',')}]`,
    )
    run.waited = true
  }

  /** The run is not parked meanwhile: then it would no longer be ours to say. */
  async function quitNow(run: Run): Promise<void> {
    const quits = run.quits!.map((quit) => ({ id: run.id, epoch: run.epoch, ...quit }))
    run.quits = null
    run.loading += 1
    await parts.quitParts(quits)
    run.loading -= 1
    if (run.waits) parkIfIdle(run)
  }

  function dispatch(run: Run, effect: Effect & { e: 'start' }, effects: Effect[]): void {
    const { cursor, step, n } = effect
    switch (step.run.kind) {
      case 'code':
        call(run, effect, loadedOf(run, cursor), step.index)
        return
      case 'script':
        callScript(run, effect, step.run).catch((error: unknown) => carryOutLater(run, effect, error))
        return
      case 'mock':
        answer(run, { k: 'ok', n, s: step.id, at: clock.nowMs(), ms: 0, v: step.run.value }, effects)
        return
      default:
        answer(run, { k: 'ok', n, s: step.id, at: clock.nowMs(), ms: 0, v: cursor.previousText() }, effects)
    }
  }

  /** Of the flow that the cursor walks. */
  function loadedOf(run: Run, cursor: Cursor): LoadedPlan {
    const { plan } = cursor.frame
    return plan === run.loaded!.plan ? run.loaded! : run.flows!.get(plan.versionId)!
  }

  /** The run has begun this version inside, and keeps it as long as it is held. */
  function keepFlow(run: Run, loaded: LoadedPlan): void {
    const { versionId } = loaded.plan
    const flows = (run.flows ??= new Map())
    if (flows.has(versionId)) return
    flows.set(versionId, loaded)
    if (loaded.plan.deletes) run.deletes ??= new Map()
    if (loaded.plan.sharesFolder && run.folder === '') run.folder = makeSharedFolder(run)
    parts.onBegun(versionId)
  }

  /** Runs the code of a step of `loaded`: the flow's own, or the script that the effect's step names. */
  function call(run: Run, effect: Effect & { e: 'start' }, loaded: LoadedPlan, index: number): void {
    const { cursor, step, n } = effect
    const code = loaded.steps[index]!
    const own = loadedOf(run, cursor)
    let args: JsonText
    let timeoutMs = limits.stepTimeoutMs
    try {
      args = argsOf(own, cursor, step.index)
      assertSize(args, limits.resultBytesMax)
      if (cursor.workflow !== null) assertCheckpoint(cursor.workflow, limits)
      if (step.timeout) timeoutMs = timeoutOf(step.timeout.value(cursor), limits)
    } catch (error) {
      take(run, { k: 'err', n, s: step.id, at: clock.nowMs(), ms: 0, e: expressionError(error) }, null)
      return
    }
    const cacheMs = step.cacheMs ?? (loaded === own || cursor.ask?.kind === 'task' ? null : loaded.plan.cacheMs)
    if (cacheMs !== null)
      sendUnlessCached(run, effect, loaded, code, args, timeoutMs, cacheMs).catch((error: unknown) =>
        carryOutLater(run, effect, error),
      )
    else runCode(run, effect, loaded, code, args, timeoutMs, null)
  }

  /** By a runner, or as a job of its own. */
  function runCode(
    run: Run,
    effect: Effect & { e: 'start' },
    loaded: LoadedPlan,
    code: LoadedStep,
    args: JsonText,
    timeoutMs: number,
    cache: CacheEntry | null,
  ): void {
    const { cursor } = effect
    if (isApart(cursor, loadedOf(run, cursor), loaded))
      sendApart(run, effect, loaded, code, args, timeoutMs, cache?.ttlMs ?? null)
    else send(run, effect, loaded, code, args, timeoutMs, cache)
  }

  /** What main is called with. */
  function argsOf(own: LoadedPlan, cursor: Cursor, index: number): JsonText {
    const { ask, workflow } = cursor
    if (ask?.kind === 'task') return argsOf(own, cursor.parent!, index)
    if (ask && 'args' in ask) return JSON.stringify(ask.args)
    return workflow?.args ?? (own.plan.alone ? cursor.flowInputText() : bind(cursor, own.steps[index]!.inputs))
  }

  async function sendUnlessCached(
    run: Run,
    effect: Effect & { e: 'start' },
    loaded: LoadedPlan,
    code: LoadedStep,
    args: JsonText,
    timeoutMs: number,
    ttlMs: number,
  ): Promise<void> {
    const { cursor, step, n } = effect
    const { built } = code.step.run as CodeRun
    const { ask } = cursor
    const task = ask?.kind === 'task' ? { name: ask.name, args: JSON.stringify(ask.args) } : cursor.task
    const asTask = task ? ` task ${task.name} ${task.args}` : ''
    const what = `step ${loaded.plan.path} ${code.step.id} ${built.artifactKey}${asTask}`
    const entry = { key: cacheKey(loaded.plan.workspaceId, what, args), ttlMs }
    run.loading += 1
    const value = await parts.cache.find(entry.key)
    run.loading -= 1
    if (run.over) return
    if (value !== null) take(run, { k: 'ok', n, s: step.id, at: clock.nowMs(), ms: 0, v: value, cached: true }, null)
    else if (closing) giveBackNow(run)
    else runCode(run, effect, loaded, code, args, timeoutMs, entry)
  }

  /** The step becomes a job of its own. `code`: what it runs, a step of `loaded`. */
  function sendApart(
    run: Run,
    effect: Effect & { e: 'start' },
    loaded: LoadedPlan,
    code: LoadedStep,
    args: JsonText,
    timeoutMs: number,
    cacheMs: number | null,
  ): void {
    const { cursor, step, n } = effect
    if (!isAwaited(run, cursor, n)) return
    const own = loadedOf(run, cursor)
    const ask = cursor.ask as TaskAsk | null // nothing else runs code
    const task = ask?.kind === 'task' ? ask : null
    try {
      const target: ApartTarget = {
        kind: task ? 'task' : 'step',
        // What a workflow asks for is no step of a version.
        id: (ask ? code.step : step).id,
        timeoutMs: step.timeout && timeoutMs,
        cacheMs,
        // A task is given what the workflow has come to.
        deleteS: task ? soonerOf(stepDeletion(run, cursor, n), run.deleteS) : stepDeletion(run, cursor, n),
      }
      const { versionId } = (ask ? loaded : own).plan
      const turns = ask ? askedTurns(ask, loaded, code.step.id) : turnsOf(step, own, loaded)
      const turn = turns && turnFor(run, turns, args)
      becomeJob(run, effect, { n, target, versionId, args: task ? taskArgs(run, cursor, task, args) : args, turn })
    } catch (error) {
      take(run, { k: 'err', n, s: step.id, at: clock.nowMs(), ms: 0, e: expressionError(error) }, null)
    }
  }

  function taskArgs(run: Run, { parent }: Cursor, { args, name, key }: TaskAsk, input: JsonText): JsonText {
    const checkpoint = checkpointText(parent!.workflow!, run.id, key)
    const text = printTaskArgs({ args: JSON.stringify(args), name, input, checkpoint })
    assertTasks(text, parent!.inner!.count, limits.partsBytesMax)
    return text
  }

  /** @throws StepFault where it may not be one */
  function becomeJob(run: Run, { cursor, step }: { cursor: Cursor; step: PlanStep }, job: ApartJob): void {
    const { n, target, versionId, args, turn } = job
    if (run.folder !== '' && sharesFolder(cursor)) throw new StepFault('NotShared', notShared)
    const id = partIdOf(run.id, n, 0)
    const { tag, priority } = step.apart ?? {}
    let more = tag ? `,"tag":${JSON.stringify(tag)}` : ''
    if (priority !== undefined) more += `,"priority":${priority}`
    if (turn) more += `,"turn":${JSON.stringify(turn)}`
    // What runs in the place of a step that is debounced, unless something waits to already.
    if (turn?.debounce) more += `,"call":"${partIdOf(run.id, n, 1)}"`
    const made = `{"id":"${id}","slot":0,"args":${args}${more}}`
    addParts(run, { n, part: printTarget(target), versionId, atOnce: 1, jobs: [made] })
    take(run, { k: 'spread', ...at(cursor), s: step.id, n, jobs: 1, job: id }, null)
  }

  function send(
    run: Run,
    effect: Effect & { e: 'start' },
    loaded: LoadedPlan,
    code: LoadedStep,
    args: JsonText,
    timeoutMs: number,
    cache: CacheEntry | null,
  ): void {
    const { cursor, step, n } = effect
    const own = loadedOf(run, cursor)
    const { built } = code.step.run as CodeRun
    let given = args
    try {
      if (mayName(args)) given = withValues(args, own.plan.look, limits.resultBytesMax)
    } catch (error) {
      take(run, { k: 'err', n, s: step.id, at: clock.nowMs(), ms: 0, e: expressionError(error) }, null)
      return
    }
    const token = built.wantsToken
      ? parts.issueToken({ jobId: run.id, workspaceId: own.plan.workspaceId, createdBy: run.job.created_by })
      : ''
    const environment = plans.environment(own, step.index, run.job.created_by)
    const made = new StepCall(
      driver,
      run,
      cursor,
      step.id,
      code,
      step.run.kind === 'script' ? loaded.plan.versionId : null,
      environment,
      args,
      given,
      token,
      timeoutMs,
      run.trace && run.trace.step(n, step.id),
      cache,
    )
    run.calls.push(made)
    pool.call(run.folder !== '' && sharesFolder(cursor) ? sharingOf(code) : code.spec!, made)
  }

  /** A step that names a script: its version is found, and its code run. */
  async function callScript(run: Run, effect: Effect & { e: 'start' }, script: ScriptRun): Promise<void> {
    const { cursor, step, n } = effect
    const pinned = (cursor.ask?.kind === 'task' ? cursor.parent! : cursor).workflow?.version ?? null
    const loaded = await (pinned === null
      ? referred(run, { kind: 'script', path: script.path, hash: script.hash }, cursor)
      : referredVersion(run, pinned))
    if (run.over) return
    if (loaded instanceof Error) {
      take(run, { k: 'err', n, s: step.id, at: clock.nowMs(), ms: 0, e: referenceError(loaded) }, null)
      return
    }
    const { deleteS } = loaded.plan
    if (deleteS !== null) (run.deletes ??= new Map()).set(n, deleteS)
    if (cursor.ask) keepFlow(run, loaded) // nobody could tell that it would be called
    call(run, effect, loaded, 0)
  }

  async function callFlow(run: Run, effect: Effect & { e: 'call' }): Promise<void> {
    const { cursor, step } = effect
    const { path } = step.run as { path: string }
    const loaded = await referred(run, { kind: 'flow', path, hash: null }, cursor)
    if (run.over) return
    const record: JobRecord & { k: 'call' } = { k: 'call', ...at(cursor), s: step.id, version: '', args: '{}' }
    if (loaded instanceof Error) record.error = referenceError(loaded)
    else {
      const { versionId } = loaded.plan
      record.version = versionId
      try {
        const own = loadedOf(run, cursor)
        const turns = cursor.ask ? askedTurns(cursor.ask as TaskAsk, loaded, '') : turnsOf(step, own, loaded)
        const args = (record.args = argsOf(own, cursor, step.index))
        assertSize(args, limits.resultBytesMax)
        const depth = cursor.frame.depth + 1
        if ((step.apart || turns) && depth <= limits.flowDepthMax) {
          const { n } = cursor
          if (!isAwaited(run, cursor, n)) return
          if (loaded.plan.deleteS !== null) (run.deletes ??= new Map()).set(n, loaded.plan.deleteS)
          const target: ApartTarget = { kind: 'flow', depth, deleteS: stepDeletion(run, cursor, n) }
          becomeJob(run, effect, { n, target, versionId, args, turn: turns && turnFor(run, turns, args) })
          return
        }
      } catch (error) {
        record.error = expressionError(error)
      }
      keepFlow(run, loaded)
    }
    take(run, record, null)
  }

  /** What a path names now. The run does not end or park meanwhile. */
  async function referred(
    run: Run,
    what: { kind: 'flow' | 'script'; path: string; hash: string | null },
    cursor: Cursor,
  ): Promise<LoadedPlan | Error> {
    run.loading += 1
    try {
      return await parts.references.find({ workspaceId: cursor.frame.plan.workspaceId, ...what })
    } finally {
      run.loading -= 1
    }
  }

  /** The rounds of a workflow that a step names are of one version. */
  async function referredVersion(run: Run, version: string): Promise<LoadedPlan | Error> {
    run.loading += 1
    try {
      return await parts.references.load(version)
    } finally {
      run.loading -= 1
    }
  }

  function decide(effect: Effect & { e: 'pick' }): JobRecord {
    const { cursor, step, what } = effect
    const record: JobRecord & { k: 'pick' } = { k: 'pick', ...at(cursor), s: step.id, w: what, v: null }
    try {
      record.v = decided(what, effect)
    } catch (error) {
      record.error = expressionError(error)
      if (step.id !== '') record.error.step_id = step.id
    }
    return record
  }

  function decided(what: PickKind, { cursor, step }: Effect & { e: 'pick' }): Json {
    switch (what) {
      case 'skip':
        return truthy(step.skipIf!, cursor)
      case 'stop':
      case 'break':
        return truthy(step.stopAfterIf!.expression, cursor)
      case 'after':
        return truthy(step.stopAfterAllIf!.expression, cursor)
      case 'retry':
        return truthy(step.retryIf!, cursor)
      case 'delay':
        return retryDelayMs(step.retry!, cursor.failures, clock.random())
      case 'sleep':
        return Math.min(secondsOf(step.sleep!.value(cursor), 'sleep') * 1_000, limits.waitMsMax)
      case 'groups':
        return groupsOf(step.suspend!.groups!.value(cursor))
      case 'flow':
        return truthy(cursor.frame.plan.skipIf!, cursor)
      case 'branch': {
        const { run } = step
        return run.kind === 'choice' ? run.branches.findIndex((branch) => truthy(branch.when, cursor)) : -1
      }
    }
  }

  function items(run: Run, effect: Effect & { e: 'items' }): JobRecord {
    const { cursor, step } = effect
    const loop = step.run as LoopRun
    const record: JobRecord & { k: 'items' } = { k: 'items', ...at(cursor), s: step.id, count: 0 }
    try {
      const values = itemsOf(loop, cursor)
      const count = (record.count = values.length)
      record.v = values
      if (loop.iterator!.pure) record.again = true
      const parallelism = loop.parallel && loop.parallelism ? widthOf(loop.parallelism.value(cursor)) : null
      if (loop.parallel) record.width = parallelism ?? limits.loopWidthMax
      const { plan } = cursor.frame
      const inside = run.folder !== '' && sharesFolder(cursor) // its parts would run on workers that have another folder
      const spread = inside ? null : spreadOf({ plan, step, count, parallelism, started: run.state!.started }, limits)
      if (spread) record.spread = spread
    } catch (error) {
      record.error = { ...expressionError(error), step_id: step.id }
    }
    return record
  }

  function truthy(expression: Expression, cursor: Cursor): boolean {
    return Boolean(expression.value(cursor))
  }

  function wait(run: Run, effect: Effect & { e: 'sleep' | 'wait' }): void {
    const { cursor, step } = effect
    const wanted = effect.e === 'wait' ? effect.wanted : 0
    const waits = (run.waits ??= new Map())
    const key = keyOf(cursor)
    const known = waits.get(cursor.id)
    if (known?.key === key) {
      known.wanted = wanted
      return
    }
    known?.timer.cancel()
    const untilMs = clock.monotonicMs() + effect.ms
    const ring = (ms: number) => clock.after(Math.min(ms, timerMsMax), over)
    const over = () => {
      const leftMs = untilMs - clock.monotonicMs()
      if (leftMs > 0 && effect.ms > timerMsMax) waits.get(cursor.id)!.timer = ring(leftMs)
      else {
        waits.delete(cursor.id)
        take(run, { k: 'wake', ...at(cursor), s: step.id }, null)
      }
    }
    const timer = ring(Math.max(0, effect.ms))
    waits.set(cursor.id, { cursor, key, untilMs, wanted, after: run.records.length, kept: false, timer })
  }

  /** Until when it waits is durable where more of it runs, too (R6). */
  function keepWaits(run: Run, waits: Map<number, Wait>): void {
    forgetOver(run, waits)
    const nowMs = clock.monotonicMs()
    const some = [...waits.values()].filter((wait) => wait.after <= run.kept && isToKeep(wait, nowMs))
    if (some.length === 0) return
    for (const wait of some) wait.kept = true
    run.waited = true
    run.journaling += 1
    const kept = JSON.stringify(some.map((wait) => releasedWait(wait, nowMs)))
    committer.keepWaits(new JournalEntry(run, 0, `"waits":${kept}`, journalEnds))
  }

  /** One so short that no job is given back for it begins anew after a crash. */
  function isToKeep({ kept, untilMs }: Wait, nowMs: number): boolean {
    return !kept && untilMs !== Infinity && untilMs - nowMs > limits.parkAfterMs
  }

  /** A job that does nothing but wait is given back, if it is long. Otherwise its long waits are kept. */
  function parkIfIdle(run: Run): void {
    if (run.over) return
    const waits = run.waits!
    forgetOver(run, waits)
    if (waits.size > 0 && isIdle(run) && !linger(run, waits)) startParking(run)
    else if (hasToKeep(waits)) journal(run, null)
  }

  function forgetOver(run: Run, waits: Map<number, Wait>): void {
    for (const [id, one] of waits) {
      if (isWaiting(run, one.cursor) && one.key === keyOf(one.cursor)) continue
      one.timer.cancel()
      waits.delete(id)
    }
  }

  function hasToKeep(waits: ReadonlyMap<number, Wait>): boolean {
    const nowMs = clock.monotonicMs()
    for (const wait of waits.values()) if (isToKeep(wait, nowMs)) return true
    return false
  }

  /** Does it wait only, and for so long that it is given back? */
  function isIdle(run: Run): boolean {
    if (run.held || run.quits || run.calls.length > 0 || run.loading > 0) return false
    if (run.folder !== '') return false // it would not be there any more
    let untilMs = Infinity
    let wanted = 0
    for (const one of run.waits!.values()) {
      untilMs = Math.min(untilMs, one.untilMs)
      if (one.wanted > 0) wanted = wanted === 0 ? one.wanted : Math.min(wanted, one.wanted)
    }
    if (untilMs - clock.monotonicMs() <= (wanted === 0 ? limits.parkAfterMs : soonMs)) return false
    run.parkUntilMs = untilMs
    run.wanted = wanted
    return true
  }

  /** False: it waits for no parts, or is as well given back at once. */
  function linger(run: Run, waits: ReadonlyMap<number, Wait>): boolean {
    stir(run)
    const ms = Math.min(limits.lingerRecordMs * run.records.length, limits.parkAfterMs)
    if (closing || ms < lingerMsMin || lingering.size >= parts.lingeringMax()) return false
    if (![...waits.values()].some(({ untilMs }) => untilMs === Infinity)) return false
    lingering.add(run)
    run.linger = clock.after(ms, () => {
      stir(run)
      startParking(run)
    })
    parts.onLinger(run)
    return true
  }

  /** It does not linger any more. */
  function stir(run: Run): void {
    if (run.linger === null) return
    run.linger.cancel()
    run.linger = null
    lingering.delete(run)
  }

  /** What is waited for is waited for elsewhere, or no more. */
  function stopWaits(run: Run): void {
    if (run.waits === null) return
    for (const one of run.waits.values()) one.timer.cancel()
    stir(run)
  }

  function startParking(run: Run): void {
    run.parking = true
    journal(run, parkStill)
  }

  /** Unless something has come, or begun, meanwhile. */
  function parkStill(run: Run): void {
    if (run.parking && run.calls.length === 0 && run.loading === 0) park(run)
  }

  function park(run: Run): void {
    run.parking = false
    if (run.over) return
    run.over = true
    stopWaits(run)
    parts.giveBack(run)
  }

  function giveBackNow(run: Run): void {
    if (run.over) return
    run.parkUntilMs = null
    run.wanted = 0
    run.parking = true
    journal(run, park)
  }

  function end(run: Run, status: string, result: JsonText, part: PartEnd = lost): void {
    run.over = true
    run.status = status
    run.result = result
    run.tell(part, clock.nowMs())
    if (run.deleteS !== null || status === 'failure' || status === 'canceled') run.waited = true
    count(run.loaded, status !== 'success')
    if (run.cache !== null && status === 'success') parts.cache.keep(run.cache, result)
    for (const call of run.calls) pool.cancel(call, 'the job is over')
    stopWaits(run)
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

  /** Journals what runs too long without being journaled. */
  function journalOld(): void {
    if (runs.size === 0) return stopJournaling()
    const before = clock.nowMs() - limits.journalAfterMs
    // In order of claiming: the first young run ends the walk.
    for (const run of runs.values()) {
      if (run.claimedMs > before) break
      if (!run.over && run.journaled < run.records.length) journal(run, null)
    }
  }

  function stopJournaling(): void {
    journaling?.cancel()
    journaling = null
  }

  function refuse(job: ClaimedJob, reason: string, records: readonly JsonText[] = []): void {
    const run = new Run(job, null, ended, clock.nowMs())
    keepJournal(run, records)
    run.waited ||= job.signals > 0 || records.length > 0
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
    stopWaits(run)
    for (const call of run.calls) pool.cancel(call, 'the job was given to another worker')
    if (!leave(run)) return
    run.trace?.end('')
    parts.onDropped(run)
  }

  function asked(call: StepCall, text: JsonText, ms: number): void {
    const { run, cursor, n, stepId: s, version } = call
    const asks = parseAsks(text, limits)
    const atMs = Math.round(clock.nowMs() - ms)
    if (!Array.isArray(asks)) {
      take(run, { k: 'err', n, s, at: atMs, ms, e: asks }, call)
      return
    }
    const record: JobRecord & { k: 'round' } = { k: 'round', n, s, at: atMs, ms, asks }
    if (!cursor!.workflow?.rounds) {
      if (version !== null) record.version = version
      if (!isRepeatable(run, cursor!)) record.args = call.named
    }
    take(run, record, call)
  }

  /** Would its arguments be the same if they were bound again? */
  function isRepeatable(run: Run, cursor: Cursor): boolean {
    const own = loadedOf(run, cursor)
    return (
      cursor.ask !== null || own.plan.alone || own.steps[cursor.step!.index]!.inputs.every(({ expression }) => expression.pure)
    )
  }

  function checkpointed(call: StepCall, key: string, v: JsonText, kept: () => void): void {
    const { run, n, stepId: s } = call
    if (run.over) return
    try {
      answer(run, { k: 'inline', n, s, at: Math.round(clock.nowMs()), key, v }, [])
    } catch (error) {
      fault(run, error)
      return
    }
    if (!run.loaded!.plan.strict) {
      kept()
      return
    }
    ;(run.keeping ??= []).push(kept)
    journal(run, goOn)
  }

  function say(call: StepCall, channel: 0 | 1, n: number, text: string): void {
    committer.log({ id: call.logId, channel, n, text })
  }

  function progress(call: StepCall, percent: number): void {
    parts.setProgress(call.logId, percent)
  }

  return {
    held: () => runs.size,
    lingering: () => lingering.size,
    get: (jobId) => runs.get(jobId),
    start,
    signal,
    refuse,
    cancel,
    drop,
    closing() {
      closing = true
    },
    giveBackNow,
    all: () => runs.values(),
    close: stopJournaling,
  }
}

/** A wait that is over, or nearly: its timer is about to say so, and to park it would end in parking it again. */
const soonMs = 20

/** Lingering for less is no gain: to be given back and claimed again takes about as long. */
const lingerMsMin = 5

/** Node's timers hold no more. */
const timerMsMax = 2 ** 31 - 1

/** Which cursor a record is for; nothing for the job's own. */
function at(cursor: Cursor): { c?: number } {
  return cursor.id === 0 ? {} : { c: cursor.id }
}

/** What a step apart gave; null: it failed, or this is the end of something else, or an answer. */
function apartValue({ n, v }: JobRecord & { k: 'signal' }): JsonText | null {
  if (n >= 0) return null
  const end = readApartEnd(v)
  return 'value' in end ? end.value : null
}

function signalOf(row: SignalRow, createdBy: string): JobRecord {
  const { seq, n, resume_id: id, approver, account, groups, approved, payload: v } = row
  const record: JobRecord & { k: 'signal' } = { k: 'signal', seq, n, id, approver, approved, v }
  if (account !== null) record.by = account
  if (account === createdBy) record.own = true
  if (groups !== null) record.groups = groups
  return record
}

const waitKinds = ['asleep', 'suspended', 'resting', 'joining']
/** How a part ends that did not end by its machine. */
const lost: PartEnd = { how: 'lost' }

/** Names a wait among all that its job ever has. */
function keyOf(cursor: Cursor): number {
  return cursor.n * 4 + waitKinds.indexOf(cursor.phase)
}

function sharingOf(code: LoadedStep): RunnerSpec {
  const spec = code.spec!
  return spec.sharesFolder ? spec : (code.sharing ??= sharingSpec(spec))
}

/** Is the step in a same_worker flow, or in a flow that one has begun? */
function sharesFolder(cursor: Cursor): boolean {
  for (let at: Cursor | null = cursor; at; at = at.frame.root.parent) if (at.frame.plan.sharesFolder) return true
  return false
}

/** Something was looked up meanwhile: does its cursor still wait for step n? */
function isAwaited(run: Run, cursor: Cursor, n: number): boolean {
  return isAlive(run.state!, cursor) && cursor.n === n
}

function isWaiting(run: Run, cursor: Cursor): boolean {
  return waitKinds.includes(cursor.phase) && isAlive(run.state!, cursor)
}

function bind(cursor: Cursor, inputs: LoadedStep['inputs']): JsonText {
  let text = '{'
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i]!
    text += (i === 0 ? input.key : ',' + input.key) + input.expression.text(cursor)
  }
  return text + '}'
}

/** Only the runner gets the values: what is recorded of the arguments names them. */
function withValues(args: JsonText, look: Look, bytesMax: number): JsonText {
  let given: JsonText
  try {
    given = resolved(args, look)
  } catch (error) {
    if (!(error instanceof LookupFault)) throw error
    const name = fieldNaming(JSON.parse(args) as Json, error.lookup)
    throw new StepFault('LookupError', `input "${name}": ${error.message}`)
  }
  assertSize(given, bytesMax)
  return given
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

/** What the job of a step waits for: what the step says, and the script or the flow that it names. */
function turnsOf(step: PlanStep, own: LoadedPlan, named: LoadedPlan): TurnMaker | null {
  const ofStep = step.apart?.turns ? own.steps[step.index]!.turns : null
  const ofNamed = named === own ? null : named.turns
  if (!ofStep || !ofNamed) return ofStep ?? ofNamed
  return { turnOf: (args) => ({ ...ofNamed.turnOf(args), debounce: ofStep.turnOf(args).debounce! }) }
}

/** What a part waits for. */
function turnFor(run: Run, turns: TurnMaker, args: JsonText): Turn {
  const turn = turns.turnOf(args)
  // Steps are not absorbed by jobs that were started: those have callers of another kind.
  if (turn.debounce) turn.debounce.key = `steps ${turn.debounce.key}`
  // A part of a loop has none.
  const own = run.state!.part ? undefined : run.loaded!.turns?.turnOf(run.job.args)
  if (own?.key !== turn.key || turn.max !== 1) return turn
  throw new StepFault(
    'WaitsForItself',
    `it would wait for a turn of "${turn.key}", which its own job keeps until it is over; give one of them another key`,
  )
}

/** What it waits for that a workflow asks for. `stepId`: of the workflow. */
function askedTurns(ask: TaskAsk, loaded: LoadedPlan, stepId: string): TurnMaker | null {
  const { kind, path } = ask
  if (kind !== 'task' && ask.apart?.turns && loaded.plan.turns?.order) {
    const message = `${kind} ${path} has an ordering_key, and a job waits for one key: leave concurrency_limit out`
    throw new StepFault('OrderedInside', message)
  }
  return turnsOfAsk(ask, loaded, stepId)
}

function referenceError(error: Error): UserError {
  return { name: 'NotFound', message: error.message }
}

/** A step that becomes a job. */
interface ApartJob {
  n: number
  target: ApartTarget
  versionId: string
  args: JsonText
  turn: Turn | null
}

/** When what step n of the cursor comes to is deleted. */
function stepDeletion(run: Run, cursor: Cursor, n: number): number | null {
  return run.deletes === null ? null : soonerOf(deletionAt(cursor), run.deletes.get(n))
}

const notShared =
  'it would be a job of its own, which does not see the folder that the steps of a flow with same_worker share; take its tag or ' +
  'its limit away, or same_worker'

/** Is what the cursor is at a job of its own? Not a step where it already is that job. */
function isApart({ step, ask }: Cursor, own: LoadedPlan, runs: LoadedPlan): boolean {
  if (step!.apart !== null) return true
  return runs.turns !== null && (ask ? ask.kind === 'script' : runs !== own && !own.plan.alone)
}

/** Each round is sent all that came before. */
function assertCheckpoint({ chars }: Workflow, { resultBytesMax }: Limits): void {
  if (chars <= checkpointResults * resultBytesMax) return
  const limit = `the limit is ${checkpointResults} times MILLRACE_RESULT_BYTES_MAX`
  throw new StepFault(
    'ArgumentsTooLarge',
    `what its tasks and steps gave so far is ${chars} characters of JSON; ${limit}. Keep what is large elsewhere, and return where it is`,
  )
}

const checkpointResults = 4

/** Each of `count` tasks that run at once may be given a copy. */
function assertTasks(args: JsonText, count: number, bytesMax: number): void {
  if (args.length * count <= bytesMax) return
  throw new StepFault(
    'ArgumentsTooLarge',
    `a task with a tag or a limit is given what its workflow has come to so far, ${args.length} bytes, and ${count} run at once; the limit ` +
      `is ${bytesMax} for all of them. Keep what is large elsewhere, and return where it is`,
  )
}

/** Each part has a copy of what its iterations see. */
function assertParts(parts: readonly JsonText[], bytesMax: number): void {
  const bytes = parts.reduce((sum, args) => sum + args.length, 0)
  if (bytes <= bytesMax) return
  throw new StepFault(
    'ArgumentsTooLarge',
    `its iterations become ${parts.length} jobs, whose arguments are ${bytes} bytes; the limit is ${bytesMax}. Each has a copy of what ` +
      'the loop looks at: keep what is large elsewhere, and pass on where it is',
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
  if (seconds === 0) throw new Error('timeout is 0; it must be a number of seconds above 0')
  return Math.min(secondsOf(seconds, 'timeout') * 1_000, limits.stepTimeoutMs)
}

function secondsOf(seconds: Json, what: string): number {
  if (typeof seconds === 'number' && seconds >= 0) return seconds
  throw new Error(`${what} is ${JSON.stringify(seconds)}; it must be a number of seconds above 0`)
}

function widthOf(width: Json): number {
  if (typeof width === 'number' && width >= 1) return Math.floor(width)
  throw new Error(`parallelism is ${JSON.stringify(width)}; it must be a whole number above 0`)
}

/** @throws NotAtHand, which is no failure */
function expressionError(error: unknown): UserError {
  if (error instanceof NotAtHand) throw error
  return { name: error instanceof StepFault ? error.name : 'ExpressionError', message: messageOf(error) }
}
