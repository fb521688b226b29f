// The trace of a request, given to its jobs; and a span of accepting them where an SDK is registered.
import { SpanKind, SpanStatusCode, type Tracer } from '@opentelemetry/api'
import { printTrace, readTrace } from '../core/trace.ts'
import type { NewJob } from '../store/jobs.ts'
import { contextOf, registeredTracer, traceOfSpan } from '../store/telemetry.ts'

export interface AcceptTracing {
  /** HOT. Stores jobs of one request with `store`. Where the request belongs to no trace this is a call of it. */
  accept(jobs: readonly NewJob[], store: () => Promise<string[]>): Promise<string[]>
}

export function createAcceptTracing(): AcceptTracing {
  const tracer = registeredTracer()
  return {
    accept: (jobs, store) => (tracer === null || jobs[0]?.trace === undefined ? store() : acceptInSpan(tracer, jobs, store)),
  }
}

async function acceptInSpan(tracer: Tracer, jobs: readonly NewJob[], store: () => Promise<string[]>): Promise<string[]> {
  const [{ tag, trace, id }] = jobs as [NewJob]
  const attributes = { 'millrace.tag': tag, 'millrace.jobs': jobs.length, 'millrace.job': id }
  const span = tracer.startSpan(`accept ${tag}`, { kind: SpanKind.PRODUCER, attributes }, contextOf(readTrace(trace!)!))
  const accepted = traceOfSpan(span)
  if (accepted) for (const job of jobs) job.trace = printTrace(accepted)
  try {
    return await store()
  } catch (error) {
    span.recordException(error as Error)
    span.setStatus({ code: SpanStatusCode.ERROR })
    throw error
  } finally {
    span.end()
  }
}
