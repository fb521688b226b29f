// Spans, with the SDK that a user registers.
import { trace } from '@opentelemetry/api'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace-base'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { ts, type Done } from '../support/engine.ts'
import { callerId, headers, traceId, traced } from './tracing.ts'

const exporter = new InMemorySpanExporter()
let it: Awaited<ReturnType<typeof traced>>

beforeAll(async () => {
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }))
  it = await traced()
})

afterEach(() => exporter.reset())

/** The spans of a job, once the job's own has ended (it does just after the job is recorded). */
async function spansOf(job: string): Promise<Record<string, ReadableSpan>> {
  const own = () => exporter.getFinishedSpans().filter((span) => span.attributes['millrace.job'] === job)
  await expect.poll(() => own().some((span) => span.name.startsWith('run '))).toBe(true)
  return Object.fromEntries(own().map((span) => [span.name, span]))
}

const idOf = (span: ReadableSpan | undefined) => span!.spanContext().spanId

test('accepting, the job and each step are spans of the caller’s trace, each below the one before', async () => {
  const done: Done = await it.run(headers)
  const spans = await spansOf(done.id)
  const names = ['accept main:flow/trace/told', 'run main:flow/trace/told', 'step first', 'step second']
  expect(Object.keys(spans).sort()).toEqual(names)
  const [accept, run, first, second] = names.map((name) => spans[name]!)
  expect([accept, run, first, second].map((span) => span!.spanContext().traceId)).toEqual(Array(4).fill(traceId))
  expect([accept, run, first, second].map((span) => span!.parentSpanContext?.spanId)).toEqual([
    callerId,
    idOf(accept),
    idOf(run),
    idOf(run),
  ])
  expect(run!.attributes).toMatchObject({ 'millrace.status': 'success', 'millrace.flow': 'main:flow/trace/told' })
  // What user code is told is the span that is exported, so that its own spans hang below it.
  expect(done.steps.map((step) => (step['v'] ?? done.result) as string[])).toEqual([
    [`00-${traceId}-${idOf(first)}-01`, 'rojo=1'],
    [`00-${traceId}-${idOf(second)}-01`, 'rojo=1'],
  ])
})

test('a failure is the status of its step and of its job', async () => {
  const { engine } = it
  const flow = await engine.deploy('trace/fails', [ts('bad', 'export const main = () => { throw new Error("it broke") }')])
  await engine.work([flow])
  const id = await engine.start(flow, {}, { trace: headers.traceparent })
  await engine.done(id)
  const spans = await spansOf(id)
  expect(spans['step bad']!.status).toMatchObject({ code: 2, message: 'Error: it broke' })
  expect(spans['run main:flow/trace/fails']!.status.code).toBe(2)
})

test('a job without a trace makes no span', async () => {
  const untraced = await it.run({})
  const after = await it.run(headers)
  await spansOf(after.id)
  expect(exporter.getFinishedSpans().filter((span) => span.attributes['millrace.job'] === untraced.id)).toEqual([])
  expect(exporter.getFinishedSpans()).toHaveLength(4)
})
