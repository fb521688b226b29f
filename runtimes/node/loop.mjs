// The loop of the JavaScript runtimes, the same in a process and in a thread: messages in, `main` called, messages out.
//   N1. Every call runs in an AsyncLocalStorage of its own: console, environment and stray errors find their call by it.
//   N2. A call is answered once; what its code does afterwards is ignored.
//   N3. Results wait at most flushMs while other calls run, or until the turn of the event loop ends.
import { AsyncLocalStorage } from 'node:async_hooks'
import { readFileSync } from 'node:fs'
import { OutgoingMessage } from 'node:http'
import { dirname } from 'node:path'
import { Writable } from 'node:stream'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { contextExport, createRounds } from './workflow.mjs'

const flushMs = 1
const largeChars = 64 << 10
/** Of an error's message and stack; what is beyond would be cut by the engine. */
const errorCharsMax = 64 << 10
/** What deploying calls every step's source in its source map. */
const stepFile = 'step.ts'
const ownFolder = dirname(fileURLToPath(import.meta.url))
const storage = new AsyncLocalStorage()
const { parse, stringify } = JSON // as they are before user code can replace them
/** What code that reads WM_TOKEN while it loads gets; requests carry the token of their call in its place. */
const tokenPlaceholder = 'token-of-the-call-that-sends-this'

function newCall(id, scope, jobId, stepJobId, token, traceparent, tracestate) {
  return {
    id,
    scope,
    jobId,
    stepJobId,
    token,
    traceparent: traceparent || undefined,
    tracestate: tracestate || undefined,
    values: null,
    written: null, // environment variables that the call itself set (undefined: deleted)
    logBytes: 0,
    streamBytes: 0,
    over: false,
    startedMs: 0,
    round: null, // of a workflow: what its body sees
    keeping: null, // inline steps whose results the engine has not answered yet
  }
}

/** Thrown by process.exit in user code, after the call has been answered. */
class Exit extends Error {}

/**
 * @param {object} options
 * @param {ReturnType<import('./settings.mjs').takeSettings>} options.settings
 * @param {(messages: unknown[]) => void} options.send
 * @param {(id: number, oldest: number) => void} options.begin  writes the progress cell
 * @param {() => void} options.stop
 */
export function createLoop({ settings, send, begin, stop }) {
  const { params, resultBytesMax, logBytesMax } = settings
  const calls = new Map()
  const scopes = new Map()
  let main
  /** Runs the rounds of a workflow; null: `main` is called. */
  let startRound = null
  let out = []
  let lastFlushMs = 0
  let flushDue = false

  function flush() {
    flushDue = false
    lastFlushMs = performance.now()
    if (out.length === 0) return
    const messages = out
    out = []
    send(messages)
  }

  function push(message, nowMs) {
    out.push(message)
    // Frames have a limit: large messages do not wait for others.
    if (typeof message[2] === 'string' && message[2].length > largeChars) flush()
    else if (nowMs - lastFlushMs > flushMs) flush()
    else if (!flushDue) {
      flushDue = true
      setImmediate(flush)
    }
  }

  function receive(messages) {
    for (const message of messages) {
      switch (message[0]) {
        case 'call':
          start(message)
          break
        case 'scope':
          scopes.set(message[1], message[2])
          break
        case 'cancel':
          cancel(message[1], message[2])
          break
        case 'kept':
          calls.get(message[1])?.keeping?.get(message[2])?.()
          break
        case 'stop':
          flush()
          stop()
      }
    }
    flush()
  }

  function start(message) {
    const call = newCall(message[1], scopes.get(message[2]), message[4], message[5], message[6], message[7], message[8])
    calls.set(call.id, call)
    begin(call.id, calls.size === 1 ? call.id : calls.keys().next().value)
    call.startedMs = performance.now()
    try {
      const args = parse(message[3])
      const values = []
      for (const name of params) values.push(args[name])
      call.values = values
      if (startRound === null) storage.run(call, run, call)
      else storage.run(call, startRound, call, message[9])
    } catch (error) {
      failed(call, error)
    }
  }

  function run(call) {
    const value = main.apply(undefined, call.values)
    if (value !== null && typeof value === 'object' && typeof value.then === 'function') {
      value.then(
        (settled) => succeeded(call, settled),
        (error) => failed(call, error),
      )
    } else {
      succeeded(call, value)
    }
  }

  function succeeded(call, value, replacer) {
    if (call.over) return
    let text
    try {
      text = stringify(value, replacer) ?? 'null'
    } catch (error) {
      const reason = String(error?.message ?? error).split('\n')[0]
      failed(call, named('ResultError', `what main returned cannot be written as JSON: ${reason}; return plain data`))
      return
    }
    if (!fits(text)) failed(call, tooLarge(`what main of ${sourceOf(call.scope)} returned`, text))
    else answer(call, 'ok', text)
  }

  function answer(call, type, text) {
    const nowMs = performance.now()
    call.over = true
    calls.delete(call.id)
    push([type, call.id, text, round(nowMs - call.startedMs)], nowMs)
  }

  function fits(text) {
    return text.length * 3 <= resultBytesMax || Buffer.byteLength(text) <= resultBytesMax
  }

  function tooLarge(what, text) {
    const limit = `the limit is ${resultBytesMax} (MILLRACE_RESULT_BYTES_MAX). Keep it elsewhere, and pass on where it is`
    return named('ResultTooLarge', `${what} is ${Buffer.byteLength(text)} bytes of JSON; ${limit}`)
  }

  function failed(call, error) {
    if (!call.over) answer(call, 'error', describe(error))
  }

  /** A round of a workflow is over, and the body waits for this. */
  function asked(call, info) {
    if (call.over) return
    let text
    try {
      text = stringify(info)
    } catch (error) {
      failed(call, named('ArgumentsError', `the arguments of a task cannot be written as JSON: ${error?.message ?? error}`))
      return
    }
    if (!fits(text)) failed(call, tooLarge('what the workflow asks for, arguments of tasks included,', text))
    else answer(call, 'round', text)
  }

  /** Never resolves once the call is over. */
  function keep(call, key, text) {
    if (!fits(text)) failed(call, tooLarge(`what step "${key}" gave`, text))
    else if (!call.over) push(['checkpoint', call.id, text, key], performance.now())
    return new Promise((resolve) => (call.keeping ??= new Map()).set(key, resolve))
  }

  function cancel(id, reason) {
    const call = calls.get(id)
    if (call) failed(call, named('Canceled', reason))
  }

  /** What was thrown may be anything, and may throw when it is looked at. */
  function describe(error) {
    try {
      return describeError(error)
    } catch {
      return { name: 'Error', message: 'what was thrown cannot be read' }
    }
  }

  function describeError(error) {
    if (!(error instanceof Error) && !(error && typeof error === 'object' && typeof error.message === 'string')) {
      return { name: 'Error', message: short(`thrown: ${typeof error === 'string' ? error : preview(error)}`) }
    }
    const described = { name: short(String(error.name ?? 'Error')), message: ownNames(short(String(error.message))) }
    if (typeof error.stack === 'string') described.stack = ownFrames(short(error.stack))
    for (const key of Object.keys(error)) {
      if (key in described) continue
      const text = preview(error[key])
      if (text.length <= 4096) described[key] = parse(text)
    }
    return described
  }

  /** The stack as the user's code knows it: no frames of this loop. */
  function ownFrames(stack) {
    const foreign = (line) => /^\s+at /.test(line) && (line.includes(ownFolder) || line.includes('node:'))
    return ownNames(
      stack
        .split('\n')
        .filter((line) => !foreign(line))
        .join('\n'),
    )
  }

  /** The artifact's place on this machine means nothing to the user. */
  function ownNames(text) {
    const folder = dirname(settings.code)
    const source = sourceOf(storage.getStore()?.scope)
    return text
      .replaceAll(`${pathToFileURL(folder).href}/${stepFile}`, source)
      .replaceAll(`${folder}/${stepFile}`, source)
      .replaceAll(pathToFileURL(settings.code).href, source)
      .replaceAll(settings.code, source)
      .replaceAll(`${pathToFileURL(folder).href}/`, '')
      .replaceAll(`${folder}/`, '')
  }

  /** Steps of equal code share a runner; each call's errors name the file of its own step. */
  function sourceOf(scope) {
    const { WM_JOB_PATH: path, WM_FLOW_STEP_ID: step } = scope ?? {}
    return path && step ? `${path}/${step}.ts` : settings.source
  }

  // ---- what user code sees of the process

  function write(text) {
    const call = storage.getStore()
    if (call === undefined) {
      push(['log', 0, text.slice(0, logBytesMax)], performance.now())
      return
    }
    if (call.over) return
    if (text.includes('WM_STREAM: ')) text = takeStream(call, text)
    else if (call.round !== null && text.startsWith('WM_WAC_STEP: ')) return // what the client tells Windmill's own worker
    if (text === '' || call.logBytes > logBytesMax) return
    call.logBytes += text.length
    if (call.logBytes > logBytesMax) text = text.slice(0, logBytesMax + 1) // the engine cuts to the byte and says so
    const last = out.at(-1)
    if (last !== undefined && last[0] === 'log' && last[1] === call.id) last[2] += text
    else push(['log', call.id, text], performance.now())
  }

  function takeStream(call, text) {
    const kept = []
    for (const line of text.split('\n')) {
      if (line.startsWith('WM_STREAM: ')) {
        stream(call, line.slice('WM_STREAM: '.length).replaceAll('\\n', '\n'))
      } else {
        kept.push(line)
      }
    }
    return kept.join('\n') === '' ? '' : kept.join('\n')
  }

  function stream(call, text) {
    if (call.streamBytes > resultBytesMax) return
    call.streamBytes += text.length
    push(['stream', call.id, text.slice(0, resultBytesMax + 1)], performance.now()) // the engine cuts, and says so
  }

  function takeOverConsole() {
    for (const name of ['stdout', 'stderr']) {
      const stream = new Writable({
        decodeStrings: false,
        write(chunk, _encoding, done) {
          write(typeof chunk === 'string' ? chunk : chunk.toString('utf8'))
          done()
        },
      })
      Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream })
    }
    globalThis.console = new console.Console({ stdout: process.stdout, stderr: process.stderr, colorMode: false })
  }

  function takeOverProcess() {
    process.on('uncaughtException', strayError)
    process.on('unhandledRejection', strayError)
    process.on('SIGUSR1', () => {}) // else anyone with our uid could open the inspector
    process.exit = (code) => {
      const call = storage.getStore()
      const error = named('ExitError', `process.exit(${code ?? ''}) was called; a step ends by returning or throwing`)
      Error.captureStackTrace(error, process.exit)
      if (call) failed(call, error)
      throw Object.assign(new Exit(error.message), { stack: error.stack })
    }
  }

  function strayError(error) {
    if (error instanceof Exit || error?.name === 'StepSuspend') return // the second: how the body of a workflow is left
    const call = storage.getStore() ?? (calls.size === 1 ? calls.values().next().value : undefined)
    if (call) failed(call, error)
    else push(['log', 0, `${error?.stack ?? error}\n`], performance.now())
  }

  globalThis.millrace = {
    progress(percent) {
      const call = storage.getStore()
      if (call && !call.over) push(['progress', call.id, Number(percent)], performance.now())
    },
    stream(text) {
      const call = storage.getStore()
      if (call && !call.over) stream(call, String(text))
    },
  }
  // A replacer for JSON.stringify would cost every result; this costs those with a BigInt in them.
  // oxlint-disable-next-line no-extend-native
  Object.defineProperty(BigInt.prototype, 'toJSON', { configurable: true, writable: true, value: printBigInt })

  /** Loads the user's code; from here on calls may be received. */
  async function load(base, language) {
    process.env = environmentOf(base)
    takeOverConsole()
    takeOverProcess()
    process.setSourceMapsEnabled?.(true)
    try {
      if (readFileSync(settings.code, 'utf8').includes('WM_TOKEN')) sendOwnTokens()
      const code = await import(pathToFileURL(settings.code).href)
      const WorkflowCtx = code[contextExport]
      main = settings.entry ? code[settings.entry] : (code.main ?? (WorkflowCtx && code.default))
      if (WorkflowCtx && main?._is_workflow)
        startRound = createRounds({ WorkflowCtx, main, storage, succeeded, failed, asked, keep })
      if (typeof main !== 'function')
        throw named('LoadError', `${settings.source} exports no function \`${settings.entry || 'main'}\``)
    } catch (error) {
      push(['broken', describe(error)], 0)
      flush()
      return false
    }
    push(['ready', { protocol: 1, language, version: process.versions.node, pid: process.pid }], 0)
    flush()
    return true
  }

  return { load, receive }
}

/** `process.env`: the environment of the process under that of the current call's scope, the call, and its own writes. */
function environmentOf(base) {
  const lookup = (name) => {
    const call = storage.getStore()
    if (call === undefined) return base[name] ?? (name === 'WM_TOKEN' ? tokenPlaceholder : undefined)
    if (call.written !== null && call.written.has(name)) return call.written.get(name)
    const scoped = call.scope?.[name]
    return scoped ?? ofCall(call, name) ?? base[name]
  }
  const names = () => {
    const call = storage.getStore()
    const all = new Set(Object.keys(base))
    if (call === undefined) return [...all]
    for (const name of callNames) all.add(name)
    for (const name of traceNames) if (ofCall(call, name) !== undefined) all.add(name)
    for (const name in call.scope) all.add(name)
    for (const [name, value] of call.written ?? []) {
      if (value === undefined) all.delete(name)
      else all.add(name)
    }
    return [...all]
  }
  const assign = (name, value) => {
    const call = storage.getStore()
    if (call === undefined) base[name] = value
    else (call.written ??= new Map()).set(name, value)
    return true
  }
  return new Proxy(base, {
    get: (_target, name) => (typeof name === 'string' ? lookup(name) : undefined),
    has: (_target, name) => typeof name === 'string' && lookup(name) !== undefined,
    set: (_target, name, value) => assign(name, String(value)),
    defineProperty: (_target, name, { value }) => assign(name, String(value)),
    deleteProperty(_target, name) {
      if (storage.getStore() === undefined) return delete base[name]
      return assign(name, undefined)
    },
    ownKeys: names,
    getOwnPropertyDescriptor(_target, name) {
      const value = typeof name === 'string' ? lookup(name) : undefined
      return value === undefined ? undefined : { value, writable: true, enumerable: true, configurable: true }
    },
  })
}

const callNames = ['WM_JOB_ID', 'WM_FLOW_JOB_ID', 'WM_ROOT_FLOW_JOB_ID', 'WM_ROOT_JOB_ID', 'WM_TOKEN']

const traceNames = ['TRACEPARENT', 'TRACESTATE']

function ofCall(call, name) {
  switch (name) {
    case 'TRACEPARENT':
      return call.traceparent
    case 'TRACESTATE':
      return call.tracestate
    case 'WM_JOB_ID':
      return call.stepJobId
    case 'WM_FLOW_JOB_ID':
    case 'WM_ROOT_FLOW_JOB_ID':
      return call.jobId === call.stepJobId ? '' : call.jobId
    case 'WM_ROOT_JOB_ID':
      return call.jobId
    case 'WM_TOKEN':
      return call.token
    case 'WM_WAC_INLINE_FAST_PATH':
      return call.round === null ? undefined : '0' // inline steps are kept by this loop, not by a request
    default:
      return undefined
  }
}

/** SDKs keep the token they read when they were loaded. Requests that carry that placeholder get the token of their call. */
function sendOwnTokens() {
  const own = (value) => {
    const token = storage.getStore()?.token
    return typeof value === 'string' && token ? value.replaceAll(tokenPlaceholder, token) : value
  }
  const { fetch, Request } = globalThis
  globalThis.fetch = (input, init) => {
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined))
    const authorization = headers.get('authorization')
    if (authorization === null || !authorization.includes(tokenPlaceholder)) return fetch(input, init)
    headers.set('authorization', own(authorization))
    return fetch(input, { ...init, headers })
  }
  const setHeader = OutgoingMessage.prototype.setHeader
  OutgoingMessage.prototype.setHeader = function (name, value) {
    return setHeader.call(this, name, own(value))
  }
}

function printBigInt() {
  return this.toString()
}

function named(name, message) {
  const error = new Error(message)
  error.name = name
  delete error.stack
  return error
}

function short(text) {
  return text.length > errorCharsMax ? `${text.slice(0, errorCharsMax)}… (cut)` : text
}

function preview(value) {
  try {
    return stringify(value) ?? 'null'
  } catch {
    return stringify(stripVTControlCharacters(String(value)))
  }
}

function round(ms) {
  return Math.round(ms * 1000) / 1000
}
