// The Bash runtime: a small loop that starts one `bash` per call, several at a time, each in a process group of its own.
// (Bash cannot parse JSON, and a script that exits or changes its shell must not touch the next call.)
//   B1. Arguments are positional, in the order of the parameters: strings as they are, anything else as JSON.
//   B2. The result is ./result.json if the script wrote one, else the last line of stdout: as JSON if it is JSON, else as a string.
//   B3. Memory is that of all processes of a call together.
//   B4. When a call ends, is cancelled, or the engine goes away, its whole process group is killed.
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { headBytes, openPipe } from '../node/pipe.mjs'
import { takeSettings } from '../node/settings.mjs'

const environment = { ...process.env }
const settings = takeSettings(environment)
const lineBytesMax = settings.resultBytesMax
const largeChars = 64 << 10
const stderrLines = 20
const stderrLineChars = 4 << 10
const cell = openSync(settings.cell, 'r+')
const scopes = new Map()
const calls = new Map()
let out = []
let flushDue = false

const pipe = openPipe({
  readFd: 3,
  writeFd: 4,
  codec: {
    encode: (messages) => Buffer.from(' '.repeat(headBytes) + JSON.stringify(messages)),
    decode: (body) => JSON.parse(body.toString('utf8')),
  },
  onMessages: receive,
  onEnd: stop,
})

function push(message) {
  out.push(message)
  if (typeof message[2] === 'string' && message[2].length > largeChars) flush() // frames have a limit
  if (flushDue || out.length === 0) return
  flushDue = true
  setImmediate(flush)
}

function flush() {
  flushDue = false
  if (out.length === 0) return
  const messages = out
  out = []
  pipe.send(messages)
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
      case 'stop':
        stop()
    }
  }
}

function stop() {
  for (const call of calls.values()) killGroup(call)
  flush()
  process.exit(0)
}

function begin(id) {
  writeSync(cell, new Uint32Array([id, id / 4294967296, 0, 0]), 0, 16, 0)
}

function start([, id, scope, text, jobId, stepJobId, token, traceparent, tracestate]) {
  begin(id)
  const flow = jobId === stepJobId ? '' : jobId
  const call = {
    id,
    startedMs: performance.now(),
    folder: mkdtempSync(join(tmpdir(), 'call-')),
    child: null,
    lastLine: '',
    openLine: '',
    errorLines: [],
    logBytes: 0,
    streamBytes: 0,
  }
  calls.set(id, call)
  if (settings.sharesFolder) symlinkSync(readlinkSync(join(tmpdir(), 'shared')), join(call.folder, 'shared'))
  const args = JSON.parse(text)
  const child = spawn('bash', [settings.code, ...settings.params.map((name) => argument(args[name]))], {
    cwd: call.folder,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...environment,
      WM_JOB_ID: stepJobId,
      WM_FLOW_JOB_ID: flow,
      WM_ROOT_FLOW_JOB_ID: flow,
      WM_ROOT_JOB_ID: jobId,
      WM_TOKEN: token,
      ...(traceparent ? { TRACEPARENT: traceparent } : {}),
      ...(tracestate ? { TRACESTATE: tracestate } : {}),
      ...scopes.get(scope),
    },
  })
  call.child = child
  child.stdout.setEncoding('utf8')
  child.stderr.setEncoding('utf8')
  child.stdout.on('data', (piece) => takeOutput(call, piece))
  child.stderr.on('data', (piece) => {
    log(call, piece)
    const lines = piece.split('\n').filter((line) => line !== '')
    call.errorLines = [...call.errorLines, ...lines.map((line) => line.slice(0, stderrLineChars))].slice(-stderrLines)
  })
  child.on('error', (error) => fail(call, { name: 'ExecutionError', message: `bash could not be started: ${error.message}` }))
  // A background process that keeps the pipes open must not keep the call open: a moment after the exit the group is killed.
  child.on('exit', () => setTimeout(killGroup, 50, call))
  child.on('close', (code, signal) => finish(call, code, signal))
}

function argument(value) {
  if (value === undefined || value === null) return ''
  return typeof value === 'string' ? value.replaceAll('\0', '') : JSON.stringify(value)
}

/** Keeps the last line that is not blank; lines `WM_STREAM: …` are pieces of the call's stream. */
function takeOutput(call, piece) {
  if (!piece.includes('\n')) {
    // A line without end: no more of it is kept than can be a result, and it is looked at once, when it ends.
    if (call.openLine.length <= lineBytesMax) call.openLine += piece
    return
  }
  const lines = (call.openLine + piece).split('\n')
  call.openLine = lines.pop()
  let kept = ''
  for (const line of lines) {
    if (line.startsWith('WM_STREAM: ')) {
      stream(call, line.slice('WM_STREAM: '.length).replaceAll('\\n', '\n'))
      continue
    }
    kept += `${line}\n`
    if (line.trim() !== '') call.lastLine = line
  }
  if (kept !== '') log(call, kept)
}

function stream(call, text) {
  if (call.streamBytes > settings.resultBytesMax) return
  call.streamBytes += text.length
  push(['stream', call.id, text.slice(0, settings.resultBytesMax + 1)]) // the engine cuts, and says so
}

function log(call, text) {
  if (call.logBytes > settings.logBytesMax) return
  call.logBytes += text.length
  push(['log', call.id, text.slice(0, settings.logBytesMax + 1)])
}

function finish(call, code, signal) {
  if (call.openLine !== '') {
    log(call, call.openLine)
    if (call.openLine.trim() !== '') call.lastLine = call.openLine
  }
  if (code !== 0) {
    const ending = signal ? `was ended by ${signal}` : `exited with code ${code}`
    const last = call.errorLines.length > 0 ? `: ${call.errorLines.join('\n').replaceAll(settings.code, settings.source)}` : ''
    fail(call, { name: 'ExecutionError', message: `${settings.source} ${ending}${last}`, exit_code: code, signal })
    return
  }
  const file = join(call.folder, 'result.json')
  const written = statSync(file, { throwIfNoEntry: false })
  const large = written && written.size > settings.resultBytesMax
  const text = large ? '' : resultOf(call, file, written)
  const bytes = large ? written.size : text.length * 3 > settings.resultBytesMax ? Buffer.byteLength(text) : 0
  if (bytes > settings.resultBytesMax) {
    const limit = `the limit is ${settings.resultBytesMax} (MILLRACE_RESULT_BYTES_MAX). Keep it elsewhere, and pass on where it is`
    fail(call, { name: 'ResultTooLarge', message: `the result of ${settings.source} is ${bytes} bytes or more; ${limit}` })
    return
  }
  if (over(call)) push(['ok', call.id, text, elapsedMs(call)])
}

function resultOf(call, file, written) {
  const text = written ? readFileSync(file, 'utf8').trim() : call.lastLine.trim()
  if (text === '') return 'null'
  try {
    return JSON.stringify(JSON.parse(text))
  } catch {
    return JSON.stringify(written ? text : call.lastLine)
  }
}

function cancel(id, reason) {
  const call = calls.get(id)
  if (!call) return
  killGroup(call)
  fail(call, { name: 'Canceled', message: reason })
}

function fail(call, error) {
  if (over(call)) push(['error', call.id, error, elapsedMs(call)])
}

/** True the first time. */
function over(call) {
  if (!calls.delete(call.id)) return false
  rmSync(call.folder, { recursive: true, force: true })
  return true
}

/** Each call's processes together may use so much memory. Linux only. */
function watchMemory() {
  if (calls.size === 0) return
  const pages = new Map()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d/.test(entry)) continue
    try {
      const fields = readFileSync(`/proc/${entry}/stat`, 'latin1').split(') ').at(-1).split(' ')
      pages.set(fields[2], (pages.get(fields[2]) ?? 0) + Number(fields[21]))
    } catch {
      // gone
    }
  }
  for (const call of calls.values()) {
    if ((pages.get(String(call.child.pid)) ?? 0) * 4096 <= settings.memoryMib << 20) continue
    killGroup(call)
    fail(call, {
      name: 'OutOfMemory',
      message: `the step used more than the ${settings.memoryMib} MiB of memory a runner may have`,
    })
  }
}

function killGroup(call) {
  try {
    process.kill(-call.child.pid, 'SIGKILL')
  } catch {
    // the group is gone
  }
}

function elapsedMs(call) {
  return Math.round((performance.now() - call.startedMs) * 1000) / 1000
}

if (process.platform === 'linux') setInterval(watchMemory, 200)
process.on('SIGTERM', stop)
process.on('SIGUSR1', () => {})
const check = spawnSync('bash', ['-n', settings.code], { encoding: 'utf8' })
if (check.status !== 0) {
  const message = check.error?.message ?? check.stderr.replaceAll(settings.code, settings.source).trim()
  pipe.send([['broken', { name: 'SyntaxError', message }]])
  process.exit(1)
}
push(['ready', { protocol: 1, language: 'bash', version: process.versions.node, pid: process.pid }])
pipe.listen()
