// Begins what the machine wants begun: the code of a step by a runner, or as a job of its own; a script or a flow by its path. What
// comes of it is a record, at once or later.
// HOT. Per step of code: one bind, one call object. No await, no closure.
import type { UserError } from '../core/errors.ts'
import type { ApartTarget } from '../core/flow/apart.ts'
import { recordAt, sharesFolder, type Cursor } from '../core/flow/cursor.ts'
import type { Effect } from '../core/flow/state.ts'
import type { CodeRun, PlanStep, ScriptRun } from '../core/flow/plan.ts'
import type { JobRecord } from '../core/flow/records.ts'
import { parseAsks, type TaskAsk } from '../core/flow/workflow.ts'
import type { JsonText } from '../core/json.ts'
import { mayName } from '../core/lookups.ts'
import type { RunnerSpec } from '../runner/pool_types.ts'
import { sharingSpec } from '../runner/shared_folder.ts'
import { askedTurns, becomeJob, isApart, stepApart, stepDeletion, turnFor, turnsOf } from './apart.ts'
import { argsOf, assertCheckpoint, assertSize, withValues } from './arguments.ts'
import { cacheKey, type CacheEntry } from './cache.ts'
import { timeoutOf } from './decisions.ts'
import type { LoadedPlan, LoadedStep } from './plans.ts'
import { StepCall, type Driver, type Run } from './run.ts'
import type { RunsParts } from './runs.ts'
import { expressionError, referenceError } from './step_faults.ts'

type FromRuns = 'clock' | 'limits' | 'pool' | 'plans' | 'references' | 'cache' | 'committer' | 'issueToken' | 'setProgress'

export interface StepsParts extends Pick<RunsParts, FromRuns> {
  checkpointed: Driver['checkpointed']
  take(run: Run, record: JobRecord, call: StepCall | null): void
  /** The run has begun this version inside. */
  keepFlow(run: Run, loaded: LoadedPlan): void
  /** What could not be done now, and is done once it can be; or a bug of ours. */
  carryOutLater(run: Run, effect: Effect, error: unknown): void
  giveBackNow(run: Run): void
  isClosing(): boolean
}

export interface Steps {
  /** An attempt of a step begins. A record: it is over at once. */
  start(run: Run, effect: Effect & { e: 'start' }): JobRecord | null
  /** A flow begins inside, or as a job of its own. */
  call(run: Run, effect: Effect & { e: 'call' }): void
}

export function createSteps(parts: StepsParts): Steps {
  const { clock, limits, pool, plans, references, committer, take, keepFlow, carryOutLater, giveBackNow, checkpointed } = parts
  const driver: Driver = { nowMs: clock.nowMs, take, say, progress, asked, checkpointed }

  function start(run: Run, effect: Effect & { e: 'start' }): JobRecord | null {
    const { cursor, step, n } = effect
    switch (step.run.kind) {
      case 'code':
        callCode(run, effect, run.loadedAt(cursor), step.index)
        return null
      case 'script':
        callScript(run, effect, step.run).catch((error: unknown) => carryOutLater(run, effect, error))
        return null
      case 'mock':
        return { k: 'ok', n, s: step.id, at: clock.nowMs(), ms: 0, v: step.run.value }
      default:
        return { k: 'ok', n, s: step.id, at: clock.nowMs(), ms: 0, v: cursor.previousText() }
    }
  }

  /** Runs the code of a step of `loaded`: the flow's own, or the script that the effect's step names. */
  function callCode(run: Run, effect: Effect & { e: 'start' }, loaded: LoadedPlan, index: number): void {
    const { cursor, step } = effect
    const code = loaded.steps[index]!
    const own = run.loadedAt(cursor)
    let args: JsonText
    let timeoutMs = limits.stepTimeoutMs
    try {
      args = argsOf(own, cursor, step.index)
      assertSize(args, limits.resultBytesMax)
      if (cursor.workflow !== null) assertCheckpoint(cursor.workflow, limits)
      if (step.timeout) timeoutMs = timeoutOf(step.timeout.value(cursor), limits)
    } catch (error) {
      fail(run, effect, expressionError(error))
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
    if (!isApart(cursor, run.loadedAt(cursor), loaded)) {
      send(run, effect, loaded, code, args, timeoutMs, cache)
      return
    }
    const what = { loaded, code, args, timeoutMs, cacheMs: cache?.ttlMs ?? null }
    const record = stepApart(run, effect, what, limits, clock.nowMs())
    if (record) take(run, record, null)
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
    else if (parts.isClosing()) giveBackNow(run)
    else runCode(run, effect, loaded, code, args, timeoutMs, entry)
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
    const own = run.loadedAt(cursor)
    const { built } = code.step.run as CodeRun
    let given = args
    try {
      if (mayName(args)) given = withValues(args, own.plan.look, limits.resultBytesMax)
    } catch (error) {
      fail(run, effect, expressionError(error))
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
    const { cursor, n } = effect
    // The rounds of a workflow that a step names are of one version.
    const pinned = (cursor.ask?.kind === 'task' ? cursor.parent! : cursor).workflow?.version ?? null
    const { path, hash } = script
    const { workspaceId } = cursor.frame.plan
    const loaded = await referred(
      run,
      pinned === null ? references.find({ workspaceId, kind: 'script', path, hash }) : references.load(pinned),
    )
    if (run.over) return
    if (loaded instanceof Error) {
      fail(run, effect, referenceError(loaded))
      return
    }
    const { deleteS } = loaded.plan
    if (deleteS !== null) (run.deletes ??= new Map()).set(n, deleteS)
    if (cursor.ask) keepFlow(run, loaded) // nobody could tell that it would be called
    callCode(run, effect, loaded, 0)
  }

  function call(run: Run, effect: Effect & { e: 'call' }): void {
    callFlow(run, effect).catch((error: unknown) => carryOutLater(run, effect, error))
  }

  async function callFlow(run: Run, effect: Effect & { e: 'call' }): Promise<void> {
    const { cursor, step } = effect
    const { path } = step.run as { path: string }
    const { workspaceId } = cursor.frame.plan
    const loaded = await referred(run, references.find({ workspaceId, kind: 'flow', path, hash: null }))
    if (run.over) return
    const record: JobRecord & { k: 'call' } = { k: 'call', ...recordAt(cursor), s: step.id, version: '', args: '{}' }
    if (loaded instanceof Error) record.error = referenceError(loaded)
    else {
      const { versionId } = loaded.plan
      record.version = versionId
      try {
        const own = run.loadedAt(cursor)
        const turns = cursor.ask ? askedTurns(cursor.ask as TaskAsk, loaded, '') : turnsOf(step, own, loaded)
        const args = (record.args = argsOf(own, cursor, step.index))
        assertSize(args, limits.resultBytesMax)
        const depth = cursor.frame.depth + 1
        if ((step.apart || turns) && depth <= limits.flowDepthMax) {
          const { n } = cursor
          if (!run.awaits(cursor, n)) return
          if (loaded.plan.deleteS !== null) (run.deletes ??= new Map()).set(n, loaded.plan.deleteS)
          const target: ApartTarget = { kind: 'flow', depth, deleteS: stepDeletion(run, cursor, n) }
          const job = { n, target, versionId, args, turn: turns && turnFor(run, turns, args) }
          take(run, becomeJob(run, cursor, step, job), null)
          return
        }
      } catch (error) {
        record.error = expressionError(error)
      }
      keepFlow(run, loaded)
    }
    take(run, record, null)
  }

  /** What a name stands for, or why for nothing. The run does not park meanwhile. */
  async function referred(run: Run, found: Promise<LoadedPlan | Error>): Promise<LoadedPlan | Error> {
    run.loading += 1
    try {
      return await found
    } finally {
      run.loading -= 1
    }
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
    const own = run.loadedAt(cursor)
    return (
      cursor.ask !== null || own.plan.alone || own.steps[cursor.step!.index]!.inputs.every(({ expression }) => expression.pure)
    )
  }

  /** Before its code has run. */
  function fail(run: Run, { step, n }: { step: PlanStep; n: number }, e: UserError): void {
    take(run, { k: 'err', n, s: step.id, at: clock.nowMs(), ms: 0, e }, null)
  }

  function say(call: StepCall, channel: 0 | 1, n: number, text: string): void {
    committer.log({ id: call.logId, channel, n, text })
  }

  function progress(call: StepCall, percent: number): void {
    parts.setProgress(call.logId, percent)
  }

  return { start, call }
}

function sharingOf(code: LoadedStep): RunnerSpec {
  const spec = code.spec!
  return spec.sharesFolder ? spec : (code.sharing ??= sharingSpec(spec))
}
