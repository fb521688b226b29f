// `millrace up`: one process tree with everything. The API runs here, workers are child processes.
//   P1. Ends in the order of the work: the feed, the workers (they finish what runs and give back the rest), the API,
//       Postgres last. A second request to end kills what is left.
import { setMaxListeners } from 'node:events'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { keepChild } from './children.ts'
import { keepDedicated } from './dedicated.ts'
import { createLog, createScreen } from './log.ts'
import { print, strong } from './output.ts'
import type { GivenSettings } from './program.ts'
import { runSample } from './sample.ts'
import { startServer, type RunningServer } from './server.ts'
import { settingOf, wholeNumber } from './settings.ts'
import { listenForEnd } from './signals.ts'
import { awaitStore, type Store } from './store.ts'

const forcedMs = 5_000 // to end Postgres cleanly when asked to stop at once

export async function up(options: GivenSettings & { sample?: boolean; rate: string }): Promise<void> {
  const perSecond = wholeNumber(options.rate, '--rate', { min: 1, max: 5_000 })
  const screen = createScreen()
  const log = createLog(settingOf(options, 'logLevel', 'info'), screen).child({ part: 'up' })
  const ending = listenForEnd((request) => {
    screen.live('')
    log.info(request === 'stop' ? 'draining; Ctrl-C again stops at once' : 'stopping at once')
  })
  setMaxListeners(0, ending.stop, ending.force) // one for each child
  ending.force.addEventListener('abort', () => {
    process.exitCode = 1
    setTimeout(() => process.exit(), forcedMs).unref()
  })
  const waiting = { log, stop: ending.stop }
  const store = await awaitStore(options, { name: 'millrace up', ...waiting })
  if (store === undefined) return
  try {
    const server = await startServer(store, options, waiting)
    printPanel(store, server)
    const env = childEnvironment(options, store, server)
    const parts = { log, env, line: screen.line }
    const sample = options.sample ? runSample({ store, server, screen, log, perSecond }, ending.stop) : Promise.resolve()
    const workers = Promise.all([
      keepChild({ name: 'worker shared', args: ['worker'], ...parts }, ending.stop, ending.force),
      keepDedicated({ db: store.db, ...parts }, ending.stop, ending.force),
    ])
    try {
      await Promise.all([sample, workers])
    } finally {
      if (!ending.stop.aborted) ending.end() // a part failed: the others end too
      await workers
      await server.close()
    }
  } finally {
    await store.close()
  }
  log.info('everything is stopped')
}

const hello = fileURLToPath(new URL('../../examples/hello.yaml', import.meta.url))

function printPanel(store: Store, server: RunningServer): void {
  const token = server.admin.file === null ? 'the one in MILLRACE_ADMIN_TOKEN' : `in ${server.admin.file}`
  const lines = [
    '',
    `  ${strong('Millrace is up')}  ${server.url}`,
    ...(server.note ? [`  ${server.note}`] : []),
    '',
    `  admin token   ${server.admin.isNew ? `${server.admin.token} (shown once, kept ${token})` : token}`,
    `  database      ${store.place}`,
    `  your own flow npx millrace flow push ${relative(process.cwd(), hello)} hello`,
    `                npx millrace flow run hello -d '{"name": "Ada"}' --wait`,
    `  stop          Ctrl-C`,
    '',
  ]
  print(lines.join('\n'))
}

/** Each worker has a port of its own: the one asked for, or the next that is free. */
function metricsEnvironment(options: GivenSettings): NodeJS.ProcessEnv {
  const port = settingOf(options, 'metricsPort', undefined)
  if (port === undefined) return {}
  return {
    MILLRACE_METRICS_PORT: port === '0' || port.endsWith('+') ? port : `${port}+`,
    MILLRACE_METRICS_HOST: settingOf(options, 'metricsHost', '127.0.0.1'),
  }
}

/** Children find the same state folder, database and server, whatever flags this command was given. */
function childEnvironment(options: GivenSettings, store: Store, server: RunningServer): NodeJS.ProcessEnv {
  const database = settingOf(options, 'database', undefined)
  return {
    ...process.env,
    MILLRACE_HOME: store.home,
    MILLRACE_URL: server.url,
    MILLRACE_LOG_LEVEL: settingOf(options, 'logLevel', 'info'),
    ...metricsEnvironment(options),
    ...(database === undefined ? {} : { DATABASE_URL: database }),
  }
}
