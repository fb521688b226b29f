// Runs: the jobs in progress. Drives each job's machine: its effects out to steps (steps.ts) and waits (waits.ts), what came back in as
// records, and records to the journal.
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
import type { UserError } from '../core/errors.ts'
import { parseTarget, readApartEnd } from '../core/flow/apart.ts'
import type { Cursor } from '../core/flow/cursor.ts'
import { soonerOf, withDeletion } from '../core/flow/deletion.ts'
import { advance, fold, open } from '../core/flow/machine.ts'
import type { Plan } from '../core/flow/plan.ts'
import { parseRecord, printRecord, type JobRecord } from '../core/flow/records.ts'
import { partDeletionOf, type PartEnd } from '../core/flow/spread.ts'
import { deletionIn, errorResult, isAlive, newState, type Effect } from '../core/flow/state.ts'
import type { JsonText } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import { NotAtHand } from '../core/lookups.ts'
import type { RunnerPool } from '../runner/pool_types.ts'
import { makeSharedFolder, removeSharedFolder } from '../runner/shared_folder.ts'
import type { Clock, Timer } from '../store/clock.ts'
import type { ClaimedJob } from '../store/jobs.ts'
import type { PartsQuit } from '../store/parts.ts'
import type { JobPast, SignalRow } from '../store/signals.ts'
import { spread } from './apart.ts'
import { cacheKey, type CacheEntry, type ResultCache } from './cache.ts'
import type { Committer } from './committer.ts'
import { decide, items } from './decisions.ts'
import type { Lookups } from './lookups.ts'
import { loadedPart, type LoadedPlan, type Plans } from './plans.ts'
import type { References } from './references.ts'
import type { WorkerCounters } from './report.ts'
import { JournalEntry, Run, StepCall, unstorableResult, type JournalEnds, type RunEnd } from './run.ts'
import { createSteps } from './steps.ts'
import type { Tracing } from './tracing.ts'
import { createWaits, keyOf } from './waits.ts'

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
  const journalEnds: JournalEnds = { durable, refused: drop, unstorable }
  const isClosing = () => closing
  const waits = createWaits({ ...parts, journalEnds, take, journal, isClosing })
  const { giveBackNow } = waits
  const steps = createSteps({ ...parts, checkpointed, take, keepFlow, carryOutLater, giveBackNow, isClosing })
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
    if (run.linger !== null) waits.stir(run)
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
    if (run.waits && !run.over && !run.parking) waits.keep(run, run.waits)
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
        else {
          const record = steps.start(run, effect)
          if (record) answer(run, record, effects)
        }
        break
      case 'pick':
        answer(run, decide(effect, clock, limits), effects)
        break
      case 'items':
        answer(run, items(run, effect, limits), effects)
        break
      case 'call':
        if (closing) giveBackNow(run)
        else steps.call(run, effect)
        break
      case 'sleep':
      case 'wait':
        waits.wait(run, effect)
        break
      case 'spread':
        answer(run, spread(run, effect, limits), effects)
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
    else if (!run.over && run.waits) waits.parkIfIdle(run)
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
        waits.parkIfIdle(run)
      })
    }
  }

  /** The run is not parked meanwhile: then it would no longer be ours to say. */
  async function quitNow(run: Run): Promise<void> {
    const quits = run.quits!.map((quit) => ({ id: run.id, epoch: run.epoch, ...quit }))
    run.quits = null
    run.loading += 1
    await parts.quitParts(quits)
    run.loading -= 1
    if (run.waits) waits.parkIfIdle(run)
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

  function end(run: Run, status: string, result: JsonText, part: PartEnd = lost): void {
    run.over = true
    run.status = status
    run.result = result
    run.tell(part, clock.nowMs())
    if (run.deleteS !== null || status === 'failure' || status === 'canceled') run.waited = true
    count(run.loaded, status !== 'success')
    if (run.cache !== null && status === 'success') parts.cache.keep(run.cache, result)
    for (const call of run.calls) pool.cancel(call, 'the job is over')
    waits.stop(run)
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
    waits.stop(run)
    for (const call of run.calls) pool.cancel(call, 'the job was given to another worker')
    if (!leave(run)) return
    run.trace?.end('')
    parts.onDropped(run)
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

  return {
    held: () => runs.size,
    lingering: waits.lingering,
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

/** How a part ends that did not end by its machine. */
const lost: PartEnd = { how: 'lost' }
