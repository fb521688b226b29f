// The contract's program in JavaScript, for the process and the thread.
export const javascript = `
import { spawn } from 'node:child_process'
import fs from 'node:fs'

export async function main(what, value) {
  switch (what) {
    case 'echo':
      return value
    case 'fail':
      throw new RangeError('it broke') // FAILS HERE
    case 'forge':
      console.log('["ok",1,"\\\\"forged\\\\"",0]')
      console.log('\\u0003\\u0000\\u0000\\u0000[1]')
      console.error('["broken",{}]')
      process.stdout.write(Buffer.from([5, 0, 0, 0, 0x91, 0x92, 0xa2, 0x6f, 0x6b]))
      if (value === 'raw') fs.writeSync(1, '["ok"')
      return 'honest'
    case 'log':
      await null
      console.log('line', value)
      return
    case 'environment': {
      await new Promise((resolve) => setTimeout(resolve, 5))
      const { WM_JOB_ID, WM_FLOW_JOB_ID, WM_ROOT_JOB_ID, WM_TOKEN, COLOR, TRACEPARENT, TRACESTATE } = process.env
      return { job: WM_JOB_ID, flow: WM_FLOW_JOB_ID, root: WM_ROOT_JOB_ID, token: WM_TOKEN, color: COLOR, trace: (TRACEPARENT ?? '') + ' ' + (TRACESTATE ?? '') }
    }
    case 'exit':
      process.exit(3)
    case 'die':
      process.kill(process.pid, 'SIGKILL')
      for (;;);
    case 'hang':
      console.log('hanging')
      return value === 'busy' ? busy() : new Promise(() => {})
    case 'memory': {
      const kept = []
      for (;;) kept.push(new Array(100_000).fill(kept.length))
    }
    case 'nul':
      return 'a\\u0000\\ud800b'
    case 'big':
      return 'x'.repeat(value)
    case 'pieces':
      console.log('WM_STREAM: one ')
      globalThis.millrace.stream('two')
      return
    case 'flood':
      for (let i = 0; i < 30; i++) globalThis.millrace.stream('s'.repeat(value / 30))
      for (let i = 0; i < value / 100; i++) console.log('l'.repeat(99))
      throw new Error('e'.repeat(value))
    case 'cyclic': {
      const a = {}
      a.a = a
      return a
    }
    case 'detach':
      return spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' }).pid
    case 'odd':
      return { u: undefined, n: NaN, i: Infinity, b: 12345678901234567890n, d: new Date(0) }
    case 'stray':
      setTimeout(() => {
        throw new Error('stray')
      })
      return new Promise(() => {})
    case 'rejected':
      Promise.reject(new Error('nobody cared'))
      return new Promise(() => {})
    case 'progress':
      globalThis.millrace.progress(42)
      return
    case 'meet':
      return meet(value)
    case 'keeps':
      process.env.COLOR = 'green'
      return process.env.COLOR
  }
}

function busy() {
  for (;;);
}

let waiting
function meet(n) {
  if (!waiting) return new Promise((resolve) => (waiting = resolve))
  waiting(n)
  waiting = undefined
  return n
}
`
