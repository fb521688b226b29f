// Plans by version: loaded and compiled once, then shared by every job of the version.
//   L1. A job's plan never changes: versions are immutable. A version that cannot be loaded fails its jobs, not the worker.
//   L2. The environment of a step's calls is one object per (step, identity), so a runner hears of it once.
import type { Expression, Sandbox } from '../core/expr/expression.ts'
import { compilePlan } from '../core/flow/compile.ts'
import { planOfPart } from '../core/flow/apart.ts'
import type { Plan, PlanStep } from '../core/flow/plan.ts'
import type { Language } from '../core/flow/definition.ts'
import type { TaskAsk } from '../core/flow/workflow.ts'
import type { ScopeEnvironment } from '../core/wire/messages.ts'
import type { RunnerSpec } from '../runner/pool_types.ts'
import { sharingSpec } from '../runner/shared_folder.ts'
import { isOutage, type Database } from '../store/db.ts'
import { limitMakerOf, turnMakerOf, type RuledVersion, type TurnMaker } from '../store/turns.ts'
import { loadVersion } from '../store/versions.ts'
import type { Lookups } from './lookups.ts'
import type { FlowMeter, Meters, StepMeter } from './meters.ts'

export interface LoadedStep {
  step: PlanStep
  /** Null for steps without code. */
  spec: RunnerSpec | null
  /** The same where a flow around its own shares a folder; made when it is needed. */
  sharing: RunnerSpec | null
  /** Arguments of main: `"name":` as printed, and what gives the value. */
  inputs: { key: string; expression: Expression }[]
  environments: Map<string, ScopeEnvironment>
  meter: StepMeter
  /** What it waits for where it is a job of its own: core/flow/apart.ts. */
  turns: TurnMaker | null
}

export interface LoadedPlan {
  plan: Plan
  /** By step index. */
  steps: LoadedStep[]
  /** Every runner the plan uses, each once. */
  specs: RunnerSpec[]
  meter: FlowMeter
  /** What its jobs wait for. */
  turns: TurnMaker | null
}

export interface Plans {
  /** HOT. The plan if it is loaded. */
  loaded(versionId: string): LoadedPlan | Error | undefined
  /** Loads a version; resolves once loaded() gives it (or the reason why not). Rejects if the database is away. */
  load(versionId: string): Promise<LoadedPlan | Error>
  /** Drops a version nobody runs any more. */
  forget(versionId: string): void
  environment(plan: LoadedPlan, index: number, createdBy: string): ScopeEnvironment
}

const extensions: Record<Language, string> = { bun: 'ts', deno: 'ts', nativets: 'ts', python3: 'py', bash: 'sh' }

// Versions kept when nobody says they can go (a shared worker sees many); the oldest goes first.
const plansMax = 1_000

export function createPlans(parts: {
  db: Database
  sandbox: Sandbox
  lookups: Lookups
  baseUrl: string
  dedicated: boolean
  name: string
  meters: Meters
}): Plans {
  const plans = new Map<string, LoadedPlan | Error>()
  const loading = new Map<string, Promise<LoadedPlan | Error>>()

  async function read(versionId: string): Promise<LoadedPlan | Error> {
    try {
      const version = await loadVersion(parts.db.pool, versionId)
      const plan = compilePlan(
        {
          id: version.id,
          workspaceId: version.workspaceId,
          path: version.path,
          kind: version.kind,
          value: version.value,
          built: version.built,
        },
        parts.sandbox,
        parts.lookups.lookIn(version.workspaceId),
      )
      return loadedPlan(plan)
    } catch (error) {
      if (isOutage(error)) throw error
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  function loadedPlan(plan: Plan): LoadedPlan {
    const specs = new Map<string, RunnerSpec>()
    const meter = parts.meters.flow(nameOf(plan))
    const steps = plan.steps.map((step): LoadedStep => {
      const inputs = step.inputs.map(({ name, expression }) => ({ key: JSON.stringify(name) + ':', expression }))
      const turns = step.apart?.turns ? turnMakerOf(step.apart.turns, ruledStep(plan, step), parts.sandbox) : null
      const own = { step, inputs, environments: new Map(), meter: parts.meters.step(meter, step.id), turns, sharing: null }
      if (step.run.kind !== 'code') return { ...own, spec: null }
      const { built, runtime } = step.run
      // Steps of equal code share a runner: within the version in a dedicated worker, whose runners live and go with it;
      // among all flows in a shared one.
      const entry = built.entry === undefined ? '' : `:${built.entry}`
      const key = `${parts.dedicated ? plan.versionId : 'shared'}:${runtime}:${built.artifactKey}${entry}`
      let spec = specs.get(key)
      if (!spec) {
        const sourceName = `${plan.path}/${step.id}.${extensions[built.language]}`
        const { language, artifactKey, params, entry } = built
        spec = { key, runtime, language, artifactKey, params, entry, sourceName, sharesFolder: false }
        if (plan.sharesFolder) spec = sharingSpec(spec)
        specs.set(key, spec)
      }
      return { ...own, spec }
    })
    const turns = plan.turns ? turnMakerOf(plan.turns, ruledVersion(plan), parts.sandbox) : null
    return { plan, steps, specs: [...specs.values()], meter, turns }
  }

  return {
    loaded: (versionId) => plans.get(versionId),
    load(versionId) {
      const known = plans.get(versionId)
      if (known) return Promise.resolve(known)
      let under = loading.get(versionId)
      if (!under) {
        under = read(versionId)
          .then((plan) => {
            if (plans.size >= plansMax) plans.delete(plans.keys().next().value!)
            plans.set(versionId, plan)
            return plan
          })
          .finally(() => loading.delete(versionId))
        loading.set(versionId, under)
      }
      return under
    },
    forget: (versionId) => void plans.delete(versionId),
    environment(loaded, index, createdBy) {
      const { step, environments } = loaded.steps[index]!
      let environment = environments.get(createdBy)
      if (!environment) {
        environment = environmentOf(loaded.plan, step, createdBy, parts)
        environments.set(createdBy, environment)
      }
      return environment
    },
  }
}

/** That of a job which is a part: of a step apart, that step alone. */
export function loadedPart(loaded: LoadedPlan, part: string): LoadedPlan {
  const plan = planOfPart(loaded.plan, part)
  if (plan === loaded.plan) return loaded
  const step = plan.steps[0]!
  const whole = loaded.steps.find((one) => one.step.id === step.id)
  if (!whole) return { ...loaded, plan, steps: [], turns: null } // it joins what another job runs
  return { ...loaded, plan, steps: [{ ...whole, step, inputs: [] }], turns: null }
}

/** Whose jobs count together, where a rule does not say. Previews that were given no path have their version's. */
function ruledVersion({ workspaceId, path, versionId, kind }: Plan): RuledVersion {
  const isFlow = kind === 'flow' || kind === 'flowpreview'
  return { workspaceId, versionId, kind: isFlow ? 'flow' : 'script', path: path || versionId }
}

function ruledStep(plan: Plan, step: PlanStep): RuledVersion {
  const version = ruledVersion(plan)
  return { ...version, kind: 'step', path: `${version.path}/${step.id}` }
}

/** What it waits for that a workflow asks for: its own limit, or that of the script or flow that it names. `stepId`: of the workflow. */
export function turnsOfAsk({ kind, name, apart }: TaskAsk, { plan, turns }: LoadedPlan, stepId: string): TurnMaker | null {
  const isTask = kind === 'task'
  if (!apart?.turns) return isTask ? null : turns
  const version = ruledVersion(plan)
  const ruled = isTask ? { ...version, kind: 'step' as const, path: `${version.path}/${stepId}/${name}` } : version
  return limitMakerOf(apart.turns, ruled)
}

/** As a tag names it. What nobody deployed has no name of its own. */
function nameOf({ kind, workspaceId, path }: Plan): string {
  if (kind === 'preview' || kind === 'flowpreview') return `${workspaceId}:preview`
  return `${workspaceId}:${kind === 'flow' ? 'flow/' : ''}${path}`
}

/** The names Windmill's SDKs read. What a call itself adds: WM_JOB_ID and its kin, WM_TOKEN. Missing values are ''. */
function environmentOf(
  plan: Plan,
  step: PlanStep,
  createdBy: string,
  worker: { baseUrl: string; name: string },
): ScopeEnvironment {
  const isFlow = plan.kind === 'flow' || plan.kind === 'flowpreview'
  const username = createdBy.split('@')[0]!
  const place = plan.path === '' ? `u/${username}/tmp_state` : isFlow ? `${plan.path}/${step.id}_user` : `${plan.path}/user`
  return {
    WM_WORKSPACE: plan.workspaceId,
    WM_EMAIL: createdBy,
    WM_USERNAME: username,
    WM_PERMISSIONED_AS: `u/${username}`,
    WM_BASE_URL: worker.baseUrl,
    BASE_URL: worker.baseUrl,
    BASE_INTERNAL_URL: worker.baseUrl,
    WM_JOB_PATH: plan.path,
    WM_RUNNABLE_ID: plan.versionId,
    WM_FLOW_PATH: isFlow ? plan.path : '',
    WM_FLOW_STEP_ID: isFlow ? step.id : '',
    WM_STATE_PATH: place,
    WM_STATE_PATH_NEW: place,
    WM_SCHEDULE_PATH: '',
    WM_SCHEDULED_FOR: '',
    WM_OBJECT_PATH: '',
    WM_WORKER_GROUP: worker.name,
    WM_END_USER_EMAIL: '',
  }
}
