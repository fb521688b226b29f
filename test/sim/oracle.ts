// What must hold, judged by what the store says and by what callers were told; never by what a worker believes.
//   Safety, after every event:
//     recorded once      a job ends once, by the newest claim handed out; what its journal said is what its steps say
//     right              its end is what an interpreter of the flow gives (flows.ts), unless someone asked to cancel it
//     executed           every attempt recorded was executed; an attempt of a job whose record is durable is not begun again
//                        by the worker that holds the job; strict: not before the record before it is durable
//     in time            no attempt before its wait is over, no job before its time
//     accepted is kept   what a caller was told is stored, once per key
//     answered once      no answer counts twice
//   Liveness, some time after the faults have stopped: every job is over, every caller has its answer, nobody holds anything.
import { epochMs, type World } from './world.ts'
import { answersOf, expected, flows, type Expected, type SimAnswer } from './flows.ts'
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
  store!: MemoryStore

  constructor(world: World) {
    this.#world = world
    this.watch = {
      claimed: (job) => this.#claimed(job),
      changed: (job, by) => this.#mustHold(job.id, by, 'changed'),
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

  /** What is to be sent to a job. */
  answersOf(id: string): SimAnswer[] {
    const { flow, args } = this.askedFor(id)
    return answersOf(flows[flow]!, id, args)
  }

  #claimed(job: JobRow): void {
    const before = this.#claims.get(job.id)
    if (before && job.epoch <= before.epoch)
      this.#world.fail(`${job.id} was claimed with epoch ${job.epoch} after ${before.epoch}`)
    this.#claims.set(job.id, { workerId: job.worker_id!, epoch: job.epoch, times: (before?.times ?? 0) + 1 })
    const asked = this.askedFor(job.id)
    if (asked.runAtMs !== null && epochMs + this.#world.nowMs < asked.runAtMs) this.#world.fail(`${job.id} runs before its time`)
    if (before) this.#world.mark('claimed again')
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
    const asked = this.askedFor(id)
    for (const { k, n } of outcomes) {
      const executed = this.#executed.has(`${id} ${n}`)
      if (!executed && row.status !== 'canceled')
        return this.#world.fail(`attempt ${n} of ${id} is recorded as ${k}, and was never executed`)
    }
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
  }

  #expectedOf(id: string, versionId: string, args: string): Expected {
    let right = this.#expected.get(id)
    if (!right) {
      right = expected(flows[Number(versionId) - 1]!, id, args)
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
