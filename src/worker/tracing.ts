// The trace of a job that carries one: what its steps are told, and spans of job and steps where an SDK is registered.
//   T1. Jobs without a trace come nowhere near this.
//   T2. Every call has a span id of its own, whose parent is the job's span; without an SDK that is a number and no more.
import { SpanKind, SpanStatusCode, type Context, type Span, type Tracer } from '@opentelemetry/api'
import type { UserError } from '../core/errors.ts'
import { stepIdOf } from '../core/job/ids.ts'
import { printTraceparent, readTrace, spanIdOf, type TraceContext } from '../core/trace.ts'
import type { CallTrace } from '../runner/pool_types.ts'
import type { ClaimedJob } from '../store/jobs.ts'
import { contextOf, contextOfSpan, registeredTracer, traceOfSpan } from '../store/telemetry.ts'
import type { LoadedPlan } from './plans.ts'

export interface Tracing {
  /** The job's trace; null if it carries none (or what it carries cannot be read). */
  begin(job: ClaimedJob, loaded: LoadedPlan): JobTrace | null
}

export function createTracing(): Tracing {
  const tracer = registeredTracer()
  return {
    begin(job, loaded) {
      const context = readTrace(job.trace!)
      return context && new JobTrace(job, loaded, context, tracer)
    },
  }
}

export class JobTrace {
  readonly #jobId: string
  readonly #flow: string
  readonly #came: TraceContext
  readonly #tracer: Tracer | null
  readonly #span: Span | null = null
  readonly #context: Context | null = null

  constructor(job: ClaimedJob, loaded: LoadedPlan, came: TraceContext, tracer: Tracer | null) {
    this.#jobId = job.id
    this.#flow = loaded.meter.name
    this.#came = came
    this.#tracer = tracer
    if (!tracer) return
    const attributes = {
      'millrace.job': job.id,
      'millrace.flow': this.#flow,
      'millrace.version': job.version_id,
      'millrace.lost': job.lost,
    }
    this.#span = tracer.startSpan(`run ${this.#flow}`, { kind: SpanKind.CONSUMER, attributes }, contextOf(came))
    this.#context = contextOfSpan(this.#span)
  }

  /** The n-th step that the job starts. */
  step(n: number, stepId: string): StepTrace {
    const id = stepIdOf(this.#jobId, n)
    if (!this.#tracer) return new StepTrace({ ...this.#came, spanId: spanIdOf(id) }, null)
    const attributes = { 'millrace.job': this.#jobId, 'millrace.step': stepId, 'millrace.step_job': id }
    const span = this.#tracer.startSpan(`step ${stepId}`, { kind: SpanKind.INTERNAL, attributes }, this.#context!)
    return new StepTrace(traceOfSpan(span) ?? { ...this.#came, spanId: spanIdOf(id) }, span)
  }

  /** The job's end is durable. '': it left this worker unfinished. */
  end(status: string): void {
    if (!this.#span) return
    this.#span.setAttribute('millrace.status', status === '' ? 'given back' : status)
    if (status === 'failure') this.#span.setStatus({ code: SpanStatusCode.ERROR })
    this.#span.end()
  }
}

export class StepTrace implements CallTrace {
  readonly traceparent: string
  readonly tracestate: string
  readonly #span: Span | null

  constructor(context: TraceContext, span: Span | null) {
    this.traceparent = printTraceparent(context)
    this.tracestate = context.state
    this.#span = span
  }

  end(error: UserError | null): void {
    if (!this.#span) return
    if (error) this.#span.setStatus({ code: SpanStatusCode.ERROR, message: `${error.name}: ${error.message}` })
    this.#span.end()
  }
}
