// Code and flows that come with the request that runs them.
import { EngineError } from '../core/errors.ts'
import type { FlowPart } from '../core/flow/part.ts'
import type { JsonText } from '../core/json.ts'
import type { Preview } from '../deploy/deploy.ts'
import { readJob } from '../store/job_reads.ts'
import { checkJson } from './args.ts'
import { noJob } from './job_lookup.ts'
import type { Request, ServerParts } from './parts.ts'
import type { Target } from './runnables.ts'

interface PreviewBody {
  content?: unknown
  language?: unknown
  lock?: string | null
  value?: unknown
  path?: unknown
  args?: unknown
  tag?: string | null
  until?: unknown
  only?: unknown
  results?: unknown
}

function objectOf(request: Request, depthMax: number): Record<string, unknown> {
  const { value } = checkJson((request.body as string | undefined) ?? '', '$', depthMax)
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown>
  throw new EngineError('E_INVALID', 'the body is not a JSON object', { at: '$' })
}

export async function previewOf(
  parts: ServerParts,
  request: Request,
  kind: 'script' | 'flow',
): Promise<{ target: Target; args: JsonText }> {
  const body = objectOf(request, parts.limits.jsonDepthMax) as PreviewBody
  const args = body.args ?? {}
  if (typeof args !== 'object' || Array.isArray(args))
    throw new EngineError('E_INVALID', '$.args is not an object', { at: '$.args' })
  return {
    target: await (kind === 'flow' ? flowTarget(parts, request, body) : scriptTarget(parts, request, body)),
    args: JSON.stringify(args),
  }
}

/** A flow that is given, or a part of one (`until`, `only`, `results`): of the given one, or of what is deployed at `path`. */
async function flowTarget(parts: ServerParts, request: Request, body: PreviewBody): Promise<Target> {
  const { ws } = request.params as { ws: string }
  const by = request.identity.username
  const path = pathOf(body)
  const part = partOf(body)
  const { deployer } = parts
  if (part === undefined || body.value !== undefined) {
    const preview = await deployer.previewFlow({ workspaceId: ws, path, value: body.value, part, by })
    return { ...(await previewTarget(parts, ws, preview)), tag: tagOf(body) ?? preview.tag }
  }
  const { versionId, priority } = await parts.runnables.find('f', ws, textOf(path, '$.path'))
  const preview = await deployer.previewPart({ versionId, part, by })
  return { ...(await previewTarget(parts, ws, preview)), tag: tagOf(body) ?? preview.tag, priority }
}

async function previewTarget({ turnMakers }: ServerParts, workspaceId: string, preview: Preview): Promise<Target> {
  const { versionId, path, tag } = preview
  return {
    versionId,
    tag,
    priority: 0,
    turns: await turnMakers.of(preview.turns, { workspaceId, kind: 'flow', path, versionId }),
    early: preview.early,
    preprocessed: false,
  }
}

function partOf({ until, only, results }: PreviewBody): FlowPart | undefined {
  for (const [name, id] of Object.entries({ until, only })) {
    if (id != null && typeof id !== 'string')
      throw new EngineError('E_INVALID', `$.${name} is not the id of a step`, { at: `$.${name}` })
  }
  if (results != null && (typeof results !== 'object' || Array.isArray(results))) {
    throw new EngineError('E_INVALID', '$.results is not an object: a member for each step whose result is given', {
      at: '$.results',
    })
  }
  if (until == null && only == null && results == null) return undefined
  const given = { until, only, results } as { [name in keyof FlowPart]: FlowPart[name] | null }
  return { until: given.until ?? undefined, only: given.only ?? undefined, results: given.results ?? undefined }
}

async function scriptTarget({ deployer }: ServerParts, request: Request, body: PreviewBody, at = '$'): Promise<Target> {
  const { ws } = request.params as { ws: string }
  const { content, language, lock } = body
  if (typeof content !== 'string') throw new EngineError('E_INVALID', `${at}.content is not a text`, { at: `${at}.content` })
  if (typeof language !== 'string') throw new EngineError('E_INVALID', `${at}.language is not a text`, { at: `${at}.language` })
  const by = request.identity.username
  const preview = await deployer.previewScript({
    workspaceId: ws,
    path: pathOf(body),
    content,
    language,
    by,
    lock,
    tag: tagOf(body),
  })
  return { versionId: preview.versionId, tag: preview.tag, priority: 0, turns: null, early: false, preprocessed: false }
}

const pathOf = (body: PreviewBody): string | undefined =>
  typeof body.path === 'string' && body.path !== '' ? body.path : undefined
const tagOf = (body: PreviewBody): string | undefined => (typeof body.tag === 'string' && body.tag !== '' ? body.tag : undefined)

/** A function of the script that a job runs, called as a job of its own: what windmill-client does with a `task` outside of a workflow. */
export async function taskOf(
  parts: ServerParts,
  request: Request,
  { jobId, entry }: { jobId: string; entry: string },
): Promise<{ target: Target; args: JsonText }> {
  const { ws } = request.params as { ws: string }
  const { args = {} } = objectOf(request, parts.limits.jsonDepthMax) as PreviewBody
  if (args === null || typeof args !== 'object' || Array.isArray(args))
    throw new EngineError('E_INVALID', '$.args is not an object', { at: '$.args' })
  const job = await readJob(parts.db.pool, ws, jobId)
  if (!job) throw noJob(jobId)
  const { versionId, tag } = await parts.deployer.previewTask({ versionId: job.versionId, entry, by: request.identity.username })
  const target = { versionId, tag, priority: job.priority, turns: null, early: false, preprocessed: false }
  return { target, args: JSON.stringify(args) }
}

/** What add_batch_jobs runs: something deployed, something given, or nothing at all (`noop`). */
export async function measuredTarget(parts: ServerParts, request: Request): Promise<Target> {
  const { ws } = request.params as { ws: string }
  const body = objectOf(request, parts.limits.jsonDepthMax) as {
    kind?: unknown
    path?: unknown
    flow_value?: unknown
    rawscript?: unknown
  }
  const { kind, path, flow_value: value, rawscript } = body
  switch (kind) {
    case 'noop':
      return flowTarget(parts, request, { value: { modules: [{ id: 'a', value: { type: 'identity' } }] } })
    case 'script':
      return parts.runnables.find('p', ws, textOf(path, '$.path'))
    case 'flow':
      return value === undefined ? parts.runnables.find('f', ws, textOf(path, '$.path')) : flowTarget(parts, request, { value })
    case 'rawscript':
      if (rawscript === null || typeof rawscript !== 'object')
        throw new EngineError('E_INVALID', '$.rawscript is missing', { at: '$.rawscript' })
      return scriptTarget(parts, request, rawscript, '$.rawscript')
    default:
      throw new EngineError('E_INVALID', '$.kind is not one this engine measures', {
        at: '$.kind',
        allowed: ['noop', 'script', 'flow', 'rawscript'],
      })
  }
}

function textOf(value: unknown, at: string): string {
  if (typeof value !== 'string') throw new EngineError('E_INVALID', `${at} is not a text`, { at })
  return value
}
