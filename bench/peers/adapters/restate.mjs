// Restate: a durable engine with its own server and log. A flow is a service call that runs each step by ctx.run.
//   R1. The server hands out calls as soon as they arrive and has no pause, so the backlog is held at a gate: each call waits before
//       its first step until the worker starts. The server opens up to 1000 calls ahead, its default, which is to its advantage.
import { Agent, request } from 'node:http'
import { createServer } from 'node:http2'
import { isLast, flowInput, oneStepInput, range, inParallel } from '../work.mjs'

export const peer = {
  name: 'Restate',
  package: '@restatedev/restate-server',
  server: 'restate',
  flows: 5_000,
  keepsResults: true,
  configuration:
    '2 partitions, defaults otherwise; ctx.run per step, idempotency keys so that results are kept; raw HTTP client with keep-alive; backlog sent by /send and held before the first step (up to 1000 calls are open by then)',
}

const sendsInFlight = 64

export async function openClient({ url }) {
  const agent = new Agent({ keepAlive: true, maxSockets: sendsInFlight })
  const { hostname, port } = new URL(url)

  function call(path, key, input) {
    const body = JSON.stringify(input)
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'idempotency-key': key }
    return new Promise((resolve, reject) => {
      const sent = request({ agent, hostname, port, method: 'POST', path, headers }, (response) => {
        const parts = []
        response.on('data', (part) => parts.push(part))
        response.once('error', reject)
        response.once('end', () => {
          const text = Buffer.concat(parts).toString()
          if (response.statusCode < 300) resolve(JSON.parse(text))
          else reject(new Error(`Restate answers ${response.statusCode}: ${text.slice(0, 300)}`))
        })
      })
      sent.once('error', reject)
      sent.end(body)
    })
  }

  return {
    enqueue: ({ from, flows }) =>
      inParallel(range(from, flows), sendsInFlight, (flow) => call('/flow/run/send', `flow-${flow}`, flowInput(flow))),
    roundTrip: (number) => call('/flow/run', `job-${number}`, oneStepInput(number)),
    close: () => agent.destroy(),
  }
}

export async function openWorker({ admin, step }) {
  const restate = await import('@restatedev/restate-sdk')
  let gate, openGate
  const shutGate = () => {
    gate = new Promise((resolve) => (openGate = resolve))
  }
  shutGate()

  const flow = restate.service({
    name: 'flow',
    handlers: {
      run: async (ctx, input) => {
        await gate
        let value = input
        while (!isLast(value)) {
          const given = value
          value = await ctx.run('step', () => step(given))
        }
        return value
      },
    },
  })
  const handler = restate.createEndpointHandler({ services: [flow], logger: () => {} })
  const server = createServer(handler)
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const response = await fetch(`${admin}/deployments`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ uri: `http://127.0.0.1:${server.address().port}` }),
  })
  if (!response.ok)
    throw new Error(`Restate does not take the service: ${response.status} ${(await response.text()).slice(0, 300)}`)

  return {
    async start() {
      openGate()
    },
    async finished() {
      const response = await fetch(`${admin}/query`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        body: JSON.stringify({ query: `select count(*) as flows from sys_invocation where status = 'completed'` }),
      })
      if (!response.ok) throw new Error(`Restate does not count: ${response.status} ${(await response.text()).slice(0, 300)}`)
      return (await response.json()).rows[0].flows
    },
    async stop() {
      shutGate()
    },
    async close() {
      server.close()
    },
  }
}
