// One worker process for each flow that is deployed with `dedicated_worker: true`, kept in step with what is deployed.
//   D1. A notification makes it quick, looking every few seconds makes it right.
import type { Logger } from 'pino'
import type { Database } from '../store/db.ts'
import { controlChannel } from '../store/jobs.ts'
import { createListener } from '../store/listen.ts'
import { dedicatedBindings, type DedicatedBinding } from '../store/versions.ts'
import { keepChild } from './children.ts'
import { regularly } from './store.ts'

const lookMs = 3_000

export interface DedicatedOptions {
  db: Database
  log: Logger
  env: NodeJS.ProcessEnv
  line(text: string): void
}

interface Bound {
  stop: AbortController
  ended: Promise<void>
}

function bindingName(binding: DedicatedBinding): string {
  return `${binding.workspaceId}:${binding.kind === 'flow' ? 'flow/' : ''}${binding.path}`
}

/** Resolves when all of them have drained. */
export async function keepDedicated(options: DedicatedOptions, stop: AbortSignal, force: AbortSignal): Promise<void> {
  const bound = new Map<string, Bound>()
  const look = async () => {
    const wanted = new Set((await dedicatedBindings(options.db.pool)).map(bindingName))
    for (const [name, { stop: letGo }] of bound) {
      if (wanted.has(name) || letGo.signal.aborted) continue
      options.log.info({ tag: name }, 'no longer dedicated: its worker drains')
      letGo.abort()
    }
    for (const name of wanted) if (!bound.has(name) && !stop.aborted) bind(name)
  }
  const bind = (name: string) => {
    options.log.info({ tag: name }, 'starting its dedicated worker')
    const letGo = new AbortController()
    const child = {
      name: `worker ${name}`,
      args: ['worker', '--dedicated', name],
      env: options.env,
      log: options.log,
      line: options.line,
    }
    const ended = keepChild(child, AbortSignal.any([stop, letGo.signal]), force).finally(() => bound.delete(name))
    bound.set(name, { stop: letGo, ended })
  }
  const lookSoon = () => {
    look().catch((error: unknown) => options.log.warn({ err: error }, 'cannot read what is deployed'))
  }
  const listener = await createListener({
    db: options.db,
    channels: { [controlChannel]: (message) => message.startsWith('deploy ') && lookSoon() },
    onConnect: lookSoon,
    report: (event) => options.log.warn(event, 'listener'),
  })
  await regularly({ name: 'looking at what is deployed', everyMs: lookMs, log: options.log, run: look }, stop)
  await listener.close()
  await Promise.all([...bound.values()].map(({ ended }) => ended))
}
