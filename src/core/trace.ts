// Trace context (https://www.w3.org/TR/trace-context/): which trace an event belongs to, carried from its request to its steps.
//   T1. A header that is not as the specification says is ignored, never refused; and with traceparent goes tracestate.
//   T2. Stored as one text: traceparent as version 00 writes it, and tracestate, if there is one, after a space.
//   T3. A step's span has an id of its own, made of the step's id: whoever has one of them finds the other.

export interface TraceContext {
  traceId: string
  spanId: string
  /** Bit 0: sampled; bit 1: the trace id is random. */
  flags: number
  /** tracestate; '' if there is none. */
  state: string
}

const parentPattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const flagsKnown = 0b11
const stateMembersMax = 32
const stateCharsMax = 512
// Simple keys, and those of a tenant and its system.
const memberPattern =
  /^(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})=[ -+\--<>-~]{0,255}[!-+\--<>-~]$/

/** What is stored with the jobs of a request that had these headers; undefined if they name no trace. */
export function traceOfHeaders(traceparent: string | undefined, tracestate: string | string[] | undefined): string | undefined {
  if (traceparent === undefined) return undefined
  const parsed = parseTraceparent(traceparent)
  if (parsed === null) return undefined
  return printTrace({ ...parsed, state: parseTracestate([tracestate ?? ''].flat().join(',')) })
}

function parseTraceparent(text: string): Omit<TraceContext, 'state'> | null {
  const [, version, traceId, spanId, flags, more] = parentPattern.exec(text) ?? []
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return null
  if (/^0+$/.test(traceId!) || /^0+$/.test(spanId!)) return null
  return { traceId: traceId!, spanId: spanId!, flags: Number.parseInt(flags!, 16) & flagsKnown }
}

/** As it may be passed on: '' if a member cannot be read, and no more members than may be. */
function parseTracestate(text: string): string {
  const members = text.split(',').flatMap((member) => member.trim() || [])
  if (members.length > stateMembersMax || !members.every((member) => memberPattern.test(member))) return ''
  let state = ''
  for (const member of members) {
    if (state.length + member.length + 1 > stateCharsMax) break
    state += state === '' ? member : `,${member}`
  }
  return state
}

export function printTraceparent({ traceId, spanId, flags }: Omit<TraceContext, 'state'>): string {
  return `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, '0')}`
}

export function printTrace(trace: TraceContext): string {
  return trace.state === '' ? printTraceparent(trace) : `${printTraceparent(trace)} ${trace.state}`
}

/** What printTrace() wrote; null if it is something else (a row that another program wrote). */
export function readTrace(text: string): TraceContext | null {
  const parsed = parseTraceparent(text.slice(0, 55))
  return parsed && { ...parsed, state: text.slice(56) }
}

/** The id of a job's or a step's span. Never zero: it begins with the variant of a UUID. */
export function spanIdOf(id: string): string {
  return id.slice(19, 23) + id.slice(24)
}
