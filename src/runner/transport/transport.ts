// What a runner needs of whatever runs the user's code: a process behind pipes, or a thread behind a port.
//   T1. `exited` is called once, after the last `received`, whoever ended it.
//   T2. Nothing is sent or received after that.
import type { ToRuntime } from '../../core/wire/messages.ts'

export interface Exit {
  code: number | null
  signal: string | null
  /** It ran out of memory, as far as the system can tell. */
  outOfMemory: boolean
  /** It sent what is no frame or no list of messages. */
  protocolFault: string | null
  /** It could not even be started. */
  startFault: string | null
}

export interface TransportEvents {
  received(messages: readonly unknown[]): void
  /** Output outside the protocol: what native code and child processes print. */
  printed(text: string): void
  exited(exit: Exit): void
}

/** What the progress cell says. */
export interface Progress {
  /** The highest id of a call that has begun. */
  begun: number
  /** Every call before this one has ended, though its answer may still be on its way. */
  oldest: number
}

export interface Transport {
  readonly pid: number
  /** HOT. One frame. */
  send(messages: ToRuntime[]): void
  progress(): Progress
  memoryBytes(): number
  kill(): void
  /** From here on its calls see this folder as ./shared. Not for threads. */
  share?(folder: string): void
}

/** What a runtime is told at its start; becomes MILLRACE_… variables for a process. */
export interface LaunchSettings {
  code: string
  params: string[]
  /** '': `main`. */
  entry: string
  source: string
  dependencies: string
  memoryMib: number
  resultBytesMax: number
  logBytesMax: number
  sharesFolder: boolean
}
