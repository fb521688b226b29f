// The Restate server, from its npm package: one node, durable log on disk (its default: write-ahead log with fsync), loopback only.
//   S1. Every repetition gets a server of its own on an empty folder.
import { createRequire } from 'node:module'
import { mkdirSync } from 'node:fs'
import { freePort, launch, stop, untilReady } from '../children.mjs'

const require = createRequire(import.meta.url)

export async function startRestate({ dir, log }) {
  const name = `@restatedev/restate-server-${process.platform}-${process.arch}`
  const binary = require.resolve(`${name}/bin/restate-server`)
  const { version } = require(`${name}/package.json`)
  mkdirSync(dir, { recursive: true })
  const [ingressPort, adminPort, nodePort] = [await freePort(), await freePort(), await freePort()]
  const env = {
    RESTATE_BASE_DIR: dir,
    RESTATE_BIND_IP: '127.0.0.1',
    RESTATE_LISTEN_MODE: 'tcp',
    RESTATE_BIND_PORT: String(nodePort),
    RESTATE_INGRESS__BIND_PORT: String(ingressPort),
    RESTATE_ADMIN__BIND_PORT: String(adminPort),
    RESTATE_DEFAULT_NUM_PARTITIONS: '2',
    RESTATE_DISABLE_TELEMETRY: 'true',
    RESTATE_LOG_FILTER: 'warn',
    DO_NOT_TRACK: '1',
  }
  const server = launch(binary, ['--no-logo'], { cwd: dir, env, log, stopSignal: 'SIGKILL' })
  const url = `http://127.0.0.1:${ingressPort}`
  const admin = `http://127.0.0.1:${adminPort}`
  await untilReady(server, async () => {
    for (const address of [`${url}/restate/health`, `${admin}/health`]) {
      const response = await fetch(address, { signal: AbortSignal.timeout(2_000) })
      if (!response.ok) throw new Error(`${address} answers ${response.status}`)
    }
  })
  return {
    description: `Restate server ${version}, one node, 2 partitions, durable log with fsync`,
    env: { url, admin },
    stop: () => stop(server),
  }
}
