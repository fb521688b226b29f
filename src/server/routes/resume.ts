// Answers to steps that wait: by signed URLs, which need no token, and by members.
//   R1. A signature is looked at first: without a right one nothing is told, not even whether there is such a job.
//   R2. GET answers too (a link in a message is enough), so whatever opens links unasked answers as well: the page under /approve asks first.
import { randomBytes } from 'node:crypto'
import { Type } from 'typebox'
import { EngineError } from '../../core/errors.ts'
import { jobIdOf } from '../../core/job/ids.ts'
import type { Json, JsonText } from '../../core/json.ts'
import {
  answerAsMember,
  answeredId,
  approvalInfo,
  approvalOwner,
  approversOf,
  takeAnswer,
  waitOfWorkflow,
  type ApprovalInfo,
} from '../answers.ts'
import { approvalPage, contentPolicy } from '../approval_page.ts'
import { argsOfBody, checkJson, payloadText } from '../args.ts'
import { findJob, jobIdNamed, textOf } from '../job_lookup.ts'
import { objectText } from '../job_view.ts'
import { byId, sendJson, uuidOf, type Access, type App, type Reply, type Request, type ServerParts } from '../parts.ts'
import { callerOf } from '../plugins/auth.ts'
import { createSignatures, resumeIdOfKey, type Signed } from '../signatures.ts'
import { described, readBodiesAsText } from './run.ts'

const resumeIds = 2 ** 32
const resumeId = Type.Integer({ minimum: 0, maximum: resumeIds - 1 })
const numbered = Type.Object({ ws: Type.String(), id: Type.String(), resume_id: resumeId })
const signedParams = Type.Object({ ws: Type.String(), id: Type.String(), resume_id: resumeId, signature: Type.String() })
const byJob = Type.Object({ ws: Type.String(), job_id: Type.String() })
const approver = Type.Optional(Type.String({ description: 'Who is asked; part of what is signed' }))
const write: Access = { domain: 'jobs', action: 'write' }

export function resumeRoutes(app: App, parts: ServerParts): void {
  const { db, reads, limits, identities, baseUrl } = parts
  const signatures = createSignatures({ db, identities })
  const tags = ['approvals']
  readBodiesAsText(app)

  /** What a URL was signed for. @throws EngineError E_INVALID, E_FORBIDDEN */
  async function signedIn(request: Request): Promise<Signed> {
    const { ws, id, resume_id, signature } = request.params as { ws: string; id: string; resume_id: string; signature: string }
    const { approver, step_key: stepKey } = request.query as { approver?: string; step_key?: string }
    const signed = { workspaceId: ws, id: uuidOf(id), resumeId: resumeIdOf(resume_id), approver, stepKey }
    if (await signatures.verify(signed, signature)) return signed
    throw new EngineError('E_FORBIDDEN', 'the signature is not of this id, resume id and approver', { at: 'signature' })
  }

  /** What an answer says: the body, whatever JSON it is, or `payload=`; null if nothing. */
  function payloadOf(request: Request): JsonText {
    const { payload } = request.query as { payload?: string }
    const body = request.body as string | undefined
    let text: JsonText = 'null'
    if (body) {
      const type = request.headers['content-type']
      text =
        type === undefined || type.includes('json')
          ? checkJson(body, '$', limits.jsonDepthMax).text
          : argsOfBody(body, type, limits.jsonDepthMax)
    } else if (payload) text = checkJson(payloadText(payload), 'payload', limits.jsonDepthMax).text
    if (Buffer.byteLength(text) <= limits.resultBytesMax) return text
    throw new EngineError('E_TOO_LARGE', `an answer may have ${limits.resultBytesMax} bytes (MILLRACE_RESULT_BYTES_MAX)`, {
      at: 'body',
    })
  }

  for (const [name, approved] of [
    ['resume', true],
    ['cancel', false],
  ] as const) {
    for (const method of ['GET', 'POST'] as const) {
      app.route({
        ...(method === 'POST' ? described : {}),
        method,
        url: `/api/w/:ws/jobs_u/${name}/:id/:resume_id/:signature`,
        config: { access: 'signed' },
        schema: {
          summary: approved ? 'Answer a waiting step' : 'Refuse what a step waits for',
          description: 'The payload is the body, or `payload=` (base64 of JSON). The same resume id answers once.',
          tags,
          security: [],
          params: signedParams,
          querystring: Type.Object({ approver, payload: Type.Optional(Type.String()), step_key: Type.Optional(Type.String()) }),
          ...(method === 'POST' ? { body: Type.Unknown({ description: 'The payload: any JSON' }) } : {}),
        },
        handler: async (request, reply) => {
          const signed = await signedIn(request)
          const caller = await callerOf(identities, request, signed.workspaceId)
          const id = await waitOfWorkflow(parts, signed)
          await takeAnswer(db.pool, { ...signed, id, approved, payload: payloadOf(request), caller })
          return thanks(reply, signed.id, approved)
        },
      })
    }
  }

  app.get(
    '/api/w/:ws/jobs/job_signature/:id/:resume_id',
    {
      config: { access: write },
      schema: { summary: 'The signature of an answer', tags, params: numbered, querystring: Type.Object({ approver }) },
    },
    async (request, reply) => {
      const { ws, id, resume_id } = request.params
      assertWrites(request)
      const signature = await signatures.sign({
        workspaceId: ws,
        id: uuidOf(id),
        resumeId: resume_id,
        approver: request.query.approver,
      })
      return reply.type('text/plain; charset=utf-8').send(signature)
    },
  )

  app.get(
    '/api/w/:ws/jobs/resume_urls/:id/:resume_id',
    {
      config: { access: write },
      schema: {
        summary: 'URLs by which whoever has them answers a waiting step',
        description:
          'Of a step: answers are to that step, also when they come before it waits. `flow_level`: to whatever of the job waits next.',
        tags,
        params: numbered,
        querystring: Type.Object({ approver, flow_level: Type.Optional(Type.Boolean()) }),
      },
    },
    async (request, reply) => {
      const { ws, id: asked, resume_id } = request.params
      const { approver, flow_level = false } = request.query
      assertWrites(request)
      const step = await answeredId(reads, ws, uuidOf(asked))
      const id = flow_level ? jobIdOf(step) : step
      const signature = await signatures.sign({ workspaceId: ws, id, resumeId: resume_id, approver })
      const rest = `${id}/${resume_id}/${signature}${approver === undefined ? '' : `?approver=${encodeURIComponent(approver)}`}`
      const at = (where: string): string => `${baseUrl}${where}/${rest}`
      const ofWorkspace = encodeURIComponent(ws)
      const urls = {
        approvalPage: at(`/approve/${ofWorkspace}`),
        resume: at(`/api/w/${ofWorkspace}/jobs_u/resume`),
        cancel: at(`/api/w/${ofWorkspace}/jobs_u/cancel`),
      }
      return sendJson(reply, JSON.stringify(urls))
    },
  )

  app.get(
    '/api/w/:ws/jobs/wac_approval_urls/:id/:step_key',
    {
      config: { access: write },
      schema: {
        summary: 'URLs by which whoever has them answers one approval of a workflow',
        description:
          '`step_key`: the key that waitForApproval has. `resume` and `cancel` are refused while that approval does not wait; ' +
          '`approvalPage` asks for whatever waits when it is opened.',
        tags,
        params: Type.Object({ ws: Type.String(), id: Type.String(), step_key: Type.String() }),
        querystring: Type.Object({ approver }),
      },
    },
    async (request, reply) => {
      const { ws, id: asked, step_key: stepKey } = request.params
      const { approver } = request.query
      assertWrites(request)
      const id = await approvalOwner(reads, ws, uuidOf(asked))
      const { id: jobId } = await jobIdNamed(db.pool, ws, id)
      const resumeId = resumeIdOfKey(stepKey)
      const who = { workspaceId: ws, resumeId, approver }
      const ofKey = await signatures.sign({ ...who, id, stepKey })
      const ofPage = await signatures.sign({ ...who, id: jobId })
      const ofWorkspace = encodeURIComponent(ws)
      const named = approver === undefined ? '' : `approver=${encodeURIComponent(approver)}`
      const bound = (what: string): string =>
        `${baseUrl}/api/w/${ofWorkspace}/jobs_u/${what}/${id}/${resumeId}/${ofKey}?step_key=${encodeURIComponent(stepKey)}${named && `&${named}`}`
      const urls = {
        approvalPage: `${baseUrl}/approve/${ofWorkspace}/${jobId}/${resumeId}/${ofPage}${named && `?${named}`}`,
        resume: bound('resume'),
        cancel: bound('cancel'),
      }
      return sendJson(reply, JSON.stringify(urls))
    },
  )

  app.get(
    '/approve/:ws/:id/:resume_id/:signature',
    {
      config: { access: 'signed' },
      schema: {
        summary: 'A page that asks for an answer',
        tags,
        security: [],
        produces: ['text/html'],
        params: signedParams,
        querystring: Type.Object({ approver }),
      },
    },
    async (request, reply) => {
      const { workspaceId, id, resumeId } = await signedIn(request)
      const caller = await callerOf(identities, request, workspaceId)
      let info: ApprovalInfo | string
      try {
        info = await approvalInfo(parts, { workspaceId, id, caller })
      } catch (error) {
        if (!(error instanceof EngineError) || error.code !== 'E_CONFLICT') throw error
        info = error.message // over, or not waiting yet
      }
      const query = request.url.includes('?') ? request.url.slice(request.url.indexOf('?')) : ''
      const at = (name: string): string =>
        `/api/w/${encodeURIComponent(workspaceId)}/jobs_u/${name}/${id}/${resumeId}/${request.params.signature}${query}`
      const nonce = randomBytes(16).toString('base64')
      const page = approvalPage({ info, jobId: jobIdOf(id), resume: at('resume'), cancel: at('cancel') }, nonce)
      return reply
        .headers({
          'content-security-policy': contentPolicy(nonce),
          'referrer-policy': 'no-referrer',
          'cache-control': 'no-store',
        })
        .type('text/html; charset=utf-8')
        .send(page)
    },
  )

  app.get(
    '/api/w/:ws/jobs_u/get_flow/:id/:resume_id/:signature',
    {
      config: { access: 'signed' },
      schema: {
        summary: 'The job whose step waits, and who has answered it',
        tags,
        security: [],
        params: signedParams,
        querystring: Type.Object({ approver }),
      },
    },
    async (request, reply) => {
      const { workspaceId, id } = await signedIn(request)
      const job = await findJob(parts, workspaceId, jobIdOf(id))
      const approvers = await approversOf(reads, id)
      return sendJson(
        reply,
        objectText({}, { job: await textOf(parts, workspaceId, job, false), approvers: JSON.stringify(approvers) }),
      )
    },
  )

  app.post(
    '/api/w/:ws/jobs/flow/resume/:id',
    {
      ...described,
      config: { access: write },
      schema: {
        summary: 'Answer what a job waits for, as a member',
        description: "Of several waiting steps the one whose time is over first; a step's own id names it.",
        tags,
        params: byId,
        body: Type.Unknown({ description: 'The payload: any JSON' }),
      },
    },
    async (request, reply) => {
      const { ws, id } = request.params
      await answerAsMember(db.pool, {
        workspaceId: ws,
        id: uuidOf(id),
        approved: true,
        payload: payloadOf(request),
        caller: request.identity,
      })
      return thanks(reply, id, true)
    },
  )

  app.post(
    '/api/w/:ws/jobs_u/flow/resume_suspended/:job_id',
    {
      ...described,
      config: { access: 'signed' },
      schema: {
        summary: 'Answer or refuse what a job waits for, as a member or with the token of a signed URL',
        description:
          '`{payload, approved (preset: true), approval_token}`; the token is `<resume id>.<signature>` of a URL for this id.',
        tags,
        params: byJob,
        body: Type.Unknown(),
      },
    },
    async (request, reply) => {
      const { ws, job_id } = request.params
      const id = uuidOf(job_id, 'job_id')
      const { payload, approved, approval_token } = askedOf(payloadOf(request))
      const caller = await callerOf(identities, request, ws)
      if (approval_token !== undefined) {
        await takeAnswer(db.pool, { ...(await holderOf(ws, id, approval_token)), approved, payload, caller })
      } else if (caller) await answerAsMember(db.pool, { workspaceId: ws, id, approved, payload, caller })
      else
        throw new EngineError('E_UNAUTHORIZED', 'send a token that may write jobs here, or an approval_token', {
          at: 'authorization',
        })
      return thanks(reply, id, approved)
    },
  )

  app.get(
    '/api/w/:ws/jobs_u/flow/approval_info/:job_id',
    {
      config: { access: 'signed' },
      schema: {
        summary: 'What a job waits for, and whether whoever asks may answer',
        description: '`token`: `<resume id>.<signature>` of a URL for this id, instead of a token of a member.',
        tags,
        params: byJob,
        querystring: Type.Object({ token: Type.Optional(Type.String()) }),
      },
    },
    async (request, reply) => {
      const { ws, job_id } = request.params
      const id = uuidOf(job_id, 'job_id')
      const { token } = request.query
      const caller = await callerOf(identities, request, ws)
      const holds = token !== undefined && token.includes('.') // `?token=` may be a member's own too
      if (holds) await holderOf(ws, id, token)
      else if (!caller)
        throw new EngineError('E_UNAUTHORIZED', 'send a token of a member, or that of a signed URL', { at: 'authorization' })
      return sendJson(reply, JSON.stringify(await approvalInfo(parts, { workspaceId: ws, id, caller })))
    },
  )

  /** @throws EngineError E_FORBIDDEN */
  async function holderOf(workspaceId: string, id: string, token: string): Promise<Signed> {
    const [number = '', signature = ''] = token.split('.')
    const signed = { workspaceId, id, resumeId: Number(number), approver: undefined }
    const known = /^\d{1,10}$/.test(number) && signed.resumeId < resumeIds
    if (known && (await signatures.verify(signed, signature))) return signed
    throw new EngineError('E_FORBIDDEN', 'the token is not `<resume id>.<signature>` of this id', { at: 'approval_token' })
  }
}

function thanks(reply: Reply, id: string, approved: boolean): Reply {
  return reply
    .code(201)
    .type('text/plain; charset=utf-8')
    .send(`job ${jobIdOf(id)}: ${approved ? 'approved' : 'refused'}`)
}

/** Where bodies are not checked, parameters are not read as numbers. @throws EngineError E_INVALID */
function resumeIdOf(text: string | number): number {
  const number = Number(text)
  if (Number.isInteger(number) && number >= 0 && number < resumeIds) return number
  throw new EngineError('E_INVALID', `the resume id is a whole number below ${resumeIds}`, { at: 'resume_id' })
}

/** A signature is a way to write, though one gets it by reading. */
function assertWrites({ identity }: Request): void {
  if (identity.readOnly) {
    throw new EngineError('E_FORBIDDEN', 'this token is read-only, and whoever has this URL may answer', { at: 'authorization' })
  }
}

/** @throws EngineError E_INVALID */
function askedOf(body: JsonText): { payload: JsonText; approved: boolean; approval_token: string | undefined } {
  const asked = (JSON.parse(body) ?? {}) as { payload?: Json; approved?: unknown; approval_token?: unknown }
  const { payload = null, approved = true, approval_token } = asked
  if (typeof approved !== 'boolean') throw new EngineError('E_INVALID', '$.approved is true or false', { at: '$.approved' })
  if (approval_token === undefined || approval_token === null || typeof approval_token === 'string')
    return { payload: JSON.stringify(payload), approved, approval_token: approval_token ?? undefined }
  throw new EngineError('E_INVALID', '$.approval_token is a text', { at: '$.approval_token' })
}
