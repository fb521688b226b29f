// Every runtime: how it is started, what it speaks, and how many calls it is given ahead of their results.
import { fileURLToPath } from 'node:url'
import type { RuntimeName } from '../core/flow/definition.ts'
import { jsonCodec, msgpackCodec, type Codec } from '../core/wire/frames.ts'

const folder = new URL('../../runtimes/', import.meta.url)

export interface Runtime {
  transport: 'process' | 'thread'
  codec: Codec
  /** File name of the user's code in its artifact folder. */
  codeFile: string
  /**
   * Calls dispatched and not answered. Beyond 256 neither Node nor Python got faster (bench/micro/runner, 2 cores); Bash starts
   * a process per call, and as many as this run at once.
   */
  windowMax: number
  /** Below this the window is not cut for slow calls: calls of an async `main` overlap. */
  windowMin: number
  /** The runtime does not enforce the memory limit itself, or not all of it: the engine watches the process. */
  watchMemory: boolean
  /** The loop program notices at once when the engine goes away, and clears up; else the system kills it. */
  endsAtEof: boolean
  command(memoryMib: number): string[]
}

const program = (path: string) => fileURLToPath(new URL(path, folder))
// Frames move from stdin and stdout to 3 and 4, so that 0 to 2 belong to user code.
const shell = ['sh', '-c', 'ulimit -c 0; exec "$@" 3<&0 4>&1 0</dev/null 1>&2', 'sh']

// V8 doubles its young generation whenever more than usual survives in it, after minutes or after hours: 14 MiB more a runner, for
// good. Of one size from the start, a runner's memory is what its code needs.
const youngGeneration = ['--min-semi-space-size=8', '--max-semi-space-size=8']

export const runtimes: Record<RuntimeName, Runtime> = {
  node: {
    transport: 'process',
    codec: msgpackCodec,
    codeFile: 'main.mjs',
    windowMax: 256,
    windowMin: 32,
    watchMemory: true,
    endsAtEof: false,
    command: (memoryMib) => [
      ...shell,
      process.execPath,
      '--enable-source-maps',
      `--max-old-space-size=${memoryMib}`,
      ...youngGeneration,
      program('node/main.mjs'),
    ],
  },
  'node-thread': {
    transport: 'thread',
    codec: msgpackCodec,
    codeFile: 'main.mjs',
    windowMax: 256,
    windowMin: 32,
    watchMemory: false,
    endsAtEof: true,
    command: () => [program('node/thread.mjs')],
  },
  python: {
    transport: 'process',
    codec: jsonCodec,
    codeFile: 'main.py',
    windowMax: 256,
    windowMin: 2,
    watchMemory: true,
    endsAtEof: false,
    command: () => ['python3', '-uB', '-X', 'utf8', program('python/main.py')],
  },
  bash: {
    transport: 'process',
    codec: jsonCodec,
    codeFile: 'main.sh',
    windowMax: 4,
    windowMin: 4,
    watchMemory: false,
    endsAtEof: true,
    command: () => [...shell, process.execPath, program('bash/main.mjs')],
  },
}
