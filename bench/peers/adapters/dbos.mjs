// DBOS Transact: durable workflows on Postgres. A flow is a workflow that runs each step by DBOS.runStep, which records its result.
import { isLast, flowInput, oneStepInput, range, inParallel } from '../work.mjs'

export const peer = {
  name: 'DBOS Transact',
  package: '@dbos-inc/dbos-sdk',
  server: 'postgres',
  flows: 3_000,
  keepsResults: true,
  configuration:
    'a queue with workerConcurrency 200, polled every 10 ms (5 ms for latency), pool of 20; DBOS.runStep per step; enqueued by DBOSClient from another process, result by getResult polled every 2 ms',
}

const queueName = 'flows'
const workflowName = 'flow'
const appVersion = '1'
const applicationName = 'peers'

export async function openClient({ url }) {
  const { DBOSClient } = await import('@dbos-inc/dbos-sdk')
  let client
  const enqueue = async (input) => {
    client ??= await DBOSClient.create({ systemDatabaseUrl: url, applicationName, systemDatabasePoolSize: 20 })
    return await client.enqueue({ queueName, workflowName, appVersion }, input)
  }
  return {
    enqueue: ({ from, flows }) => inParallel(range(from, flows), 32, (flow) => enqueue(flowInput(flow))),
    async roundTrip(number) {
      const handle = await enqueue(oneStepInput(number))
      return await handle.getResult({ pollingIntervalMs: 2 })
    },
    close: () => client?.destroy(),
  }
}

export async function openWorker({ url, step }) {
  const { DBOS } = await import('@dbos-inc/dbos-sdk')
  const { default: pg } = await import('pg')
  const counter = new pg.Pool({ connectionString: url, max: 1 })

  async function flow(input) {
    let value = input
    while (!isLast(value)) {
      const given = value
      value = await DBOS.runStep(async () => step(given), { name: 'step' })
    }
    return value
  }
  DBOS.registerWorkflow(flow, { name: workflowName })
  DBOS.setConfig({
    name: applicationName,
    systemDatabaseUrl: url,
    systemDatabasePoolSize: 20,
    applicationVersion: appVersion,
    logLevel: 'error',
  })
  await DBOS.migrate(url)

  return {
    async start(mode) {
      await DBOS.launch()
      await DBOS.registerQueue(queueName, {
        workerConcurrency: 200,
        minPollingIntervalMs: mode === 'latency' ? 5 : 10,
        onConflict: 'always_update',
      })
    },
    async finished() {
      const { rows } = await counter.query(`select count(*)::int as flows from dbos.workflow_status where status = 'SUCCESS'`)
      return rows[0].flows
    },
    stop: () => DBOS.shutdown(),
    close: () => counter.end(),
  }
}
