// Virtual time and the processes that live in it. One event runs at a time; what it awaits is settled by later events.
//   W1. A run is a function of its seed: events of one moment run in the order they were planned, chance is seeded.
//   W2. Each event runs to where all of its code awaits a port again before the next one does.
//   W3. A killed process runs nothing any more: its timers are dropped, its promises never settle. A paused one runs what it
//       missed, late.
import { setFlagsFromString } from 'node:v8'
import { Script } from 'node:vm'
import type { Clock, Timer } from '../../src/store/clock.ts'

/** What virtual time 0 is, in ms since 1970. */
export const epochMs = Date.UTC(2026, 0, 1)

// Runs what promises have settled, and what that settles, to its end. No module of Node has it; V8 has, for its own tests. Awaiting
// a number of turns instead costs ten times as much, and no number is enough; a turn of the event loop costs twice that.
setFlagsFromString('--allow-natives-syntax')
const settle = new Script('() => %PerformMicrotaskCheckpoint()').runInThisContext() as () => void

interface Planned {
  atMs: number
  order: number
  run: () => void
}

export type Chance = () => number

/** mulberry32: small, fast, good enough to draw faults from. */
export function seededChance(seed: number): Chance {
  let state = (seed ^ 0x9e3779b9) | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

export class World {
  readonly chance: Chance
  nowMs = 0
  /** Set once something that must hold did not. */
  failure: string | null = null
  events = 0
  /** How often what was drawn, and each rare branch that matters, really happened. */
  readonly marks = new Map<string, number>()
  readonly #heap: Planned[] = []
  readonly #trace: string[] = []
  #order = 0
  #hash = 0x811c9dc5
  readonly #traceMax: number

  constructor(seed: number, traceMax = 60) {
    this.chance = seededChance(seed)
    this.#traceMax = traceMax
  }

  at(atMs: number, run: () => void): void {
    push(this.#heap, { atMs: Math.max(atMs, this.nowMs), order: this.#order++, run })
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.chance()
  }

  whole(below: number): number {
    return Math.floor(this.chance() * below)
  }

  fail(reason: string): void {
    this.failure ??= reason
  }

  mark(name: string, times = 1): void {
    this.marks.set(name, (this.marks.get(name) ?? 0) + times)
  }

  /** What happened, for whoever reads a failure; and the fingerprint by which two runs of a seed are compared. Nothing without a trace. */
  tell(line: string): void {
    if (this.#traceMax === 0) return
    const text = `${this.nowMs.toFixed(1).padStart(9)} ${line}`
    for (let i = 0; i < text.length; i++) this.#hash = Math.imul(this.#hash ^ text.charCodeAt(i), 0x01000193)
    this.#trace.push(text)
    if (this.#trace.length > this.#traceMax * 2) this.#trace.splice(0, this.#traceMax)
  }

  get fingerprint(): number {
    return this.#hash >>> 0
  }

  get trace(): string[] {
    return this.#trace.slice(-this.#traceMax)
  }

  /** Runs events until `endMs`, a failure, or `done()`. */
  run(endMs: number, done: () => boolean): Promise<void> {
    // Not from within a promise's own turn, where nothing can be settled.
    return new Promise((resolve, reject) => {
      setImmediate(() => {
        try {
          this.#runNow(endMs, done)
          resolve()
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  #runNow(endMs: number, done: () => boolean): void {
    for (;;) {
      const next = this.#heap[0]
      if (!next || next.atMs > endMs || this.failure !== null) return
      pop(this.#heap)
      this.nowMs = next.atMs
      this.events += 1
      next.run()
      settle()
      if (done()) return
    }
  }
}

/** A process of the world. Everything it waits for comes through `run`. */
export class Process {
  readonly world: World
  readonly name: string
  readonly clock: Clock
  alive = true
  pausedUntilMs = 0

  constructor(world: World, name: string, wallSkewMs: number) {
    this.world = world
    this.name = name
    this.clock = clockOf(this, wallSkewMs)
  }

  /** Runs `work` now, later if the process is paused, or never. */
  run(work: () => void): void {
    if (!this.alive) return
    if (this.world.nowMs < this.pausedUntilMs) {
      this.world.at(this.pausedUntilMs, () => this.run(work))
      return
    }
    work()
  }

  after(ms: number, work: () => void): void {
    this.world.at(this.world.nowMs + ms, () => this.run(work))
  }
}

function clockOf(process: Process, wallSkewMs: number): Clock {
  const { world } = process
  return {
    nowMs: () => Math.floor(epochMs + world.nowMs + wallSkewMs),
    monotonicMs: () => world.nowMs,
    after(ms, work) {
      let canceled = false
      process.after(ms, () => {
        if (!canceled) work()
      })
      return timer(() => (canceled = true))
    },
    every(ms, work) {
      let canceled = false
      const tick = (): void => {
        if (canceled) return
        work()
        process.after(ms, tick)
      }
      process.after(ms, tick)
      return timer(() => (canceled = true))
    },
    soon: (work) => queueMicrotask(work),
    nextTurn: (work) => process.after(0, work),
    pause: (ms, signal) =>
      new Promise((resolve, reject) => {
        process.after(ms, resolve)
        signal?.addEventListener('abort', () => reject(new Error('no longer waited for')), { once: true })
      }),
    random: () => world.chance(),
  }
}

function timer(cancel: () => void): Timer {
  return { cancel, unref() {} }
}

const before = (a: Planned, b: Planned): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)

function push(heap: Planned[], item: Planned): void {
  let i = heap.length
  heap.push(item)
  while (i > 0) {
    const parent = (i - 1) >> 1
    if (!before(item, heap[parent]!)) break
    heap[i] = heap[parent]!
    i = parent
  }
  heap[i] = item
}

function pop(heap: Planned[]): void {
  const last = heap.pop()!
  if (heap.length === 0) return
  let i = 0
  for (;;) {
    let child = 2 * i + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1
    if (!before(heap[child]!, last)) break
    heap[i] = heap[child]!
    i = child
  }
  heap[i] = last
}
