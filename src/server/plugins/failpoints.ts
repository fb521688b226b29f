// Failpoints around every answer: `http.<method> <route>` (see store/failpoints.ts). `before=lost`: the caller never gets it.
import type { Failpoints } from '../../store/failpoints.ts'
import type { App, Request } from '../parts.ts'

export function answerWithFailpoints(app: App, points: Failpoints): void {
  const nameOf = (request: Request): string => `http.${request.method} ${request.routeOptions.url ?? 'no route'}`
  app.addHook('onSend', async (request, reply, payload) => {
    if (points.reach(nameOf(request), 'before')) reply.raw.destroy()
    return payload
  })
  app.addHook('onResponse', async (request) => {
    points.reach(nameOf(request), 'after')
  })
}
