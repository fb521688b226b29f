// The statements of src/store/sql that workers, servers and callers use, on tables in memory. The simulation's database.
//   M1. A statement is one atomic step, as READ COMMITTED statements are between the locks they take.
//   M2. Same name, same parameters, same rows as the SQL file of that name: differential.pg.test.ts holds the two together.
//   M3. json columns come back as text.
import { workerLockClass } from '../../src/store/jobs.ts'

type Row = Record<string, unknown>

export interface JobRow {
  id: string
  workspace_id: string
  version_id: string
  tag: string
  state: 'ready' | 'running' | 'parked' | 'waiting'
  priority: number
  worker_id: number | null
  epoch: number
  lost: number
  journaled: boolean
  waiter: number | null
  args: string
  created_by: string
  run_at: number | null
  started_at: number | null
  canceled_by: string | null
  canceled_reason: string | null
  signals: number
  signals_wanted: number | null
  parent_id: string | null
  parent_step: number | null
  parent_slot: number | null
  part: string | null
}

interface SignalRow {
  seq: number
  n: number
  resume_id: number
  approver: string | null
  account: string | null
  groups: string[] | null
  approved: boolean
  payload: string
}

export interface DoneRow {
  id: string
  version_id: string
  status: string
  worker_id: number | null
  lost: number
  result: string
  steps: string
  parent_id: string | null
  parent_step: number | null
  parent_slot: number | null
}

export interface TurnRow {
  job_id: string
  key: string
  n: number
  jobs_max: number | null
  window_ms: number | null
  held: boolean
  due_at: number | null
  free_at: number | null
  debounce_key: string | null
  debounced: number
  accepted_at: number
  joins_id: string | null
}

interface WorkerRow {
  id: number
  state: 'alive' | 'dead' | 'reaped' | 'stopped'
  hint_lock: boolean
  lease_ms: number
  heartbeat_at: number
  claim_round: number
}

/** A connection, as far as statements see it. */
export interface Session {
  locks: Set<number>
}

export interface Version {
  id: string
  workspaceId: string
  path: string
  kind: string
  tag: string
  priority: number
  value: string
  built: string
}

/** What an onlooker is told, in the order it happens. */
export interface Watch {
  claimed?(job: JobRow): void
  /** A worker is about to change a job it holds. */
  changed?(job: JobRow, by: { workerId: number; epoch: number }): void
  /** Parts of a job are there now. */
  spread?(parts: JobRow[]): void
  /** A job that waited is ready by this many signals more. */
  woken?(job: JobRow, signals: number): void
  /** The row is about to be there. `by`: who finished it, where a worker did. */
  done?(row: DoneRow, by: { workerId: number; epoch: number } | null): void
}

export class MemoryStore {
  readonly jobs = new Map<string, JobRow>()
  readonly journal = new Map<string, Map<number, string>>()
  readonly done = new Map<string, DoneRow>()
  readonly signals = new Map<string, SignalRow[]>()
  /** job → key → until */
  readonly waits = new Map<string, Map<number, number>>()
  readonly keys = new Map<string, string>()
  readonly turns = new Map<string, TurnRow>()
  readonly workers = new Map<number, WorkerRow>()
  readonly sessions = new Set<Session>()
  readonly versions = new Map<string, Version>()
  /** `<workspace> <path>` → version id. */
  readonly flows = new Map<string, string>()
  /** The database's clock, in ms since 1970. */
  readonly now: () => number
  readonly notify: (channel: string, payload: string) => void
  readonly watch: Watch
  startedAtMs: number
  #lastWorker = 0
  #lastTurn = 0

  constructor(parts: { now: () => number; notify: (channel: string, payload: string) => void; watch?: Watch }) {
    this.now = parts.now
    this.notify = parts.notify
    this.watch = parts.watch ?? {}
    this.startedAtMs = parts.now()
  }

  run(session: Session, name: string, values: unknown[]): Row[] {
    const statement = statements[name]
    if (!statement) throw new Error(`memory.ts has no statement ${name}`)
    return statement(this, values, session)
  }

  nextWorkerId(): number {
    return ++this.#lastWorker
  }

  nextTurn(): number {
    return ++this.#lastTurn
  }

  keep(row: DoneRow, by: { workerId: number; epoch: number } | null): void {
    this.watch.done?.(row, by)
    this.done.set(row.id, row)
  }

  recordsOf(jobId: string): string[] {
    const records = [...(this.journal.get(jobId) ?? [])]
    return records.sort((a, b) => a[0] - b[0]).map(([, record]) => record)
  }
}

type Statement = (store: MemoryStore, values: unknown[], session: Session) => Row[]

const text = (value: unknown): string => JSON.stringify(value)
const items = <Item>(document: unknown): Item[] => JSON.parse(document as string) as Item[]
const inOrder = (a: JobRow, b: JobRow): number => b.priority - a.priority || (a.id < b.id ? -1 : 1)

interface NewItem {
  id: string
  ws: string
  v: number
  tag: string
  p?: number
  by: string
  w?: number
  at?: number
  args: unknown
  key?: string
}

function insert(store: MemoryStore, item: NewItem): void {
  if (store.jobs.has(item.id)) throw Object.assign(new Error('duplicate key value: job_pkey'), { code: '23505' })
  store.jobs.set(item.id, {
    id: item.id,
    workspace_id: item.ws,
    version_id: String(item.v),
    tag: item.tag,
    state: item.at === undefined ? 'ready' : 'parked',
    priority: item.p ?? 0,
    worker_id: null,
    epoch: 0,
    lost: 0,
    journaled: false,
    waiter: item.w ?? null,
    args: text(item.args),
    created_by: item.by,
    run_at: item.at ?? null,
    started_at: null,
    canceled_by: null,
    canceled_reason: null,
    signals: 0,
    signals_wanted: null,
    parent_id: null,
    parent_step: null,
    parent_slot: null,
    part: null,
  })
}

/** The job if this worker still holds it under this epoch. */
function held(store: MemoryStore, workerId: unknown, item: { id: string; epoch: number }): JobRow | null {
  const job = store.jobs.get(item.id)
  return job && job.worker_id === workerId && job.epoch === item.epoch && job.state === 'running' ? job : null
}

function suspectsOf(store: MemoryStore, tags: unknown, suspectAfter: unknown): JobRow[] {
  return [...store.jobs.values()].filter(
    (job) => (tags as string[]).includes(job.tag) && job.state === 'ready' && job.lost >= (suspectAfter as number),
  )
}

function claim(store: MemoryStore, by: { workerId: unknown; round: unknown }, picked: JobRow[]): Row[] {
  const worker = store.workers.get(by.workerId as number)
  if (worker?.state !== 'alive' || worker.claim_round !== by.round) return []
  return picked.map((job) => {
    const waited = job.run_at !== null
    job.state = 'running'
    job.worker_id = by.workerId as number
    job.epoch += 1
    job.run_at = null
    job.started_at ??= store.now()
    store.watch.claimed?.(job)
    const { id, version_id, epoch, args, created_by, waiter, lost, journaled, canceled_by, signals, part } = job
    return { id, version_id, epoch, args, created_by, waiter, lost, journaled, canceled_by, signals, part, waited, trace: null }
  })
}

function finish(store: MemoryStore, [workerId, document, tells]: unknown[], _session: Session): Row[] {
  type Item = { id: string; epoch: number; status: string; result: unknown; steps: unknown }
  const rows: Row[] = []
  for (const item of items<Item>(document)) {
    const job = held(store, workerId, item)
    if (!job) {
      rows.push({ id: item.id })
      continue
    }
    store.jobs.delete(job.id)
    const result = text(item.result)
    const done = {
      id: job.id,
      version_id: job.version_id,
      status: item.status,
      worker_id: job.worker_id,
      lost: job.lost,
      result,
      ...placeOf(job),
    }
    store.keep({ ...done, steps: text(item.steps) }, { workerId: workerId as number, epoch: item.epoch })
    store.journal.delete(job.id)
    if (tells && job.waiter !== null) {
      store.notify(`millrace_done_${job.waiter}`, `${job.id} ${item.status} ${result}`)
      rows.push({ id: null })
    }
  }
  return rows
}

interface LimitItem {
  key: string
  max?: number
  window?: number
}

interface AskedTurn extends LimitItem {
  debounce?: { key: string; ms: number; within?: number; amount?: number; merge?: string[] }
}

interface TurnItem extends NewItem {
  i: number
  turn?: AskedTurn
}

const limitsOf = ({ key, max, window }: LimitItem) => ({ key, jobs_max: max ?? null, window_ms: window ?? null })

/** Not before `dueAt`. */
function waitForTurn(
  store: MemoryStore,
  job: JobRow,
  turn: LimitItem,
  dueAt: number | null,
  debounceKey: string | null = null,
): void {
  job.state = 'waiting'
  job.run_at = null
  const own = { job_id: job.id, n: store.nextTurn(), held: false, due_at: dueAt, free_at: null }
  const absorbs = { debounce_key: debounceKey, debounced: 0, accepted_at: store.now(), joins_id: null }
  store.turns.set(job.id, { ...own, ...limitsOf(turn), ...absorbs })
}

/** As turn_due in SQL. */
function dueTurns(store: MemoryStore, nowMs: number, most: number): string[] {
  const all = [...store.turns.values()]
  const due = (at: 'due_at' | 'free_at') =>
    all
      .filter((turn) => turn[at] !== null && turn[at] <= nowMs)
      .sort((a, b) => a[at]! - b[at]!)
      .slice(0, most)
  const keys = new Set([...due('due_at'), ...due('free_at')].map((turn) => turn.key))
  for (const turn of all) {
    if (keys.has(turn.key) && turn.free_at !== null && turn.free_at <= nowMs) store.turns.delete(turn.job_id)
  }
  const ready = all.filter((turn) => keys.has(turn.key) && turn.due_at !== null && turn.due_at <= nowMs)
  for (const turn of ready.sort((a, b) => a.due_at! - b.due_at! || a.n - b.n)) {
    turn.due_at = null
    turn.n = store.nextTurn()
  }
  return grantTurns(store, keys)
}

/** turn_grant: the turns of these keys that are free, in order. */
function grantTurns(store: MemoryStore, keys: Iterable<string>): string[] {
  const tags = new Set<string>()
  for (const key of new Set(keys)) {
    const all = [...store.turns.values()].filter((turn) => turn.key === key)
    const held = all.filter((turn) => turn.held && (turn.free_at === null || turn.free_at > store.now())).length
    const waiting = all.filter((turn) => !turn.held && turn.due_at === null).sort((a, b) => a.n - b.n)
    const most = waiting[0]?.jobs_max ?? null
    const few = most === null ? waiting : waiting.slice(0, Math.max(0, most - held))
    for (const [place, turn] of few.entries()) {
      if (turn.jobs_max !== null && held + place + 1 > turn.jobs_max) continue
      turn.held = true
      const job = store.jobs.get(turn.job_id)
      if (job?.state !== 'waiting') continue
      job.state = 'ready'
      tags.add(job.tag)
    }
  }
  return [...tags]
}

/** turn_end */
function endTurns(store: MemoryStore, over: readonly { id: string; began: number | null }[]): string[] | null {
  const keys: string[] = []
  for (const { id, began } of over) {
    const turn = store.turns.get(id)
    if (!turn) continue
    keys.push(turn.key)
    const freeAt = turn.held && began !== null && turn.window_ms !== null ? began + turn.window_ms : -Infinity
    if (freeAt > store.now()) turn.free_at = freeAt
    else store.turns.delete(id)
  }
  if (keys.length === 0) return null
  const tags = grantTurns(store, keys)
  return tags.length > 0 ? tags : null
}

/** turn_absorb */
function absorb(store: MemoryStore, absorbing: TurnRow, later: Row, asked: AskedTurn): void {
  const { ms, within, amount = Infinity, merge = [] } = asked.debounce!
  const latest = within === undefined ? Infinity : absorbing.accepted_at + within
  absorbing.debounced += 1
  const due_at = absorbing.debounced >= amount ? store.now() : Math.min(store.now() + ms, latest)
  Object.assign(absorbing, limitsOf(asked), { due_at })
  const job = store.jobs.get(absorbing.job_id)!
  const [earlier, args] = [JSON.parse(job.args) as Row, { ...later }]
  for (const field of merge) {
    if (Array.isArray(earlier[field]) && Array.isArray(args[field])) args[field] = [...earlier[field], ...args[field]]
  }
  job.args = text(args)
}

/** Of turn_parts: a part that is debounced, and the job that runs in its place. */
function joinCall(store: MemoryStore, part: JobRow, turn: AskedTurn, callId: string): void {
  const debounce = turn.debounce!
  const absorbing = [...store.turns.values()].find(({ job_id, debounce_key, due_at }) => {
    const job = store.jobs.get(job_id)
    return debounce_key === debounce.key && (due_at ?? 0) > store.now() && job?.state === 'waiting' && job.canceled_by === null
  })
  const { workspace_id: ws, version_id, tag, priority: p, created_by: by } = part
  if (absorbing) absorb(store, absorbing, JSON.parse(part.args) as Row, turn)
  else {
    insert(store, { id: callId, ws, v: Number(version_id), tag, p, by, args: JSON.parse(part.args) })
    const call = store.jobs.get(callId)!
    call.part = part.part
    waitForTurn(store, call, turn, store.now() + debounce.ms, debounce.key)
  }
  const job = absorbing?.job_id ?? callId
  store.journal.set(part.id, new Map([[1, text({ k: 'spread', s: part.part!.split('/')[0], n: 1, jobs: 1, job })]]))
  Object.assign(part, { part: `@${part.part}`, journaled: true, signals_wanted: 1 })
  waitForTurn(store, part, { key: debounce.key }, Infinity)
  store.turns.get(part.id)!.joins_id = job
}

/** turn_join */
function tellJoined(store: MemoryStore, callId: string, payload: string): void {
  for (const turn of [...store.turns.values()].filter(({ joins_id }) => joins_id === callId)) {
    store.turns.delete(turn.job_id)
    const job = store.jobs.get(turn.job_id)
    if (!job) continue
    job.signals += 1
    const sent = { n: -1, resume_id: 0, approver: null, account: null, groups: null, approved: true, payload }
    store.signals.set(job.id, [...(store.signals.get(job.id) ?? []), { seq: job.signals, ...sent }])
    job.run_at = null
    if (job.state === 'waiting') {
      job.state = 'ready'
      store.watch.woken?.(job, 1)
    }
    if (job.state === 'ready') store.notify('millrace_work', `* ${job.tag}`)
    if (job.state === 'running') store.notify('millrace_control', `signal ${job.id}`)
  }
}

/** turn_accept */
function acceptTurns(store: MemoryStore, batch: readonly TurnItem[]): Row[] {
  const rows: Row[] = []
  const tags = new Set<string>()
  const later = batch.filter((item) => item.turn?.debounce)
  for (const item of [...batch.filter((one) => !one.turn?.debounce), ...later]) {
    const name = `${item.ws} ${item.key}`
    const taken = item.key === undefined ? undefined : store.keys.get(name)
    if (taken !== undefined) {
      rows.push({ askedId: item.id, jobId: taken, tag: null })
      continue
    }
    const { turn } = item
    const debounce = turn?.debounce
    const absorbing =
      debounce && [...store.turns.values()].find((one) => one.debounce_key === debounce.key && (one.due_at ?? 0) > store.now())
    const jobId = absorbing?.job_id ?? item.id
    if (item.key !== undefined) store.keys.set(name, jobId)
    rows.push({ askedId: item.id, jobId, tag: null })
    if (absorbing) {
      absorb(store, absorbing, item.args as Row, turn)
      continue
    }
    insert(store, item)
    const job = store.jobs.get(item.id)!
    if (!turn) {
      if (job.state === 'ready') tags.add(job.tag)
      continue
    }
    const at = item.at ?? -Infinity
    const dueAt = debounce ? Math.max(store.now() + debounce.ms, at) : at > store.now() ? at : null
    waitForTurn(store, job, turn, dueAt, debounce?.key)
  }
  const keys = batch.flatMap((item) => item.turn?.key ?? [])
  for (const tag of grantTurns(store, keys)) tags.add(tag)
  return [...rows, ...[...tags].map((tag) => ({ askedId: null, jobId: null, tag }))]
}

function placeOf({ parent_id, parent_step, parent_slot }: JobRow): Pick<DoneRow, 'parent_id' | 'parent_step' | 'parent_slot'> {
  return { parent_id, parent_step, parent_slot }
}

/** The parts of these jobs are to stop. Gives those that are told so. */
function callOff(store: MemoryStore, isNeedless: (part: JobRow) => boolean, reason = 'that job is over'): Set<string> {
  const told = new Set<string>()
  for (const job of store.jobs.values()) {
    if (job.part === null || job.canceled_by !== null || !isNeedless(job)) continue
    told.add(job.id)
    job.canceled_by = 'the job it is a part of'
    job.canceled_reason = reason
    job.run_at = null
    if (job.state === 'running') store.notify('millrace_control', `cancel ${job.id}`)
    else {
      job.state = 'ready'
      store.notify('millrace_work', `* ${job.tag}`)
    }
  }
  return told
}

interface EndedPart {
  part: JobRow
  end: unknown
  result: unknown
  next: number | null
  refuses: boolean
}

/** The parts of one job that ended in a statement: it is told, and those whose turn it is now are ready. */
function tellOwner(store: MemoryStore, owner: JobRow, ended: EndedPart[]): void {
  const before = owner.signals
  const signals = store.signals.get(owner.id) ?? []
  const inOrder = ended.sort((a, b) => a.part.parent_step! - b.part.parent_step! || a.part.parent_slot! - b.part.parent_slot!)
  for (const [index, { part, end, result, refuses }] of inOrder.entries()) {
    const payload = `{"end":${text(end)},"result":${text(result)}}`
    const sent = {
      n: -part.parent_step!,
      resume_id: part.parent_slot!,
      approver: null,
      account: null,
      groups: null,
      approved: !refuses,
      payload,
    }
    signals.push({ seq: before + index + 1, ...sent })
  }
  store.signals.set(owner.id, signals)
  owner.signals += ended.length
  if (owner.state === 'waiting' && (ended.some((one) => one.refuses) || owner.signals >= owner.signals_wanted!)) {
    owner.state = 'ready'
    owner.run_at = null
    store.watch.woken?.(owner, ended.length)
  }
  if (owner.state === 'ready') store.notify('millrace_work', `* ${owner.tag}`)
  if (owner.state === 'running') store.notify('millrace_control', `signal ${owner.id}`)
}

function freeNext(store: MemoryStore, { part, next }: EndedPart): void {
  for (const job of store.jobs.values()) {
    if (job.parent_id !== part.parent_id || job.parent_step !== part.parent_step || job.parent_slot !== next) continue
    if (job.state !== 'waiting' || job.started_at !== null || job.canceled_by !== null) continue
    job.state = 'ready'
    store.notify('millrace_work', `* ${job.tag}`)
  }
}

function forgetWaits(store: MemoryStore, jobId: string): void {
  store.signals.delete(jobId)
  store.waits.delete(jobId)
}

const statements: Record<string, Statement> = {
  enqueue_jobs(store, [document, tags]) {
    for (const item of items<NewItem>(document)) insert(store, item)
    for (const tag of tags as string[]) store.notify('millrace_work', tag)
    return (tags as string[]).map(() => ({}))
  },

  enqueue_keyed_jobs(store, [document]) {
    return items<NewItem>(document).map((item) => {
      const key = `${item.ws} ${item.key}`
      const taken = store.keys.get(key)
      if (taken !== undefined) return { asked_id: item.id, job_id: taken }
      store.keys.set(key, item.id)
      insert(store, item)
      return { asked_id: item.id, job_id: item.id }
    })
  },

  enqueue_turns(store, [document]) {
    return acceptTurns(store, items<TurnItem>(document))
  },

  afterwards_due: () => [{ failures: false, deletions: false }],

  claim_jobs(store, [workerId, tag, jobsMax, round, suspectAfter, after]) {
    const picked = [...store.jobs.values()].filter(
      (job) => job.tag === tag && job.state === 'ready' && job.lost < (suspectAfter as number) && job.id > (after as string),
    )
    return claim(store, { workerId, round }, picked.sort(inOrder).slice(0, jobsMax as number))
  },

  claim_suspect(store, [workerId, tags, round, suspectAfter]) {
    const place = ({ tag, id }: JobRow): string => `${tag} ${id}`
    const suspects = suspectsOf(store, tags, suspectAfter).sort((a, b) => (place(a) < place(b) ? -1 : 1))
    return claim(store, { workerId, round }, suspects.slice(0, 1))
  },

  suspects_wait(store, [tags, suspectAfter]) {
    return [{ there: suspectsOf(store, tags, suspectAfter).length > 0 }]
  },

  end_claim_round(store, [workerId, round]) {
    const worker = store.workers.get(workerId as number)
    if (worker?.state !== 'alive' || worker.claim_round >= (round as number)) return []
    worker.claim_round = round as number
    return [{ round }]
  },

  give_back_unknown(store, [workerId, known, round]) {
    if (store.workers.get(workerId as number)?.claim_round !== round) return []
    const kept = new Set(items<{ id: string; epoch: number }>(known).map(({ id, epoch }) => `${id} ${epoch}`))
    const unknown = [...store.jobs.values()].filter(
      (job) => job.worker_id === workerId && job.state === 'running' && !kept.has(`${job.id} ${job.epoch}`),
    )
    for (const job of unknown) {
      job.state = 'ready'
      job.worker_id = null
      job.epoch += 1
    }
    return unknown.map(({ id, tag }) => ({ id, tag }))
  },

  finish_jobs: finish,

  finish_waited(store, values, session) {
    type Item = { id: string; epoch: number; result: unknown; end?: unknown; next?: number | null; refuses?: boolean }
    const ours = items<Item>(values[1]).flatMap((item) => {
      const job = held(store, values[0], item)
      return job
        ? [{ part: job, end: item.end, result: item.result, next: item.next ?? null, refuses: item.refuses ?? false }]
        : []
    })
    const rows = finish(store, values, session)
    for (const { part } of ours) forgetWaits(store, part.id)
    const over = new Set<string | null>(ours.map(({ part }) => part.id))
    const needless = callOff(store, (job) => over.has(job.parent_id))
    const ended = ours.filter(({ part }) => part.part !== null)
    for (const id of new Set(ended.map(({ part }) => part.parent_id))) {
      const owner = id === null ? undefined : store.jobs.get(id)
      if (owner && !needless.has(owner.id))
        tellOwner(
          store,
          owner,
          ended.filter(({ part }) => part.parent_id === id),
        )
    }
    for (const one of ended) if (!over.has(one.part.parent_id)) freeNext(store, one)
    const passed = endTurns(
      store,
      ours.map(({ part }) => ({ id: part.id, began: part.started_at })),
    )
    for (const tag of passed ?? []) store.notify('millrace_work', `* ${tag}`)
    for (const { part, end, result } of ended) {
      if (part.parent_id === null) tellJoined(store, part.id, `{"end":${text(end)},"result":${text(result)}}`)
    }
    return rows
  },

  spread_jobs(store, [workerId, document]) {
    type Part = { id: string; slot: number; args: unknown; tag?: string; priority?: number; turn?: AskedTurn; call?: string }
    type Item = {
      id: string
      epoch: number
      n: number
      record: unknown
      step: number
      part: string
      v: number
      at_once: number
      jobs?: Part[]
    }
    const strangers = new Set<string>()
    const keys = new Set<string>()
    const debounced: { part: JobRow; turn: AskedTurn; call: string }[] = []
    for (const item of items<Item>(document)) {
      const owner = held(store, workerId, item)
      if (!owner || store.workers.get(workerId as number)?.state !== 'alive') {
        strangers.add(item.id)
        continue
      }
      store.watch.changed?.(owner, { workerId: workerId as number, epoch: item.epoch })
      owner.journaled = true
      const records = store.journal.get(owner.id) ?? new Map<number, string>()
      store.journal.set(owner.id, records)
      if (records.has(item.n)) continue
      records.set(item.n, text(item.record))
      if (!item.jobs) continue
      const { created_by, workspace_id: ws } = owner
      for (const { id, slot, args, tag = owner.tag, priority = owner.priority, turn, call } of item.jobs) {
        insert(store, { id, ws, v: item.v, tag, p: priority, by: created_by, args })
        const part = store.jobs.get(id)!
        Object.assign(part, { parent_id: owner.id, parent_step: item.step, parent_slot: slot, part: item.part })
        if (turn) keys.add(turn.key)
        if (turn?.debounce) debounced.push({ part, turn, call: call! })
        else if (turn) waitForTurn(store, part, turn, null)
        else if (slot >= item.at_once) part.state = 'waiting'
        else store.notify('millrace_work', `* ${tag}`)
      }
      store.watch.spread?.(item.jobs.map(({ id }) => store.jobs.get(id)!))
    }
    debounced.sort((a, b) => a.part.parent_id!.localeCompare(b.part.parent_id!))
    for (const { part, turn, call } of debounced) joinCall(store, part, turn, call)
    for (const tag of grantTurns(store, keys)) store.notify('millrace_work', `* ${tag}`)
    return [...strangers].map((id) => ({ id }))
  },

  quit_parts(store, [workerId, document]) {
    type Item = { id: string; epoch: number; step: number; unbegun: boolean }
    for (const item of items<Item>(document)) {
      if (!held(store, workerId, item)) continue
      callOff(
        store,
        (job) => job.parent_id === item.id && job.parent_step === item.step && !(item.unbegun && job.started_at !== null),
        'its loop is over',
      )
    }
    return []
  },

  append_journal(store, [workerId, document]) {
    type Item = { id: string; epoch: number; n: number; record: unknown }
    const strangers = new Set<string>()
    for (const item of items<Item>(document)) {
      const job = held(store, workerId, item)
      if (!job) {
        strangers.add(item.id)
        continue
      }
      store.watch.changed?.(job, { workerId: workerId as number, epoch: item.epoch })
      job.journaled = true
      const records = store.journal.get(job.id) ?? new Map<number, string>()
      store.journal.set(job.id, records)
      if (!records.has(item.n)) records.set(item.n, text(item.record))
    }
    return [...strangers].map((id) => ({ id }))
  },

  read_journal(store, [workerId, document]) {
    const ids = items<{ id: string; epoch: number }>(document).flatMap((item) => held(store, workerId, item)?.id ?? [])
    const rows: Row[] = []
    for (const id of ids.sort()) {
      const records = [...(store.journal.get(id) ?? [])].sort((a, b) => a[0] - b[0])
      for (const [n, record] of records) rows.push({ job_id: id, n, record })
    }
    return rows
  },

  release_jobs(store, [workerId, document]) {
    type Item = {
      id: string
      epoch: number
      run_in_ms: number | null
      wanted: number
      seen: number
      waits: { key: number; ms: number }[] | null
    }
    const rows: Row[] = []
    for (const item of items<Item>(document)) {
      const job = held(store, workerId, item)
      if (!job) continue
      store.watch.changed?.(job, { workerId: workerId as number, epoch: item.epoch })
      const unseen = job.signals > item.seen
      const waits = item.wanted > 0 ? 'waiting' : item.run_in_ms === null ? 'ready' : 'parked'
      job.state = unseen ? 'ready' : waits
      job.run_at = item.run_in_ms === null || unseen ? null : store.now() + item.run_in_ms
      job.signals_wanted = item.seen + item.wanted
      job.worker_id = null
      job.epoch += 1
      const before = store.waits.get(job.id)
      const kept = (item.waits ?? []).map(({ key, ms }) => [key, before?.get(key) ?? store.now() + ms] as const)
      if (kept.length > 0) store.waits.set(job.id, new Map(kept))
      else store.waits.delete(job.id)
      rows.push({ id: job.id, tag: job.tag, ready: job.state === 'ready' })
    }
    return rows
  },

  keep_waits(store, [workerId, document]) {
    type Item = { id: string; epoch: number; waits: { key: number; ms: number }[] }
    const strangers = new Set<string>()
    for (const item of items<Item>(document)) {
      const job = held(store, workerId, item)
      if (!job) {
        strangers.add(item.id)
        continue
      }
      store.watch.changed?.(job, { workerId: workerId as number, epoch: item.epoch })
      const kept = store.waits.get(job.id) ?? new Map<number, number>()
      for (const { key, ms } of item.waits) if (!kept.has(key)) kept.set(key, store.now() + ms)
      store.waits.set(job.id, kept)
    }
    return [...strangers].map((id) => ({ id }))
  },

  wake_due_jobs(store, [now, jobsMax]) {
    const nowMs = now === null ? store.now() : (now as Date).getTime()
    const woken = ['parked', 'waiting'].flatMap((state) => {
      const due = [...store.jobs.values()].filter((job) => job.state === state && job.run_at !== null && job.run_at <= nowMs)
      return due.sort((a, b) => a.run_at! - b.run_at!).slice(0, jobsMax as number)
    })
    for (const job of woken) job.state = 'ready'
    const turns = dueTurns(store, nowMs, jobsMax as number)
    return [...new Set([...woken.map((job) => job.tag), ...turns])].map((tag) => ({ tag }))
  },

  send_signal(store, [workspaceId, jobId, n, resumeId, approver, approved, payload, account, groups]) {
    const job = store.jobs.get(jobId as string)
    if (!job || job.workspace_id !== workspaceId) return []
    const signals = store.signals.get(job.id) ?? []
    if (signals.some((one) => one.n === n && one.resume_id === resumeId)) return []
    job.signals += 1
    if (job.state === 'waiting' && job.signals_wanted !== null && (approved === false || job.signals >= job.signals_wanted)) {
      job.state = 'ready'
      job.run_at = null
    }
    const sent = { n, resume_id: resumeId, approver, account, groups, approved, payload: text(JSON.parse(payload as string)) }
    store.signals.set(job.id, [...signals, { seq: job.signals, ...sent } as SignalRow])
    return [{ tag: job.tag, state: job.state }]
  },

  read_signals(store, [document]) {
    const rows: Row[] = []
    for (const { id, seq } of items<{ id: string; seq: number }>(document)) {
      for (const signal of store.signals.get(id) ?? []) if (signal.seq > seq) rows.push({ job_id: id, ...signal })
    }
    return rows
  },

  read_waits(store, [ids]) {
    return (ids as string[]).flatMap((id) =>
      [...(store.waits.get(id) ?? [])].map(([key, until]) => ({ job_id: id, key, ms: until - store.now() })),
    )
  },

  register_worker(store, values) {
    const id = store.nextWorkerId()
    const heartbeat_at = store.now()
    store.workers.set(id, { id, state: 'alive', hint_lock: false, lease_ms: values[5] as number, heartbeat_at, claim_round: 0 })
    return [{ id }]
  },

  worker_locked(store, [workerId, lockClass], session) {
    if (lockClass !== workerLockClass) throw new Error(`lock class ${String(lockClass)}`)
    const worker = store.workers.get(workerId as number)
    if (worker?.state !== 'alive') return []
    const taken = [...store.sessions].some((other) => other !== session && other.locks.has(worker.id))
    if (!taken) session.locks.add(worker.id)
    worker.hint_lock = !taken
    return [{ hint_lock: worker.hint_lock }]
  },

  heartbeat(store, [workerId]) {
    const worker = store.workers.get(workerId as number)
    if (worker?.state !== 'alive') return []
    worker.heartbeat_at = store.now()
    return [{ id: worker.id }]
  },

  stop_worker(store, [workerId]) {
    const worker = store.workers.get(workerId as number)
    if (worker?.state === 'alive') worker.state = 'stopped'
    return []
  },

  declare_dead(store, [now, , hintAfterMs]) {
    const nowMs = now === null ? store.now() : (now as Date).getTime()
    const locked = new Set([...store.sessions].flatMap((session) => [...session.locks]))
    const dead: Row[] = []
    for (const worker of store.workers.values()) {
      if (worker.state === 'alive') {
        const late = Math.max(worker.heartbeat_at, store.startedAtMs) < nowMs - worker.lease_ms
        const silentSince = Math.max(worker.heartbeat_at, store.startedAtMs + 5_000)
        const gone = worker.hint_lock && silentSince < nowMs - (hintAfterMs as number) && !locked.has(worker.id)
        if (late || gone) worker.state = 'dead'
      }
      if (worker.state === 'dead') dead.push({ id: worker.id })
    }
    return dead
  },

  give_back_jobs(store, [lostMax]) {
    const gone = [...store.workers.values()].filter((worker) => worker.state === 'dead')
    const ids = new Set<number | null>(gone.map((worker) => worker.id))
    for (const worker of gone) worker.state = 'reaped'
    const tags = new Set<string>()
    const back: string[] = []
    const poison: string[] = []
    const buried: { id: string; began: number | null }[] = []
    let told = 0
    const dying = new Set<string | null>()
    for (const job of store.jobs.values()) {
      if (job.state !== 'running' || !ids.has(job.worker_id)) continue
      if (job.lost < (lostMax as number) || job.part !== null) {
        back.push(job.id)
        tags.add(job.tag)
        job.state = 'ready'
        job.worker_id = null
        job.epoch += 1
        job.lost += 1
      } else {
        poison.push(job.id)
        buried.push({ id: job.id, began: job.started_at })
        dying.add(job.id)
        if (job.waiter !== null) {
          told += 1
          store.notify(`millrace_done_${job.waiter}`, `${job.id} failure`)
        }
        const message = `the worker running it died ${job.lost + 1} times`
        bury(store, job, 'failure', { name: 'PoisonJob', message }, job.lost + 1)
      }
    }
    for (const tag of endTurns(store, buried) ?? []) tags.add(tag)
    for (const id of callOff(store, (job) => dying.has(job.parent_id))) {
      const job = store.jobs.get(id)!
      if (job.state === 'ready') tags.add(job.tag)
    }
    const some = <Item>(list: Item[]): Item[] | null => (list.length > 0 ? list : null)
    return [
      {
        workers: some(gone.map((worker) => worker.id)),
        jobs_back: back.length,
        jobs_poisoned: poison.length,
        back_ids: some(back),
        poison_ids: some(poison),
        tags: some([...tags]),
        told,
      },
    ]
  },

  canceled_jobs(store, [workerId]) {
    const asked = [...store.jobs.values()].filter(
      (job) => job.worker_id === workerId && job.canceled_by !== null && job.state === 'running',
    )
    return asked.map(({ id, canceled_by, canceled_reason }) => ({ id, canceled_by, canceled_reason }))
  },

  cancel_job(store, [workspaceId, id, by, reason]) {
    const job = store.jobs.get(id as string)
    if (job && job.workspace_id === workspaceId) {
      if (job.state === 'running') {
        job.canceled_by = by as string
        job.canceled_reason = reason as string
        return [{ outcome: 'asked', waiter: null, tags: null }]
      }
      if (job.part !== null) {
        Object.assign(job, { canceled_by: by, canceled_reason: reason, state: 'ready', run_at: null })
        store.notify('millrace_work', `* ${job.tag}`)
        return [{ outcome: 'asked', waiter: null, tags: null }]
      }
      bury(store, job, 'canceled', { name: 'Canceled', message: reason }, job.lost)
      callOff(store, (part) => part.parent_id === id)
      const tags = endTurns(store, [{ id: job.id, began: job.started_at }])
      return [{ outcome: 'canceled', waiter: job.waiter, tags }]
    }
    return store.done.has(id as string) ? [{ outcome: 'finished', waiter: null, tags: null }] : []
  },

  read_outcomes(store, [ids]) {
    return (ids as string[]).flatMap((id) => {
      const done = store.done.get(id)
      return done ? [{ id, status: done.status, result: done.result }] : []
    })
  },

  queue_depths(store) {
    const jobs = new Map<string, number>()
    for (const { tag } of store.jobs.values()) jobs.set(tag, (jobs.get(tag) ?? 0) + 1)
    return [...jobs].map(([tag, count]) => ({ tag, jobs: count }))
  },

  load_version: (store, [id]) => {
    const version = store.versions.get(id as string)
    return version ? [{ ...version }] : []
  },

  current_flow(store, [workspaceId, path]) {
    const version = store.versions.get(store.flows.get(`${String(workspaceId)} ${String(path)}`) ?? '')
    return version
      ? [{ versionId: version.id, tag: version.tag, priority: version.priority, dedicatedWorker: true, turns: null }]
      : []
  },

  notify(store, [channel, payload]) {
    store.notify(channel as string, payload as string)
    return [{}]
  },

  record_refusals: () => [],
  append_logs: () => [],
  set_progress: () => [],
}

/** A job that ends without its worker. */
function bury(store: MemoryStore, job: JobRow, status: string, error: Row, lost: number): void {
  store.jobs.delete(job.id)
  const steps = `[${store.recordsOf(job.id).join(',')}]`
  const { id, version_id } = job
  const worker_id = status === 'canceled' ? null : job.worker_id
  store.keep({ id, version_id, status, worker_id, lost, result: text({ error }), steps, ...placeOf(job) }, null)
  store.journal.delete(job.id)
  forgetWaits(store, job.id)
}
