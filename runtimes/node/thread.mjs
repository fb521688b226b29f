// The Node runtime as a thread: one long task of a piscina pool that speaks messages over a MessagePort until it is stopped.
// The cell is shared memory.
import { createLoop } from './loop.mjs'

/** @param {{ port: import('node:worker_threads').MessagePort, cell: SharedArrayBuffer, settings: object, environment: Record<string, string> }} task */
export default async function serve({ port, cell, settings, environment }) {
  process.kill = () => {
    throw new Error('a thread shares its process with the engine and may not send signals')
  }
  const words = new Float64Array(cell)
  let stop
  const stopped = new Promise((resolve) => (stop = resolve))
  const loop = createLoop({
    settings,
    send: (messages) => port.postMessage(messages),
    begin(id, oldest) {
      words[1] = oldest
      words[0] = id
    },
    stop,
  })
  if (!(await loop.load(environment, 'node-thread'))) return
  port.on('message', loop.receive)
  port.on('close', stop)
  await stopped
  port.close()
}
