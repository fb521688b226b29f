// Spans, where the user has registered an OpenTelemetry SDK (with `node --import`). Without one, nothing is made.
import {
  createTraceState,
  isSpanContextValid,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  trace,
  type Context,
  type Span,
  type Tracer,
} from '@opentelemetry/api'
import type { TraceContext } from '../core/trace.ts'

/** The tracer of the registered SDK; null if none is. Asked for when a process builds its parts: an SDK is registered before. */
export function registeredTracer(): Tracer | null {
  const provider = trace.getTracerProvider()
  const nobody = new ProxyTracerProvider().getDelegate()
  if (provider instanceof ProxyTracerProvider && provider.getDelegate() === nobody) return null
  return trace.getTracer('millrace')
}

/** A context whose current span is the one that is told of here. */
export function contextOf({ traceId, spanId, flags, state }: TraceContext): Context {
  const parent = { traceId, spanId, traceFlags: flags, isRemote: true }
  return trace.setSpanContext(ROOT_CONTEXT, state === '' ? parent : { ...parent, traceState: createTraceState(state) })
}

export function contextOfSpan(span: Span): Context {
  return trace.setSpan(ROOT_CONTEXT, span)
}

/** Where a span is; null if it is none that anyone could refer to. */
export function traceOfSpan(span: Span): TraceContext | null {
  const { traceId, spanId, traceFlags, traceState } = span.spanContext()
  if (!isSpanContextValid({ traceId, spanId, traceFlags })) return null
  return { traceId, spanId, flags: traceFlags, state: traceState?.serialize() ?? '' }
}
