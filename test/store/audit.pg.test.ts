// The checker, checked: a history with a crash, a take-over, a zombie, a lost reply, a wait, cancels and poison breaks no check, and
// each check finds what is planted for it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { defaultLimits } from '../../src/core/limits.ts'
import { askCheck, auditDatabase, readChecks, setRecording } from '../../src/store/audit.ts'
import { openHistory, type AuditHistory } from '../../src/store/audit_history.ts'
import { run } from '../../src/store/db.ts'
import { createEnqueuer } from '../../src/store/enqueuer.ts'
import {
  appendJournal,
  cancelJob,
  claimJobs,
  finishJobs,
  finishWaited,
  newJobId,
  reapWorkers,
  recordRefusals,
  releaseJobs,
  wakeDueJobs,
  type ClaimedJob,
  type NewJob,
} from '../../src/store/jobs.ts'
import { sendSignal } from '../../src/store/signals.ts'
import { testDatabase } from '../support/database.ts'

const db = await testDatabase()
const lostMax = 1
const scope = { lostMax, retentionDays: 30, rowsMax: 20, settleMs: 0 }
const hourMs = 3_600_000
const folder = mkdtempSync(join(tmpdir(), 'millrace-audit-'))
afterAll(() => rmSync(folder, { recursive: true }))

const ops: object[] = []
const effects: object[] = []
/** Jobs by what befell them. */
const ids: Record<string, string> = {}
let versionId: string

async function registerWorker(leaseMs: number): Promise<number> {
  const [row] = await run<{ id: number }>(db.pool, 'register_worker', ['w', ['t'], 'host', 1, '0', leaseMs])
  return row!.id
}

/** Accepts a job. `sent`: it is an event of the tester, whose reply was this. */
async function accept(name: string, sent: 'ok' | 'unknown' | null, more: Partial<NewJob> = {}): Promise<string> {
  const args = sent === null ? '{}' : `{"op":"op-${name}"}`
  const job = { id: newJobId(), workspaceId: 'main', versionId, tag: 't', priority: 0, args, createdBy: 'me', ...more }
  const atMs = Date.now() - 1
  const enqueuer = createEnqueuer({ db, limits: defaultLimits })
  const [id] = await enqueuer.enqueue([job])
  await enqueuer.close()
  ids[name] = id!
  if (sent !== null) ops.push({ op: `op-${name}`, kind: sent, ...(sent === 'ok' ? { id } : {}), key: job.key, at: atMs })
  return id!
}

async function claim(workerId: number): Promise<ClaimedJob> {
  const client = await db.connect({ name: `millrace claim ${workerId}` })
  const [job] = await claimJobs(client, { workerId, tag: 't', jobsMax: 1 })
  await client.end()
  return job!
}

interface Step {
  k: 'ok' | 'err'
  n: number
  s: string
}

/** A step was executed and came to this. */
function record(job: { id: string }, { k, n, s }: Step): string {
  const at = Date.now()
  effects.push({ job: job.id, step: s, n, at })
  return JSON.stringify({ k, n, s, at, ms: 1, ...(k === 'ok' ? { v: n } : { e: { name: 'E', message: 'no' } }) })
}

const entry = (job: ClaimedJob, n: number, text: string): string =>
  `[{"id":"${job.id}","epoch":${job.epoch},"n":${n},"record":${text}}]`

async function finish(
  job: ClaimedJob,
  workerId: number,
  steps: string[],
  status = 'success',
  by = finishJobs,
): Promise<string[]> {
  const client = await db.connect({ name: `millrace commit ${workerId}` })
  const document = `[{"id":"${job.id}","epoch":${job.epoch},"status":"${status}","result":{"x":1},"steps":[${steps.join(',')}]}]`
  const strangers = await by(client, workerId, document)
  await client.end()
  return strangers
}

async function straight(name: string, sent: 'ok' | 'unknown' | null, more: Partial<NewJob> = {}): Promise<ClaimedJob> {
  await accept(name, sent, more)
  const job = await claim(1)
  await finish(job, 1, [record(job, { k: 'ok', n: 1, s: 'a' }), record(job, { k: 'ok', n: 2, s: 'b' })])
  return job
}

/** A worker claims a job and dies. */
async function loseOnce(
  before?: (job: ClaimedJob, workerId: number) => Promise<void>,
): Promise<{ job: ClaimedJob; workerId: number }> {
  const workerId = await registerWorker(1)
  const job = await claim(workerId)
  await before?.(job, workerId)
  for (let workers: number[] | null = null; workers === null;) {
    workers = (await reapWorkers(db.pool, { hintAfterMs: hourMs, lostMax })).workers
  }
  return { job, workerId }
}

let client: pg.Client
let history: AuditHistory

beforeAll(async () => {
  const retry = { constant: { attempts: 2, seconds: 1 } }
  const value = { modules: [{ id: 'a', retry }, { id: 'b' }], failure_module: { id: 'failure' } }
  const { rows } = await db.pool.query(
    `insert into flow_version (workspace_id, path, kind, tag, value, built, content_hash, created_by)
     values ('main', 'a/b', 'flow', 't', $1, '{}', 'x', 'me') returning id`,
    [JSON.stringify(value)],
  )
  versionId = (rows[0] as { id: string }).id
  expect(await setRecording(db, 'on')).toBe(true)
  expect(await registerWorker(hourMs)).toBe(1)

  await straight('straight', 'ok')
  await straight('keyed', 'ok', { key: 'order-7' })
  await straight('quiet', null, { key: 'order-8' })
  ops.push({ ...ops.find((op) => (op as { op: string }).op === 'op-keyed'), kind: 'unknown', id: null }) // sent again, no reply
  ops.push({ op: 'op-refused', kind: 'fail' }, { op: 'op-nowhere', kind: 'unknown' })

  // Its worker dies after a record was kept; another one goes on; the first one comes back.
  await accept('crashed', 'ok')
  let kept = ''
  const zombie = await loseOnce(async (job, workerId) => {
    kept = record(job, { k: 'ok', n: 1, s: 'a' })
    expect(await appendJournal(db.pool, workerId, entry(job, 1, kept))).toEqual([])
  })
  const taken = await claim(1)
  expect(await finish(taken, 1, [kept, record(taken, { k: 'ok', n: 2, s: 'b' })])).toEqual([])
  expect(await finish(zombie.job, zombie.workerId, [kept])).toEqual([ids['crashed']])
  await recordRefusals(db.pool, { workerId: zombie.workerId, what: 'finish', jobs: [zombie.job], resent: false })

  // The reply to a commit is lost, and it is sent again.
  const repeated = await straight('repeated', 'unknown')
  expect(await finish(repeated, 1, [])).toEqual([repeated.id])
  await recordRefusals(db.pool, { workerId: 1, what: 'finish', jobs: [repeated], resent: true })

  // A retry that waits, parked.
  await accept('waited', 'ok')
  const first = await claim(1)
  const failed = record(first, { k: 'err', n: 1, s: 'a' })
  await appendJournal(db.pool, 1, entry(first, 1, failed))
  await releaseJobs(db.pool, 1, [{ id: first.id, epoch: first.epoch, parkMs: 0 }])
  expect(await wakeDueJobs(db.pool, { jobsMax: 10 })).toEqual(['t'])
  const second = await claim(1)
  await finish(second, 1, [failed, record(second, { k: 'ok', n: 2, s: 'a' }), record(second, { k: 'ok', n: 3, s: 'b' })])

  // A step that waits for an answer and gets it, and one that waits.
  for (const name of ['answered', 'asking']) {
    await accept(name, name === 'answered' ? 'ok' : null)
    const asking = await claim(1)
    const before = record(asking, { k: 'ok', n: 1, s: 'a' })
    await appendJournal(db.pool, 1, entry(asking, 1, before))
    const waits = [{ key: 5, ms: hourMs, step: 1, wanted: 1, by: 'anyone', module: 'a', version: versionId }]
    await releaseJobs(db.pool, 1, [{ id: asking.id, epoch: asking.epoch, parkMs: hourMs, wanted: 1, seen: 0, waits }])
    if (name === 'asking') continue
    const answer = { workspaceId: 'main', jobId: asking.id, step: 1, resumeId: 7, approver: null, account: null }
    expect(await sendSignal(db.pool, { ...answer, approved: true, payload: '5' })).toBe(true)
    const answered = await claim(1)
    const signal = '{"k":"signal","seq":1,"n":1,"id":7,"approver":null,"approved":true,"v":5}'
    await finish(answered, 1, [before, signal, record(answered, { k: 'ok', n: 2, s: 'b' })], 'success', finishWaited)
  }

  const cancel = (id: string) => cancelJob(db.pool, { workspaceId: 'main', id, by: 'me', reason: 'enough' })
  expect(await cancel(await accept('canceled', 'ok'))).toBe('canceled')
  await accept('stopped', 'ok')
  const stopped = await claim(1)
  expect(await cancel(stopped.id)).toBe('asked')
  await finish(
    stopped,
    1,
    [record(stopped, { k: 'err', n: 1, s: 'a' }), '{"k":"cancel","by":"me","reason":"enough"}'],
    'canceled',
  )

  await accept('poison', 'ok')
  await loseOnce()
  const lastHolder = await loseOnce()
  expect(await finish(lastHolder.job, lastHolder.workerId, [])).toEqual([ids['poison']])
  await recordRefusals(db.pool, { workerId: lastHolder.workerId, what: 'finish', jobs: [lastHolder.job], resent: true })

  await accept('running', null)
  const running = await claim(1)
  await appendJournal(db.pool, 1, entry(running, 1, record(running, { k: 'ok', n: 1, s: 'a' })))
  // Two of a key, one at a time.
  const { rows: limited } = await db.pool.query(
    `insert into flow_version (workspace_id, path, kind, tag, value, built, content_hash, created_by, turns)
     values ('main', 'a/c', 'flow', 't', $1, '{}', 'x', 'me', '{"jobsMax":1}') returning id`,
    [JSON.stringify(value)],
  )
  const inTurn = { versionId: (limited[0] as { id: string }).id, turn: { key: 'k', max: 1 } }
  for (const name of ['turn', 'turned', 'held', 'inline']) await accept(name, null, inTurn)
  expect(await cancel(ids['turn']!)).toBe('canceled')
  const turned = await claim(1)
  expect(turned.id).toBe(ids['turned'])
  const document = `[{"id":"${turned.id}","epoch":${turned.epoch},"status":"success","result":{"x":1},"steps":[${record(turned, { k: 'ok', n: 1, s: 'a' })}]}]`
  const committing = await db.connect({ name: 'millrace commit 1' })
  expect(await finishWaited(committing, 1, document)).toEqual([])
  await committing.end()
  expect((await claim(1)).id).toBe(ids['held'])

  await accept('ready', null, { tag: 'nobody' })
  await accept('parked', null, { runAtMs: Date.now() + hourMs })

  const files = { history: join(folder, 'history.ndjson'), effects: join(folder, 'effects.ndjson') }
  writeFileSync(files.history, ops.map((op) => JSON.stringify(op)).join('\n'))
  writeFileSync(files.effects, `${effects.map((effect) => JSON.stringify(effect)).join('\n')}\n`)
  history = openHistory(files)
  client = await db.connect({ name: 'test' })
  await history.load(client)
})
afterAll(() => client.end())

async function violated(): Promise<string[]> {
  const found: string[] = []
  for (const check of readChecks()) if ((await askCheck(client, check, scope, 5)).count > 0) found.push(check.id)
  return found
}

test('a clean history with a crash, a zombie, a lost reply, a wait, cancels and poison breaks nothing', async () => {
  const { outcomes } = await auditDatabase(db, scope, history)
  expect(outcomes.map(({ id, status, rows, why }) => ({ id, status, rows, why }))).toEqual(
    readChecks().map(({ id }) => ({ id, status: 'holds', rows: [], why: undefined })),
  )
})

test('the history is counted: what was attempted, acknowledged, there and finished', () => {
  const { size } = new Set(ops.map((op) => (op as { op: string }).op))
  expect(history.counts).toEqual({
    attempted: size,
    acknowledged: size - 3, // refused, nowhere, repeated
    landed: size - 2,
    finished: size - 2,
    lost: 0,
    unfinished: 0,
    phantom: 0,
    recovered: 1, // repeated
  })
})

test('what happened is there to read: claims with their outcomes, refusals with their kind, results with their step', async () => {
  const outcomes = async (name: string) =>
    (await db.pool.query('select epoch, worker_id, outcome from audit_attempt where job_id = $1 order by n', [ids[name]])).rows
  expect(await outcomes('straight')).toEqual([{ epoch: 1, worker_id: 1, outcome: 'success' }])
  expect(await outcomes('crashed')).toMatchObject([
    { epoch: 1, outcome: 'lost' },
    { epoch: 3, worker_id: 1, outcome: 'success' },
  ])
  expect(await outcomes('waited')).toMatchObject([
    { epoch: 1, outcome: 'parked' },
    { epoch: 3, outcome: 'success' },
  ])
  expect(await outcomes('answered')).toMatchObject([
    { epoch: 1, outcome: 'parked' },
    { epoch: 3, outcome: 'success' },
  ])
  expect(await outcomes('stopped')).toMatchObject([{ outcome: 'canceled' }])
  expect(await outcomes('poison')).toMatchObject([{ outcome: 'lost' }, { outcome: 'lost' }])
  expect(await outcomes('running')).toMatchObject([{ outcome: null }])
  const { rows: refusals } = await db.pool.query('select job_id, kind from audit_refusal order by n')
  expect(refusals).toEqual([
    { job_id: ids['crashed'], kind: 'stale' },
    { job_id: ids['repeated'], kind: 'repeat' },
    { job_id: ids['poison'], kind: 'stale' },
  ])
  const { rows: results } = await db.pool.query('select n, step, ok from audit_result where job_id = $1 order by n', [
    ids['waited'],
  ])
  expect(results).toEqual([
    { n: 1, step: 'a', ok: false },
    { n: 2, step: 'a', ok: true },
    { n: 3, step: 'b', ok: true },
  ])
  const { rows: poison } = await db.pool.query('select job_id, lost from audit_poison')
  expect(poison).toEqual([{ job_id: ids['poison'], lost: 2 }])
})

// Changes that no trigger sees; `unrecorded` ones come after the record has ended, so they cannot differ from it.
const unseen = `
  alter table job disable trigger user; alter table job_done disable trigger user;
  alter table job_journal disable trigger user; alter table job_key disable trigger user;`
const unrecorded = `${unseen} update audit_recording set ended_at = clock_timestamp();`
const steps = (text: string) => `${unseen} update job_done set steps = '${text}' where id = :straight;`
const copy = (id: string, columns: string) => `${unseen}
  insert into job_done (id, workspace_id, version_id, tag, status, lost, args, result, steps, created_by)
  select ${id}, workspace_id, version_id, tag, status, lost, ${columns}, created_by from job_done where id = :quiet;`
const change = (columns: string, values: string) => `insert into audit_transition (job_id, cause, lost, version_id, ${columns})
  select id, ${values} from (select id, 0::smallint, version_id from job union all select id, 0::smallint, version_id from job_done) j (id, lost, version_id)`
const oldId = `'01000000-0000-7000-8000-000000000000'`
const otherId = `'0fffffff-ffff-7000-8000-000000000000'`

/** To the job that waits. `which`: seq and resume id. */
const answer = (
  which: string,
  approved: string,
  job = ':asking',
) => `insert into signal (job_id, step, seq, resume_id, approved, payload)
  values (${job}, 1, ${which}, ${approved}, '1');`

interface Plant {
  plants: string
  sql: string
  /** Other checks that cannot but find it too. */
  also?: string[]
}

const planted: Record<string, Plant[]> = {
  I01: [
    {
      plants: 'a reply names a job that is not there',
      sql: `insert into history_op (op, kind, id) values ('x', 'ok', ${otherId});`,
    },
    {
      plants: 'an acknowledged event is gone',
      sql: `${unseen} delete from job_done where id = :straight; delete from audit_transition where job_id = :straight; delete from audit_end where job_id = :straight;`,
    },
    {
      plants: 'other arguments are there',
      sql: `update history_op set sha256 = 'aa' where op = 'op-straight' and id is not null;`,
    },
  ],
  I02: [
    {
      plants: 'an event nobody sent',
      sql: copy(otherId, `'{"op":"never"}', result, '[]'`),
    },
    { plants: 'a refused event is there', sql: `update history_op set kind = 'fail' where op = 'op-straight';` },
  ],
  I03: [{ plants: 'the key names another job', sql: `${unseen} update job_key set job_id = :straight where key = 'order-7';` }],
  I04: [
    { plants: 'one event became two jobs', sql: copy(otherId, `'{"op":"op-straight"}', result, '[]'`) },
    {
      plants: 'two events were given one job',
      sql: `insert into history_op (op, kind, id) values ('op-crashed', 'ok', :straight);`,
      also: ['I01'],
    },
  ],
  I05: [
    {
      plants: 'a step has two outcomes',
      sql: steps('[{"k":"err","n":1,"s":"a","at":1,"ms":1},{"k":"err","n":1,"s":"a","at":1,"ms":1}]'),
    },
    {
      plants: 'a module has two values',
      sql: steps('[{"k":"ok","n":1,"s":"a","at":1,"ms":1,"v":1},{"k":"ok","n":2,"s":"a","at":1,"ms":1,"v":1}]'),
    },
  ],
  I06: [
    {
      plants: 'an end was written by another worker',
      sql: `update audit_transition set writer = 99 where job_id = :crashed and cause = 'ended';`,
    },
    { plants: 'an end was recorded of another worker', sql: `update audit_end set worker_id = 99 where job_id = :straight;` },
    {
      plants: 'an end was written under an older claim',
      sql: `update audit_transition set from_epoch = 1 where job_id = :crashed and cause = 'ended';`,
      also: ['I17'],
    },
    { plants: 'a record was kept by another worker', sql: `update audit_record_kept set writer = 99 where job_id = :crashed;` },
  ],
  I07: [
    { plants: 'somebody else ended a claim', sql: `update audit_refusal set kind = 'foreign' where kind = 'repeat';` },
    {
      plants: 'a refused report was recorded all the same',
      sql: `insert into audit_refusal (n, job_id, epoch, worker_id, what, kind) values (0, :straight, 1, 1, 'finish', 'stale');`,
    },
    {
      plants: 'a refused record was kept all the same',
      sql: `insert into audit_refusal (n, job_id, epoch, worker_id, what, kind)
            select 0, job_id, epoch, worker_id, 'journal', 'stale' from audit_record_kept where job_id = :crashed;`,
    },
  ],
  I08: [
    {
      plants: 'a take-over that does not raise the epoch',
      sql: `update audit_transition set to_epoch = 1 where job_id = :crashed and cause = 'lost';
            update audit_transition set from_epoch = 1 where job_id = :crashed and cause = 'claimed' and from_epoch = 2;`,
    },
  ],
  I09: [
    {
      plants: 'a job is given away while it is held',
      sql: `${unseen} ${change('from_state, to_state, from_epoch, to_epoch, from_worker, to_worker', `'claimed', lost, version_id, 'running', 'running', 1, 3, 1, 2`)} where id = :running;
            update job set epoch = 3, worker_id = 2 where id = :running; update worker set state = 'alive', lease_ms = 3600000, heartbeat_at = clock_timestamp() where id = 2;
            delete from audit_worker_state where worker_id = 2;`,
    },
  ],
  I10: [
    { plants: 'a result of a step that never ran', sql: `delete from history_effect where job_id = :straight and step = 'b';` },
  ],
  I16: [
    {
      plants: 'a finished job comes back',
      sql: `${change('to_state, to_epoch', `'accepted', lost, version_id, 'ready', 9`)} where id = :straight;`,
    },
  ],
  I17: [
    { plants: 'a change nobody recorded', sql: `${unseen} update job set epoch = epoch + 2 where id = :running;` },
    {
      plants: 'a change that does not start where the last one ended',
      sql: `update audit_transition set from_worker = 7 where job_id = :waited and cause = 'parked';`,
    },
  ],
  I18: [
    {
      plants: 'a part waits for its turn, and none is before it',
      sql: `${unrecorded} update job set state = 'waiting', parent_id = :parked, parent_step = 1, parent_slot = 3, part = 'a' where id = :ready;`,
    },
    { plants: 'a job waits for nothing', sql: `${unrecorded} update job set state = 'waiting' where id = :ready;` },
    {
      plants: 'a job waits beyond its time',
      sql: `${unrecorded} update job set state = 'waiting', run_at = clock_timestamp() - interval '1 hour' where id = :ready;`,
    },
    {
      plants: 'a job waits for signals that it has',
      sql: `${unrecorded} update job set state = 'waiting', signals = 2, signals_wanted = 2 where id = :ready;`,
      also: ['W02'],
    },
    {
      plants: 'a parked job is left',
      sql: `${unseen} update job set run_at = clock_timestamp() - interval '1 hour' where id = :parked;`,
    },
    {
      plants: 'a waiting job has all its answers',
      sql: `${unseen} update job set signals = 1 where id = :asking; ${answer('1, 1', 'true')}`,
    },
    {
      plants: 'a waiting job was refused',
      sql: `${unseen} update job set signals = 1, signals_wanted = 2 where id = :asking;
            update job_wait set wanted = 2 where job_id = :asking; ${answer('1, 1', 'false')}`,
    },
    {
      plants: 'the time of a waiting job is over',
      sql: `${unseen} update job set run_at = clock_timestamp() - interval '1 hour' where id = :asking;`,
    },
    { plants: 'an idle worker does not take a job', sql: `${unseen} update job set tag = 't' where id = :ready;` },
  ],
  I19: [
    {
      plants: 'a step is tried too often',
      sql: steps(`[${[1, 2, 3, 4].map((n) => `{"k":"err","n":${n},"s":"a","at":1,"ms":1}`).join(',')}]`),
    },
    { plants: 'a job is lost too often', sql: `${unseen} update job_done set lost = 3 where id = :straight;` },
    { plants: 'poison after a single loss', sql: `${unseen} update job_done set lost = 1 where id = :poison;` },
  ],
  I20: [{ plants: 'a job changes its version', sql: `update audit_end set version_id = 77 where job_id = :straight;` }],
  I21: [
    {
      plants: 'a canceled job is claimed',
      sql: `${change('from_state, to_state, to_epoch, to_worker', `'claimed', lost, version_id, 'ready', 'running', 9, 1`)} where id = :canceled;`,
      also: ['I16'],
    },
  ],
  I22: [
    {
      plants: 'a parked job goes on too early',
      sql: `update audit_transition set run_at = at + interval '1 hour' where job_id = :waited and cause = 'parked';`,
    },
  ],
  I24: [
    {
      plants: 'a worker died, and nobody takes its job',
      sql: `insert into worker (name, tags, host, pid, version, lease_ms) values ('w', '{u}', 'h', 1, '0', 3600000); update worker set state = 'dead' where id = 1;`,
      also: ['I18'],
    },
  ],
  I25: [
    { plants: 'a turn is freed, and nobody gets it', sql: `update turn set jobs_max = 2;` },
    {
      plants: 'a time has come, and nobody looks',
      sql: `update turn set due_at = clock_timestamp() - interval '1 hour' where job_id = :inline;`,
    },
  ],
  H01: [
    {
      plants: 'an event is never finished',
      sql: `${unseen} update job set args = '{"op":"op-late"}' where id = :ready; insert into history_op (op, kind) values ('op-late', 'unknown');`,
    },
  ],
  E01: [
    {
      plants: 'a step runs again after its end was recorded',
      sql: `insert into history_effect values (:straight, 'a', 1, clock_timestamp() + interval '1 minute');`,
    },
    {
      plants: 'a step runs again after its record was kept',
      sql: `insert into history_effect values (:crashed, 'a', 1, clock_timestamp() + interval '1 minute');`,
    },
  ],
  J01: [
    {
      plants: 'a part goes on after its job',
      sql: `${unrecorded} update job set parent_id = :straight, parent_step = 1, parent_slot = 0, part = 'a' where id = :ready;`,
    },
  ],
  J02: [
    {
      plants: 'a part there is twice',
      sql: `${unseen} update job_done set parent_id = :straight, parent_step = 1, parent_slot = 0, part = 'a' where id in (:quiet, :keyed);`,
    },
  ],
  J03: [
    {
      plants: 'a job waits for parts that are all over',
      sql: `${unrecorded} update job set state = 'waiting', started_at = clock_timestamp(), signals_wanted = 1 where id = :ready;`,
    },
  ],
  M01: [
    {
      plants: 'a finished job is active again',
      sql: `${unseen} insert into job (id, workspace_id, version_id, tag, args, created_by) values (:quiet, 'main', 1, 'nobody', '{}', 'me');`,
    },
  ],
  M02: [
    {
      plants: 'a running job of no worker',
      sql: `${unrecorded} update job set worker_id = null where id = :running;`,
      also: ['I18'],
    },
  ],
  M03: [{ plants: 'a ready job of a worker', sql: `${unrecorded} update job set worker_id = 1 where id = :ready;` }],
  M04: [
    {
      plants: 'a journal outlives its job',
      sql: `${unseen} insert into job_journal values (:straight, 1, '{"k":"wake","s":"a"}');`,
    },
    { plants: 'a journal nobody would read', sql: `${unseen} update job set journaled = false where id = :running;` },
  ],
  M05: [{ plants: 'a gap in a journal', sql: `${unseen} insert into job_journal values (:running, 3, '{"k":"wake","s":"a"}');` }],
  M06: [
    { plants: 'a parked job without a time', sql: `${unseen} update job set run_at = null where id = :parked;` },
    { plants: 'a running job with a time', sql: `${unseen} update job set run_at = clock_timestamp() where id = :running;` },
  ],
  M07: [{ plants: 'a job with the id of a step', sql: copy(`'0fffffff-ffff-7000-8000-000000000001'`, `'{}', result, '[]'`) }],
  M08: [
    { plants: 'a record of no known kind', sql: steps('[{"k":"guess","n":1}]') },
    { plants: 'a step is missing', sql: steps('[{"k":"err","n":2,"s":"a","at":1,"ms":1}]') },
    { plants: 'steps that are no list', sql: steps('{}') },
  ],
  M09: [{ plants: 'a loss that did not raise the epoch', sql: `${unseen} update job set lost = 1 where id = :ready;` }],
  M10: [
    { plants: 'a key names no job', sql: `${unseen} insert into job_key values ('main', 'k', ${otherId});` },
    { plants: 'two keys name one job', sql: `${unseen} insert into job_key values ('main', 'k', :quiet);` },
  ],
  M11: [{ plants: 'a key is given to another job', sql: `update job_key set job_id = :canceled where key = 'order-8';` }],
  M12: [
    {
      plants: 'a kept record is not in the steps',
      sql: `update audit_record_kept set record_md5 = 'x' where job_id = :crashed;`,
    },
    {
      plants: 'a kept record is changed',
      sql: `update job_journal set record = '{"k":"ok","n":1,"s":"a","at":1,"ms":1,"v":2}' where job_id = :running;`,
    },
  ],
  M13: [
    { plants: 'a dead worker claims', sql: `insert into audit_worker_state (n, worker_id, to_state) values (0, 1, 'dead');` },
  ],
  M14: [
    { plants: 'a job leaves without an end', sql: `delete from audit_end where job_id = :straight;` },
    { plants: 'an end without leaving', sql: `delete from audit_transition where job_id = :straight and cause = 'ended';` },
    { plants: 'a job vanishes unseen', sql: `${unseen} delete from job where id = :ready;` },
  ],
  M15: [{ plants: 'a result is changed', sql: `update job_done set result = '{}' where id = :quiet;` }],
  M16: [{ plants: 'a change there is not', sql: `update job set state = 'waiting' where id = :ready;`, also: ['I18'] }],
  M17: [{ plants: 'a step of another flow', sql: steps('[{"k":"err","n":1,"s":"elsewhere","at":1,"ms":1}]') }],
  M18: [
    {
      plants: 'a job is taken from a worker that died only later',
      sql: `delete from audit_worker_state where to_state = 'dead'; update worker set stopped_at = clock_timestamp() where state = 'reaped';`,
    },
  ],
  M19: [
    {
      plants: 'a second job gets a turn',
      sql: `${unrecorded} update turn set held = true where job_id = :inline; update job set state = 'ready', tag = 'nobody' where id = :inline;`,
    },
  ],
  M20: [
    {
      plants: 'a job is ready before its turn',
      sql: `${unrecorded} update job set state = 'ready', tag = 'nobody' where id = :inline;`,
    },
    { plants: 'a job has its turn, and still waits', sql: `update turn set held = true, jobs_max = 2 where job_id = :inline;` },
    { plants: 'a job waits, and is in no line', sql: `${unseen} delete from turn where job_id = :inline;`, also: ['I18'] },
  ],
  M21: [
    {
      plants: 'a job is over, and its turn was not passed on',
      sql: `insert into turn (job_id, key, jobs_max, held) values (:straight, 'other', 1, true);`,
    },
    {
      plants: 'an active job’s turn is free',
      sql: `update turn set free_at = clock_timestamp() + interval '1 hour' where job_id = :held;`,
    },
  ],
  W01: [
    {
      plants: 'an answer is counted twice',
      sql: steps('[{"k":"signal","seq":1,"n":1,"id":7},{"k":"signal","seq":2,"n":1,"id":7}]'),
    },
    {
      plants: 'an answer is recorded twice',
      sql: `${unseen} insert into job_journal select :running, n, '{"k":"signal","seq":1,"n":1,"id":7}' from generate_series(2, 3) n;`,
    },
  ],
  W02: [
    { plants: 'an answer is gone', sql: `${unseen} update job set signals = 1 where id = :running;` },
    { plants: 'an answer nobody will look for', sql: answer('1, 7', 'true') },
  ],
  W03: [{ plants: 'a job waits, and none of its steps does', sql: 'delete from job_wait where job_id = :asking;' }],
  W04: [
    { plants: 'an answer outlives its job', sql: answer('1, 7', 'true', oldId) },
    { plants: 'a time outlives its job', sql: `insert into job_wait (job_id, key, until) values (${oldId}, 1, now());` },
  ],
}

test('every check has something planted for it', () => {
  expect(Object.keys(planted).sort()).toEqual(
    readChecks()
      .map(({ id }) => id)
      .sort(),
  )
})

const cases = Object.entries(planted).flatMap(([id, plants]) => plants.map((plant) => ({ id, ...plant })))

test.each(cases)('$id finds: $plants', async ({ id, sql, also = [] }) => {
  await client.query('begin')
  try {
    await client.query(sql.replaceAll(/(?<!:):([a-z]+)\b/g, (_all, name: string) => `'${ids[name]}'`))
    expect(await violated()).toEqual([id, ...also].sort())
  } finally {
    await client.query('rollback')
  }
})
