// What must hold, judged by what the store says and by what callers were told; never by what a worker believes.
//   Safety, after every event:
//     recorded once      a job ends once, by the newest claim handed out; what its journal said is what its steps say
//     right              its end is what an interpreter of the flow gives (flows.ts), unless someone asked to cancel it
//     executed           every attempt recorded was executed; an attempt of a job whose record is durable is not begun again
//                        by the worker that holds the job; strict: not before the record before it is durable
//     in time            no attempt before its wait is over, no job before its time
//     accepted is kept   what a caller was told is stored, once per key
//     answered once      no answer counts twice
//     in turn            of jobs that share a limit no more have begun than may, in any window of time; those of an ordering key
//                        begin in the order they were accepted
//     joined once        a loop's parts are there once each, no more of them at a time than it allows, each right; their job is
//                        woken by them once, when all are over or one refuses; of a job that is over none begins
//     in its turn        no more jobs of a key hold a worker than its limit allows
//   Liveness, some time after the faults have stopped: every job is over, every caller has its answer, nobody holds anything.
import { epochMs, type World } from './world.ts'
import { answersOf, expected, expectedPart, flows, partsAtOnce, stepApart, type Expected, type SimAnswer } from './flows.ts'
import type { DoneRow, JobRow, MemoryStore, Watch } from './memory.ts'

export interface Asked {
  op: string
  flow: number
  args: string
  key: string | null
  /** Wall time of the database before which it must not run. */
  runAtMs: number | null
  canceled: boolean
}

type StepRecord = { k: string; n?: number; s?: string; v?: unknown; id?: number }

const steps = ['ok', 'err']

export class Oracle {
  readonly watch: Watch
  readonly asked = new Map<string, Asked>()
  /** Told to a caller: op → job id. */
  readonly acked = new Map<string, string>()
  readonly #world: World
  readonly #claims = new Map<string, { workerId: number; epoch: number; times: number }>()
  readonly #executed = new Set<string>()
  readonly #endedAtMs = new Map<string, number>()
  readonly #expected = new Map<string, Expected>()
  readonly #parts = new Map<string, JobRow>()
  /** `<job> <step> <slot>` of every part there ever was. */
  readonly #slots = new Set<string>()
  readonly #joined = new Set<string>()
  /** Jobs that began in their turn: whose, and when. */
  readonly #begun = new Map<string, { key: string; atMs: number }>()
  store!: MemoryStore

  constructor(world: World) {
    this.#world = world
    this.watch = {
      claimed: (job) => this.#claimed(job),
      changed: (job, by) => this.#mustHold(job.id, by, 'changed'),
      spread: (parts) => this.#spread(parts),
      woken: (job) => this.#woken(job),
      done: (row, by) => this.#done(row, by),
    }
  }

  /** The job of an op, as whoever asked for it named it; a key has one job. */
  askedFor(id: string): Asked {
    return this.asked.get(id)!
  }

  told(op: string, key: string | null, id: string): void {
    const { store } = this
    if (!store.jobs.has(id) && !store.done.has(id)) this.#world.fail(`${op} was acknowledged as ${id}, which is not there`)
    if (key !== null && store.keys.get(`main ${key}`) !== id)
      this.#world.fail(`key ${key} was acknowledged as ${id}, and is another job`)
    this.acked.set(op, id)
  }

  answered(id: string, status: string, result: string): void {
    const done = this.store.done.get(id)
    if (done?.status !== status || done.result !== result) this.#world.fail(`a caller of ${id} was told ${status} ${result}`)
  }

  /** A worker lets a runner begin attempt n. */
  begins(call: { id: string; epoch: number; n: number; strict: boolean; fromNothing: boolean }): void {
    const { id, n } = call
    this.#executed.add(`${id} ${n}`)
    if (call.fromNothing) this.#world.fail(`${id} has a journal, and a worker begins it from nothing`)
    const job = this.store.jobs.get(id)
    if (!job || job.epoch !== call.epoch) return // a zombie's: it cannot know, and nothing of it is recorded
    const records = this.store.recordsOf(id).map((text) => JSON.parse(text) as StepRecord)
    const durable = (number: number) => records.some((record) => steps.includes(record.k) && record.n === number)
    if (durable(n)) this.#world.fail(`attempt ${n} of ${id} is executed again after its outcome was recorded`)
    const { attempts } = this.#expectedOf(id, job.version_id, job.args)
    const at = attempts?.findIndex((attempt) => attempt.n === n) ?? -1
    const before = attempts?.[at - 1]?.n
    if (call.strict && before !== undefined && !durable(before))
      this.#world.fail(`attempt ${n} of ${id} (strict) begins before ${before} is durable`)
    const ended = this.#endedAtMs.get(`${id} ${before}`)
    const waitMs = attempts?.[at]?.waitMs ?? 0
    if (waitMs > 0 && ended !== undefined && this.#world.nowMs < ended + waitMs - 1) {
      this.#world.fail(`attempt ${n} of ${id} begins ${ended + waitMs - this.#world.nowMs} ms early`)
    }
  }

  ended(id: string, n: number): void {
    const at = `${id} ${n}`
    if (!this.#endedAtMs.has(at)) this.#endedAtMs.set(at, this.#world.nowMs)
  }

  /** What is to be sent to a job. Parts are sent nothing. */
  answersOf(id: string): SimAnswer[] {
    const asked = this.asked.get(id)
    return asked ? answersOf(flows[asked.flow]!, id, asked.args) : []
  }

  #claimed(job: JobRow): void {
    const before = this.#claims.get(job.id)
    if (before && job.epoch <= before.epoch)
      this.#world.fail(`${job.id} was claimed with epoch ${job.epoch} after ${before.epoch}`)
    this.#claims.set(job.id, { workerId: job.worker_id!, epoch: job.epoch, times: (before?.times ?? 0) + 1 })
    if (job.part !== null) return this.#partClaimed(job)
    this.#inTurn(job, !before)
    const asked = this.askedFor(job.id)
    if (asked.runAtMs !== null && epochMs + this.#world.nowMs < asked.runAtMs) this.#world.fail(`${job.id} runs before its time`)
    if (before) this.#world.mark('claimed again')
  }

  #inTurn(job: JobRow, begins: boolean): void {
    const { turns, jobs } = this.store
    const turn = turns.get(job.id)
    if (!turn || job.canceled_by !== null) return
    if (!turn.held) this.#world.fail(`${job.id} begins without its turn`)
    const { key, jobs_max: max, window_ms: window } = turn
    const begun = [...this.#begun].filter(([id, one]) => one.key === key && id !== job.id)
    const active = begun.filter(([id]) => jobs.has(id)).length
    if (active > 0) this.#world.mark('others have the same turn')
    if (max !== null && active >= max) this.#world.fail(`${job.id} begins, and ${active} of ${key} are not over`)
    if (!begins) return
    this.#begun.set(job.id, { key, atMs: this.#world.nowMs })
    const lately = begun.filter(([, { atMs }]) => window !== null && atMs > this.#world.nowMs - window).length
    if (lately > 0) this.#world.mark('in a window of time')
    if (max !== null && lately >= max) this.#world.fail(`${lately + 1} of ${key} begin within ${window} ms`)
    const earlier = [...turns.values()].some((other) => other.key === key && other.due_at === null && other.n < turn.n)
    if (key.startsWith('order') && earlier) this.#world.fail(`${job.id} begins before one of ${key} that came earlier`)
  }

  #spread(parts: JobRow[]): void {
    this.#world.mark('spread')
    for (const part of parts) {
      this.#parts.set(part.id, part)
      const slot = `${part.parent_id} ${part.parent_step} ${part.parent_slot}`
      if (this.#slots.has(slot)) this.#world.fail(`part ${slot} is there twice`)
      this.#slots.add(slot)
    }
  }

  #partClaimed(part: JobRow): void {
    if (part.canceled_by !== null) return
    const { store } = this
    if (store.done.has(part.parent_id!)) this.#world.fail(`part ${part.id} begins after the end of its job ${part.parent_id}`)
    if (stepApart(part.part!) !== null) return this.#inItsTurn(part)
    const { at_once: atOnce } = JSON.parse(part.args) as { at_once: number }
    const running = [...store.jobs.values()].filter((job) => job.parent_id === part.parent_id && job.state === 'running')
    if (atOnce > partsAtOnce || running.length > atOnce)
      this.#world.fail(`${running.length} parts of ${part.parent_id} run at a time`)
  }

  /** A step that is a job. */
  #inItsTurn(part: JobRow): void {
    const { jobs, turns } = this.store
    const own = turns.get(part.id)
    if (!own?.held) return this.#world.fail(`step ${part.id} begins, and it is not its turn`)
    // One that was told to stop may be claimed before its turn: to be ended, not to run.
    const ofKey = [...turns.values()].filter(({ key, held }) => key === own.key && held)
    const running = ofKey.filter(({ job_id }) => jobs.get(job_id)?.state === 'running')
    if (running.length > own.jobs_max!) this.#world.fail(`${running.length} jobs of ${own.key} run at a time`)
    this.#world.mark('in its turn')
  }

  #woken(job: JobRow): void {
    const { store } = this
    // Steps that are jobs wake theirs each.
    if ([...this.#parts.values()].some((part) => part.parent_id === job.id && stepApart(part.part!) !== null)) return
    const left = [...store.jobs.values()].filter((part) => part.parent_id === job.id)
    const refused = store.signals.get(job.id)!.some((signal) => !signal.approved)
    if (left.length > 0 && !refused) this.#world.fail(`${job.id} is woken with ${left.length} parts left`)
    if (this.#joined.has(job.id)) this.#world.fail(`the parts of ${job.id} are joined twice`)
    this.#joined.add(job.id)
    this.#world.mark('joined')
  }

  #mustHold(id: string, by: { workerId: number; epoch: number }, what: string): boolean {
    const claim = this.#claims.get(id)
    const holds = claim?.epoch === by.epoch && claim.workerId === by.workerId
    if (!holds)
      this.#world.fail(`${id} was ${what} by worker ${by.workerId} at epoch ${by.epoch}; it belongs to ${JSON.stringify(claim)}`)
    return holds
  }

  #done(row: DoneRow, by: { workerId: number; epoch: number } | null): void {
    const { store } = this
    const { id } = row
    if (store.done.has(id)) return this.#world.fail(`${id} is recorded twice`)
    const claim = this.#claims.get(id)
    if (by && !this.#mustHold(id, by, 'finished')) return
    const told = JSON.parse(row.steps) as StepRecord[]
    const journal = store.recordsOf(id)
    for (const [at, record] of journal.entries()) {
      if (record !== JSON.stringify(told[at])) {
        return this.#world.fail(`record ${at + 1} of ${id} is ${JSON.stringify(told[at])}; its journal says ${record}`)
      }
    }
    const answers = told.filter((record) => record.k === 'signal').map(({ n, id }) => `${n} ${id}`)
    if (answers.length > 0) this.#world.mark('finished with answers')
    if (new Set(answers).size < answers.length) return this.#world.fail(`an answer to ${id} counted twice: ${answers.join()}`)
    const outcomes = told.filter((record) => steps.includes(record.k))
    for (const { k, n } of outcomes) {
      const executed = this.#executed.has(`${id} ${n}`)
      if (!executed && row.status !== 'canceled')
        return this.#world.fail(`attempt ${n} of ${id} is recorded as ${k}, and was never executed`)
    }
    const part = this.#parts.get(id)
    if (part) return this.#partDone(row, part)
    const asked = this.askedFor(id)
    if (row.status === 'canceled') {
      this.#world.mark('canceled')
      if (!asked.canceled) this.#world.fail(`${id} is canceled, and nobody asked for it`)
      return
    }
    if (row.result.includes('PoisonJob')) {
      this.#world.mark('poisoned')
      if ((claim?.times ?? 0) < row.lost) this.#world.fail(`${id} is poison after ${row.lost} losses and ${claim?.times} claims`)
      return
    }
    const right = this.#expectedOf(id, row.version_id, asked.args)
    const attempts = outcomes.map(({ k, n, s }) => `${n} ${s} ${k}`).join()
    const wanted = right.attempts?.map(({ n, step, ok }) => `${n} ${step} ${ok ? 'ok' : 'err'}`).join() ?? attempts
    if (row.status !== right.status || row.result !== right.result || attempts !== wanted) {
      this.#world.fail(
        `${id} came to ${row.status} ${row.result} by ${attempts}; right is ${right.status} ${right.result} by ${wanted}`,
      )
    }
    if (journal.length > 0) this.#world.mark('finished with a journal')
    if (claim?.times === 1 && told.some(({ k, n }) => k === 'signal' && (n ?? 0) < 0))
      this.#world.mark('joined while it lingered')
  }

  #partDone(row: DoneRow, part: JobRow): void {
    const { store } = this
    if (row.status === 'canceled') {
      const refused = store.signals.get(part.parent_id!)?.some((signal) => !signal.approved)
      if (!store.done.has(part.parent_id!) && !refused) this.#world.fail(`part ${row.id} is canceled, and its job goes on`)
      return
    }
    if (row.result.includes('PoisonJob')) return
    const right = this.#expectedOf(row.id, row.version_id, part.args)
    if (row.status !== right.status || row.result !== right.result) {
      this.#world.fail(`part ${row.id} came to ${row.status} ${row.result}; right is ${right.status} ${right.result}`)
    }
  }

  #expectedOf(id: string, versionId: string, args: string): Expected {
    let right = this.#expected.get(id)
    if (!right) {
      const flow = flows[Number(versionId) - 1]!
      const part = this.#parts.get(id)
      right = part ? expectedPart(flow, { id, part: part.part!, args }) : expected(flow, id, args)
      this.#expected.set(id, right)
    }
    return right
  }

  /** Everything that was accepted is over. */
  atRest(): boolean {
    const { jobs, waits, done } = this.store
    if (jobs.size > 0 || ![...this.acked.values()].every((id) => done.has(id))) return false
    // (An answer that comes in the last moment may be left: retention takes it.)
    if (waits.size > 0) this.#world.fail(`of jobs that are over, times are left: ${[...waits.keys()].join()}`)
    return true
  }
}
