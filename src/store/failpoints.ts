// Failpoints, for tests: named places of the real program where a process is killed, stands still, or loses a reply.
//   F1. Nothing of this is on any path unless the environment asks for it: the parts that can be injected (database, listener,
//       runner pool, HTTP hooks) are wrapped then, and only then.
//   F2. A point is `<name>:before` or `<name>:after`, and counts how often this process reached it. An action is done once.
//   F3. What is recorded is on disk before the action is done, so a process that is killed has told where.
import { appendFileSync } from 'node:fs'
import { EngineError } from '../core/errors.ts'

export type Phase = 'before' | 'after'

/** What the place itself must do: lose what is on its way (the connection goes with it), or fail with this code. */
export type Fault = { kind: 'lost' } | { kind: 'error'; code: string }

export interface Failpoints {
  /** The process is at this point. Killing and standing still happen in here. */
  reach(name: string, phase: Phase): Fault | undefined
}

interface Order {
  point: string
  hit: number
  action: { kind: 'exit' } | { kind: 'pause'; ms: number } | Fault
}

/**
 * `plan`: `finish_jobs:after@3=exit; enqueue_jobs:before=pause(500)`. `recordFile`: gets a line for every point reached.
 * @throws EngineError E_INVALID, saying what can be written
 */
export function createFailpoints({ plan, recordFile }: { plan: string; recordFile: string | undefined }): Failpoints {
  const orders = plan.split(';').flatMap((text) => (text.trim() === '' ? [] : orderOf(text.trim())))
  const hits = new Map<string, number>()
  const record = (line: string): void => {
    if (recordFile !== undefined) appendFileSync(recordFile, `${line}\n`)
  }

  return {
    reach(name, phase) {
      const point = `${name}:${phase}`
      const hit = (hits.get(point) ?? 0) + 1
      hits.set(point, hit)
      record(`${point}@${hit}`)
      const order = orders.find((one) => one.point === point && one.hit === hit)
      if (!order) return undefined
      const { action } = order
      record(`${point}@${hit} done: ${action.kind}`)
      switch (action.kind) {
        case 'exit':
          process.kill(process.pid, 'SIGKILL')
          return undefined
        case 'pause':
          // All of the process stands still: no timer fires, no heartbeat is sent, connections stay open.
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, action.ms)
          return undefined
        default:
          return action
      }
    },
  }
}

const form = '<point>:before|after[@<hit>]=exit|lost|pause(<ms>)|error(<code>)'

function orderOf(text: string): Order {
  const [, name, phase, hit, action] = /^(.+):(before|after)(?:@(\d+))?=(.*)$/.exec(text) ?? []
  if (name === undefined || hit === '0') throw wrong(`${JSON.stringify(text)} is no failpoint; write ${form}`)
  return { point: `${name}:${phase}`, hit: Number(hit ?? 1), action: actionOf(action!, name, phase as Phase) }
}

function actionOf(text: string, name: string, phase: Phase): Order['action'] {
  const [, kind, argument] = /^(\w+)(?:\((\w+)\))?$/.exec(text) ?? []
  if (kind === 'exit' && argument === undefined) return { kind }
  if (kind === 'pause' && /^\d+$/.test(argument ?? '')) return { kind, ms: Number(argument) }
  const faults = faultsOf(name, phase)
  if (kind === 'lost' && argument === undefined && faults.lost) return { kind }
  if (kind === 'error' && argument !== undefined && faults.error) return { kind, code: argument }
  const allowed = ['exit', 'pause(<ms>)', ...(faults.lost ? ['lost'] : []), ...(faults.error ? ['error(<code>)'] : [])]
  throw wrong(`${JSON.stringify(text)} cannot be done at ${name}:${phase}; possible are ${allowed.join(', ')}`)
}

/** Frames between worker and runner are lost with one of the two only; a reply that was sent, or a notification heard, not at all. */
function faultsOf(name: string, phase: Phase): { lost: boolean; error: boolean } {
  if (name.startsWith('runner.')) return { lost: false, error: false }
  if (name.startsWith('http.') || name.startsWith('listen.')) return { lost: phase === 'before', error: false }
  return { lost: true, error: true }
}

function wrong(message: string): EngineError {
  return new EngineError('E_INVALID', message, { at: 'MILLRACE_FAILPOINTS' })
}
