// The sample of `up --sample`: the flow github/triage, fed through the HTTP API with real GitHub webhooks, and its live line.
import { existsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { Client } from '../client/client.ts'
import { messageOf } from '../core/errors.ts'
import type { Json } from '../core/json.ts'
import { pulse } from '../store/pulse.ts'
import { currentFlow } from '../store/versions.ts'
import { readFlowFile } from './flow_file.ts'
import type { Screen } from './log.ts'
import type { RunningServer } from './server.ts'
import type { Store } from './store.ts'

const path = 'github/triage'
const flowFile = fileURLToPath(new URL('../../examples/github-triage/flow.yaml', import.meta.url))
const payloads = '@octokit/webhooks-examples'
const batchMs = 100
const batchEventsMax = 500 // about 5 MB of payloads, half of what one request may hold
const freeBytesMin = 2 * 2 ** 30 // the feed stores about 1.5 GB an hour at 100 events a second

type Event = Record<string, Json>

export interface SampleParts {
  store: Store
  server: RunningServer
  screen: Screen
  log: Logger
  perSecond: number
}

/** Deploys the flow and feeds it until stopped. */
export async function runSample(parts: SampleParts, stop: AbortSignal): Promise<void> {
  const { log } = parts
  if (!existsSync(flowFile)) return log.warn(`the sample is not part of this installation (${flowFile}); running without it`)
  const events = loadEvents()
  const client = new Client({ url: parts.server.url, token: parts.server.admin.token })
  const { flow } = readFlowFile(flowFile)
  await client.deploy(path, flow)
  if (events === undefined) {
    return log.warn(`the sample's payloads (${payloads}) are not installed; ${path} is deployed, running without a feed`)
  }
  log.info({ flow: path, eventsPerSecond: parts.perSecond, payloads: events.length }, 'feeding the sample')
  const fed = { events: 0 }
  await Promise.all([
    feed(parts, { client, events, fed }, stop),
    showPulse(parts, { stepsPerJob: flow.value.modules.length, fed }, stop),
  ])
}

function loadEvents(): Event[] | undefined {
  try {
    const kinds = createRequire(import.meta.url)(payloads) as { name: string; examples: Json[] }[]
    return kinds.flatMap(({ name, examples }) => examples.map((payload) => ({ kind: name, payload })))
  } catch {
    return undefined
  }
}

/** Small batches at a steady rate. When the queue is full or the server busy it waits, and does not make up for it. */
async function feed(
  parts: SampleParts,
  { client, events, fed }: { client: Client; events: Event[]; fed: { events: number } },
  stop: AbortSignal,
): Promise<void> {
  let owed = 0
  let checkDiskAt = 0
  let beforeMs = performance.now()
  while (!stop.aborted) {
    await pause(batchMs, undefined, { signal: stop }).catch(() => {}) // stopped while waiting
    const nowMs = performance.now()
    owed = Math.min(owed + ((nowMs - beforeMs) / 1000) * parts.perSecond, parts.perSecond)
    beforeMs = nowMs
    const count = Math.min(Math.floor(owed), batchEventsMax)
    if (stop.aborted || count === 0) continue
    if (nowMs >= checkDiskAt) {
      checkDiskAt = nowMs + 10_000
      await whileDiskIsFull(parts, stop)
    }
    const batch = Array.from({ length: count }, (_, i) => events[(fed.events + i) % events.length]!)
    try {
      await client.runBatch(path, batch)
      fed.events += count
      owed -= count
    } catch (error) {
      if (stop.aborted) return
      parts.log.warn(`the feed pauses for a second: ${messageOf(error)}`)
      await pause(1_000, undefined, { signal: stop }).catch(() => {})
      beforeMs = performance.now()
      owed = 0
    }
  }
}

/** The sample never fills a disk. */
async function whileDiskIsFull(parts: SampleParts, stop: AbortSignal): Promise<void> {
  for (let told = false; !stop.aborted; told = true) {
    const { bavail, bsize } = await statfs(parts.store.home)
    if (bavail * bsize > freeBytesMin) return
    if (!told) parts.log.warn('less than 2 GiB of disk are free: the feed waits')
    await pause(5_000, undefined, { signal: stop }).catch(() => {})
  }
}

async function showPulse(
  { store, screen, log }: SampleParts,
  { stepsPerJob, fed }: { stepsPerJob: number; fed: { events: number } },
  stop: AbortSignal,
): Promise<void> {
  const windowMs = 5_000
  const everyMs = process.stderr.isTTY ? 1_000 : windowMs
  const tag = (await currentFlow(store.db.pool, 'main', path))?.tag ?? ''
  const format = (n: number) => Math.round(n).toLocaleString('en')
  while (!stop.aborted) {
    await pause(everyMs, undefined, { signal: stop }).catch(() => {}) // stopped while waiting
    if (stop.aborted) return
    try {
      const now = await pulse(store.db.pool, { tag, windowMs })
      const perSecond = format((now.finished * stepsPerJob * 1000) / windowMs)
      const p99 = now.p99Ms === null ? '–' : `${format(now.p99Ms)} ms`
      screen.live(
        `${perSecond} steps/s · queue depth ${format(now.active)} · p99 end to end ${p99} · ${format(fed.events)} events fed`,
      )
    } catch (error) {
      log.debug({ err: error }, 'no live line')
    }
  }
}
