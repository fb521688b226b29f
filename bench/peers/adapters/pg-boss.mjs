// pg-boss: a job queue on Postgres. A flow is a chain of jobs in one queue: a handler inserts the next steps of its whole batch,
// then returns each job's own result, which pg-boss keeps with the job.
import { setTimeout as sleep } from 'node:timers/promises'
import { isLast, flowInput, oneStepInput, range, chunks } from '../work.mjs'

export const peer = {
  name: 'pg-boss',
  package: 'pg-boss',
  server: 'postgres',
  flows: 10_000,
  keepsResults: true,
  configuration:
    'batchSize 1000 (100 for latency), localConcurrency 2, burstWhenBatchFull, perJobResults, LISTEN/NOTIFY; next steps by one insert() per batch; result by findJobs polled every 2 ms',
}

const queue = 'steps'

export async function openClient({ url }) {
  const boss = await open({ url })
  return {
    async enqueue({ from, flows }) {
      for (const part of chunks(range(from, flows), 1000)) {
        await boss.insert(
          queue,
          part.map((flow) => ({ data: { flow, value: flowInput(flow) } })),
        )
      }
    },
    async roundTrip(number) {
      const id = await boss.send(queue, { flow: number, value: oneStepInput(number) })
      for (;;) {
        const [job] = await boss.findJobs(queue, { id })
        if (job.state === 'completed') return job.output
        await sleep(2)
      }
    },
    close: () => boss.stop({ graceful: false }),
  }
}

export async function openWorker({ url, step }) {
  const { default: pg } = await import('pg')
  const counter = new pg.Pool({ connectionString: url, max: 1 })
  const boss = await open({ url, useListenNotify: true })

  async function handle(jobs) {
    const results = []
    const following = []
    for (const { id, data } of jobs) {
      const output = step(data.value)
      results.push({ id, status: 'completed', output })
      if (!isLast(output)) following.push({ data: { flow: data.flow, value: output } })
    }
    if (following.length > 0) await boss.insert(queue, following)
    return results
  }

  return {
    async start(mode) {
      const batchSize = mode === 'latency' ? 100 : 1000
      await boss.work(queue, { batchSize, localConcurrency: 2, burstWhenBatchFull: true, perJobResults: true }, handle)
    },
    async finished() {
      const { rows } = await counter.query(
        `select count(*)::int as flows from pgboss.job where name = $1 and state = 'completed' and output->>'n' = '3'`,
        [queue],
      )
      return rows[0].flows
    },
    stop: () => boss.offWork(queue),
    async close() {
      await boss.stop({ graceful: false })
      await counter.end()
    },
  }
}

async function open({ url, ...options }) {
  const { PgBoss } = await import('pg-boss')
  const boss = new PgBoss({ connectionString: url, ...options })
  boss.on('error', (error) => console.error(error))
  await boss.start()
  await boss.createQueue(queue, { notify: true })
  return boss
}
