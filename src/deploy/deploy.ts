// Deploying: a document becomes an immutable version with everything built that its jobs will need.
//   D1. Nothing is stored unless the whole document is right and every step's code is built.
//   D2. Artifacts, version, the path's row and the message to workers are one transaction.
//   D3. Deploys of one path come one after another; the last to commit is current, and its version has the highest id.
//   D4. A script is a flow of one step, `script`, whose inputs are the job's arguments.
import { modulesOf } from '../core/flow/modules.ts'
import { EngineError } from '../core/errors.ts'
import { languages, type FlowValue, type Language } from '../core/flow/definition.ts'
import { partOf, type FlowPart } from '../core/flow/part.ts'
import type { Built } from '../core/flow/plan.ts'
import { turnRuleOf, type TurnRule } from '../core/flow/turns.ts'
import { parseFlow, parseFlowValue, tagPattern } from '../core/flow/validate.ts'
import type { Json } from '../core/json.ts'
import type { Limits } from '../core/limits.ts'
import { loadArtifactLocks, saveArtifacts } from '../store/artifacts.ts'
import type { Database } from '../store/db.ts'
import { saveFlow } from '../store/flows.ts'
import { findScript, saveScript } from '../store/scripts.ts'
import {
  announceDeploy,
  currentFlow,
  findPreview,
  hashOfVersion,
  insertPreview,
  insertVersion,
  loadVersion,
  lockPath,
  type NewVersion,
} from '../store/versions.ts'
import { getWorkspace } from '../store/workspaces.ts'
import { createBuilder, sha256, type Made } from './build.ts'
import { assertPath, dedicatedTag } from './paths.ts'
import { parseScript, scriptStepId, scriptValue, type ScriptDocument } from './script_document.ts'
import type { Source } from './source.ts'
import { paramsOfExport } from './typescript.ts'

export interface Deployer {
  /**
   * Deploys a flow. `mustExist`: true updates (E_NOT_FOUND if there is none), false creates (E_CONFLICT if there is one), else either.
   * @throws EngineError E_FLOW_INVALID or E_CODE_INVALID with the place of the fault; nothing is stored then.
   */
  deployFlow(request: FlowDeploy): Promise<{ versionId: string }>
  /** Deploys a script, new or again. `parent_hash` of the document, if given, must be the current version (E_CONFLICT). */
  deployScript(request: {
    workspaceId: string
    path: string
    document: unknown
    by: string
  }): Promise<{ versionId: string; hash: string }>
  /** Makes a version of a flow that nobody deployed, to run it once. Equal previews share one. */
  previewFlow(request: FlowPreview): Promise<Preview>
  /** The same of a part of a version that is deployed: nothing is built again. */
  previewPart(request: { versionId: string; part: FlowPart; by: string }): Promise<Preview>
  previewScript(request: ScriptPreview): Promise<Preview>
  /** The same of a version of a script that calls another function than `main`. @throws EngineError E_INVALID if it exports none of this name */
  previewTask(request: { versionId: string; entry: string; by: string }): Promise<Preview>
}

export interface FlowDeploy {
  workspaceId: string
  path: string
  document: unknown
  by: string
  mustExist?: boolean | undefined
}

export interface FlowPreview {
  workspaceId: string
  path?: string | undefined
  value: unknown
  part?: FlowPart | undefined
  by: string
}

export interface ScriptPreview {
  workspaceId: string
  path?: string | undefined
  content: string
  language: string
  by: string
  lock?: string | null | undefined
  tag?: string | null | undefined
}

export interface Preview {
  versionId: string
  path: string
  tag: string
  turns: TurnRule | null
  early: boolean
}

const extensions: Record<Language, string> = { bun: 'ts', deno: 'ts', nativets: 'ts', python3: 'py', bash: 'sh' }
const previewPath = 'preview'
const priorityMax = 32_767 // a smallint

export function createDeployer({ db, limits, home }: { db: Database; limits: Limits; home: string }): Deployer {
  const builder = createBuilder({ home })

  async function buildSteps(sources: Map<string, Source>): Promise<Map<string, Made>> {
    const made = await builder.build([...sources.values()])
    return new Map([...sources.keys()].map((id, i) => [id, made[i]!]))
  }

  async function preview(version: NewVersion, made: Map<string, Made>): Promise<Preview> {
    const { workspaceId, path, contentHash, tag, turns } = version
    const early = (JSON.parse(version.value) as FlowValue).early_return !== undefined
    const known = await findPreview(db.pool, { workspaceId, path, contentHash })
    if (known) return { versionId: known.id, path, tag, turns, early }
    return db.transaction(async (client) => {
      await saveArtifacts(client, artifactsOf(made))
      return { versionId: await insertPreview(client, version), path, tag, turns, early }
    })
  }

  return {
    async deployFlow({ workspaceId, path, document, by, mustExist }) {
      assertPath(path)
      const flow = parseFlow(document, limits)
      assertSamePath(document, path)
      await getWorkspace(db.pool, workspaceId)
      const earlier = await currentFlow(db.pool, workspaceId, path)
      expectExistence({ mustExist, exists: earlier !== null, path })
      const locks = earlier ? await locksOf(db, earlier.versionId) : new Map<string, string>()
      const made = await buildSteps(sourcesOf(flow.value, path, '$.value', locks))
      const dedicated = flow.dedicated_worker === true
      const tag = dedicated ? dedicatedTag('flow', workspaceId, path) : flow.tag ? sharedTag(flow.tag) : 'flow'
      const version = newVersion({ workspaceId, path, kind: 'flow', tag, value: flow.value, by }, made)
      const versionId = await db.transaction(async (client) => {
        await lockPath(client, { kind: 'flow', workspaceId, path })
        expectExistence({ mustExist, exists: (await currentFlow(client, workspaceId, path)) !== null, path })
        await saveArtifacts(client, artifactsOf(made))
        const versionId = await insertVersion(client, version)
        const shown = {
          summary: flow.summary,
          description: flow.description,
          schema: jsonOrNull(flow.schema),
          document: restOf(document),
        }
        await saveFlow(client, { workspaceId, path, versionId, ...shown, dedicatedWorker: dedicated, by })
        await announceDeploy(client, { workspaceId, path, versionId })
        return versionId
      })
      return { versionId }
    },

    async deployScript({ workspaceId, path, document, by }) {
      assertPath(path)
      const script = parseScript(document, limits)
      await getWorkspace(db.pool, workspaceId)
      const earlier = await findScript(db.pool, workspaceId, path)
      const lock = script.lock ?? (isNode(script.language) && earlier?.language === script.language ? earlier.lock : null)
      const made = await buildSteps(new Map([[scriptStepId, scriptSource({ ...script, lock }, path)]]))
      const { artifact, built, schema } = made.get(scriptStepId)!
      const dedicated = script.dedicatedWorker
      const tag = dedicated ? dedicatedTag('script', workspaceId, path) : script.tag ? sharedTag(script.tag) : script.language
      const value = scriptValue(script, built.params)
      const version = newVersion({ workspaceId, path, kind: 'script', tag, value, by }, made)
      const versionId = await db.transaction(async (client) => {
        await lockPath(client, { kind: 'script', workspaceId, path })
        if (script.parentHash !== null)
          expectParent(script.parentHash, (await findScript(client, workspaceId, path))?.versionId, path)
        await saveArtifacts(client, artifactsOf(made))
        const versionId = await insertVersion(client, version)
        const { summary, description, language, content, kind } = script
        const shown = { summary, description, schema: JSON.stringify(script.schema ?? schema), document: restOf(document) }
        const code = { language, content, lock: artifact.lock, kind }
        await saveScript(client, { workspaceId, path, versionId, ...shown, ...code, dedicatedWorker: dedicated, by })
        await announceDeploy(client, { workspaceId, path, versionId })
        return versionId
      })
      return { versionId, hash: hashOfVersion(versionId) }
    },

    async previewFlow({ workspaceId, path, value, part = {}, by }) {
      if (path) assertPath(path)
      const flowValue = partOf(parseFlowValue(value, limits, '$.value'), part)
      await getWorkspace(db.pool, workspaceId)
      const at = path || previewPath
      const made = await buildSteps(sourcesOf(flowValue, at, '$.value', new Map()))
      return preview(newVersion({ workspaceId, path: at, kind: 'flowpreview', tag: 'flow', value: flowValue, by }, made), made)
    },

    async previewPart({ versionId, part, by }) {
      const { workspaceId, path, tag, value, built } = await loadVersion(db.pool, versionId)
      const cut = partOf(value, part)
      const ids = new Set(modulesOf(cut, '$').map(({ module }) => module.id))
      const steps = Object.fromEntries(Object.entries(built.steps).filter(([id]) => ids.has(id)))
      // A worker that is bound to a flow runs what is deployed.
      const goesTo = tag.includes(':') ? 'flow' : tag
      return preview(versionOf({ workspaceId, path, kind: 'flowpreview', tag: goesTo, value: cut, by }, steps), new Map())
    },

    async previewTask({ versionId, entry, by }) {
      const { workspaceId, path, kind, tag, value, built } = await loadVersion(db.pool, versionId)
      const script = value.modules[0]?.value
      if ((kind !== 'script' && kind !== 'preview') || script?.type !== 'rawscript') {
        throw new EngineError('E_INVALID', `tasks are functions of scripts, and ${path} is a flow`, { at: 'job_id' })
      }
      const params = isNode(script.language as Language) ? await paramsOfExport(script.content, entry) : null
      if (!params) {
        const text = `script ${path} exports no function "${entry.slice(0, 100)}"; export what is called as a task`
        throw new EngineError('E_INVALID', text, { at: 'entrypoint' })
      }
      const steps = { [scriptStepId]: { ...built.steps[scriptStepId]!, params, entry } }
      // A worker that is bound to a script runs what is deployed.
      const goesTo = tag.includes(':') ? script.language : tag
      return preview(versionOf({ workspaceId, path, kind: 'preview', tag: goesTo, value, by }, steps), new Map())
    },

    async previewScript({ workspaceId, path, content, language, by, lock, tag }) {
      if (path) assertPath(path)
      const script = parseScript({ content, language, lock, tag }, limits)
      await getWorkspace(db.pool, workspaceId)
      const at = path || previewPath
      const made = await buildSteps(new Map([[scriptStepId, scriptSource(script, at)]]))
      const value = scriptValue(script, made.get(scriptStepId)!.built.params)
      const goesTo = script.tag ? sharedTag(script.tag) : script.language
      return preview(newVersion({ workspaceId, path: at, kind: 'preview', tag: goesTo, value, by }, made), made)
    },
  }
}

/** Every step of the flow with code of its own, by id. */
function sourcesOf(value: FlowValue, path: string, at: string, locks: Map<string, string>): Map<string, Source> {
  const sources = new Map<string, Source>()
  for (const { module, at: here } of modulesOf(value, at)) {
    if (module.value.type !== 'rawscript') continue
    const { lock } = module.value
    const language = module.value.language as Language
    const content = module === value.preprocessor_module ? withMain(module.value.content, language) : module.value.content
    const earlier = isNode(language) ? (locks.get(module.id) ?? null) : null
    const name = `${path}/${module.id}.${extensions[language]}`
    sources.set(module.id, { language, content, lock: lock || earlier, name, at: `${here}.value.content` })
  }
  return sources
}

/** The function of a preprocessor is called `preprocessor` (as in Windmill); runtimes call `main`. */
function withMain(content: string, language: Language): string {
  if (languages[language] === 'python') {
    return /^(async +)?def +preprocessor\b/m.test(content) ? `${content}\nmain = preprocessor\n` : content
  }
  if (!isNode(language) || !/\bexport +(default +)?(async +)?(function|const|let) +preprocessor\b/.test(content)) return content
  return `${content}\nexport { preprocessor as main }\n`
}

function scriptSource(script: ScriptDocument, path: string): Source {
  const { language, content, lock } = script
  return { language, content, lock, name: `${path}/${scriptStepId}.${extensions[language]}`, at: '$.content' }
}

function isNode(language: Language): boolean {
  return languages[language].startsWith('node')
}

/** The locks that a version's steps were built with: a step keeps its packages' versions until its imports change. */
async function locksOf(db: Database, versionId: string): Promise<Map<string, string>> {
  const { built } = await loadVersion(db.pool, versionId)
  const steps = Object.entries(built.steps)
  const locks = await loadArtifactLocks(
    db.pool,
    steps.map(([, step]) => step.artifactKey),
  )
  return new Map(steps.flatMap(([id, step]) => (locks.has(step.artifactKey) ? [[id, locks.get(step.artifactKey)!]] : [])))
}

type VersionParts = Pick<NewVersion, 'workspaceId' | 'path' | 'kind' | 'tag' | 'by'> & { value: FlowValue }

function newVersion(parts: VersionParts, made: Map<string, Made>): NewVersion {
  return versionOf(parts, Object.fromEntries([...made].map(([id, { built }]) => [id, built])))
}

function versionOf(parts: VersionParts, steps: Built['steps']): NewVersion {
  const { kind, tag } = parts
  const value = JSON.stringify(parts.value)
  const built = JSON.stringify({ steps } satisfies Built)
  const priority = parts.value.priority ?? 0
  if (!Number.isInteger(priority) || Math.abs(priority) > priorityMax) {
    const text = `$.value.priority: must be a whole number from -${priorityMax} to ${priorityMax}`
    throw new EngineError('E_FLOW_INVALID', text, { at: '$.value.priority' })
  }
  const turns = turnRuleOf(parts.value)
  return { ...parts, turns, value, built, priority, contentHash: sha256(JSON.stringify([kind, tag, priority, value, built])) }
}

function artifactsOf(made: Map<string, Made>): Made['artifact'][] {
  return [...new Map([...made.values()].map(({ artifact }) => [artifact.key, artifact])).values()]
}

function assertSamePath(document: unknown, path: string): void {
  const named = (document as { path?: unknown }).path ?? path
  if (named === path) return
  const text = `$.path is ${JSON.stringify(named).slice(0, 100)}, but this is "${path}": a flow keeps its path; deploy it under the new one, then archive this one`
  throw new EngineError('E_INVALID', text, { at: '$.path' })
}

function expectExistence({ mustExist, exists, path }: { mustExist: boolean | undefined; exists: boolean; path: string }): void {
  if (mustExist === undefined || exists === mustExist) return
  if (mustExist) throw new EngineError('E_NOT_FOUND', `no flow "${path}" to update; create it first`, { at: '$.path' })
  throw new EngineError('E_CONFLICT', `flow "${path}" exists; update it, or choose another path`, { at: '$.path' })
}

function expectParent(parentHash: string, versionId: string | undefined, path: string): void {
  const current = versionId === undefined ? undefined : hashOfVersion(versionId)
  if (current === parentHash) return
  const now = current === undefined ? 'there is no such script' : `${current} is current`
  const text = `script "${path}" is not at version ${parentHash} any more: ${now}; read it again, then deploy your change`
  throw new EngineError('E_CONFLICT', text, { at: '$.parent_hash' })
}

/** A tag that a document names. */
function sharedTag(tag: string): string {
  if (tagPattern.test(tag)) return tag
  const text = `"${tag.slice(0, 100)}" cannot be a tag: use up to 100 characters without spaces, commas and colons`
  throw new EngineError('E_INVALID', text, { at: '$.tag' })
}

/** What is left of a document beside what has a column of its own. */
function restOf(document: unknown): string {
  const columns = ['path', 'summary', 'description', 'value', 'schema', 'content', 'language', 'lock', 'kind']
  return JSON.stringify(Object.fromEntries(Object.entries(document as object).filter(([key]) => !columns.includes(key))))
}

function jsonOrNull(value: Json | undefined): string | null {
  return value === undefined || value === null ? null : JSON.stringify(value)
}
