// What is new about a job: asked again and again (getupdate), or told as it happens (getupdate_sse).
//   U1. Offsets are characters of the whole output, so a caller who reconnects misses nothing and sees nothing twice.
//   U2. A stream ends with the job, after streamMaxMs with `timeout`, or when the caller leaves; never by itself otherwise.
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { Type } from 'typebox'
import { EngineError, messageOf } from '../../core/errors.ts'
import type { JsonText } from '../../core/json.ts'
import { readLogs, readProgress } from '../../store/job_reads.ts'
import { findJob, flowStatusTextOf, foundResultOf, isOver, spanOf, textOf, type Found } from '../job_lookup.ts'
import { objectText } from '../job_view.ts'
import { byId, sendJson, type Access, type App, type ServerParts } from '../parts.ts'

const streamMaxMs = 60_000
const pingMs = 15_000
const pollMinMs = 20
const pollMaxMs = 500

const query = Type.Partial(
  Type.Object({
    running: Type.Boolean(),
    log_offset: Type.Integer({ minimum: 0 }),
    stream_offset: Type.Integer({ minimum: 0 }),
    get_progress: Type.Boolean(),
    no_logs: Type.Boolean(),
    only_result: Type.Boolean(),
    poll_delay_ms: Type.Integer({ minimum: 10 }),
  }),
)

interface Asked {
  running?: boolean
  log_offset?: number
  stream_offset?: number
  get_progress?: boolean
  no_logs?: boolean
  only_result?: boolean
  poll_delay_ms?: number
}

interface Update {
  plain: {
    running?: boolean
    completed?: boolean
    new_logs?: string
    log_offset?: number
    new_result_stream?: string
    stream_offset?: number
    progress?: number
  }
  texts: Record<string, JsonText | undefined>
}

export function jobUpdateRoutes(app: App, parts: ServerParts): void {
  const { reads, limits, admission, streams: open } = parts
  app.addHook('preClose', (done) => {
    for (const stream of open) stream.abort()
    done()
  })
  const access: Access = { domain: 'jobs', action: 'read' }

  async function updateOf(found: Found, asked: Asked): Promise<Update> {
    const span = spanOf(found)
    const over = isOver(found)
    const update: Update = { plain: { completed: over }, texts: {} }
    const { plain } = update
    const running = found.kind === 'inside' ? !over : found.job.state === 'running'
    if (running) plain.running = true
    if (!asked.no_logs) {
      const logs = await readLogs(reads, span, { offset: asked.log_offset ?? 0 })
      plain.log_offset = logs.length
      if (logs.text !== '') plain.new_logs = logs.text
    }
    if (asked.stream_offset !== undefined) {
      const withSteps = found.kind === 'job'
      const stream = await readLogs(reads, { ...span, withSteps }, { channel: 1, offset: asked.stream_offset })
      plain.stream_offset = stream.length
      if (stream.text !== '') plain.new_result_stream = stream.text
    }
    if (asked.get_progress) {
      const progress = await readProgress(reads, { ...span, withSteps: found.kind === 'job' })
      if (progress !== null) plain.progress = progress
    }
    if (!asked.only_result) update.texts['flow_status'] = await flowStatusTextOf(parts, found)
    return update
  }

  for (const base of ['/api/w/:ws/jobs_u', '/api/w/:ws/jobs']) {
    const hide = !base.endsWith('_u')
    app.get(
      `${base}/getupdate/:id`,
      {
        config: { access },
        schema: { summary: 'What is new about a job', tags: ['jobs'], params: byId, querystring: query, hide },
      },
      async (request, reply) => {
        const { ws, id } = request.params
        const { plain, texts } = await updateOf(await findJob(parts, ws, id), request.query)
        return sendJson(reply, objectText(plain, texts))
      },
    )

    app.get(
      `${base}/getupdate_sse/:id`,
      {
        config: { access },
        schema: {
          summary: 'What is new about a job, as server-sent events',
          tags: ['jobs'],
          params: byId,
          querystring: query,
          hide,
        },
      },
      async (request, reply) => {
        const { ws, id } = request.params
        if (open.size >= limits.streamsMax) {
          throw new EngineError('E_BUSY', `${limits.streamsMax} streams are open already`, { retryAfterS: 5 })
        }
        admission.leave(request)
        reply.hijack()
        const stop = new AbortController()
        open.add(stop)
        const { raw } = reply
        raw.once('close', () => stop.abort())
        raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' })
        // Nothing new is read for a caller who has not taken what there was.
        const tell = async (data: JsonText): Promise<void> => {
          if (!raw.write(`data: ${data}\n\n`)) await once(raw, 'drain', { signal: stop.signal })
        }
        try {
          await stream(ws, id, { ...request.query }, tell, stop.signal)
        } catch (error) {
          if (stop.signal.aborted) return
          if (error instanceof EngineError && error.code === 'E_NOT_FOUND') await tell('{"type":"notfound"}')
          else
            await tell(
              JSON.stringify({ type: 'error', error: error instanceof EngineError ? messageOf(error) : 'the server failed' }),
            )
        } finally {
          open.delete(stop)
          raw.end()
        }
      },
    )
  }

  async function stream(
    ws: string,
    id: string,
    asked: Asked,
    tell: (data: JsonText) => Promise<void>,
    stop: AbortSignal,
  ): Promise<void> {
    const endsAt = Date.now() + streamMaxMs
    let told = ''
    let toldAt = Date.now()
    for (let waitMs = pollMinMs; !stop.aborted; waitMs = Math.min(waitMs * 1.5, asked.poll_delay_ms ?? pollMaxMs)) {
      const found = await findJob(parts, ws, id)
      const { plain, texts } = await updateOf(found, asked)
      if (isOver(found)) {
        if (asked.only_result) texts['only_result'] = foundResultOf(found)!
        else texts['job'] = await textOf(parts, ws, found)
        await tell(objectText({ type: 'update', ...plain }, texts))
        return
      }
      const data = objectText({ type: 'update', ...plain }, texts)
      if (data !== told) {
        // Output is told once: the next look begins behind it.
        if (plain.log_offset !== undefined) asked.log_offset = plain.log_offset
        if (plain.stream_offset !== undefined) asked.stream_offset = plain.stream_offset
        await tell(data)
        told = plain.new_logs === undefined && plain.new_result_stream === undefined ? data : ''
        toldAt = Date.now()
        waitMs = pollMinMs
      } else if (Date.now() - toldAt > pingMs) {
        await tell('{"type":"ping"}')
        toldAt = Date.now()
      }
      if (Date.now() > endsAt) {
        await tell('{"type":"timeout"}')
        return
      }
      await pause(waitMs, undefined, { signal: stop }).catch(() => {})
    }
  }
}
