// A trace from request to step, without any OpenTelemetry SDK.
import { beforeAll, expect, test } from 'vitest'
import { spanIdOf } from '../../src/core/trace.ts'
import { stepIdOf } from '../../src/core/job/ids.ts'
import { headers, traceId, traced } from './tracing.ts'

let it: Awaited<ReturnType<typeof traced>>

beforeAll(async () => {
  it = await traced()
})

const traceOf = async (id: string): Promise<string | null> => {
  const { rows } = await it.engine.db.pool.query<{ trace: string | null }>('select trace from job_done where id = $1', [id])
  return rows[0]!.trace
}

test('each step is told the trace with a span id of its own, and the finished job keeps what it came with', async () => {
  const done = await it.run(headers)
  const told = (n: number) => [`00-${traceId}-${spanIdOf(stepIdOf(done.id, n))}-01`, 'rojo=1']
  expect(done.steps.map((step) => step['v'] ?? done.result)).toEqual([told(1), told(2)])
  expect(await traceOf(done.id)).toBe(`${headers.traceparent} rojo=1`)
  expect((await it.api.get(`jobs_u/get/${done.id}`)).json).toMatchObject({ traceparent: headers.traceparent })
})

test('without a trace, or with one that is none, steps are told nothing', async () => {
  await it.run(headers) // a runner that has seen one forgets it
  const nones: Record<string, string>[] = [{}, { traceparent: 'of no form', tracestate: 'rojo=1' }, { tracestate: 'rojo=1' }]
  for (const none of nones) {
    const done = await it.run(none)
    expect(done.steps.map((step) => step['v'] ?? done.result)).toEqual([
      [null, null],
      [null, null],
    ])
    expect(await traceOf(done.id)).toBeNull()
  }
})

test('every way to run takes the header: waiting for the result, a batch, a key, a preview', async () => {
  const { api, engine } = it
  const waited = await api.post('jobs/run_wait_result/f/trace/told', {}, { headers })
  expect(waited.json[0]).toContain(traceId)
  const batch = (await api.post('jobs/run_batch/f/trace/told', [{}, {}], { headers })).json as string[]
  const keyed = (await api.post('jobs/run/f/trace/told', {}, { headers: { ...headers, 'idempotency-key': 'once' } })).body
  for (const id of [...batch, keyed]) {
    await engine.done(id)
    expect(await traceOf(id)).toBe(`${headers.traceparent} rojo=1`)
  }
  const parked = (await api.post('jobs/run/f/trace/told?scheduled_in_secs=3600', {}, { headers })).body
  await api.post(`jobs_u/queue/cancel/${parked}`, {})
  expect(await traceOf(parked)).toBe(`${headers.traceparent} rojo=1`)
})
