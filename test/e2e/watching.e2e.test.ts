// What is seen of a running `up` from outside: metrics of server and workers, held to the documents; `millrace top`.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { parse } from 'yaml'
import type { View } from '../../src/cli/top_view.ts'
import { command, start, stateFolder, type Running } from './up_support.ts'

const docs = fileURLToPath(new URL('../../docs', import.meta.url))
const read = (file: string): string => readFileSync(join(docs, file), 'utf8')

/** Names of metrics in a text: what a histogram's series are called counts as the histogram. */
function namesIn(text: string): Set<string> {
  return new Set(
    [...text.matchAll(/\b(?:millrace|nodejs|process)_[a-z0-9_]+[a-z0-9]\b/g)].map(([name]) =>
      name.replace(/_(bucket|sum|count)$/, ''),
    ),
  )
}

const exportedIn = (metrics: string): Set<string> => new Set([...metrics.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name!))

describe('a running `up` with ports for metrics', () => {
  const home = stateFolder()
  let up: Running
  let server: string
  let worker: string
  let serverMetrics: string
  let workerMetrics: string

  beforeAll(async () => {
    up = start(home, ['up', '--metrics-port', '0'])
    server = (await up.says(/Millrace is up {2}(http:\S+)/))[1]!
    worker = (await up.says(/"url":"(http:[^"]+)\/metrics","msg":"metrics are served"/))[1]!
    await up.says(/"msg":"worker ready"/)
    expect(command(home, ['flow', 'push', 'examples/hello.yaml', 'hello'], {}).exitCode).toBe(0)
    expect(command(home, ['flow', 'run', 'hello', '-d', '{"name": "Ada"}', '--wait'])).toMatchObject({ exitCode: 0 })
    serverMetrics = await (await fetch(`${server}/metrics`)).text()
    workerMetrics = await (await fetch(`${worker}/metrics`)).text()
    const executed = async () => ((await (await list(admin())).json()) as { jobs_executed: number }[])[0]?.jobs_executed === 1
    await vi.waitUntil(executed, { timeout: 20_000 }) // said by its heartbeats
  }, 60_000)

  const admin = () => readFileSync(join(home, 'admin-token'), 'utf8').trim()
  const list = (token: string) => fetch(`${server}/api/workers/list`, { headers: { authorization: `Bearer ${token}` } })

  test('every metric that the dashboard and the alerts name is exported', () => {
    const exported = new Set([...exportedIn(serverMetrics), ...exportedIn(workerMetrics)])
    for (const file of ['monitoring/grafana.json', 'monitoring/alerts.yaml']) {
      const named = [...namesIn(read(file))]
      expect(named.length).toBeGreaterThan(15)
      expect({ [file]: named.filter((name) => !exported.has(name)) }).toEqual({ [file]: [] })
    }
  })

  test('every metric that is exported is in the page, where it belongs, and no other is', () => {
    const page = read('monitoring.md')
    const [ofServer, ofWorker] = ['### Of a server', '### Of a worker'].map((title) => {
      const [, table] = page.split(title)
      return [...table!.split(/\n#/)[0]!.matchAll(/^\| `(millrace_\w+)`/gm)].map(([, name]) => name!).sort()
    })
    const own = (metrics: string) => [...exportedIn(metrics)].filter((name) => name.startsWith('millrace_')).sort()
    expect(ofServer).toEqual(own(serverMetrics))
    expect(ofWorker).toEqual(own(workerMetrics))
  })

  test('every alert is explained in the page', () => {
    const { groups } = parse(read('monitoring/alerts.yaml')) as { groups: { rules: { alert: string }[] }[] }
    const alerts = groups.flatMap((group) => group.rules.map((rule) => rule.alert))
    expect(alerts.length).toBeGreaterThan(10)
    expect(alerts.filter((name) => !read('monitoring.md').includes(`\`${name}\``))).toEqual([])
  })

  test('the numbers are those of what was done', () => {
    expect(serverMetrics).toMatch(/^millrace_accept_jobs_total 1$/m)
    expect(serverMetrics).toMatch(/^millrace_workers_alive 1$/m)
    expect(serverMetrics).toMatch(/^millrace_database_up 1$/m)
    expect(workerMetrics).toMatch(/^millrace_worker_ready 1$/m)
    expect(workerMetrics).toMatch(/^millrace_jobs_finished_total\{flow="main:flow\/hello"\} 1$/m)
    expect(workerMetrics).toMatch(/^millrace_runner_calls_total\{flow="main:flow\/hello",step="\w+"\} 1$/m)
    expect(workerMetrics).toMatch(/^millrace_commit_jobs_sum 1$/m)
  })

  test('a worker answers whoever looks after it', async () => {
    const answer = async (path: string, method = 'GET') => (await fetch(`${worker}${path}`, { method })).status
    expect(await answer('/healthz')).toBe(200)
    expect(await answer('/readyz')).toBe(200)
    expect(await answer('/metrics', 'HEAD')).toBe(200)
    expect(await answer('/other')).toBe(404)
    expect(await answer('/metrics', 'POST')).toBe(405)
  })

  test('`top` tells of workers and flows: as JSON, and as text that fits', () => {
    const json = command(home, ['top', '--json'])
    expect(json.exitCode).toBe(0)
    const view = JSON.parse(json.out) as View
    expect(view.totals).toMatchObject({ workers: 1, held: 0 })
    expect(view.workers).toMatchObject([
      { state: 'alive', jobs_done: 1, flows: [{ flow: 'main:flow/hello', jobs: 1, failed: 0 }] },
    ])
    expect(view.flows).toMatchObject([{ name: 'main:flow/hello', per_s: { jobs: 0 } }])
    const text = command(home, ['top', '--once'], { env: { COLUMNS: '80' } })
    expect(text).toMatchObject({ exitCode: 0, err: '' })
    expect(text.out).toMatch(/^1 worker · 0 steps\/s/m)
    expect(text.out).toMatch(/^main:flow\/hello /m)
    expect(text.out).not.toContain('\x1b')
  })

  test('workers are listed for super admins, in the shape that clients of Windmill read', async () => {
    expect(await (await list(admin())).json()).toMatchObject([{ worker_group: 'default', jobs_executed: 1, state: 'alive' }])
    const author = { authorization: `Bearer ${admin()}`, 'content-type': 'application/json' }
    const body = JSON.stringify({ label: 'narrow', scopes: ['jobs:run'] })
    const made = await fetch(`${server}/api/users/tokens/create`, { method: 'POST', headers: author, body })
    expect((await list((await made.text()).trim())).status).toBe(403)
  })
})

test('a port that another program has is refused in a sentence', async () => {
  const other = createServer()
  other.listen({ port: 0, host: '127.0.0.1' })
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const { exitCode, err } = command(stateFolder(), ['worker', '--metrics-port', String(port)])
  other.close()
  expect(exitCode).toBe(1)
  expect(err).toContain(`port ${port} is taken by other programs; set MILLRACE_METRICS_PORT or --metrics-port to a free one`)
})
