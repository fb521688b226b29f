// A runtime as a thread: a piscina pool of one thread with one long task, which speaks messages over a MessagePort.
//   TH1. Memory is bounded by V8's own limits for the thread; running out of it ends the thread, not the process.
//   TH2. The cell is shared memory.
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { Piscina } from 'piscina'
import { ProtocolFault } from '../../core/wire/frames.ts'
import type { ToRuntime } from '../../core/wire/messages.ts'
import type { Runtime } from '../runtimes.ts'
import type { LaunchSettings, Progress, Transport, TransportEvents } from './transport.ts'

export interface ThreadOptions {
  runtime: Runtime
  settings: LaunchSettings
  environment: Record<string, string>
  events: TransportEvents
}

export function startThread(options: ThreadOptions): Transport {
  return new ThreadTransport(options)
}

class ThreadTransport implements Transport {
  readonly pid = process.pid
  readonly #pool: Piscina
  readonly #port: MessagePort
  readonly #cell = new Float64Array(new SharedArrayBuffer(16))
  readonly #events: TransportEvents
  #protocolFault: string | null = null
  #over = false

  constructor({ runtime, settings, environment, events }: ThreadOptions) {
    this.#events = events
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    port1.on('message', (messages: unknown[]) => {
      if (this.#over || this.#protocolFault !== null) return
      try {
        events.received(messages)
      } catch (error) {
        if (!(error instanceof ProtocolFault)) throw error
        this.#protocolFault = error.message
        this.kill()
      }
    })
    this.#pool = new Piscina({
      filename: runtime.command(settings.memoryMib)[0]!,
      minThreads: 1,
      maxThreads: 1,
      atomics: 'disabled',
      resourceLimits: { maxOldGenerationSizeMb: settings.memoryMib },
      env: {},
      execArgv: [],
    })
    const base = { ...environment, PATH: process.env.PATH ?? '', LANG: process.env.LANG ?? 'C.UTF-8' }
    const task = { port: port2, cell: this.#cell.buffer, settings, environment: base }
    this.#pool.run(task, { transferList: [port2] }).then(
      () => this.#ended(false, null),
      (error: Error & { code?: string }) => {
        const outOfMemory = error.code === 'ERR_WORKER_OUT_OF_MEMORY'
        this.#ended(outOfMemory, outOfMemory ? null : error.message)
      },
    )
  }

  send(messages: ToRuntime[]): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port, not a window
    if (!this.#over) this.#port.postMessage(messages)
  }

  progress(): Progress {
    return { begun: this.#cell[0]!, oldest: this.#cell[1]! }
  }

  memoryBytes(): number {
    return 0 // bounded by TH1
  }

  kill(): void {
    void this.#pool.destroy()
  }

  #ended(outOfMemory: boolean, fault: string | null): void {
    if (this.#over) return
    // What the thread posted before it ended is still in the port: one turn of the event loop delivers it.
    setImmediate(() => {
      if (this.#over) return
      this.#over = true
      this.#port.close()
      void this.#pool.destroy()
      this.#events.exited({
        code: fault === null ? 0 : 1,
        signal: null,
        outOfMemory,
        protocolFault: this.#protocolFault,
        startFault: null,
      })
    })
  }
}
