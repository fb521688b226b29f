// The in-memory store of the simulation answers as Postgres does: the same random statements on both, the same rows, and at
// the end the same tables. Without this the simulation would prove something about a fiction.
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type pg from 'pg'
import { createJobIds } from '../../src/core/job/ids.ts'
import { run, type Database } from '../../src/store/db.ts'
import { workerLockClass } from '../../src/store/jobs.ts'
import { testDatabase } from '../support/database.ts'
import { MemoryStore, type Session } from './memory.ts'
import { seededChance, type Chance } from './world.ts'

const sequences = 40
const statementsEach = 150
const sessionsMax = 3
const hourMs = 3_600_000

let db: Database
let versionId: string
const clients: pg.Client[] = []

beforeAll(async () => {
  db = await testDatabase()
  const { rows } = await db.pool.query(
    `insert into flow_version (workspace_id, path, kind, tag, value, built, content_hash, created_by)
     values ('main', 'a/b', 'flow', 't', '{}', '{}', 'x', 'me') returning id`,
  )
  versionId = (rows[0] as { id: string }).id
  for (let i = 0; i < sessionsMax; i++) clients.push(await db.connect({ name: 'differential' }))
})

afterAll(() => Promise.all(clients.map((client) => client.end())))

interface Step {
  name: string
  values: unknown[]
  session: number
}

/** One sequence: what it did so far is known, so that its statements mostly name what is there. */
class Sequence {
  readonly store: MemoryStore
  readonly sessions: Session[] = Array.from({ length: sessionsMax }, () => ({ locks: new Set<number>() }))
  readonly #chance: Chance
  readonly #nextId: (nowMs: number) => string
  readonly ids: string[] = []
  #workers = 0
  #spreads = 0

  constructor(seed: number, startedAtMs: number) {
    this.#chance = seededChance(seed)
    this.#nextId = createJobIds(() => Math.floor(this.#chance() * 2 ** 48))
    this.store = new MemoryStore({ now: () => Date.now(), notify: () => {} })
    this.store.startedAtMs = startedAtMs
    for (const session of this.sessions) this.store.sessions.add(session)
  }

  next(): Step {
    const draw = this.#chance()
    const session = this.#whole(sessionsMax)
    if (this.#workers < 2 || draw < 0.03) {
      this.#workers += 1
      return { name: 'register_worker', values: ['w', ['t'], 'host', 1, '0', this.#chance() < 0.5 ? 5_000 : hourMs], session }
    }
    const worker = 1 + this.#whole(this.#workers)
    if (draw < 0.12) return { name: 'enqueue_jobs', values: [JSON.stringify(this.#jobs()), ['t']], session }
    if (draw < 0.17) return { name: 'enqueue_keyed_jobs', values: [JSON.stringify(this.#jobs())], session }
    if (draw < 0.24) return { name: 'enqueue_turns', values: [JSON.stringify(this.#turnJobs())], session }
    if (draw < 0.4) {
      const round = this.store.workers.get(worker)!.claim_round
      const asked = this.#chance() < 0.1 ? round + 1 : round
      if (this.#chance() < 0.4) return { name: 'claim_suspect', values: [worker, [this.#tag(), this.#tag()], asked, 1], session }
      const suspectAfter = this.#chance() < 0.5 ? 1 : 2
      const after = this.#chance() < 0.93 ? '00000000-0000-0000-0000-000000000000' : this.#id()
      return { name: 'claim_jobs', values: [worker, this.#tag(), 1 + this.#whole(4), asked, suspectAfter, after], session }
    }
    if (draw < 0.41) return { name: 'suspects_wait', values: [[this.#tag()], 1], session }
    if (draw < 0.46) return { name: 'canceled_jobs', values: [worker], session }
    if (draw < 0.55) {
      const held = this.#held(this.#finish)
      const turned = (JSON.parse(held) as { id: string }[]).some(({ id }) => this.store.turns.has(id))
      const name = turned || this.#chance() < 0.4 ? 'finish_waited' : 'finish_jobs'
      return { name, values: [worker, held, this.#chance() < 0.3], session }
    }
    if (draw < 0.6) {
      const [step, resumeId, approved] = [this.#whole(3), this.#whole(4), this.#chance() < 0.8]
      const sender = ['me', approved ? ['ops'] : null]
      return { name: 'send_signal', values: ['main', this.#id(), step, resumeId, null, approved, '{"y": 1}', ...sender], session }
    }
    if (draw < 0.62) {
      const jobs = [...new Set([this.#id(), this.#id()])].map((id) => ({ id, seq: this.#whole(2) }))
      return { name: 'read_signals', values: [JSON.stringify(jobs)], session }
    }
    if (draw < 0.63) return { name: 'spread_jobs', values: [worker, this.#held(this.#spread)], session }
    if (draw < 0.635) return { name: 'quit_parts', values: [worker, this.#held(this.#quit)], session }
    if (draw < 0.65) return { name: 'keep_waits', values: [worker, this.#held(this.#waits)], session }
    if (draw < 0.67) return { name: 'append_journal', values: [worker, this.#held(this.#record)], session }
    if (draw < 0.74) return { name: 'release_jobs', values: [worker, this.#held(this.#release)], session }
    if (draw < 0.78) return { name: 'wake_due_jobs', values: [this.#chance() < 0.5 ? null : inMs(2 * hourMs), 10], session }
    if (draw < 0.82) return { name: 'heartbeat', values: [worker, 0, 0, 0], session }
    if (draw < 0.85) return { name: 'worker_locked', values: [worker, workerLockClass], session }
    if (draw < 0.88) return { name: 'declare_dead', values: [inMs(10_000), workerLockClass, 650], session }
    if (draw < 0.9) return { name: 'give_back_jobs', values: [1], session }
    if (draw < 0.92) {
      const round = this.store.workers.get(worker)!.claim_round + (this.#chance() < 0.8 ? 1 : 0)
      return { name: 'end_claim_round', values: [worker, round], session }
    }
    if (draw < 0.93)
      return {
        name: 'give_back_unknown',
        values: [
          worker,
          this.#held(({ id, epoch }) => ({ id, epoch })),
          this.store.workers.get(worker)!.claim_round - (this.#chance() < 0.2 ? 1 : 0),
        ],
        session,
      }
    if (draw < 0.96) return { name: 'cancel_job', values: ['main', this.#id(), 'me', 'enough'], session }
    if (draw < 0.97) return { name: 'stop_worker', values: [worker], session }
    if (draw < 0.99) return { name: 'read_outcomes', values: [[...new Set([this.#id(), this.#id()])]], session }
    return { name: 'read_journal', values: [worker, this.#held(({ id, epoch }) => ({ id, epoch }))], session }
  }

  #whole(below: number): number {
    return Math.floor(this.#chance() * below)
  }

  #tag(): string {
    return this.#chance() < 0.8 ? 't' : 'u'
  }

  #id(): string {
    return this.ids[this.#whole(this.ids.length)] ?? this.#nextId(Date.now())
  }

  #jobs(): object[] {
    const jobs = Array.from({ length: 1 + this.#whole(3) }, () => {
      const id = this.#nextId(Date.now())
      this.ids.push(id)
      const at = this.#chance() < 0.2 ? Date.now() + hourMs : undefined
      return {
        id,
        ws: 'main',
        v: Number(versionId),
        tag: this.#tag(),
        p: this.#whole(3),
        by: 'me',
        args: { x: this.#whole(9) },
        at,
        key: `k${this.#whole(12)}`,
      }
    })
    const keys = new Set<string>()
    const once = jobs.filter(({ key }) => !keys.has(key) && keys.add(key))
    return once
  }

  /** Of few keys, with and without all that a turn may say. */
  #turnJobs(): object[] {
    return this.#jobs().map((job, i) => {
      const key = `t${this.#whole(4)}`
      const turn: Record<string, unknown> = { key, max: this.#chance() < 0.9 ? 1 + this.#whole(2) : undefined }
      if (this.#chance() < 0.2) turn['window'] = hourMs
      Object.assign(turn, this.#debounced('d'))
      const args = { x: this.#whole(9), list: [this.#whole(9)] }
      return {
        ...job,
        i,
        args,
        key: this.#chance() < 0.3 ? `k${this.#whole(12)}-${i}` : undefined,
        turn: this.#chance() < 0.9 ? turn : undefined,
      }
    })
  }

  #debounced(kind: string): object {
    if (this.#chance() >= 0.3) return {}
    const bounds = { within: this.#chance() < 0.3 ? 2 * hourMs : undefined, amount: this.#chance() < 0.3 ? 2 : undefined }
    return { debounce: { key: `${kind}${this.#whole(2)}`, ms: hourMs, merge: ['list'], ...bounds } }
  }

  /** Some jobs, mostly with the epoch they have, each once. */
  #held(item: (job: { id: string; epoch: number }) => unknown): string {
    const chosen = new Map<string, unknown>()
    for (let i = 0; i < 1 + this.#whole(3); i++) {
      const running = [...this.store.jobs.values()].filter((job) => job.state === 'running')
      const job = this.#chance() < 0.85 ? running[this.#whole(running.length)] : this.store.jobs.get(this.#id())
      const id = job?.id ?? this.#id()
      chosen.set(id, item({ id, epoch: (job?.epoch ?? 1) - (this.#chance() < 0.15 ? 1 : 0) }))
    }
    return JSON.stringify([...chosen.values()])
  }

  readonly #finish = (job: object) => ({
    ...job,
    status: 'success',
    result: this.#chance() < 0.8 ? { ok: this.#whole(9) } : null,
    steps: [
      {
        k: 'ok',
        n: 1,
      },
    ],
    end: { how: 'done' },
    next: this.#whole(4),
    refuses: this.#chance() < 0.2,
  })
  readonly #spread = (job: object) => {
    if (this.#chance() < 0.2) return this.#record(job)
    const jobs = Array.from({ length: 1 + this.#whole(3) }, (_, slot) => ({
      id: this.#nextId(Date.now()),
      slot,
      args: { slot, list: [slot] },
      tag: this.#chance() < 0.2 ? this.#tag() : undefined,
      priority: this.#chance() < 0.2 ? this.#whole(3) : undefined,
      turn: this.#chance() < 0.3 ? { key: `t${this.#whole(4)}`, max: 1 + this.#whole(2), ...this.#debounced('s') } : undefined,
      call: this.#nextId(Date.now()),
    }))
    for (const { id, call } of jobs) this.ids.push(id, call)
    const step = ++this.#spreads
    return {
      ...job,
      n: 10 + this.#whole(2),
      record: { k: 'spread' },
      step,
      part: 'l',
      v: Number(versionId),
      at_once: 1 + this.#whole(2),
      jobs,
    }
  }
  readonly #quit = (job: { id: string }) => {
    const part = [...this.store.jobs.values()].find((one) => one.parent_id === job.id)
    return { ...job, step: part?.parent_step ?? 1, unbegun: this.#chance() < 0.5 }
  }
  readonly #record = (job: object) => ({ ...job, n: 1 + this.#whole(3), record: { k: 'ok', n: this.#whole(9) } })
  readonly #waits = (job: object) => ({
    ...job,
    waits: Array.from({ length: 1 + this.#whole(2) }, () => ({ key: this.#whole(3), ms: hourMs })),
  })
  readonly #release = (job: object) => ({
    ...job,
    run_in_ms: [null, 0, hourMs][this.#whole(3)],
    wanted: this.#whole(3),
    seen: this.#whole(3),
    waits: this.#chance() < 0.3 ? [{ key: this.#whole(3), ms: hourMs }] : null,
  })
}

function inMs(ms: number): Date {
  return new Date(Date.now() + ms)
}

/** Rows in no promised order, json columns by value, without those that only tell of notifications. */
function comparable(name: string, rows: object[]): string[] {
  if (name === 'enqueue_jobs' || name === 'quit_parts') return []
  const plain = rows.filter((row) => !('id' in row && row.id === null)).map(plainRow)
  return name === 'read_journal' ? plain : plain.sort()
}

function plainRow(row: object): string {
  const entries = Object.entries(row).map(([column, value]: [string, unknown]) => {
    if (Array.isArray(value)) return [column, (value as unknown[]).map(String).sort()]
    return [
      column,
      typeof value === 'string' && /^[[{]/.test(value)
        ? withoutWorkers(JSON.parse(value) as { error?: { workers?: unknown } })
        : value,
    ]
  })
  return JSON.stringify(Object.fromEntries(entries.sort((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1))))
}

/** A poison job names the processes that died of it, which the memory does not have. */
function withoutWorkers(value: { error?: { workers?: unknown } }): unknown {
  if (value.error?.workers === undefined) return value
  const { workers: _workers, ...error } = value.error
  return { ...value, error }
}

async function reconnect(sequence: Sequence, at: number): Promise<void> {
  const { rows } = await clients[at]!.query('select pg_backend_pid() as pid')
  await clients[at]!.end()
  for (;;) {
    const left = await db.pool.query('select from pg_stat_activity where pid = $1', [(rows[0] as { pid: number }).pid])
    if (left.rows.length === 0) break
    await pause(1)
  }
  clients[at] = await db.connect({ name: 'differential' })
  sequence.sessions[at]!.locks.clear()
}

async function tables(): Promise<Record<string, string[]>> {
  const all = async (query: string) => (await db.pool.query(query)).rows.map(plainRow).sort()
  return {
    job: await all(
      'select id, tag, state::text, priority, worker_id, epoch, lost, journaled, canceled_by, signals, run_at is not null as waits, parent_step, parent_slot, part from job',
    ),
    done: await all('select id, status, worker_id, lost, result, steps from job_done'),
    journal: await all('select job_id, n, record from job_journal'),
    signal: await all('select job_id, seq, step, resume_id::integer, approved, payload from signal'),
    wait: await all('select job_id, key from job_wait'),
    key: await all('select key, job_id from job_key'),
    turn: await all(
      `select job_id, key, jobs_max, window_ms::float8, held, due_at is not null as due, free_at is not null as over, debounce_key, debounced, joins_id from turn`,
    ),
    args: await all('select id, args from job'),
    worker: await all('select id, state, hint_lock, claim_round from worker'),
  }
}

function memoryTables(store: MemoryStore): Record<string, string[]> {
  const jobs = [...store.jobs.values()].map(
    ({
      id,
      tag,
      state,
      priority,
      worker_id,
      epoch,
      lost,
      journaled,
      canceled_by,
      signals,
      run_at,
      parent_step,
      parent_slot,
      part,
    }) => ({
      id,
      tag,
      state,
      priority,
      worker_id,
      epoch,
      lost,
      journaled,
      canceled_by,
      signals,
      waits: run_at !== null,
      parent_step,
      parent_slot,
      part,
    }),
  )
  const done = [...store.done.values()].map(({ id, status, worker_id, lost, result, steps }) => ({
    id,
    status,
    worker_id,
    lost,
    result,
    steps,
  }))
  const journal = [...store.journal].flatMap(([job_id, records]) => [...records].map(([n, record]) => ({ job_id, n, record })))
  const signals = [...store.signals].flatMap(([job_id, sent]) =>
    sent.map(({ seq, n: step, resume_id, approved, payload }) => ({ job_id, seq, step, resume_id, approved, payload })),
  )
  const waits = [...store.waits].flatMap(([job_id, kept]) => [...kept.keys()].map((key) => ({ job_id, key })))
  const keys = [...store.keys].map(([name, job_id]) => ({ key: name.slice('main '.length), job_id }))
  const turns = [...store.turns.values()].map(
    ({ job_id, key, jobs_max, window_ms, held, due_at, free_at, debounce_key, debounced, joins_id }) => {
      const times = { due: due_at !== null, over: free_at !== null }
      return { job_id, key, jobs_max, window_ms, held, ...times, debounce_key, debounced, joins_id }
    },
  )
  const workers = [...store.workers.values()].map(({ id, state, hint_lock, claim_round }) => ({
    id,
    state,
    hint_lock,
    claim_round,
  }))
  const sorted = (rows: object[]) => rows.map(plainRow).sort()
  return {
    job: sorted(jobs),
    done: sorted(done),
    journal: sorted(journal),
    signal: sorted(signals),
    wait: sorted(waits),
    key: sorted(keys),
    turn: sorted(turns),
    args: sorted([...store.jobs.values()].map(({ id, args }) => ({ id, args }))),
    worker: sorted(workers),
  }
}

test(`the in-memory store and Postgres answer ${sequences * statementsEach} random statements alike`, async () => {
  const started = await db.pool.query('select extract(epoch from pg_postmaster_start_time()) * 1000 as ms')
  const startedAtMs = Number((started.rows[0] as { ms: string }).ms)
  const used = new Map<string, number>()
  for (let seed = 1; seed <= sequences; seed++) {
    await db.pool.query('truncate job, job_done, job_journal, job_key, signal, job_wait, turn, worker restart identity')
    const sequence = new Sequence(seed, startedAtMs)
    for (let i = 0; i < sessionsMax; i++) await reconnect(sequence, i)
    const told: string[] = []
    for (let i = 0; i < statementsEach; i++) {
      const { name, values, session } = sequence.next()
      told.push(`${name} ${JSON.stringify(values)}`)
      const real = await run(clients[session]!, name, values)
      const memory = sequence.store.run(sequence.sessions[session]!, name, values)
      const where = `seed ${seed}, statement ${i + 1}: ${told.at(-1)}`
      expect(comparable(name, memory), where).toEqual(comparable(name, real))
      if (real.length > 0) used.set(name, (used.get(name) ?? 0) + 1)
      if (i % 40 === 39) await reconnect(sequence, i % sessionsMax)
    }
    expect(memoryTables(sequence.store), `seed ${seed}, after all of it`).toEqual(await tables())
  }
  // Every kind of statement has found something to do; else equal answers would say little.
  const wanted = [
    'claim_jobs',
    'claim_suspect',
    'suspects_wait',
    'finish_jobs',
    'finish_waited',
    'enqueue_turns',
    'spread_jobs',
    'send_signal',
    'read_signals',
    'append_journal',
    'keep_waits',
    'release_jobs',
    'wake_due_jobs',
    'declare_dead',
    'give_back_jobs',
  ]
  for (const name of [...wanted, 'give_back_unknown', 'end_claim_round', 'cancel_job', 'canceled_jobs', 'worker_locked']) {
    expect(used.get(name), `${name} gave rows`).toBeGreaterThan(3)
  }
}, 240_000)
