// The process in which one half of an adapter lives: `node host.mjs <adapter> client|worker`, driven by run.mjs over IPC.
//   H1. Ends when its parent does.
//   H2. Counts the work itself, in the same way for every engine: an adapter gets `step` from here and cannot forget to count.
//   H3. A drain is timed from the first step that runs to the moment the engine's own store says that every flow is finished.
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { isLast, step } from './work.mjs'

const [, , adapterName, role] = process.argv
const adapter = await import(`./adapters/${adapterName}.mjs`)

const count = { ended: 0, firstStepAt: 0 }
let half

function countedStep(value) {
  if (count.firstStepAt === 0) count.firstStepAt = performance.now()
  const next = step(value)
  if (isLast(next)) count.ended++
  return next
}

const methods = {
  async open(env) {
    half = role === 'worker' ? await adapter.openWorker({ ...env, step: countedStep }) : await adapter.openClient(env)
  },

  // Worker: begins to take work; the counters start at zero.
  async start(mode) {
    count.ended = 0
    count.firstStepAt = 0
    await half.start(mode)
  },

  // Worker: waits until `flows` flows have run and the store holds all of them as finished (`stored` in all).
  async drained({ flows, stored }) {
    while (count.ended < flows) await sleep(2)
    while ((await half.finished()) < stored) await sleep(5)
    const ms = performance.now() - count.firstStepAt
    if (count.ended !== flows) throw new Error(`${count.ended} flows ended where ${flows} were enqueued`)
    return ms
  },

  async stop() {
    await half.stop()
  },

  async enqueue({ from, flows }) {
    await half.enqueue({ from, flows })
  },

  // Client: one-step jobs one after the other on an otherwise idle engine.
  async latency({ from, jobs }) {
    const samplesMs = []
    for (let number = from; number < from + jobs; number++) {
      const startedAt = performance.now()
      const result = await half.roundTrip(number)
      samplesMs.push(performance.now() - startedAt)
      if (!isLast(result)) throw new Error(`a one-step job came back with ${JSON.stringify(result)}`)
    }
    return samplesMs
  },

  async close() {
    await half?.close()
    return { rssMiB: process.resourceUsage().maxRSS / 1024 }
  },
}

process.on('message', ({ id, method, argument }) => {
  methods[method](argument).then(
    (value) => process.send({ id, value }),
    (error) => process.send({ id, error: error?.stack ?? String(error) }),
  )
})
process.on('disconnect', () => process.exit())
process.send({ id: 0 })
