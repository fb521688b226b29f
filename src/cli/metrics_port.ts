// The port of a worker that programs look after it by: /metrics, /healthz and /readyz, and nothing else.
//   P1. A port that was asked for is used or refused; `9464+` asks for that one or the next that is free.
import { createServer, type RequestListener, type Server } from 'node:http'
import { EngineError } from '../core/errors.ts'
import { wholeNumber } from './settings.ts'

const portsTried = 100

export interface MetricsPort {
  url: string
  close(): Promise<void>
}

export interface MetricsSource {
  readonly contentType: string
  text(): Promise<string>
  ready(): boolean
}

/** Where to listen: `text` is a port, `0` for any free one, or `<port>+`. @throws EngineError E_INVALID, E_SETUP */
export async function openMetricsPort(source: MetricsSource, at: { text: string; host: string }): Promise<MetricsPort> {
  const orNext = at.text.endsWith('+')
  const first = wholeNumber(orNext ? at.text.slice(0, -1) : at.text, 'MILLRACE_METRICS_PORT', { min: 0, max: 65_535 })
  const last = orNext ? Math.min(65_535, first + portsTried - 1) : first
  for (let port = first; port <= last; port++) {
    const server = await listening(answerOf(source), { port, host: at.host })
    if (server) return opened(server, at.host)
  }
  const taken = orNext ? `ports ${first} to ${last} are` : `port ${first} is`
  throw new EngineError(
    'E_SETUP',
    `${taken} taken by other programs; set MILLRACE_METRICS_PORT or --metrics-port to a free one`,
    {
      at: 'MILLRACE_METRICS_PORT',
    },
  )
}

function opened(server: Server, host: string): MetricsPort {
  const address = server.address() as { port: number }
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${address.port}`,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Undefined if the port is taken. */
function listening(answer: RequestListener, at: { port: number; host: string }): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer({ requestTimeout: 10_000 }, answer)
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(undefined)
      else
        reject(
          new EngineError('E_SETUP', `cannot listen on ${at.host}: ${error.message}`, {
            at: 'MILLRACE_METRICS_HOST',
            cause: error,
          }),
        )
    })
    server.listen(at, () => resolve(server))
  })
}

function answerOf(source: MetricsSource): RequestListener {
  return (request, response) => {
    const path = request.url?.split('?')[0]
    const send = (status: number, type: string, text: string): void => {
      response.writeHead(status, { 'content-type': type }).end(request.method === 'HEAD' ? undefined : text)
    }
    const json = (status: number, value: unknown): void => send(status, 'application/json; charset=utf-8', JSON.stringify(value))
    if (request.method !== 'GET' && request.method !== 'HEAD') return json(405, { error: 'only GET is answered here' })
    if (path === '/healthz') return json(200, { ok: true })
    if (path === '/readyz') return json(source.ready() ? 200 : 503, { ok: source.ready() })
    if (path !== '/metrics') return json(404, { error: 'there are /metrics, /healthz and /readyz' })
    source.text().then(
      (text) => send(200, source.contentType, text),
      (error: unknown) => json(500, { error: String(error) }),
    )
  }
}
