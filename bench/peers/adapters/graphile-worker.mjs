// graphile-worker: a job queue on Postgres. A flow is a chain of jobs: a handler adds the next step's job, carrying its output.
// The engine keeps no results: a finished job's row is deleted, and the last step's output with it.
import { isLast, flowInput, range, chunks } from '../work.mjs'

export const peer = {
  name: 'graphile-worker',
  package: 'graphile-worker',
  server: 'postgres',
  flows: 10_000,
  keepsResults: false,
  configuration:
    'local queue of 500, 400 concurrent jobs, completions batched (completeJobBatchDelay 0), pool of 12; the next steps of one event-loop turn are added by one addJobs',
}

export async function openClient({ url }) {
  const { makeWorkerUtils } = await import('graphile-worker')
  const utils = await makeWorkerUtils({ connectionString: url, preset: quietPreset(await import('graphile-worker')) })
  await utils.migrate()
  return {
    async enqueue({ from, flows }) {
      for (const part of chunks(range(from, flows), 1000)) {
        await utils.addJobs(part.map((flow) => ({ identifier: 'step', payload: { flow, value: flowInput(flow) } })))
      }
    },
    close: () => utils.release(),
  }
}

export async function openWorker({ url, step }) {
  const graphile = await import('graphile-worker')
  const { default: pg } = await import('pg')
  const counter = new pg.Pool({ connectionString: url, max: 1 })
  let added = 0
  let runner

  async function taskStep({ flow, value }, helpers) {
    const next = step(value)
    if (!isLast(next)) await addSoon({ identifier: 'step', payload: { flow, value: next } }, helpers)
  }

  // One round trip for all handlers of this turn of the event loop; each handler waits for the commit of its own job.
  let batch = null
  function addSoon(job, helpers) {
    if (!batch) {
      const jobs = []
      const done = new Promise((resolve, reject) => {
        setImmediate(() => {
          batch = null
          helpers.addJobs(jobs).then(resolve, reject)
        })
      })
      batch = { jobs, done }
    }
    batch.jobs.push(job)
    return batch.done
  }

  return {
    async start() {
      const before = await remaining()
      added += before
      runner = await graphile.run({
        connectionString: url,
        taskList: { step: taskStep },
        crontab: '',
        noHandleSignals: true,
        preset: quietPreset(graphile, {
          concurrentJobs: 400,
          maxPoolSize: 12,
          localQueue: { size: 500 },
          completeJobBatchDelay: 0,
          failJobBatchDelay: 0,
        }),
      })
    },
    // Finished flows are those added less those that still have a job: a flow has exactly one job until its end.
    finished: async () => added - (await remaining()),
    stop: () => runner.stop(),
    async close() {
      await counter.end()
    },
  }

  async function remaining() {
    const { rows } = await counter.query('select count(*)::int as jobs from graphile_worker._private_jobs')
    return rows[0].jobs
  }
}

function quietPreset({ Logger }, worker = {}) {
  const logger = new Logger(() => (level, message) => {
    if (level === 'error' || level === 'warning') console.error(message)
  })
  return { worker: { logger, ...worker } }
}
