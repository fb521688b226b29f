// Admission: how much the server takes on at a time. What is over a bound is answered 503 before its body is read.
//   A1. A request counts from its headers to its answer, with the bytes of the body it announces (unknown: as large as one may
//       be). One that only waits from there on is let go of earlier: what bounds it then are the waiters and streams.
//   A2. A server that does nothing else takes any one request.
// HOT. Per request: two additions.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { EngineError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'

export interface Admission {
  /** @throws EngineError E_BUSY */
  enter(request: FastifyRequest, reply: FastifyReply): void
  /** Its body has been dealt with; it may be told twice. */
  leave(request: FastifyRequest): void
  requests(): number
  bodyBytes(): number
}

export function createAdmission(limits: Limits): Admission {
  const taken = new WeakMap<FastifyRequest, number>()
  let requests = 0
  let bytes = 0

  function leave(request: FastifyRequest): void {
    const size = taken.get(request)
    if (size === undefined) return
    taken.delete(request)
    requests -= 1
    bytes -= size
  }

  return {
    enter(request, reply) {
      const size = announcedBytes(request, limits.bodyBytesMax)
      if (requests > 0 && (requests >= limits.requestsMax || bytes + size > limits.requestBytesMax)) {
        const what = requests >= limits.requestsMax ? `${requests} requests` : `requests of ${bytes} bytes`
        throw new EngineError('E_BUSY', `the server is busy with ${what}; try again in a moment`, { retryAfterS: 1 })
      }
      taken.set(request, size)
      requests += 1
      bytes += size
      const over = (): void => leave(request)
      reply.raw.once('finish', over)
      reply.raw.once('close', over)
    },
    leave,
    requests: () => requests,
    bodyBytes: () => bytes,
  }
}

function announcedBytes(request: FastifyRequest, bodyBytesMax: number): number {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  // Larger ones are refused for their size alone.
  if (length !== undefined) return Math.min(Number(length) || 0, bodyBytesMax)
  return encoding === undefined ? 0 : bodyBytesMax
}
