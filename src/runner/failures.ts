// What went wrong with a runner, told as the failure of a step; and what a runtime reports of user code, made storable.
import type { UserError } from '../core/errors.ts'
import { storable, storableText, type JsonText } from '../core/json.ts'
import type { RuntimeError } from '../core/wire/messages.ts'
import type { Exit } from './transport/transport.ts'

const textCharsMax = 64 << 10
const errorDepthMax = 64

export function timeoutError(timeoutMs: number): UserError {
  return { name: 'TimeoutError', message: `the step ran longer than its time-out of ${timeoutMs / 1000} s` }
}

export function canceledError(reason: string): UserError {
  return { name: 'Canceled', message: storableText(reason) }
}

export function memoryError(memoryMib: number): UserError {
  const message = `the step used more than the ${memoryMib} MiB of memory a runner may have; raise MILLRACE_RUNNER_MEMORY_MIB or use less`
  return { name: 'OutOfMemory', message }
}

export function stuckError(stuckMs: number): UserError {
  return {
    name: 'RunnerExit',
    message: `the runner began no call for ${stuckMs / 1000} s: code of an earlier call keeps it busy`,
  }
}

/** `what`: what main returned, say. */
export function tooLargeError(what: string, bytes: number, bytesMax: number): UserError {
  const message = `${what} is ${bytes} bytes of JSON; the limit is ${bytesMax} (MILLRACE_RESULT_BYTES_MAX). Keep it elsewhere, and pass on where it is`
  return { name: 'ResultTooLarge', message }
}

export function tooDeepError(what: string, depthMax: number): UserError {
  return { name: 'ResultError', message: `${what} is nested deeper than ${depthMax} levels; flatten it` }
}

/** Why a runner ended by itself. `stderr` is the last it printed there. */
export function exitError(exit: Exit, stderr: string, memoryMib: number): UserError {
  if (exit.startFault !== null) return { name: 'RunnerExit', message: `the runner could not be started: ${exit.startFault}` }
  if (exit.protocolFault !== null) {
    return { name: 'ProtocolError', message: `the runner broke the protocol: ${storableText(exit.protocolFault)}` }
  }
  if (exit.outOfMemory || stderr.includes('JavaScript heap out of memory')) return memoryError(memoryMib)
  const how = exit.signal === null ? `exited with code ${exit.code}` : `was ended by ${exit.signal}`
  const last = lastLines(stderr)
  const error: UserError = { name: 'RunnerExit', message: `the runner ${how} during the step${last === '' ? '' : `: ${last}`}` }
  if (exit.code !== null) error.exit_code = exit.code
  if (exit.signal !== null) error.signal = exit.signal
  return error
}

export function lastLines(text: string): string {
  return storableText(text.trim().split('\n').slice(-10).join('\n').slice(-4_000))
}

/** A runtime's report of a failure, bounded and storable. */
export function reportedError(reported: unknown): UserError {
  const error: Partial<RuntimeError> =
    reported !== null && typeof reported === 'object' ? reported : { message: String(reported) }
  let text = JSON.stringify({ ...error, name: shortText(error.name) || 'Error', message: shortText(error.message) })
  if (text.length > 4 * textCharsMax || isDeeper(text, errorDepthMax)) {
    text = JSON.stringify({ name: shortText(error.name), message: shortText(error.message), stack: shortText(error.stack) })
  }
  return JSON.parse(storable(text)) as UserError
}

function shortText(text: unknown): string {
  const whole = typeof text === 'string' ? text : (JSON.stringify(text) ?? '')
  return whole.length > textCharsMax ? `${whole.slice(0, textCharsMax)}… (cut)` : whole
}

/**
 * HOT. Is a printed document nested deeper than `depthMax`? One that is needs more opening brackets than that, so the usual
 * one is known to be flat by its length, or by two quick searches.
 */
export function isDeeper(text: JsonText, depthMax: number): boolean {
  if (text.length <= 2 * depthMax) return false
  if (occurrences(text, '[', depthMax + 1) + occurrences(text, '{', depthMax + 1) <= depthMax) return false
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x22) {
      for (at++; text.charCodeAt(at) !== 0x22 && at < text.length; at++) if (text.charCodeAt(at) === 0x5c) at++
    } else if (code === 0x5b || code === 0x7b) {
      if (++depth > depthMax) return true
    } else if (code === 0x5d || code === 0x7d) depth--
  }
  return false
}

function occurrences(text: string, character: string, enough: number): number {
  let count = 0
  for (let at = text.indexOf(character); at !== -1 && count < enough; at = text.indexOf(character, at + 1)) count++
  return count
}
