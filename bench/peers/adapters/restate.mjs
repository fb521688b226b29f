// Restate: a durable engine with its own server and log. A flow is a service call that runs each step by ctx.run.
// It takes no backlog ahead of the worker: calls go in with 256 under way, from another process, until all results are back.
import { Agent, request } from 'node:http'
import { createServer } from 'node:http2'
import { isLast, flowInput, oneStepInput, range, inParallel } from '../work.mjs'

export const peer = {
  name: 'Restate',
  package: '@restatedev/restate-server',
  server: 'restate',
  flows: 5_000,
  keepsResults: true,
  live: true,
  configuration:
    '2 partitions, ctx.run per step, idempotency keys so that results are kept; raw HTTP client with keep-alive and 256 calls under way (no backlog ahead of the worker)',
}

const callsInFlight = 256

export async function openClient({ url }) {
  const agent = new Agent({ keepAlive: true, maxSockets: callsInFlight })
  const { hostname, port } = new URL(url)

  function call(key, input) {
    const body = JSON.stringify(input)
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'idempotency-key': key }
    return new Promise((resolve, reject) => {
      const sent = request({ agent, hostname, port, method: 'POST', path: '/flow/run', headers }, (response) => {
        const parts = []
        response.on('data', (part) => parts.push(part))
        response.once('error', reject)
        response.once('end', () => {
          const text = Buffer.concat(parts).toString()
          if (response.statusCode === 200) resolve(JSON.parse(text))
          else reject(new Error(`Restate answers ${response.statusCode}: ${text.slice(0, 300)}`))
        })
      })
      sent.once('error', reject)
      sent.end(body)
    })
  }

  return {
    async run({ from, flows }) {
      await inParallel(range(from, flows), callsInFlight, async (flow) => {
        const output = await call(`flow-${flow}`, flowInput(flow))
        if (!isLast(output)) throw new Error(`flow ${flow} came back with ${JSON.stringify(output)}`)
      })
    },
    roundTrip: (number) => call(`job-${number}`, oneStepInput(number)),
    close: () => agent.destroy(),
  }
}

export async function openWorker({ admin, step }) {
  const restate = await import('@restatedev/restate-sdk')
  const flow = restate.service({
    name: 'flow',
    handlers: {
      run: async (ctx, input) => {
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
  if (!response.ok) throw new Error(`Restate does not take the service: ${response.status} ${(await response.text()).slice(0, 300)}`)

  return {
    async start() {},
    async stop() {},
    async close() {
      server.close()
    },
  }
}
