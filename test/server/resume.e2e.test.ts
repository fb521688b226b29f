// Answers over HTTP: to real jobs on a real worker, by signed URLs, by members, and by the windmill-client package inside a step.
import { createHmac } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import type { FlowModule, Suspend } from '../../src/core/flow/definition.ts'
import { stepIdOf } from '../../src/core/job/ids.ts'
import type { Json } from '../../src/core/json.ts'
import { addMember, createAccount, createToken } from '../../src/store/accounts.ts'
import { give, same } from '../flows/cases.ts'
import { holds, testEngine, ts, type Engine } from '../support/engine.ts'
import { testApi, type Answer, type Api } from './api.ts'

let engine: Engine
let api: Api
let baseUrl: string

beforeAll(async () => {
  engine = await testEngine()
  api = await testApi({}, { db: engine.db, home: engine.home })
  baseUrl = await api.app.listen({ port: 0, host: '127.0.0.1' })
  await engine.work([], { baseUrl })
  await deploy('waits', {})
})

const asking = (suspend: Suspend, more: Partial<FlowModule> = {}): FlowModule[] => [
  same('a', { suspend: { required_events: 1, ...suspend }, ...more }),
  give('b', '({ resume, resumes, approvers })'),
]

async function deploy(path: string, suspend: Suspend, more: Partial<FlowModule> = {}): Promise<void> {
  await api.deploy(`f/${path}`, asking(suspend, more) as unknown as Json[])
}

async function start(path: string, token = api.token): Promise<string> {
  return (await api.post(`jobs/run/f/f/${path}`, {}, { token })).body
}

/** Starts a job, and gives its id once it waits. */
async function waiting(path = 'waits', token = api.token): Promise<string> {
  const id = await start(path, token)
  for (;;) {
    const job = (await api.get(`jobs_u/get/${id}`)).json
    if (job.suspend === 1) return id
    if (job.type === 'CompletedJob') throw new Error(`job ${id} is over: ${JSON.stringify(job.result)}`)
    await pause(5)
  }
}

interface Urls {
  resume: string
  cancel: string
  approvalPage: string
}

/** The path of a URL, as it is asked of the server. */
const local = (url: string): string => url.slice(new URL(url).origin.length)

async function urlsOf(id: string, query = ''): Promise<Urls> {
  const answer = await api.get(`jobs/resume_urls/${id}/77${query}`)
  expect(answer.status).toBe(200)
  const urls = answer.json as Urls
  return { resume: local(urls.resume), cancel: local(urls.cancel), approvalPage: local(urls.approvalPage) }
}

const anyone = { token: null }
const post = (url: string, body?: Json): Promise<Answer> => api.post(url, body, anyone)

const codeOf = ({ status, json }: Answer): unknown => [status, json.error.code]

describe('a signed URL', () => {
  test('answers with its body, and without a token', async () => {
    const id = await waiting()
    const { resume } = await urlsOf(stepIdOf(id, 1))
    expect((await post(resume, { x: [1] })).status).toBe(201)
    expect((await engine.done(id)).result).toEqual({ resume: { x: [1] }, resumes: [{ x: [1] }], approvers: [] })
  })

  test('answers to GET too, with the payload in base64, or none', async () => {
    const [one, two] = [await waiting(), await waiting()]
    const payload = encodeURIComponent(Buffer.from('{"ok":true}').toString('base64'))
    const { resume } = await urlsOf(stepIdOf(one, 1), '?approver=bob')
    expect((await api.get(`${resume}&payload=${payload}`, anyone)).status).toBe(201)
    expect((await api.get((await urlsOf(stepIdOf(two, 1))).resume, anyone)).status).toBe(201)
    expect((await engine.done(one)).result).toEqual({ resume: { ok: true }, resumes: [{ ok: true }], approvers: ['bob'] })
    expect((await engine.done(two)).result).toEqual({ resume: null, resumes: [null], approvers: [] })
  })

  test('takes a form, and the numbers of a body as they were written', async () => {
    const [one, two] = [await waiting(), await waiting()]
    const form = { ...anyone, type: 'application/x-www-form-urlencoded' }
    await api.post((await urlsOf(one)).resume, 'a=1&b=x', form)
    await api.post((await urlsOf(two)).resume, '12345678901234567890', anyone)
    expect((await engine.done(one)).result).toMatchObject({ resume: { a: '1', b: 'x' } })
    await engine.done(two)
    const { rows } = await engine.db.pool.query<{ steps: string }>('select steps from job_done where id = $1', [two])
    expect(rows[0]!.steps).toContain('"v":12345678901234567890')
  })

  test('refuses', async () => {
    const id = await waiting()
    expect((await post((await urlsOf(stepIdOf(id, 1), '?approver=eve')).cancel)).status).toBe(201)
    expect(await engine.done(id)).toMatchObject({
      status: 'failure',
      result: { error: { name: 'SuspendedDisapproved', message: 'the approval was refused by eve', step_id: 'a' } },
    })
  })

  test('of the flow answers whatever waits next, also before it does', async () => {
    await api.deploy('f/late', [same('z', { sleep: 0.3 }), ...asking({})] as unknown as Json[])
    const id = await start('late')
    const { resume } = await urlsOf(stepIdOf(id, 1), '?flow_level=true')
    expect(resume).toContain(`/${id}/77/`)
    expect((await post(resume, '"early"')).status).toBe(201)
    expect((await engine.done(id)).result).toMatchObject({ resume: 'early' })
  })

  test('is signed as Windmill signs it', async () => {
    const id = stepIdOf(await waiting(), 1)
    const { rows } = await engine.db.pool.query<{ value: string }>(
      `select value from instance_setting where name = 'workspace_key:main'`,
    )
    const key = JSON.parse(rows[0]!.value) as string
    const message = Buffer.concat([Buffer.from(id.replaceAll('-', ''), 'hex'), Buffer.from([0, 0, 0, 77])])
    const right = createHmac('sha256', key).update(message).digest('hex')
    expect((await urlsOf(id)).resume).toBe(`/api/w/main/jobs_u/resume/${id}/77/${right}`)
    expect((await api.get(`jobs/job_signature/${id}/77`)).body).toBe(right)
    const withApprover = createHmac('sha256', key)
      .update(Buffer.concat([message, Buffer.from('Bob B')]))
      .digest('hex')
    expect((await urlsOf(id, '?approver=Bob%20B')).cancel).toBe(
      `/api/w/main/jobs_u/cancel/${id}/77/${withApprover}?approver=Bob%20B`,
    )
    expect((await post(`jobs_u/resume/${id}/77/${right}`)).status).toBe(201)
  })

  test('answers once: the same one again is refused, and so is any once the job is over', async () => {
    await deploy('two', { required_events: 2 })
    const id = await waiting('two')
    const { resume } = await urlsOf(stepIdOf(id, 1))
    const answers = await Promise.all(Array.from({ length: 16 }, () => post(resume, 1)))
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1)
    for (const answer of answers.filter(({ status }) => status !== 201)) {
      expect(answer.json.error).toMatchObject({ code: 'E_CONFLICT', message: 'resume request already sent' })
    }
    const signature = (await api.get(`jobs/job_signature/${stepIdOf(id, 1)}/78`)).body
    expect((await post(`jobs_u/resume/${stepIdOf(id, 1)}/78/${signature}`, 2)).status).toBe(201)
    expect((await engine.done(id)).result).toMatchObject({ resumes: [1, 2] })
    const late = await post(resume, 3)
    expect(codeOf(late)).toEqual([409, 'E_CONFLICT'])
    expect(late.json.error.message).toContain('is over')
  })

  test('that was changed opens nothing', async () => {
    const id = stepIdOf(await waiting(), 1)
    const { resume } = await urlsOf(id, '?approver=bob')
    const signature = resume.split('/').at(-1)!.split('?')[0]!
    const changed = [
      `jobs_u/resume/${id}/77/${signature}?approver=eve`,
      `jobs_u/resume/${id}/77/${signature}`,
      `jobs_u/resume/${id}/78/${signature}?approver=bob`,
      `jobs_u/resume/${stepIdOf(id, 2)}/77/${signature}?approver=bob`,
      `jobs_u/resume/${id}/77/${signature.slice(1)}?approver=bob`,
      `/api/w/nowhere/jobs_u/resume/${id}/77/${signature}?approver=bob`,
    ]
    for (const url of changed) expect(codeOf(await post(url)), url).toEqual([403, 'E_FORBIDDEN'])
    const keys = await engine.db.pool.query(`select from instance_setting where name like 'workspace_key:%'`)
    expect(keys.rowCount).toBe(1)
  })

  test('of a job that is not there says so; a number that is none is named', async () => {
    const nowhere = '01a2055c-1d4f-7000-985a-611e8c980000'
    expect(codeOf(await post((await urlsOf(nowhere)).resume))).toEqual([404, 'E_NOT_FOUND'])
    expect(codeOf(await post(`jobs_u/resume/${nowhere}/4294967296/x`))).toEqual([400, 'E_INVALID'])
    expect(codeOf(await post('jobs_u/resume/nothing/1/x'))).toEqual([400, 'E_INVALID'])
    expect(codeOf(await post((await urlsOf(nowhere)).resume, '{'))).toEqual([400, 'E_JSON'])
  })

  test('has a page that asks, and answers nothing by itself', async () => {
    const form = { schema: { properties: { note: { type: 'string' }, level: { enum: [1, 2] }, '<b>': { type: 'number' } } } }
    await api.deploy('f/page', [
      give('a', '({ description: "<script>Ship it?", default_args: { note: "a \\"b\\"" } })', {
        suspend: { required_events: 1, resume_form: form },
      }),
      same('b'),
    ] as unknown as Json[])
    const id = await waiting('page')
    const { approvalPage, resume } = await urlsOf(stepIdOf(id, 1), '?approver=bob')
    const page = await api.get(approvalPage, anyone)
    expect([page.status, page.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8'])
    expect(page.body).toContain('&#60;script&#62;Ship it?')
    expect(page.body).toContain('data-name="note" data-type="string" value="a &#34;b&#34;"')
    expect(page.body).toContain('<select data-name="level" data-type="json"><option value="1">1</option>')
    expect(page.body).not.toContain('<b>')
    expect(page.body).toContain(`data-url="${resume.replaceAll('&', '&#38;')}"`)
    expect((await api.get(`jobs_u/get/${id}`)).json.suspend).toBe(1)
    expect((await api.get(approvalPage.replace('bob', 'eve'), anyone)).status).toBe(403)
    await post(resume, 1)
    await engine.done(id)
    expect((await api.get(approvalPage, anyone)).body).toContain('is over')
  })

  test('shows the job and who has answered', async () => {
    await deploy('three', { required_events: 3 })
    const id = await waiting('three')
    const { resume } = await urlsOf(stepIdOf(id, 1), '?approver=bob')
    await post(resume)
    const seen = await api.get(resume.replace('/resume/', '/get_flow/'), anyone)
    expect(seen.json).toMatchObject({
      job: { id, type: 'QueuedJob', suspend: 1, flow_status: { modules: [{ id: 'a' }, { id: 'b' }] } },
      approvers: [{ resume_id: 77, approver: 'bob' }],
    })
  })
})

describe('a member', () => {
  test('answers what waits, by the id of the job or of the step', async () => {
    const [one, two] = [await waiting(), await waiting()]
    expect((await api.post(`jobs/flow/resume/${one}`, { by: 'owner' })).status).toBe(201)
    expect((await api.post(`jobs/flow/resume/${stepIdOf(two, 1)}`)).status).toBe(201)
    expect((await engine.done(one)).result).toMatchObject({ resume: { by: 'owner' }, approvers: ['admin'] })
    expect((await engine.done(two)).result).toMatchObject({ resume: null })
  })

  test('refuses, and is told where nothing waits', async () => {
    const id = await waiting()
    const refusal = { approved: false, payload: 'no' }
    expect((await api.post(`jobs_u/flow/resume_suspended/${id}`, refusal)).status).toBe(201)
    expect((await engine.done(id)).result).toMatchObject({ error: { name: 'SuspendedDisapproved' } })
    expect(codeOf(await api.post(`jobs/flow/resume/${id}`))).toEqual([409, 'E_CONFLICT'])
    expect(codeOf(await post(`jobs_u/flow/resume_suspended/${id}`, refusal))).toEqual([401, 'E_UNAUTHORIZED'])
    expect(codeOf(await api.post(`jobs_u/flow/resume_suspended/${id}`, { approved: 1 }))).toEqual([400, 'E_INVALID'])
  })

  test('two at once count for one wait, not for the next one', async () => {
    await api.deploy('f/twice', [
      ...asking({}),
      same('c', { suspend: { required_events: 1 } }),
      give('d', 'resume'),
    ] as unknown as Json[])
    const id = await waiting('twice')
    const answers = await Promise.all([1, 2, 3].map((i) => api.post(`jobs/flow/resume/${id}`, i)))
    expect(answers.filter(({ status }) => status === 201).length).toBeGreaterThan(0)
    while ((await api.get(`jobs_u/flow/approval_info/${id}`)).json.step_id !== stepIdOf(id, 3)) await pause(5)
    await api.post(`jobs/flow/resume/${id}`, '"next"')
    expect((await engine.done(id)).result).toBe('next')
  })

  test('sees what is asked', async () => {
    const form = { schema: { type: 'object', properties: { ok: { type: 'boolean' } } } }
    await api.deploy('f/form', [
      give('a', '({ description: "Ship it?" })', {
        summary: 'Ask',
        suspend: { required_events: 2, resume_form: form, hide_cancel: true },
      }),
      same('b'),
    ] as unknown as Json[])
    const id = await waiting('form')
    const info = (await api.get(`jobs_u/flow/approval_info/${id}`)).json
    expect(info).toMatchObject({
      flow_id: id,
      step_id: stepIdOf(id, 1),
      form_schema: form.schema,
      description: 'Ship it?',
      can_approve: true,
      user_auth_required: false,
      hide_cancel: true,
      step_summary: 'Ask',
      wanted: 2,
      approvers: [],
    })
    const signature = (await api.get(`jobs/job_signature/${id}/5`)).body
    expect((await api.get(`jobs_u/flow/approval_info/${id}?token=5.${signature}`, anyone)).json.flow_id).toBe(id)
    expect(codeOf(await api.get(`jobs_u/flow/approval_info/${id}?token=6.${signature}`, anyone))).toEqual([403, 'E_FORBIDDEN'])
    expect(codeOf(await api.get(`jobs_u/flow/approval_info/${id}`, anyone))).toEqual([401, 'E_UNAUTHORIZED'])
    const answer = await post(`jobs_u/flow/resume_suspended/${id}`, { approval_token: `5.${signature}`, payload: 1 })
    expect(answer.status).toBe(201)
  })

  test('finds waiting jobs in lists, and where they wait', async () => {
    const id = await waiting()
    const listed = (await api.get('jobs/list?suspended=true&per_page=100')).json as { id: string }[]
    expect(listed.map((job) => job.id)).toContain(id)
    const job = (await api.get(`jobs_u/get/${id}`)).json
    expect((job.flow_status.modules as { type: string }[]).map(({ type }) => type)).toContain('WaitingForEvents')
  })
})

describe('who may answer', () => {
  let eve: string

  beforeAll(async () => {
    await createAccount(engine.db.pool, { email: 'eve@x.org', username: 'eve', superAdmin: false })
    await addMember(engine.db.pool, { workspaceId: 'main', email: 'eve@x.org', isAdmin: false, operator: true })
    eve = await createToken(engine.db.pool, { label: 'eve', email: 'eve@x.org' })
  })

  test('user_auth_required: a URL is not enough', async () => {
    await deploy('members', { user_auth_required: true })
    const id = await waiting('members')
    const { resume, cancel } = await urlsOf(stepIdOf(id, 1))
    for (const url of [resume, cancel]) expect(codeOf(await post(url))).toEqual([401, 'E_UNAUTHORIZED'])
    expect((await api.post(resume, 1, { token: eve })).status).toBe(201)
    expect((await engine.done(id)).result).toMatchObject({ resume: 1, approvers: ['eve'] })
  })

  test('self_approval_disabled: nor is being the one who started the job', async () => {
    await deploy('others', { self_approval_disabled: true })
    const id = await waiting('others', eve)
    const { resume } = await urlsOf(stepIdOf(id, 1))
    expect(codeOf(await post(resume))).toEqual([401, 'E_UNAUTHORIZED'])
    expect(codeOf(await api.post(resume, 1, { token: eve }))).toEqual([403, 'E_FORBIDDEN'])
    expect(codeOf(await api.post(`jobs/flow/resume/${id}`, 1, { token: eve }))).toEqual([403, 'E_FORBIDDEN'])
    expect((await api.get(`jobs_u/flow/approval_info/${id}`, { token: eve })).json).toMatchObject({
      can_approve: false,
      approval_conditions: { user_auth_required: true, self_approval_disabled: true },
    })
    expect((await api.post(`jobs/flow/resume/${id}`, 2)).status).toBe(201)
    expect((await engine.done(id)).result).toMatchObject({ resume: 2 })
  })

  test('before the step waits, an answer has to meet what the flow asks', async () => {
    await api.deploy('f/early', [same('z', { sleep: 0.5 }), ...asking({ user_auth_required: true })] as unknown as Json[])
    const id = await start('early')
    const { resume } = await urlsOf(stepIdOf(id, 1), '?flow_level=true')
    expect(codeOf(await post(resume))).toEqual([401, 'E_UNAUTHORIZED'])
    expect((await api.post(resume, 1, { token: eve })).status).toBe(201)
    expect((await engine.done(id)).result).toMatchObject({ resume: 1 })
  })

  test('a read-only token makes no URLs', async () => {
    const token = await createToken(engine.db.pool, { label: 'reads', email: 'eve@x.org', readOnly: true })
    const id = stepIdOf(await waiting(), 1)
    for (const what of ['resume_urls', 'job_signature']) {
      expect(codeOf(await api.get(`jobs/${what}/${id}/1`, { token }))).toEqual([403, 'E_FORBIDDEN'])
    }
  })

  describe('user_groups_required', () => {
    const ofOps: Suspend = { user_groups_required: { type: 'static', value: ['ops', 'legal'] } }
    let ann: string
    let as: (token: string | null, id: string) => Promise<Answer>
    const put = (username: string, what = 'adduser', group = 'ops') => api.post(`groups/${what}/${group}`, { username })

    beforeAll(async () => {
      await createAccount(engine.db.pool, { email: 'ann@x.org', username: 'ann', superAdmin: false })
      await addMember(engine.db.pool, { workspaceId: 'main', email: 'ann@x.org' })
      ann = await createToken(engine.db.pool, { label: 'ann', email: 'ann@x.org' })
      for (const name of ['ops', 'legal', 'sales']) await api.post('groups/create', { name })
      await put('ann')
      await put('eve', 'adduser', 'sales')
      as = (token, id) => api.post(`jobs/flow/resume/${id}`, 1, { token })
      await deploy('groups', ofOps)
    })

    test('members of one of the groups answer; nobody else does, an admin neither', async () => {
      const id = await waiting('groups')
      const { resume, cancel } = await urlsOf(stepIdOf(id, 1))
      for (const url of [resume, cancel]) {
        const nobody = await post(url)
        expect(codeOf(nobody)).toEqual([401, 'E_UNAUTHORIZED'])
        expect(nobody.json.error.message).toBe(
          'only members of one of the groups ops, legal who are logged in may answer this step',
        )
      }
      for (const token of [eve, api.token]) {
        expect(codeOf(await as(token, id))).toEqual([403, 'E_FORBIDDEN'])
        expect(codeOf(await api.post(cancel, 1, { token }))).toEqual([403, 'E_FORBIDDEN'])
      }
      expect((await api.post(resume, 1, { token: eve })).json.error).toMatchObject({
        message: 'only members of one of the groups ops, legal may answer this step, and eve is none',
        allowed: ['ops', 'legal'],
      })
      expect((await api.post(resume, 1, { token: ann })).status).toBe(201)
      const done = await engine.done(id)
      expect(done.result).toMatchObject({ resumes: [1], approvers: ['ann'] })
      expect(done.steps).toMatchObject([
        { k: 'ok', s: 'a' },
        { k: 'pick', s: 'a', w: 'groups', v: ['ops', 'legal'] },
        { k: 'signal', by: 'ann', groups: ['ops'] },
        { k: 'ok', s: 'b' },
      ])
    })

    test('who is taken out of the group while the flow waits may not answer any more; who is put in may', async () => {
      const id = await waiting('groups')
      const canApprove = async (token: string): Promise<unknown> =>
        (await api.get(`jobs_u/flow/approval_info/${id}`, { token })).json.can_approve
      expect([await canApprove(ann), await canApprove(eve)]).toEqual([true, false])
      await put('ann', 'removeuser')
      await put('eve')
      expect([await canApprove(ann), await canApprove(eve)]).toEqual([false, true])
      expect(codeOf(await as(ann, id))).toEqual([403, 'E_FORBIDDEN'])
      expect((await as(eve, id)).status).toBe(201)
      expect((await engine.done(id)).result).toMatchObject({ approvers: ['eve'] })
      await put('eve', 'removeuser')
      await put('ann')
    })

    test('who answered before they were taken out has answered', async () => {
      await deploy('two_of_ops', { ...ofOps, required_events: 2 })
      const id = await waiting('two_of_ops')
      expect((await as(ann, id)).status).toBe(201)
      await put('ann', 'removeuser')
      await put('eve')
      for (;;) {
        const answer = await as(eve, id)
        if (answer.status === 201) break
        expect(codeOf(answer)).toEqual([409, 'E_CONFLICT']) // the job looks at the first answer
        await pause(5)
      }
      expect((await engine.done(id)).result).toMatchObject({ approvers: ['ann', 'eve'] })
      await put('eve', 'removeuser')
      await put('ann')
    })

    test('before the step waits, whoever is logged in may answer; it counts if they were in one of the groups', async () => {
      const goOn = `${engine.home}/go-on`
      await api.deploy('f/early_groups', [ts('z', holds(goOn)), ...asking(ofOps)] as unknown as Json[])
      const id = await start('early_groups')
      const answer = async (n: number, token: string | null): Promise<number> => {
        const signature = (await api.get(`jobs/job_signature/${id}/${n}`)).body
        return (await api.post(`jobs_u/resume/${id}/${n}/${signature}`, n, { token })).status
      }
      expect([await answer(1, null), await answer(2, eve), await answer(3, ann)]).toEqual([401, 201, 201])
      writeFileSync(goOn, '')
      expect((await engine.done(id)).result).toMatchObject({ resumes: [3], approvers: ['ann'] })
    })

    test('the page and approval_info say which groups are asked for', async () => {
      await deploy('asked_of', {
        user_groups_required: { type: 'javascript', expr: '["ops", "<b>"]' },
        self_approval_disabled: true,
      })
      const id = await waiting('asked_of')
      const info = (await api.get(`jobs_u/flow/approval_info/${id}`, { token: ann })).json
      expect(info).toMatchObject({
        can_approve: true,
        user_auth_required: true,
        approval_conditions: { user_auth_required: true, user_groups_required: ['ops', '<b>'], self_approval_disabled: true },
      })
      const { approvalPage } = await urlsOf(stepIdOf(id, 1))
      const who = 'members of one of the groups ops, &#60;b&#62; who did not start this job'
      expect((await api.get(approvalPage, anyone)).body).toContain(`Only ${who} may answer, logged in`)
      expect((await api.get(approvalPage, { token: ann })).body).toContain(`<p>Only ${who} may answer.</p>`)
    })

    test('a group that nobody has made has no members', async () => {
      await deploy('nobodys', { user_groups_required: { type: 'static', value: ['nobody'] } })
      const id = await waiting('nobodys')
      expect(codeOf(await as(ann, id))).toEqual([403, 'E_FORBIDDEN'])
      await api.post('groups/create', { name: 'nobody' })
      await put('ann', 'adduser', 'nobody')
      expect((await as(ann, id)).status).toBe(201)
      expect((await engine.done(id)).status).toBe('success')
    })

    test('of a group that is taken away nobody is a member any more', async () => {
      await api.post('groups/create', { name: 'short' })
      await put('ann', 'adduser', 'short')
      await deploy('short', { user_groups_required: { type: 'static', value: ['short'] } })
      const id = await waiting('short')
      await api.ask('DELETE', 'groups/delete/short')
      await api.post('groups/create', { name: 'short' })
      expect(codeOf(await as(ann, id))).toEqual([403, 'E_FORBIDDEN'])
    })
  })
})

test('the windmill-client package makes the URLs inside a step, and one of them is answered', async () => {
  const content = `import { getResumeUrls } from 'windmill-client@1.818.0'
export const main = async () => ({ step: await getResumeUrls('bob'), flow: await getResumeUrls(undefined, true) })`
  await api.deploy('f/client', [
    ts('a', content, {}, { suspend: { required_events: 2 } }),
    give('b', '({ resumes, approvers })'),
  ] as unknown as Json[])
  const id = await waiting('client')
  const urls = (await api.get(`jobs_u/completed/get_result/${stepIdOf(id, 1)}`)).json as { step: Urls; flow: Urls }
  expect(new URL(urls.step.resume).pathname).toContain(`/jobs_u/resume/${stepIdOf(id, 1)}/`)
  expect(new URL(urls.flow.resume).pathname).toContain(`/jobs_u/resume/${id}/`)
  expect((await post(local(urls.step.resume), '"of the step"')).status).toBe(201)
  expect((await post(local(urls.flow.resume), '"of the flow"')).status).toBe(201)
  expect((await engine.done(id)).result).toEqual({ resumes: ['of the step', 'of the flow'], approvers: ['bob'] })
}, 120_000)
