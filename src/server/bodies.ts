// JSON bodies of everything but run routes: parsed, and checked to be storable, before a handler sees them.
import { EngineError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import { checkJson } from './args.ts'
import type { App } from './parts.ts'

export function readJsonBodies(app: App, limits: Limits): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(['application/json', 'text/plain', '*'], { parseAs: 'string' }, (request, body, done) => {
    try {
      const type = request.headers['content-type']
      if (body !== '' && type !== undefined && !type.includes('json')) {
        throw new EngineError('E_UNSUPPORTED_TYPE', `a body of type ${type.slice(0, 80)} is not read here`, {
          at: 'content-type',
          allowed: ['application/json'],
        })
      }
      done(null, body === '' ? undefined : checkJson(body as string, '$', limits.jsonDepthMax).value)
    } catch (error) {
      done(error as Error)
    }
  })
}
