// What a flow's steps keep for the length of its job: setFlowUserState and getFlowUserState of the SDKs.
import { Type } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import { getUserState, setUserState } from '../../store/user_states.ts'
import { jobIdNamed } from '../job_lookup.ts'
import { sendJson, type App, type ServerParts } from '../parts.ts'

/** A state is for a few values that steps share; what is larger has a place of its own. */
const keysMax = 1_000

const params = Type.Object({ ws: Type.String(), id: Type.String(), key: Type.String({ minLength: 1, maxLength: 255 }) })
const url = '/api/w/:ws/jobs/flow/user_states/:id/:key'
const tags = ['jobs']

export function userStateRoutes(app: App, { db }: ServerParts): void {
  app.post(
    url,
    {
      config: { access: { domain: 'jobs', action: 'write' } },
      schema: { summary: "Keep a value with a flow's job", tags, params, body: Type.Unknown({ description: 'Any JSON' }) },
    },
    async (request, reply) => {
      const { ws, id, key } = request.params
      const job = await jobIdNamed(db.pool, ws, id)
      const value = JSON.stringify(request.body ?? null)
      const outcome = await setUserState(db.pool, { workspaceId: ws, jobId: job.id, key, value, keysMax })
      if (outcome === 'missing') {
        throw new EngineError('E_NOT_FOUND', `Flow job not found: job ${id} is over, and keeps nothing any more`, { at: 'id' })
      }
      if (outcome === 'full') {
        throw new EngineError('E_TOO_LARGE', `the job keeps ${keysMax} values already; use one key for several`, { at: 'key' })
      }
      return sendJson(reply, 'null')
    },
  )

  app.get(
    url,
    {
      config: { access: { domain: 'jobs', action: 'read' } },
      schema: { summary: "A value kept with a flow's job; null if there is none", tags, params },
    },
    async (request, reply) => {
      const { ws, id, key } = request.params
      const job = await jobIdNamed(db.pool, ws, id)
      return sendJson(reply, (await getUserState(db.pool, { workspaceId: ws, jobId: job.id, key })) ?? 'null')
    },
  )
}
