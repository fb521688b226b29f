// BullMQ: a job queue on Redis. A flow is a chain of jobs: a handler adds the next step's job; results stay with the jobs.
import { isLast, flowInput, oneStepInput, range, chunks } from '../work.mjs'

export const peer = {
  name: 'BullMQ',
  package: 'bullmq',
  server: 'redis',
  flows: 5_000,
  keepsResults: true,
  configuration: 'concurrency 100, results kept, next step by add() in the handler; result awaited through QueueEvents',
}

const queueName = 'steps'

export async function openClient({ url }) {
  const { Queue, QueueEvents } = await import('bullmq')
  const queue = new Queue(queueName, { connection: connection(url) })
  const events = new QueueEvents(queueName, { connection: connection(url) })
  await events.waitUntilReady()
  return {
    async enqueue({ from, flows }) {
      for (const part of chunks(range(from, flows), 1000)) {
        await queue.addBulk(part.map((flow) => ({ name: 'step', data: { flow, value: flowInput(flow) } })))
      }
    },
    async roundTrip(number) {
      const job = await queue.add('step', { flow: number, value: oneStepInput(number) })
      return await job.waitUntilFinished(events)
    },
    async close() {
      await events.close()
      await queue.close()
    },
  }
}

export async function openWorker({ url, step }) {
  const { Queue, Worker } = await import('bullmq')
  const queue = new Queue(queueName, { connection: connection(url) })
  let worker

  async function handle({ data }) {
    const output = step(data.value)
    if (!isLast(output)) await queue.add('step', { flow: data.flow, value: output })
    return output
  }

  return {
    async start() {
      worker = new Worker(queueName, handle, { connection: connection(url), concurrency: 100 })
      worker.on('error', (error) => console.error(error))
    },
    // Every job of a drain is one step of a flow of three, and the count is asked for only when the last steps have run.
    async finished() {
      const { completed } = await queue.getJobCounts('completed')
      return completed / 3
    },
    stop: () => worker.close(),
    close: () => queue.close(),
  }
}

function connection(url) {
  const { hostname: host, port } = new URL(url)
  return { host, port: Number(port), maxRetriesPerRequest: null }
}
