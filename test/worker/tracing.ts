// What both tests of tracing start from: a server and a worker on one database, and a flow whose steps tell their environment.
import { join } from 'node:path'
import { expect } from 'vitest'
import { testApi, type Api } from '../server/api.ts'
import { code, testEngine, ts, type Done, type Engine } from '../support/engine.ts'

export const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
export const callerId = '00f067aa0ba902b7'
export const headers = { traceparent: `00-${traceId}-${callerId}-01`, tracestate: 'rojo=1' }

const told = 'export const main = () => [process.env.TRACEPARENT ?? null, process.env.TRACESTATE ?? null]'
const toldByPython = 'import os\ndef main():\n    return [os.environ.get("TRACEPARENT"), os.environ.get("TRACESTATE")]'

export async function traced(): Promise<{ engine: Engine; api: Api; run(headers: Record<string, string>): Promise<Done> }> {
  const engine = await testEngine()
  const api = await testApi({}, { db: engine.db, home: join(engine.home, 'api') })
  const flow = await engine.deploy('trace/told', [ts('first', told), code('second', 'python3', toldByPython)])
  await engine.work([flow])
  return {
    engine,
    api,
    async run(given) {
      const answer = await api.post('jobs/run/f/trace/told', {}, { headers: given })
      expect(answer.status).toBe(201)
      return engine.done(answer.body)
    },
  }
}
