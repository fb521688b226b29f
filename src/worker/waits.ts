// What a job waits for: times, answers, its parts. While it is held timers ring for it; one that only waits is given back, or lingers.
// R4 and R6 of runs.ts say when, and what is durable before.
import { recordAt, type Cursor } from '../core/flow/cursor.ts'
import { isAlive, type Effect } from '../core/flow/state.ts'
import type { JobRecord } from '../core/flow/records.ts'
import { releasedWait } from './releases.ts'
import { JournalEntry, type JournalEnds, type Run, type Wait } from './run.ts'
import type { RunsParts } from './runs.ts'

type FromRuns = 'clock' | 'limits' | 'committer' | 'giveBack' | 'lingeringMax' | 'onLinger'

export interface WaitsParts extends Pick<RunsParts, FromRuns> {
  journalEnds: JournalEnds
  /** Its time is over. */
  take(run: Run, record: JobRecord, call: null): void
  /** All its records become durable; then `after`. */
  journal(run: Run, after: ((run: Run) => void) | null): void
  isClosing(): boolean
}

export interface Waits {
  /** Runs that linger. */
  lingering(): number
  /** A cursor waits. */
  wait(run: Run, effect: Effect & { e: 'sleep' | 'wait' }): void
  /** Its records are durable: its long waits become so. */
  keep(run: Run, waits: Map<number, Wait>): void
  /** A job that does nothing but wait is given back, if it is long. Otherwise its long waits are kept. */
  parkIfIdle(run: Run): void
  /** It does not linger any more. */
  stir(run: Run): void
  /** What is waited for is waited for elsewhere, or no more. */
  stop(run: Run): void
  /** As it stands; a step under way will run again elsewhere. */
  giveBackNow(run: Run): void
}

/** A wait that is over, or nearly: its timer is about to say so, and to park it would end in parking it again. */
const soonMs = 20
/** Lingering for less is no gain: to be given back and claimed again takes about as long. */
const lingerMsMin = 5
/** Node's timers hold no more. */
const timerMsMax = 2 ** 31 - 1

export function createWaits(parts: WaitsParts): Waits {
  const { clock, limits, committer, journalEnds, take, journal } = parts
  const lingering = new Set<Run>()

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
      if (leftMs > 0) waits.get(cursor.id)!.timer = ring(leftMs)
      else {
        waits.delete(cursor.id)
        take(run, { k: 'wake', ...recordAt(cursor), s: step.id }, null)
      }
    }
    const timer = ring(Math.max(0, effect.ms))
    waits.set(cursor.id, { cursor, key, untilMs, wanted, after: run.records.length, kept: false, timer })
  }

  /** Until when it waits is durable where more of it runs, too (R6). */
  function keep(run: Run, waits: Map<number, Wait>): void {
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
    if (parts.isClosing() || ms < lingerMsMin || lingering.size >= parts.lingeringMax()) return false
    if (![...waits.values()].some(({ untilMs }) => untilMs === Infinity)) return false
    lingering.add(run)
    run.linger = clock.after(ms, () => {
      stir(run)
      startParking(run)
    })
    parts.onLinger(run)
    return true
  }

  function stir(run: Run): void {
    if (run.linger === null) return
    run.linger.cancel()
    run.linger = null
    lingering.delete(run)
  }

  function stop(run: Run): void {
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
    stop(run)
    parts.giveBack(run)
  }

  function giveBackNow(run: Run): void {
    if (run.over) return
    run.parkUntilMs = null
    run.wanted = 0
    run.parking = true
    journal(run, park)
  }

  return { lingering: () => lingering.size, wait, keep, parkIfIdle, stir, stop, giveBackNow }
}

const waitKinds = ['asleep', 'suspended', 'resting', 'joining']

/** Names a wait among all that its job ever has. */
export function keyOf(cursor: Cursor): number {
  return cursor.n * 4 + waitKinds.indexOf(cursor.phase)
}

function isWaiting(run: Run, cursor: Cursor): boolean {
  return waitKinds.includes(cursor.phase) && isAlive(run.state!, cursor)
}
