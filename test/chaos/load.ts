// Those who send events, and what they were told: the history that the run is judged by (docs/audit.md has its format).
//   L1. Every event has an `op` of its own. A line is written once it is known how the request ended, and says no more than that:
//       a time-out, a reset or a 5xx is `unknown`.
//   L2. Only what has a key is sent again after an unknown end.
import { createWriteStream } from 'node:fs'
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { flowNames, type Event, type FlowName } from './flows.ts'
import { chance, type Chance } from './random.ts'
import type { Rig } from './rig.ts'

export interface LoadOptions {
  rig: Rig
  seed: number
  /** Events per second, about. */
  rate: number
  flows?: readonly FlowName[]
  /** Seconds between deploys of a new version; 0: none. */
  deployEveryS?: number
}

export interface Counts {
  sent: number
  ok: number
  fail: number
  unknown: number
  canceled: number
  deploys: number
}

export interface Load {
  readonly counts: Counts
  /** Ops that may have been canceled: by us, or because their caller hung up. */
  readonly mayBeCanceled: ReadonlySet<string>
  /** Requests under way. */
  underWay(): number
  /** Sends no more; resolves once every request has ended and the history is on disk. */
  stop(): Promise<void>
}

type Kind = 'single' | 'keyed' | 'batch' | 'wait'
// Twenty draws: what callers do, roughly.
const kinds = (
  [
    ['keyed', 9],
    ['single', 6],
    ['batch', 3],
    ['wait', 2],
  ] as const
).flatMap(([kind, share]) => Array<Kind>(share).fill(kind))
const flowShare: Record<FlowName, number> = { three: 10, strict: 4, flaky: 4, parked: 1, slow: 3, nested: 3 }
const requestMs = 6_000
const triesMax = 40
const cancelShare = 0.04

interface Answer {
  kind: 'ok' | 'fail' | 'unknown'
  text: string
}

export function startLoad(options: LoadOptions): Load {
  const { rig } = options
  const random = chance(options.seed)
  const run = randomUUID().slice(0, 8)
  const flows = (options.flows ?? flowNames).flatMap((flow) => Array<FlowName>(flowShare[flow]).fill(flow))
  const history = createWriteStream(rig.historyFile, { flags: 'a' })
  const counts: Counts = { sent: 0, ok: 0, fail: 0, unknown: 0, canceled: 0, deploys: 0 }
  const mayBeCanceled = new Set<string>()
  const under = new Set<Promise<void>>()
  let made = 0
  const stop = new AbortController()
  const stopped = (): boolean => stop.signal.aborted

  function newEvent(): Event {
    made += 1
    return { op: `${run}-${made}`, n: made % 10_000 }
  }

  function note(event: Event, kind: Answer['kind'], more: { id?: string; key?: string } = {}): void {
    counts[kind] += 1
    history.write(`${JSON.stringify({ op: event.op, kind, ...more })}\n`)
  }

  async function request(path: string, body: string, headers: Record<string, string> = {}): Promise<Answer> {
    const server = random.one(rig.servers())
    try {
      const response = await fetch(`${server.url}/api/w/main/${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${rig.token}`, 'content-type': 'application/json', ...headers },
        body,
        signal: AbortSignal.timeout(requestMs),
      })
      const text = await response.text()
      if (response.ok) return { kind: 'ok', text }
      return { kind: response.status >= 500 || response.status === 422 ? 'unknown' : 'fail', text }
    } catch {
      return { kind: 'unknown', text: '' }
    }
  }

  async function send(kind: Kind, flow: FlowName): Promise<void> {
    switch (kind) {
      case 'single': {
        const event = newEvent()
        counts.sent += 1
        const answer = await request(`jobs/run/f/chaos/${flow}`, JSON.stringify(event))
        note(event, answer.kind, answer.kind === 'ok' ? { id: idIn(answer.text) } : {})
        if (answer.kind === 'ok' && random.next() < cancelShare) await cancel(event, idIn(answer.text))
        return
      }
      case 'keyed': {
        const event = newEvent()
        const key = `key-${event.op}`
        for (let tries = 0; tries < triesMax; tries++) {
          counts.sent += 1
          const answer = await request(`jobs/run/f/chaos/${flow}`, JSON.stringify(event), { 'idempotency-key': key })
          note(event, answer.kind, answer.kind === 'ok' ? { id: idIn(answer.text), key } : { key })
          if (answer.kind === 'ok') return
          await pause(random.between(50, 500))
        }
        return
      }
      case 'batch': {
        const events = Array.from({ length: 5 + Math.floor(random.next() * 20) }, newEvent)
        counts.sent += events.length
        const answer = await request(`jobs/run_batch/f/chaos/${flow}`, JSON.stringify(events))
        const ids = answer.kind === 'ok' ? (JSON.parse(answer.text) as string[]) : []
        for (const [index, event] of events.entries()) {
          note(event, answer.kind, answer.kind === 'ok' ? { id: ids[index]! } : {})
        }
        return
      }
      case 'wait': {
        const event = newEvent()
        counts.sent += 1
        mayBeCanceled.add(event.op) // a caller who hangs up cancels
        const answer = await request(`jobs/run_wait_result/f/chaos/${flow}`, JSON.stringify(event))
        note(event, answer.kind, answer.kind === 'ok' ? { id: (JSON.parse(answer.text) as { job: string }).job } : {})
        return
      }
    }
  }

  async function cancel(event: Event, id: string): Promise<void> {
    mayBeCanceled.add(event.op)
    counts.canceled += 1
    await request(`jobs_u/queue/cancel/${id}`, '{"reason":"chaos"}')
  }

  /** Open loop with a bound: a server that is away does not make a pile of requests. */
  const underMax = Math.max(64, options.rate)
  const meanEvents = kinds.reduce((sum, kind) => sum + (kind === 'batch' ? 14.5 : 1), 0) / kinds.length
  async function publish(): Promise<void> {
    const gapMs = (1_000 * meanEvents) / options.rate
    let dueMs = performance.now()
    while (!stopped()) {
      dueMs = Math.max(dueMs + gapMs, performance.now() - 250)
      while (!stopped() && (performance.now() < dueMs || under.size >= underMax))
        await pause(Math.min(20, Math.max(1, gapMs / 2)))
      if (stopped()) break
      const sending = send(random.one(kinds), random.one(flows)).catch((error: unknown) => {
        rig.unexpected.push(`an answer that cannot be: ${String(error)}`)
      })
      under.add(sending)
      void sending.finally(() => under.delete(sending))
    }
  }

  async function deploys(everyS: number, random: Chance): Promise<void> {
    for (let version = 2; !stopped(); version++) {
      for (let waited = 0; waited < everyS * 1_000 && !stopped(); waited += 100) await pause(100)
      if (stopped()) return
      const flow = random.one(['three', 'flaky', 'slow'] as const)
      if (!flows.includes(flow)) continue
      await rig.deploy(flow, version).then(
        () => void (counts.deploys += 1),
        () => {}, // a server that is away: the next version comes
      )
    }
  }

  const running = [publish()]
  if (options.deployEveryS) running.push(deploys(options.deployEveryS, chance(options.seed + 1)))
  return {
    counts,
    mayBeCanceled,
    underWay: () => under.size,
    async stop() {
      stop.abort()
      await Promise.all(running)
      await Promise.all(under)
      await new Promise<void>((resolve) => history.end(resolve))
    },
  }
}

/** The id in an answer of `jobs/run`: plain text. */
function idIn(text: string): string {
  return text.replaceAll('"', '').trim()
}
