// One run of publishers against a `millrace server` that is killed or loses a reply. A worker that lives does the jobs.
//   P1. A publisher who gets no answer, or a 5xx, asks again; with its Idempotency-Key where the request can carry one.
import { setTimeout as pause } from 'node:timers/promises'
import type { FlowValue } from '../../src/core/flow/definition.ts'
import type { Json } from '../../src/core/json.ts'
import { faultsOf, outcomesOf, type Outcome, type Sent } from './check.ts'
import { approval, flows, script, scriptArgs, type FlowName } from './flows.ts'
import { isReached, phasesOf, planOf, type Fault } from './points.ts'
import { linesOf, type Lane } from './rig.ts'
import type { RunResult } from './worker_run.ts'

const tickMs = 10
const stuckMs = 120_000 // far more than it takes; on a busy machine it takes long
const stopMs = 60_000
const requestMs = 60_000

interface Answer {
  status: number
  text: string
}

export async function serverRun(
  lane: Lane,
  made: readonly Fault[],
  expected: Record<string, Outcome> | null,
): Promise<RunResult> {
  const { db } = lane
  const { tag, effects, record } = lane.files()
  const beganMs = Date.now()
  const subject = lane.start(['server'], { MILLRACE_FAILPOINTS: planOf(made), MILLRACE_FAILPOINTS_RECORD: record })
  const worker = lane.rescue([tag])
  const faults: string[] = []
  const deadline = performance.now() + stuckMs
  let second: Promise<{ close(): Promise<void> }> | null = null

  while (!subject.said(/server is ready/) && !subject.isOver() && performance.now() < deadline) await pause(tickMs)
  const readyAt = linesOf(record).length
  void subject.ended.then(() => (second ??= lane.serve()))

  /** Asks until there is an answer that is no outage. */
  async function ask(method: string, path: string, body?: Json, key?: string): Promise<Answer> {
    for (;;) {
      try {
        const answer = await fetch(`${lane.url}/api/w/main/${path}`, {
          method,
          headers: {
            authorization: `Bearer ${lane.token}`,
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            ...(key === undefined ? {} : { 'idempotency-key': key }),
          },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          signal: AbortSignal.timeout(requestMs),
        })
        const text = await answer.text()
        if (answer.status < 500) return { status: answer.status, text }
      } catch {
        // cut, refused or too late: not known what became of it
      }
      if (performance.now() > deadline) throw new Error(`${method} ${path} got no answer`)
      await pause(tickMs)
    }
  }
  const must = async (...request: Parameters<typeof ask>): Promise<string> => {
    const answer = await ask(...request)
    if (answer.status >= 300) throw new Error(`${request[0]} ${request[1]}: ${answer.status} ${answer.text}`)
    return answer.text
  }
  const args = (name: string): Record<string, Json> => ({ name, effects, harness: 0 })
  const runOf = (flow: FlowName | 'approval', name: string, key: string) =>
    must('POST', `jobs/run/f/fp/${tag}/${flow}?tag=${tag}`, args(name), key)

  const answered: Sent[] = []
  async function publish(): Promise<void> {
    for (const flow of ['three', 'cancel', 'turns'] as const) await deploy(flow, flows[flow])
    await deploy('approval', approval)
    await must('POST', 'scripts/create', { path: `fp/${tag}/script`, summary: '', ...script })
    const keyed = await runOf('three', 'keyed', `${tag} keyed`)
    const again = await runOf('three', 'keyed', `${tag} keyed`)
    if (again !== keyed) faults.push(`the same key gave ${keyed}, then ${again}`)
    const plain = await must('POST', `jobs/run/f/fp/${tag}/three?tag=${tag}`, args('plain'))
    const batch = await must('POST', `jobs/run_batch/f/fp/${tag}/three?tag=${tag}`, [args('batch'), args('batch')])
    const ofScript = { ...scriptArgs(effects, 0), name: 'script' }
    const ran = await must('POST', `jobs/run/p/fp/${tag}/script?tag=${tag}`, ofScript, `${tag} script`)
    // Equal previews share a version: this run's is its own.
    const value = { modules: flows.three.modules, flow_env: { run: tag } } as unknown as Json
    const preview = await must('POST', `jobs/run/preview_flow?tag=${tag}`, { value, args: args('preview') }, `${tag} preview`)
    const waited = await ask('POST', `jobs/run_wait_result/f/fp/${tag}/three?tag=${tag}`, args('waited'), `${tag} waited`)
    if (waited.status !== 200 || (JSON.parse(waited.text) as { step?: string }).step !== 'c') {
      faults.push(`run_wait_result: ${waited.status} ${waited.text}`)
    }
    const turn = await runOf('turns', 'turn', `${tag} turn`)
    const approved = await runOf('approval', 'approved', `${tag} approved`)
    const signature = await must('GET', `jobs/job_signature/${approved}/7`)
    const answered7 = await ask('POST', `jobs_u/resume/${approved}/7/${signature}`, { yes: true })
    // Asked again after a lost answer, it was taken already.
    if (answered7.status >= 300 && answered7.status !== 409) throw new Error(`resume: ${answered7.status} ${answered7.text}`)
    const long = await runOf('cancel', 'canceled', `${tag} canceled`)
    while (!linesOf(effects).some((line) => line.includes(long)) && performance.now() < deadline) await pause(tickMs)
    await must('POST', `jobs_u/queue/cancel/${long}`, { reason: 'enough' })
    for (const [name, id] of Object.entries({ keyed, plain, script: ran, preview, turn, approved, canceled: long }))
      answered.push({ name, id })
    for (const id of JSON.parse(batch) as string[]) answered.push({ name: 'batch', id })
    for (const { id } of answered) await over(id)
    await must('GET', `jobs_u/get/${keyed}`)
    await must('GET', `jobs_u/get_logs/${keyed}`)
    const failed = await must('POST', `jobs/run/f/fp/fails?tag=${tag}`, args('failing'), `${tag} failing`)
    await over(failed)
    const replayed = JSON.parse(await must('POST', 'jobs/replay', { ids: [failed] })) as { replayed: { id: string }[] }
    await must('POST', 'jobs/replay', { ids: [turn] })
    for (const id of [failed, ...replayed.replayed.map((one) => one.id)]) answered.push({ name: 'failing', id })
    // Asked again after a lost answer, it is archived already.
    const archived = await ask('POST', `flows/archive/fp/${tag}/cancel`, { archived: true })
    if (archived.status >= 300 && archived.status !== 404) throw new Error(`archive: ${archived.status} ${archived.text}`)
  }

  async function deploy(flow: string, value: FlowValue): Promise<void> {
    const document = { path: `fp/${tag}/${flow}`, summary: '', value } as unknown as Json
    const created = await ask('POST', 'flows/create', document)
    // Asked again after a lost answer, it is there already.
    if (created.status >= 300 && !/exists/.test(created.text)) throw new Error(`deploy: ${created.status} ${created.text}`)
    if (flow === 'three') await must('POST', `flows/update/fp/${tag}/${flow}`, document)
  }

  async function over(id: string): Promise<void> {
    for (;;) {
      const answer = JSON.parse(await must('GET', `jobs_u/completed/get_result_maybe/${id}`)) as { completed: boolean }
      if (answer.completed) return
      if (performance.now() > deadline) throw new Error(`job ${id} is stuck`)
      await pause(tickMs)
    }
  }

  try {
    await publish()
  } catch (error) {
    faults.push((error as Error).message)
  }
  // Jobs that a publisher asked for twice, without a key and without an answer, end too.
  const left = 'select from job where tag = $1 limit 1'
  while ((await db.pool.query(left, [tag])).rows.length > 0 && performance.now() < deadline) await pause(tickMs)
  const doneAt = linesOf(record).length
  const survives = made.every((fault) => fault.kind !== 'killed')
  if (survives && subject.isOver() && subject.said(/server is ready/))
    faults.push(`the server ended by itself:\n${subject.output()}`)
  if (!subject.isOver()) {
    subject.child.kill('SIGTERM')
    const ended = await Promise.race([subject.ended, pause(stopMs, 'not at all', { ref: false })])
    if (ended !== 0 && ended !== 'SIGKILL') {
      faults.push(`asked to stop, the server ended with ${ended}:\n${subject.output()}`)
      subject.child.kill('SIGKILL')
      await subject.ended
    }
  }
  await (await (second ?? lane.serve())).close()
  await worker.stop()

  faults.push(...(await lane.sessionsLeft()))
  const sent = await jobsOf(lane, tag)
  faults.push(...faultsOfAnswers(sent, answered))
  if (faults.length === 0) {
    faults.push(...(await faultsOf(db, { sent, effects, expected: expected ?? {}, executionsMax: 1, recorded: null, beganMs })))
  }
  const lines = linesOf(record)
  return {
    missed: made.filter((fault) => !isReached(lines, fault)),
    faults,
    outcomes: await outcomesOf(db, sent),
    recorded: phasesOf(lines, { readyAt, doneAt }),
  }
}

async function jobsOf(lane: Lane, tag: string): Promise<Sent[]> {
  const { rows } = await lane.db.pool.query<Sent>(
    `select id, args->>'name' as name from job_done where tag = $1
     union all select id, args->>'name' from job where tag = $1`,
    [tag],
  )
  return rows
}

/** What was answered is there; what had a key is there once; what had none is there at least as often as it was answered. */
function faultsOfAnswers(sent: Sent[], answered: Sent[]): string[] {
  const faults: string[] = []
  for (const { name, id } of answered) if (!sent.some((job) => job.id === id)) faults.push(`${name}: answered 201, and lost`)
  if (sent.filter((job) => job.name === 'failing').length < 2) faults.push('failing: started again, and no second job')
  for (const name of ['keyed', 'script', 'preview', 'waited', 'approved', 'canceled']) {
    const times = sent.filter((job) => job.name === name).length
    if (times !== 1) faults.push(`${name}: ${times} jobs of one key`)
  }
  return faults
}
