// Starting a flow's job again from one of its steps, iterations or branches, with the results of what came before.
import { Type, type Static } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import { History } from '../../core/flow/history.ts'
import { printKept } from '../../core/flow/deletion.ts'
import { restartRecords, topOf, type RestartPoint } from '../../core/flow/restart.ts'
import { readJob, type JobRow } from '../../store/job_reads.ts'
import { restartJob } from '../../store/restarts.ts'
import { currentFlow } from '../../store/versions.ts'
import type { ShownVersion } from '../histories.ts'
import { jobIdNamed, noJob } from '../job_lookup.ts'
import { isFlow } from '../job_view.ts'
import { byId, type Access, type App, type Request, type ServerParts } from '../parts.ts'
import { newJobOf } from '../run_request.ts'

const access: Access = { domain: 'jobs', action: 'run' }

const body = Type.Object({
  step_id: Type.String({ description: 'The step to start from; it and what comes after it run again' }),
  branch_or_iteration_n: Type.Optional(
    Type.Union([Type.Integer({ minimum: -1 }), Type.Null()], {
      description:
        'Of a loop or branchall: the first iteration or branch that runs again. Of a step inside of a loop: in which iteration',
    }),
  ),
  flow_version: Type.Optional(
    Type.Union([Type.Integer({ minimum: 1 }), Type.Null()], {
      description:
        'On this version of the flow; what comes before the step must be the same in it. Preset: the one that the old job ran',
    }),
  ),
  use_latest_version: Type.Optional(Type.Boolean({ description: 'On the version that is deployed now' })),
})

export function restartRoutes(app: App, parts: ServerParts): void {
  const schema = {
    summary: "Start a flow's job again from a step",
    description: 'Answers with the id of the new job. Results of earlier steps are kept.',
    tags: ['jobs'],
  }

  app.post(
    '/api/w/:ws/jobs/restart/f/:id',
    { config: { access }, schema: { ...schema, params: byId, body } },
    async (request, reply) => reply.code(201).send(await restart(parts, request, request.params, request.body)),
  )

  // The same as older clients ask for it: the number is always there, and is 0 where none is meant.
  app.post(
    '/api/w/:ws/jobs/restart/f/:id/from/:step_id/:n',
    {
      config: { access },
      schema: {
        ...schema,
        hide: true,
        params: Type.Object({ ...byId.properties, step_id: Type.String(), n: Type.Integer({ minimum: -1 }) }),
      },
    },
    async (request, reply) => {
      const { step_id, n } = request.params
      const asked = { step_id, branch_or_iteration_n: n > 0 ? n : null }
      return reply.code(201).send(await restart(parts, request, request.params, asked))
    },
  )
}

async function restart(
  parts: ServerParts,
  request: Request,
  { ws, id }: { ws: string; id: string },
  asked: Static<typeof body>,
): Promise<string> {
  const { reads, histories, enqueuer } = parts
  const named = await jobIdNamed(reads, ws, id)
  const old = await readJob(reads, ws, named.id)
  if (!old) throw noJob(id)
  assertRestartable(old, request, ws)
  const point: RestartPoint = { stepId: asked.step_id, slot: asked.branch_or_iteration_n ?? null }
  const { records, options } = await histories.partsOf(old)
  const ran = await histories.version(old.versionId)
  const version = await versionOf(parts, ws, old, asked)
  if (version !== ran) assertSameBefore(ran, version, point)
  if (version.plan.turns !== null) {
    const text = `${old.path} limits, orders or debounces its jobs; one that begins in the middle is not counted, so it starts again as a whole: jobs/replay`
    throw new EngineError('E_CONFLICT', text, { at: 'id' })
  }
  const kept = restartRecords(History.of(records, options), { ...options, plan: version.plan }, point)
  const tag = old.tag === ran.tag ? version.tag : old.tag
  const job = newJobOf(
    request,
    { versionId: version.plan.versionId, tag, priority: version.priority, turns: null, early: false, preprocessed: false },
    '{}',
  )
  enqueuer.assertRoom(job.tag, 1)
  const ids = await parts.tracing.accept([job], async () => [
    await restartJob(parts.db.pool, {
      job,
      of: old.id,
      fromStep: point.stepId,
      fromSlot: point.slot,
      records: kept.map((record) => printKept(record)),
      signals: kept.filter((record) => record.k === 'signal').length,
    }),
  ])
  enqueuer.added(job.tag, 1)
  parts.metrics.accepted(1)
  return ids[0]!
}

function assertRestartable(job: JobRow, { identity }: Request, ws: string): void {
  if (!isFlow(job.kind)) {
    throw new EngineError('E_INVALID', `job ${job.id} ran a ${job.kind}, which has no steps; jobs/replay starts it again`, {
      at: 'id',
    })
  }
  if (job.part !== null) {
    const text = `job ${job.id} is a part of job ${job.parentId}; start that one again instead`
    throw new EngineError('E_INVALID', text, { at: 'id' })
  }
  if (job.status === null) {
    throw new EngineError('E_CONFLICT', `job ${job.id} is not over yet; cancel it first, or wait for its end`, { at: 'id' })
  }
  if (job.deleted === 'all') {
    throw new EngineError(
      'E_CONFLICT',
      `job ${job.id} was deleted (delete_after_secs): its arguments are gone; start its flow anew`,
      {
        at: 'id',
      },
    )
  }
  const rights = identity.members[ws]
  if (job.kind === 'flowpreview' && rights?.operator === true && !identity.superAdmin) {
    throw new EngineError('E_FORBIDDEN', 'operators may run what is deployed, and this was not')
  }
}

/** The version that the new job runs. */
async function versionOf(
  { db, histories }: ServerParts,
  ws: string,
  old: JobRow,
  asked: Static<typeof body>,
): Promise<ShownVersion> {
  if (asked.flow_version == null && !asked.use_latest_version) return histories.version(old.versionId)
  if (old.kind === 'flowpreview') {
    throw new EngineError('E_INVALID', 'this job ran a flow that was not deployed: it starts again on that one', {
      at: asked.use_latest_version ? '$.use_latest_version' : '$.flow_version',
    })
  }
  if (asked.use_latest_version) {
    const current = await currentFlow(db.pool, ws, old.path)
    if (!current)
      throw new EngineError('E_NOT_FOUND', `nothing is deployed at ${old.path} any more`, { at: '$.use_latest_version' })
    return histories.version(current.versionId)
  }
  const version = await histories.version(String(asked.flow_version)).catch(() => null)
  const isOfFlow = version?.plan.workspaceId === ws && version.plan.kind === 'flow' && version.plan.path === old.path
  if (isOfFlow) return version
  throw new EngineError('E_NOT_FOUND', `flow ${old.path} has no version ${asked.flow_version}`, { at: '$.flow_version' })
}

/** Results are kept only of steps that have stayed as they were. @throws EngineError E_CONFLICT */
function assertSameBefore(ran: ShownVersion, version: ShownVersion, point: RestartPoint): void {
  const { id, inside } = topOf(version.plan, point)
  const now = version.value.modules
  const until = now.findIndex((module) => module.id === id) + (inside ? 1 : 0)
  for (let at = 0; at < until; at++) {
    const [before, after] = [ran.value.modules[at], now[at]!]
    if (before && JSON.stringify(before) === JSON.stringify(after)) continue
    const text = `step ${after.id} is not the same in version ${version.plan.versionId}, so its result cannot be kept; start from it, or without it`
    throw new EngineError('E_CONFLICT', text, { at: '$.step_id' })
  }
}
