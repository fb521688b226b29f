// Bindings: what a dedicated worker is dedicated to, and the versions it has warm.
//   B1. refresh() makes the current version of every binding loaded and warm, then lets go of versions that are neither
//       current nor run by any job. Told by a deploy, and asked by the poll in case that was lost.
//       So are the versions of what their steps name, in turn, as those are deployed then.
//   B2. A new version that cannot be warmed is reported and tried again when a job needs it; the old one goes on.
import type { RunnerPool, RunnerSpec } from '../runner/pool_types.ts'
import type { Database } from '../store/db.ts'
import { currentFlow, currentScript } from '../store/versions.ts'
import { messageOf } from '../core/errors.ts'
import type { LoadedPlan, Plans } from './plans.ts'
import type { References } from './references.ts'
import type { WorkerLog } from './report.ts'

export interface Bindings {
  refresh(): Promise<void>
  /** Is the current version of everything warm? */
  warm(): boolean
  /** HOT. A job of this version is held; it left. */
  entered(versionId: string): void
  left(versionId: string): void
}

export function createBindings(parts: {
  db: Database
  pool: RunnerPool
  plans: Plans
  references: References
  bindings: readonly string[]
  replicas: Record<string, number>
  log: WorkerLog
}): Bindings {
  const { db, pool, plans, log } = parts
  /** binding → its current version. */
  const current = new Map<string, string>()
  const running = new Map<string, number>()
  /** binding → the versions that its steps name. */
  const named = new Map<string, string[]>()
  const warned = new Set<string>()
  /** Bindings whose current version could not be warmed. */
  const cold = new Set<string>()
  let busy: Promise<void> | null = null
  let again = false

  async function look(): Promise<void> {
    for (const binding of parts.bindings) {
      const { workspaceId, path, isFlow } = parseBinding(binding)
      const version = await (isFlow ? currentFlow : currentScript)(db.pool, workspaceId, path)
      if (!version || version.tag !== binding) {
        const why = version ? `its jobs have tag ${version.tag}: deploy it with dedicated_worker: true` : 'it is not deployed'
        if (!warned.has(binding)) log.warn({ tag: binding }, `dedicated to ${binding}, but ${why}`)
        warned.add(binding)
        if (!version) {
          current.delete(binding)
          named.delete(binding)
        }
        continue
      }
      warned.delete(binding)
      if (current.get(binding) !== version.versionId) await warm(binding, version.versionId)
      await warmNamed(binding, version.versionId)
    }
    await letGo()
  }

  async function warm(binding: string, versionId: string): Promise<void> {
    const plan = await plans.load(versionId)
    cold.delete(binding)
    if (plan instanceof Error) {
      cold.add(binding)
      log.error({ tag: binding, version: versionId, reason: plan.message }, 'this version cannot be run')
    } else {
      const replicasOf = (spec: RunnerSpec): number =>
        Math.max(...plan.steps.map((s) => (s.spec === spec ? (parts.replicas[s.step.id] ?? 1) : 1)))
      if (await warmRunners(binding, plan, replicasOf))
        log.info({ tag: binding, version: versionId, runners: plan.specs.length }, 'version warm')
      else cold.add(binding)
    }
    current.set(binding, versionId)
    running.set(versionId, running.get(versionId) ?? 0) // known, so that it is let go when the next one comes
  }

  /** False if some of them could not be: the log says which. */
  async function warmRunners(binding: string, loaded: LoadedPlan, replicasOf: (spec: RunnerSpec) => number): Promise<boolean> {
    // Steps with a tag of their own run elsewhere.
    const here = loaded.specs.filter((spec) => loaded.steps.some((one) => one.spec === spec && !one.step.apart?.tag))
    const warmed = await Promise.allSettled(here.map((spec) => pool.warm(spec, replicasOf(spec))))
    const failed = warmed.filter((one) => one.status === 'rejected')
    for (const { reason } of failed) {
      const why = { tag: binding, version: loaded.plan.versionId, reason: messageOf(reason) }
      log.error(why, 'a step could not be warmed')
    }
    return failed.length === 0
  }

  /** What the steps of a version name, and the steps of that. */
  async function warmNamed(binding: string, versionId: string): Promise<void> {
    const found = new Map<string, LoadedPlan>()
    const open = [plans.loaded(versionId)]
    for (let loaded = open.pop(); loaded; loaded = open.pop()) {
      if (loaded instanceof Error) continue
      for (const { run } of loaded.plan.steps) {
        if (run.kind !== 'script' && run.kind !== 'flow') continue
        const hash = run.kind === 'script' ? run.hash : null
        const one = await parts.references.find({ workspaceId: loaded.plan.workspaceId, kind: run.kind, path: run.path, hash })
        if (one instanceof Error || found.has(one.plan.versionId)) continue // a step that runs says that it is not there
        found.set(one.plan.versionId, one)
        open.push(one)
      }
    }
    const before = new Set(named.get(binding))
    named.set(binding, [...found.keys()])
    for (const [id, one] of found) {
      running.set(id, running.get(id) ?? 0)
      if (!before.has(id)) await warmRunners(binding, one, () => 1)
    }
  }

  /** Old versions nobody runs: their runners stop, their plans go. */
  async function letGo(): Promise<void> {
    if (parts.bindings.length === 0) return // a shared worker's pool lets go by itself
    const kept = new Set([...current.values(), ...[...named.values()].flat()])
    for (const [versionId, jobs] of running) {
      if (jobs > 0 || kept.has(versionId)) continue
      running.delete(versionId)
      await drop(versionId)
    }
  }

  async function drop(versionId: string): Promise<void> {
    const plan = plans.loaded(versionId)
    plans.forget(versionId)
    if (!plan || plan instanceof Error) return
    log.info({ version: versionId, path: plan.plan.path }, 'version let go')
    const sharing = plan.steps.flatMap((step) => step.sharing ?? [])
    await Promise.all([...plan.specs, ...sharing].map((spec) => pool.release(spec.key)))
  }

  return {
    refresh() {
      if (busy) {
        again = true
        return busy
      }
      busy = (async () => {
        do {
          again = false
          await look()
        } while (again)
      })().finally(() => {
        busy = null
      })
      return busy
    },
    warm: () => current.size === parts.bindings.length && cold.size === 0,
    entered(versionId) {
      running.set(versionId, (running.get(versionId) ?? 0) + 1)
    },
    left(versionId) {
      running.set(versionId, (running.get(versionId) ?? 1) - 1)
    },
  }
}

function parseBinding(binding: string): { workspaceId: string; path: string; isFlow: boolean } {
  const colon = binding.indexOf(':')
  const rest = binding.slice(colon + 1)
  const isFlow = rest.startsWith('flow/')
  return { workspaceId: binding.slice(0, colon), path: isFlow ? rest.slice(5) : rest, isFlow }
}
