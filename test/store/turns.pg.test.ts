// Turns: limits are kept exactly whoever claims, cancels, dies and comes back; orders are kept; jobs absorb others.
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { turnRuleOf } from '../../src/core/flow/turns.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import { askCheck, readChecks } from '../../src/store/audit.ts'
import { run, type Database } from '../../src/store/db.ts'
import { createEnqueuer } from '../../src/store/enqueuer.ts'
import {
  cancelJob,
  claimJobs,
  finishWaited,
  newJobId,
  reapWorkers,
  releaseJobs,
  type ClaimedJob,
  type NewJob,
  wakeDueJobs,
} from '../../src/store/jobs.ts'
import { partIdOf, quitParts, spreadJobs } from '../../src/store/parts.ts'
import { countQueue } from '../../src/store/job_reads.ts'
import { sendSignal } from '../../src/store/signals.ts'
import { createTurnMakers, type Turn } from '../../src/store/turns.ts'
import { testDatabase } from '../support/database.ts'

let db: Database
let versionId: string
/** Its jobs have no turns. */
let plainVersionId: string
const hourMs = 3_600_000

beforeAll(async () => {
  db = await testDatabase({ poolMax: 16 })
  const { rows } = await db.pool.query(
    `insert into flow_version (workspace_id, path, kind, tag, value, built, content_hash, created_by, turns)
     values ('main', 'a/b', 'flow', 't', '{}', '{}', 'x', 'me', '{}'), ('main', 'a/c', 'flow', 't', '{}', '{}', 'y', 'me', null)
     returning id`,
  )
  ;[versionId, plainVersionId] = (rows as { id: string }[]).map(({ id }) => id) as [string, string]
})

/** Workers 1 to 4 live; 5 dies when somebody looks. */
beforeEach(async () => {
  await db.pool.query('truncate job, job_done, job_journal, job_key, turn, signal, worker restart identity')
  for (let id = 1; id <= 5; id++) {
    await run(db.pool, 'register_worker', ['w', ['t'], 'host', 1, '0', id === 5 ? 1 : hourMs])
  }
})

const limited = (max: number, more: Partial<Turn> = {}): Turn => ({ key: 'k', max, ...more })

function newJob(turn: Turn, more: Partial<NewJob> = {}): NewJob {
  const job = { id: newJobId(), workspaceId: 'main', versionId, tag: 't', priority: 0, args: '{}', createdBy: 'me' }
  return { ...job, turn, ...more }
}

async function enqueue(jobs: readonly NewJob[]): Promise<string[]> {
  const enqueuer = createEnqueuer({ db, limits: defaultLimits })
  const ids = await enqueuer.enqueue(jobs)
  await enqueuer.close()
  return ids
}

const many = (count: number, turn: Turn): NewJob[] => Array.from({ length: count }, () => newJob(turn))
const claim = (workerId = 1, jobsMax = 100) => claimJobs(db.pool, { workerId, tag: 't', jobsMax })
const finish = (workerId: number, jobs: readonly { id: string; epoch: number }[]) =>
  finishWaited(
    db.pool,
    workerId,
    JSON.stringify(jobs.map(({ id, epoch }) => ({ id, epoch, status: 'success', result: 1, steps: [] }))),
  )
const cancel = (id: string) => cancelJob(db.pool, { workspaceId: 'main', id, by: 'me', reason: 'enough' })
const idsOf = (jobs: readonly { id: string }[]) => jobs.map(({ id }) => id).sort()
const turns = async () => (await db.pool.query('select job_id, held from turn order by n')).rows as object[]

/** What the audit says of turns. */
async function broken(): Promise<string[]> {
  const client = await db.pool.connect()
  const found: string[] = []
  try {
    for (const check of readChecks().filter(({ id }) => ['M19', 'M20', 'M21', 'I18', 'I25'].includes(id))) {
      await client.query('begin')
      const { rows } = await askCheck(client, check, { lostMax: 3, retentionDays: 30 }, 5)
      await client.query('rollback')
      found.push(...rows.map((row) => `${check.id} ${row.subject} ${row.detail}`))
    }
  } finally {
    client.release()
  }
  return found
}

test('so many of a key are ready, and the end of one makes the next ready, in the order they were accepted', async () => {
  const jobs = many(5, limited(2))
  await enqueue(jobs)
  expect(await countQueue(db.pool, 'main', ['t'])).toEqual({ ready: 2, running: 0, waiting: 0, parked: 0, limited: 3 })
  const first = await claim()
  expect(idsOf(first)).toEqual(idsOf(jobs.slice(0, 2)))
  expect(await claim(2)).toEqual([])
  expect(await broken()).toEqual([])
  expect(await finish(1, [first[0]!])).toEqual([])
  const second = await claim(2)
  expect(idsOf(second)).toEqual([jobs[2]!.id])
  await finish(1, [first[1]!])
  await finish(2, second)
  expect(idsOf(await claim(3))).toEqual(idsOf(jobs.slice(3)))
})

test('keys do not wait for each other', async () => {
  const jobs = ['a', 'b', 'a', 'b'].map((key) => newJob({ key, max: 1 }))
  await enqueue(jobs)
  expect(idsOf(await claim())).toEqual(idsOf(jobs.slice(0, 2)))
})

test('the end of a job is taken once: a second report passes nothing on', async () => {
  await enqueue(many(4, limited(1)))
  const [job] = await claim()
  await finish(1, [job!])
  expect(await finish(1, [job!])).toEqual([job!.id])
  expect(await claim()).toHaveLength(1)
})

test('a canceled job passes its turn on, or leaves the line', async () => {
  const jobs = many(4, limited(1))
  await enqueue(jobs)
  expect(await cancel(jobs[1]!.id)).toBe('canceled') // waits
  expect(await claim()).toHaveLength(1)
  expect(await cancel(jobs[0]!.id)).toBe('asked') // runs: its worker ends it
  expect(await claim()).toEqual([])
  await finish(1, [{ id: jobs[0]!.id, epoch: 1 }])
  expect(await cancel(jobs[2]!.id)).toBe('canceled') // ready
  expect(idsOf(await claim())).toEqual([jobs[3]!.id])
  expect(await cancel(jobs[3]!.id)).toBe('asked')
  expect(await broken()).toEqual([])
})

test('a job whose worker died keeps its turn; one that is given up passes it on', async () => {
  const jobs = many(2, limited(1))
  await enqueue(jobs)
  const [lost] = await claim(5)
  const reap = () => reapWorkers(db.pool, { hintAfterMs: hourMs, lostMax: 1, now: new Date(Date.now() + 1_000) })
  await reap()
  const again = await claim(1)
  expect(idsOf(again)).toEqual([lost!.id])
  await db.pool.query(`update worker set lease_ms = 1 where id = 1`)
  const { jobs_poisoned, tags } = await reap()
  expect([jobs_poisoned, tags]).toEqual([1, ['t']])
  expect(idsOf(await claim(2))).toEqual([jobs[1]!.id])
  expect(await broken()).toEqual([])
})

test('a job that is given back, or waits for something else, keeps its turn', async () => {
  const jobs = many(2, limited(1))
  await enqueue(jobs)
  const [job] = await claim()
  await releaseJobs(db.pool, 1, [{ id: job!.id, epoch: job!.epoch, parkMs: hourMs, wanted: 1 }])
  expect(await claim()).toEqual([])
  expect(await broken()).toEqual([])
})

test('parts of a job run in its turn', async () => {
  const [job] = await enqueue([newJob(limited(1))])
  await db.pool.query(
    `insert into job (id, workspace_id, version_id, tag, args, created_by, parent_id, parent_step, parent_slot, part)
     values ($1, 'main', $2, 't', '{}', 'me', $3, 1, 0, 'loop')`,
    [newJobId(), versionId, job],
  )
  expect(await claim()).toHaveLength(2)
  expect(await broken()).toEqual([])
})

test('a refusal that comes early does not let a job out of its turn', async () => {
  const jobs = many(2, limited(1))
  await enqueue(jobs)
  const answer = { step: 0, resumeId: 1, approver: null, account: null, approved: false, payload: '{}' }
  expect(await sendSignal(db.pool, { workspaceId: 'main', jobId: jobs[1]!.id, ...answer })).toBe(true)
  expect(await claim()).toHaveLength(1)
})

test('with a window, a turn is free again only so long after its job began', async () => {
  const jobs = many(3, limited(2, { window: hourMs }))
  await enqueue(jobs)
  const first = await claim()
  expect(first).toHaveLength(2)
  await finish(1, first)
  expect(await claim()).toEqual([])
  expect(await wakeDueJobs(db.pool, { jobsMax: 10 })).toEqual([])
  expect(await broken()).toEqual([])
  await db.pool.query(`update turn set free_at = clock_timestamp() where free_at is not null`)
  expect(await wakeDueJobs(db.pool, { jobsMax: 10 })).toEqual(['t'])
  expect(idsOf(await claim())).toEqual([jobs[2]!.id])
  expect(await turns()).toHaveLength(1)
})

test('a window that is over when its job ends holds nobody up, nor does a job that never began', async () => {
  const jobs = many(3, limited(1, { window: 1 }))
  await enqueue(jobs)
  const [job] = await claim()
  await db.pool.query(`update job set started_at = started_at - interval '1 second'`)
  expect(await finish(1, [job!])).toEqual([])
  expect(await cancel(jobs[1]!.id)).toBe('canceled')
  expect(idsOf(await claim())).toEqual([jobs[2]!.id])
})

test('a job for later gets in line when its time has come', async () => {
  const later = newJob(limited(1), { runAtMs: Date.now() + hourMs })
  const now = newJob(limited(1))
  await enqueue([later, now])
  expect(idsOf(await claim())).toEqual([now.id])
  const future = new Date(Date.now() + 2 * hourMs)
  expect(await wakeDueJobs(db.pool, { jobsMax: 10, now: future })).toEqual([])
  await finish(1, [{ id: now.id, epoch: 1 }])
  expect(idsOf(await claim())).toEqual([later.id])
})

test('a new version with another limit: each job goes by its own', async () => {
  await enqueue(many(2, limited(1)))
  const wide = many(3, limited(3))
  await enqueue(wide)
  expect(await claim()).toHaveLength(1)
  await finish(1, [(await db.pool.query('select id, epoch from job where state = $1', ['running'])).rows[0] as ClaimedJob])
  expect(await claim()).toHaveLength(1) // the second of the narrow ones
  expect(await claim()).toEqual([])
})

test('a key of the caller’s own starts one job, also where turns are', async () => {
  const [first] = await enqueue([newJob(limited(1), { key: 'order-7' })])
  expect(await enqueue([newJob(limited(1), { key: 'order-7' }), newJob(limited(1), { key: 'order-8' })])).toEqual([
    first,
    expect.not.stringMatching(first!),
  ])
  expect(await turns()).toHaveLength(2)
})

test('jobs of one request keep their order, whoever claims', async () => {
  const jobs = many(20, limited(1))
  await enqueue(jobs)
  const order: string[] = []
  for (let i = 0; i < jobs.length; i++) {
    const [job] = await claim(1 + (i % 4))
    order.push(job!.id)
    await finish(1 + (i % 4), [job!])
  }
  expect(order).toEqual(jobs.map((job) => job.id))
})

test('accepted, claimed, finished and canceled at the same time by many: never more than the limit, and nothing is left', async () => {
  const max = { a: 1, b: 2, c: 5 } as Record<string, number>
  const running: Record<string, number> = { a: 0, b: 0, c: 0 }
  const keyOf = new Map<string, string>()
  let wanted = 0
  let over = 0
  let most = 0
  const accept = async () => {
    for (let i = 0; i < 40; i++) {
      const jobs = Array.from({ length: 1 + (i % 3) }, (_, n) => {
        const key = 'abc'[(i + n) % 3]!
        const job = newJob({ key, max: max[key]! })
        keyOf.set(job.id, key)
        return job
      })
      wanted += jobs.length
      await enqueue(jobs)
      if (i % 5 === 4 && (await cancel(jobs[0]!.id)) === 'canceled') over += 1
    }
  }
  const accepting = new AbortController()
  const work = async (workerId: number) => {
    while (!accepting.signal.aborted || over < wanted) {
      const jobs = await claim(workerId, 2)
      for (const { id } of jobs) {
        const key = keyOf.get(id)!
        running[key]! += 1
        most = Math.max(most, running[key]! - max[key]!)
      }
      for (const { id } of jobs) running[keyOf.get(id)!]! -= 1
      if (jobs.length > 0) await finish(workerId, jobs)
      over += jobs.length
    }
  }
  const accepted = Promise.all([accept(), accept(), accept()]).then(() => accepting.abort())
  await Promise.all([accepted, ...[1, 2, 3, 4].map(work)])
  expect(most).toBe(0)
  expect(await turns()).toEqual([])
  expect((await db.pool.query('select count(*)::integer as n from job_done')).rows).toEqual([{ n: wanted }])
}, 60_000)

function plainJob(): NewJob {
  const { turn: _turn, ...job } = newJob(limited(1))
  return { ...job, versionId: plainVersionId }
}

/** Step `step` of a job that runs becomes a job in a turn. Gives its id. */
async function spread(workerId: number, job: ClaimedJob, step: number, turn: Turn, args = '{}'): Promise<string> {
  const id = partIdOf(job.id, step, 0)
  const record = { k: 'spread', s: 'a', n: step, jobs: 1, job: id }
  const part = {
    step,
    part: 'a/',
    v: Number(versionId),
    at_once: 1,
    jobs: [{ id, slot: 0, args: JSON.parse(args) as object, turn, call: partIdOf(job.id, step, 1) }],
  }
  const { id: owner, epoch } = job
  expect(await spreadJobs(db.pool, workerId, JSON.stringify([{ id: owner, epoch, n: step, record, ...part }]))).toEqual([])
  return id
}

const endPart = (workerId: number, jobs: readonly { id: string; epoch: number }[]) => {
  const said = { status: 'success', result: 1, steps: [], end: { how: 'done', at: 1, ms: 1 }, next: null, refuses: false }
  return finishWaited(db.pool, workerId, JSON.stringify(jobs.map(({ id, epoch }) => ({ id, epoch, ...said }))))
}

test('a step that is a job waits for its turn among all, once made; its end tells its job and passes the turn on', async () => {
  const [owner] = await enqueue([plainJob()])
  const [running] = await claim()
  const [first] = await enqueue([newJob(limited(1))])
  const part = await spread(1, running!, 1, limited(1))
  expect(await spread(1, running!, 1, limited(1))).toBe(part)
  const [last] = await enqueue([newJob(limited(1))])
  expect(await turns()).toEqual([first, part, last].map((job_id) => ({ job_id, held: job_id === first })))
  await finish(1, await claim())
  const [claimed] = await claim(2)
  expect(claimed!.id).toBe(part)
  expect(await endPart(2, [claimed!])).toEqual([])
  expect(idsOf(await claim())).toEqual([last])
  const { rows } = await db.pool.query('select step, payload from signal where job_id = $1', [owner])
  expect(rows).toEqual([{ step: -1, payload: '{"end":{"how":"done","at":1,"ms":1},"result":1}' }])
  expect(await broken()).toEqual([])
})

test('the end of a job takes its steps out of the line', async () => {
  await enqueue([newJob(limited(1))])
  const [holds] = await claim()
  await enqueue([plainJob()])
  const [owner] = await claim()
  const parts = [await spread(1, owner!, 1, limited(1)), await spread(1, owner!, 2, limited(1))]
  await quitParts(db.pool, 1, [{ id: owner!.id, epoch: owner!.epoch, step: 1, unbegun: false }])
  const [quit] = await claim(2)
  expect(quit).toMatchObject({ id: parts[0], canceled_by: 'the job it is a part of' })
  await finish(1, [owner!])
  const [other] = await claim(3)
  expect(other).toMatchObject({ id: parts[1], canceled_by: 'the job it is a part of' })
  await endPart(2, [quit!])
  await endPart(3, [other!])
  expect(await turns()).toEqual([{ job_id: holds!.id, held: true }])
  await finish(1, [holds!])
  expect(await turns()).toEqual([])
})

test('jobs with steps in turns, made, ended and canceled at the same time by many: the limit holds, nothing is left, nobody waits in a circle', async () => {
  const owners = 60
  const running = { a: 0, b: 0 }
  const most = { a: 0, b: 0 }
  const keyOf = new Map<string, 'a' | 'b'>()
  let over = 0
  const work = async (workerId: number) => {
    const held: ClaimedJob[] = []
    while (over < owners || (await db.pool.query('select from job')).rows.length > 0) {
      const jobs = await claim(workerId, 2)
      if (held.length > (jobs.length > 0 ? 3 : 0)) {
        await finish(workerId, [held.shift()!])
        over += 1
      }
      const parts = jobs.filter(({ part }) => part !== null)
      const runs = parts.filter(({ canceled_by: by }) => by === null)
      for (const { id } of runs) {
        const key = keyOf.get(id)!
        most[key] = Math.max(most[key], (running[key] += 1))
      }
      for (const job of jobs.filter(({ part }) => part === null)) {
        for (let step = 1; step <= 4; step++) {
          const key = step % 2 === 0 ? 'a' : 'b'
          keyOf.set(partIdOf(job.id, step, 0), key)
          await spread(workerId, job, step, { key, max: key === 'a' ? 1 : 3 })
        }
        if (held.length === 1) await quitParts(db.pool, workerId, [{ id: job.id, epoch: job.epoch, step: 2, unbegun: false }])
        held.push(job)
      }
      for (const { id } of runs) running[keyOf.get(id)!] -= 1
      if (parts.length > 0) await endPart(workerId, parts)
    }
  }
  await enqueue(Array.from({ length: owners }, plainJob))
  await Promise.all([1, 2, 3, 4].map(work))
  expect(most.a).toBeLessThanOrEqual(1)
  expect(most.b).toBeLessThanOrEqual(3)
  expect(await turns()).toEqual([])
}, 60_000)

const args = async (id: string) =>
  JSON.parse(((await db.pool.query('select args from job where id = $1', [id])).rows[0] as { args: string }).args) as object
const debounce = (more: Partial<Turn['debounce'] & object> = {}): Turn => ({
  key: 'free',
  debounce: { key: 'd', ms: hourMs, ...more },
})
const inTwoHours = () => new Date(Date.now() + 2 * hourMs)

test('a job that is debounced waits, absorbs the later ones, and runs once with the last arguments', async () => {
  const [first] = await enqueue([newJob(debounce(), { args: '{"x":1}' })])
  expect(await enqueue([newJob(debounce(), { args: '{"x":2}' }), newJob(debounce(), { args: '{"x":3}' })])).toEqual([
    first,
    first,
  ])
  expect(await claim()).toEqual([])
  expect(await args(first!)).toEqual({ x: 3 })
  expect(await wakeDueJobs(db.pool, { jobsMax: 10, now: inTwoHours() })).toEqual(['t'])
  const [job] = await claim()
  expect(job!.id).toBe(first)
  const [next] = await enqueue([newJob(debounce())])
  expect(next).not.toBe(first)
  expect(await broken()).toEqual([])
})

test('arguments that are accumulated are the arrays of all', async () => {
  const turn = debounce({ merge: ['list'] })
  const [first] = await enqueue([
    newJob(turn, { args: '{"list":[1],"x":1}' }),
    newJob(turn, { args: '{"list":[2,{"a":"b"}],"x":2}' }),
    newJob(turn, { args: '{"list":[],"x":3}' }),
  ])
  expect(await args(first!)).toEqual({ list: [1, 2, { a: 'b' }], x: 3 })
})

const row = async (id: string) =>
  (
    await db.pool.query<Record<string, unknown>>(
      'select state::text, args, part, parent_id, canceled_by from job where id = $1',
      [id],
    )
  ).rows[0]
const one = async (job: NewJob = plainJob(), workerId = 1): Promise<ClaimedJob> => {
  await enqueue([job])
  return (await claim(workerId))[0]!
}

test('steps that are debounced become one job with the arguments of all, and its end tells all of them', async () => {
  const owners = [await one(), await one(), await one()]
  const asked = debounce({ merge: ['x'] })
  const parts: string[] = []
  for (const [i, owner] of owners.entries()) {
    parts.push(await spread(1, owner, 1, asked, `{"x": [${i}], "y": ${i}}`))
    expect(await spread(1, owner, 1, asked, '{"x": [7]}')).toBe(parts[i]) // sent again
  }
  const call = partIdOf(owners[0]!.id, 1, 1)
  expect(await row(call)).toMatchObject({ state: 'waiting', part: 'a/', parent_id: null })
  expect(await args(call)).toEqual({ x: [0, 1, 2], y: 2 })
  expect(await row(parts[1]!)).toMatchObject({ state: 'waiting', part: '@a/', parent_id: owners[1]!.id })
  expect(await claim()).toEqual([])
  expect(await broken()).toEqual([])
  await wakeDueJobs(db.pool, { jobsMax: 100, now: inTwoHours() })
  const [running] = await claim(2)
  expect(running!.id).toBe(call)
  const late = await one()
  const ofNext = await spread(1, late, 1, asked, '{"x": [3]}')
  expect(await endPart(2, [running!])).toEqual([])
  expect(await endPart(2, [running!])).toEqual([call]) // told once
  const told = await claim(3)
  expect(idsOf(told)).toEqual([...parts].sort())
  const { rows } = await db.pool.query('select job_id, seq, step, payload from signal order by job_id')
  const payload = '{"end":{"how":"done","at":1,"ms":1},"result":1}'
  expect(rows).toEqual(idsOf(told).map((job_id) => ({ job_id, seq: 1, step: -1, payload })))
  const journal = await db.pool.query('select n, record from job_journal where job_id = $1', [parts[2]])
  expect(journal.rows).toMatchObject([{ n: 1, record: expect.stringContaining(call) as string }])
  await endPart(3, told)
  expect(await turns()).toMatchObject([{ job_id: partIdOf(late.id, 1, 1) }, { job_id: ofNext }])
  expect(await broken()).toEqual([])
})

test('the end of one of them takes its step out, and the others go on; a call that is canceled ends all, and takes no more', async () => {
  const owners = [await one(), await one()]
  const parts = [await spread(1, owners[0]!, 1, debounce()), await spread(1, owners[1]!, 1, debounce())]
  await finish(1, [owners[0]!])
  const [out] = await claim(2)
  expect(out).toMatchObject({ id: parts[0], canceled_by: 'the job it is a part of' })
  await endPart(2, [out!])
  const call = partIdOf(owners[0]!.id, 1, 1)
  expect(await row(call)).toMatchObject({ state: 'waiting', canceled_by: null })
  expect(await cancel(call)).toBe('asked')
  const [canceled] = await claim(2)
  const later = await one()
  await spread(1, later, 1, debounce())
  expect(await row(partIdOf(later.id, 1, 1))).toMatchObject({ state: 'waiting' })
  await endPart(2, [canceled!])
  expect(idsOf(await claim(3))).toEqual([parts[1]])
  expect(await broken()).toEqual([])
})

test('debounced steps, made, ended and canceled at the same time by many: all are told, nobody waits in a circle', async () => {
  const owners = 80
  let told = 0
  const work = async (workerId: number) => {
    while ((await db.pool.query('select from job')).rows.length > 0) {
      await wakeDueJobs(db.pool, { jobsMax: 100, now: inTwoHours() })
      const jobs = await claim(workerId, 3)
      const parts = jobs.filter(({ part }) => part !== null)
      told += parts.filter(({ signals }) => signals > 0).length
      for (const job of jobs.filter(({ part }) => part === null)) {
        for (let step = 1; step <= 3; step++) await spread(workerId, job, step, debounce({ key: `d${step % 2}`, amount: 3 }))
        if (Number.parseInt(job.id.slice(-8, -4), 16) % 5 === 0)
          await quitParts(db.pool, workerId, [{ id: job.id, epoch: job.epoch, step: 1, unbegun: false }])
        if (job.signals > 0 || told % 3 === 0) await finish(workerId, [job])
        else
          await releaseJobs(db.pool, workerId, [{ id: job.id, epoch: job.epoch, parkMs: Infinity, wanted: 3, seen: job.signals }])
      }
      if (parts.length > 0) await endPart(workerId, parts)
    }
  }
  await enqueue(Array.from({ length: owners }, plainJob))
  await Promise.all([1, 2, 3, 4].map(work))
  expect(told).toBeGreaterThan(owners)
  expect(await turns()).toEqual([])
}, 60_000)

test('a job absorbs so many, or for so long, and no more', async () => {
  const few = debounce({ amount: 2 })
  const [first, second] = await enqueue([newJob(few), newJob(few)])
  expect(second).toBe(first)
  expect((await enqueue([newJob(few)]))[0]).toBe(first)
  expect(await wakeDueJobs(db.pool, { jobsMax: 10 })).toEqual(['t'])
  const soon = debounce({ key: 'e', within: 0 })
  const [one] = await enqueue([newJob(soon)])
  expect((await enqueue([newJob(soon)]))[0]).toBe(one)
  expect(await wakeDueJobs(db.pool, { jobsMax: 10 })).toEqual(['t'])
  expect((await enqueue([newJob(soon)]))[0]).not.toBe(one)
})

test('a key of the caller’s own that was absorbed stays with the job that absorbed it', async () => {
  const [first] = await enqueue([newJob(debounce(), { key: 'one' })])
  expect(await enqueue([newJob(debounce(), { key: 'two' })])).toEqual([first])
  expect(await enqueue([newJob(debounce(), { key: 'two' })])).toEqual([first])
  const { rows } = await db.pool.query('select debounced from turn')
  expect(rows).toEqual([{ debounced: 1 }])
})

test('debounced jobs of a limited key wait for their turn when their time has come', async () => {
  await enqueue([newJob(limited(1))])
  const [waits] = await enqueue([newJob(limited(1, { debounce: { key: 'd', ms: 1 } }))])
  await wakeDueJobs(db.pool, { jobsMax: 10, now: inTwoHours() })
  const [job] = await claim()
  expect(job!.id).not.toBe(waits)
  await finish(1, [job!])
  expect(idsOf(await claim())).toEqual([waits])
})

const makers = createTurnMakers(defaultLimits)
async function turnOf(value: Parameters<typeof turnRuleOf>[0], given: object, more: { path?: string } = {}): Promise<Turn> {
  const version = { workspaceId: 'main', kind: 'flow', path: 'a/b', versionId: '7', ...more } as const
  return (await makers.of(turnRuleOf(value), version))!.turnOf(JSON.stringify(given))
}

test('keys: the path, a template over arguments, an expression', async () => {
  const keyOf = async (...given: Parameters<typeof turnOf>) => (await turnOf(...given)).key
  expect(await keyOf({ concurrent_limit: 1 }, { x: 1 })).toBe(await keyOf({ concurrent_limit: 1 }, { x: 2 }))
  expect(await keyOf({ concurrent_limit: 1 }, {})).not.toBe(await keyOf({ concurrent_limit: 1 }, {}, { path: 'a/c' }))
  const custom = { concurrent_limit: 3, concurrency_key: 'api-$workspace-$args[user.id]-$args[none]' }
  expect(await turnOf(custom, { user: { id: 'ann' } })).toEqual({ key: 'limit api-main-ann-null', max: 3 })
  expect(await keyOf(custom, { user: { id: 1 } }, { path: 'a/c' })).toBe(await keyOf(custom, { user: { id: 1 } }))
  const ordered = { ordering_key: 'flow_input.account ?? "none"' }
  expect(await turnOf(ordered, { account: 'x' })).toEqual({ key: 'order main/flow/a/b "x"', max: 1 })
  expect(await keyOf(ordered, { account: 'x'.repeat(1_000) })).toHaveLength(300 - 80 + 2 + 64)
  await expect(turnOf({ ordering_key: 'flow_input.a.b()' }, { a: {} })).rejects.toThrow('the ordering key of these arguments')
})
