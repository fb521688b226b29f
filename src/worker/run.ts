// One job in progress, the calls it makes, and its records on their way to the journal. Plain state: runs.ts drives it.
//   N1. HOT. These are made per job and per step: all fields are set in one place, methods are on prototypes.
//   N2. A run that is committed lets go of its texts (see #sever).
import type { UserError } from '../core/errors.ts'
import type { Cursor } from '../core/flow/cursor.ts'
import { errorResult, isAlive, type Effect, type JobState } from '../core/flow/state.ts'
import type { JobRecord } from '../core/flow/records.ts'
import { printPartEnd, type PartEnd } from '../core/flow/spread.ts'
import { checkpointText } from '../core/flow/workflow.ts'
import { stepIdOf } from '../core/job/ids.ts'
import type { JsonText } from '../core/json.ts'
import type { ScopeEnvironment } from '../core/wire/messages.ts'
import type { Call } from '../runner/pool_types.ts'
import type { Timer } from '../store/clock.ts'
import type { ClaimedJob } from '../store/jobs.ts'
import type { CacheEntry } from './cache.ts'
import type { Finished, Journaled } from './committer.ts'
import type { LoadedPlan, LoadedStep } from './plans.ts'
import type { JobTrace, StepTrace } from './tracing.ts'

/** Its end is durable. `silent`: nobody is to be told (the commit did that, or the job was not ours any more). */
export type RunEnd = (run: Run, silent: boolean) => void

const none: never[] = []

export class Run implements Finished {
  readonly id: string
  readonly epoch: number
  readonly job: ClaimedJob
  readonly loaded: LoadedPlan | null
  readonly claimedMs: number
  readonly #end: RunEnd
  #reduced = false
  state: JobState | null = null
  trace: JobTrace | null = null
  /** Records so far, as JSON. */
  records: JsonText[] = []
  /** How many of them are in the journal, or on their way. */
  journaled = 0
  /** How many of them are known to be in the journal. */
  kept = 0
  /** Calls under way, by step number. Mostly one. */
  calls: StepCall[] = []
  /** Cursors that wait, by their ids. */
  waits: Map<number, Wait> | null = null
  /** Plans or versions that are being read for it. */
  loading = 0
  /** The flows that it has begun inside, by version. */
  flows: Map<string, LoadedPlan> | null = null
  /** Set when the run is over (finished, parked or dropped). */
  over = false
  /** It was committed, given back or dropped: nobody counts it any more. */
  left = false
  text = ''
  status = ''
  result: JsonText = 'null'
  /** Effects that wait until the record before them is durable (strict). */
  held: Effect[] | null = null
  /** Records that are durable together with parts, by their index: what is sent besides them. */
  spreads: Map<number, JsonText> | null = null
  /** So many such records, and such as go before them, are on their way. */
  spreading = 0
  /** Steps whose parts are not needed any more. */
  quits: { step: number; unbegun: boolean }[] | null = null
  /** Of a part: what its end says to the job that it is a part of. */
  told = ''
  /** Records on their way to the journal. The run's end waits for them. */
  journaling = 0
  afterJournal: ((run: Run) => void) | null = null
  /** Inline steps of its workflows that go on once their results are durable (strict). */
  keeping: (() => void)[] | null = null
  /** It is on its way to be parked. */
  parking = false
  /** Whether it only waits will be looked at when what runs now is through. */
  settling = false
  /** Until when it lingers (R4 of runs.ts). */
  linger: Timer | null = null
  /** It was claimed again: what came for it before it was held here was told to nobody. */
  behind = false
  /** By the monotonic clock; null: not at all. */
  parkUntilMs: number | null = null
  /** So many signals more make it ready before that; 0: none do. */
  wanted = 0
  /** There is more to do at its end (sql/finish_waited.sql): it has waited, has parts, is one, has a turn (or may have: no plan), failed, or is deleted later. */
  waited: boolean
  /** Where its result is kept. */
  cache: CacheEntry | null = null
  /** What steps of it share; '': none does. */
  folder = ''
  /** Of a task that another job has started: the topmost of those jobs. */
  rootId: string | null = null
  /** A result to be answered early is on its way to the journal. */
  early = false
  /** Something of it may have to be deleted after its end (core/flow/deletion.ts). By step number: what a script that it called says. */
  deletes: Map<number, number> | null = null
  /** The first of it, so many seconds after the end; null: nothing yet. And all of it. */
  deleteS: number | null = null
  wholeS: number | null = null
  constructor(job: ClaimedJob, loaded: LoadedPlan | null, end: RunEnd, nowMs: number) {
    this.id = job.id
    this.epoch = job.epoch
    this.job = job
    this.loaded = loaded
    this.#end = end
    this.claimedMs = nowMs
    this.waited = job.part !== null || loaded === null || loaded.plan.turns !== null
  }

  /** Of the flow that the cursor walks. */
  loadedAt(cursor: Cursor): LoadedPlan {
    const { plan } = cursor.frame
    return plan === this.loaded!.plan ? this.loaded! : this.flows!.get(plan.versionId)!
  }

  /** Something was looked up meanwhile: does its cursor still wait for step n? */
  awaits(cursor: Cursor, n: number): boolean {
    return isAlive(this.state!, cursor) && cursor.n === n
  }

  /** Of a part: how it ends is told. */
  tell(end: PartEnd, nowMs: number): void {
    const { part, args } = this.job
    if (part === null) return
    const at = Math.round(this.claimedMs)
    this.told = printPartEnd(part, args, end, { at, ms: Math.max(0, Math.round(nowMs) - at) })
  }

  /** Becomes a failure with the records that the journal has: those the database did take. */
  unstorable(reason: string): boolean {
    if (this.#reduced) return false
    this.#reduced = true
    this.records = this.records.slice(0, this.kept)
    this.status = 'failure'
    this.waited = true
    this.result = unstorableResult(reason)
    this.tell({ how: 'lost' }, this.claimedMs)
    this.print()
    return true
  }

  /** What the commit takes: everything the job came to. */
  print(): void {
    let told = this.told === '' ? '' : ',' + this.told
    if (this.deleteS !== null) told += `,"delete_s":${this.deleteS},"whole_s":${this.wholeS}`
    this.text = `{"id":"${this.id}","epoch":${this.epoch},"status":"${this.status}","result":${this.result},"steps":[${this.records.join(',')}]${told}}`
  }

  get awaited(): boolean {
    return this.job.waiter !== null
  }

  committed(refused: boolean, told: boolean): void {
    this.#end(this, refused || told)
    this.#sever()
  }

  /**
   * Lets go of all that is large. The backing store of a Map that has moved to the old generation keeps what was deleted
   * from it alive until the next full collection, and with it all it refers to: without this most of a job's memory was
   * promoted, and full collections came every 0.7 s at 13,000 jobs/s.
   */
  #sever(): void {
    this.text = this.result = ''
    this.records = none
    this.spreads = null
    this.calls = none
    this.state = null
    this.flows = null
    this.job.args = ''
  }
}

/** A wait of one cursor: before an attempt, after a step, or for answers. */
export interface Wait {
  cursor: Cursor
  /** What tells it from the others of its job, also after it was claimed again. */
  key: number
  /** By the monotonic clock. */
  untilMs: number
  /** Signals that may end it sooner; 0: none. */
  wanted: number
  /** Records that lead to it. */
  after: number
  /** The database has until when it lasts, or is about to. */
  kept: boolean
  timer: Timer
}

/** One call of a step's code. Its methods are what the runner pool calls. */
export class StepCall implements Call {
  readonly run: Run
  /** Null: it has its answer. */
  cursor: Cursor | null
  readonly n: number
  readonly stepId: string
  readonly step: LoadedStep
  /** Of a script that the step names: its version. */
  readonly version: string | null
  readonly scope: ScopeEnvironment
  /** Its arguments as they are recorded: what is looked up is named. */
  named: JsonText
  args: JsonText
  readonly jobId: string
  readonly stepJobId: string
  readonly token: string
  readonly timeoutMs: number
  readonly trace: StepTrace | null
  /** Where its result is kept. */
  readonly cache: CacheEntry | null
  readonly #driver: Driver
  #pieces: number

  constructor(
    driver: Driver,
    run: Run,
    cursor: Cursor,
    stepId: string,
    step: LoadedStep,
    version: string | null,
    scope: ScopeEnvironment,
    named: JsonText,
    args: JsonText,
    token: string,
    timeoutMs: number,
    trace: StepTrace | null,
    cache: CacheEntry | null,
  ) {
    this.#driver = driver
    this.run = run
    this.cursor = cursor
    this.n = cursor.n
    this.stepId = stepId
    this.step = step
    this.version = version
    this.scope = scope
    this.named = named
    this.args = args
    // Code that cannot see its environment is not told who it is.
    this.jobId = token === '' ? '' : (run.rootId ?? run.id)
    const { kind } = run.loaded!.plan
    this.stepJobId = token === '' ? '' : kind === 'script' || kind === 'preview' ? run.id : this.logId
    this.token = token
    this.timeoutMs = timeoutMs
    this.trace = trace
    this.cache = cache
    this.#pieces = cursor.workflow === null ? 0 : cursor.workflow.rounds * roundPieces
  }

  /** Of a workflow: what its body has come to when this call is sent, or sent again. */
  get checkpoint(): JsonText | null {
    if (this.cursor === null) return null
    const { ask, parent, workflow, task } = this.cursor
    if (ask?.kind === 'task') return checkpointText(parent!.workflow!, this.run.id, ask.key)
    if (workflow) return checkpointText(workflow, this.run.id, null)
    return task && task.checkpoint
  }

  get folder(): string {
    return this.run.folder
  }

  /** The id its output is kept under. */
  get logId(): string {
    return stepIdOf(this.run.id, this.n)
  }

  succeeded(value: JsonText, ms: number): void {
    this.step.meter.took(ms)
    if (this.trace) this.trace.end(null)
    this.#driver.take(
      this.run,
      { k: 'ok', n: this.n, s: this.stepId, at: Math.round(this.#driver.nowMs() - ms), ms, v: value },
      this,
    )
    this.#sever()
  }

  failed(error: UserError, ms: number): void {
    this.step.meter.took(ms)
    this.step.meter.callsFailed += 1
    if (this.trace) this.trace.end(error)
    this.#driver.take(
      this.run,
      { k: 'err', n: this.n, s: this.stepId, at: Math.round(this.#driver.nowMs() - ms), ms, e: error },
      this,
    )
    this.#sever()
  }

  asked(asks: JsonText, ms: number): void {
    this.step.meter.took(ms)
    if (this.trace) this.trace.end(null)
    this.#driver.asked(this, asks, ms)
    this.#sever()
  }

  checkpointed(key: string, value: JsonText, kept: () => void): void {
    this.#driver.checkpointed(this, key, value, kept)
  }

  /** See Run.#sever. */
  #sever(): void {
    this.named = this.args = ''
    this.cursor = null
  }

  logged(text: string): void {
    this.#driver.say(this, 0, this.#pieces++, text)
  }

  streamed(text: string): void {
    this.#driver.say(this, 1, this.#pieces++, text)
  }

  progressed(percent: number): void {
    this.#driver.progress(this, percent)
  }
}

/** What calls tell of themselves: steps.ts. */
export interface Driver {
  nowMs(): number
  take(run: Run, record: JobRecord, call: StepCall | null): void
  say(call: StepCall, channel: 0 | 1, n: number, text: string): void
  progress(call: StepCall, percent: number): void
  /** A round of a workflow is over. */
  asked(call: StepCall, asks: JsonText, ms: number): void
  /** An inline step of a workflow has a value; its body goes on with `kept`. */
  checkpointed(call: StepCall, key: string, value: JsonText, kept: () => void): void
}

/** Pieces of output are numbered per step, and each round of a workflow has so many numbers. */
const roundPieces = 1 << 15

/** A record on its way to the journal, or waits to be kept; the last one of a strict step lets the run go on. */
export class JournalEntry implements Journaled {
  readonly run: Run
  readonly id: string
  readonly epoch: number
  readonly text: string
  readonly #n: number
  readonly #then: JournalEnds
  #unstorable: string | null = null

  /** `n`: the number of the record, 0 if it is none; `fields`: what is sent. */
  constructor(run: Run, n: number, fields: string, then: JournalEnds) {
    this.run = run
    this.id = run.id
    this.epoch = run.epoch
    this.text = `{"id":"${run.id}","epoch":${run.epoch},${fields}}`
    this.#n = n
    this.#then = then
  }

  get left(): boolean {
    return this.run.left
  }

  /** There is nothing smaller that it could become. */
  unstorable(reason: string): boolean {
    this.#unstorable = reason
    return false
  }

  committed(refused: boolean): void {
    const { run } = this
    run.journaling -= 1
    if (this.#unstorable !== null) this.#then.unstorable(run, this.#unstorable)
    else if (refused) this.#then.refused(run)
    else {
      if (run.kept === this.#n - 1) run.kept = this.#n
      this.#then.durable(run)
    }
  }
}

/** What becomes of a record: in the journal, its job not ours any more, or nothing the database takes. */
export interface JournalEnds {
  durable(run: Run): void
  refused(run: Run): void
  unstorable(run: Run, reason: string): void
}

export function unstorableResult(reason: string): JsonText {
  return errorResult({ name: 'ResultError', message: `the database cannot store what this job came to: ${reason}` })
}
