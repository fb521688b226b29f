// Flows that wait for an answer, all at once; then each is answered by several callers at the same moment, by its signed URL.
import { cores } from '../machine.ts'
import type { Measured } from '../result.ts'
import { drained } from './drain.ts'
import type { Rig } from './rig.ts'

const resumeId = 7
/** Flows that are being answered at a time. */
const together = 8

/** From the first answer to the last flow's end. Each flow must go on once, whoever was first. */
export async function approvals(rig: Rig, load: { flows: number; racing: number }): Promise<Measured> {
  const { flows, racing } = load
  await rig.startWorker(['asks'])
  await rig.enqueueAtOnce('asks', flows)
  const { id: versionId, tag } = rig.versions.asks
  const waiting = async (): Promise<string[]> => {
    const { rows } = await rig.db.pool.query("select id from job where tag = $1 and state = 'waiting'", [tag])
    return (rows as { id: string }[]).map(({ id }) => id)
  }
  let ids = await waiting()
  while (ids.length < flows) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    ids = await waiting()
  }
  const headers = { authorization: `Bearer ${rig.token}` }
  const urls = await inTurn(ids, async (id) => {
    const at = `${rig.url}/api/w/main/jobs/resume_urls/${id}/${resumeId}?flow_level=true`
    return ((await (await fetch(at, { headers })).json()) as { resume: string }).resume
  })
  const before = rig.cpu()
  const startedMs = performance.now()
  const taken = await inTurn(urls, async (url) => {
    const answers = await Promise.all(Array.from({ length: racing }, () => fetch(url, { method: 'POST' })))
    await Promise.all(answers.map((answer) => answer.arrayBuffer()))
    return answers.filter((answer) => answer.ok).length
  })
  const answeredS = (performance.now() - startedMs) / 1000
  await drained(rig, 'asks')
  const seconds = (performance.now() - startedMs) / 1000
  const cpu = cores(before, rig.cpu(), seconds)
  const { rows } = await rig.db.pool.query(
    `select count(*)::integer as n from job_done
      where version_id = $1 and status = 'success' and (select count(*) from json_array_elements(steps) r where r ->> 'k' = 'signal') = 1`,
    [versionId],
  )
  const { n } = rows[0] as { n: number }
  if (taken.some((one) => one !== 1)) throw new Error('of several answers to a flow not exactly one was taken')
  if (n !== flows) throw new Error(`${n} of ${flows} flows went on, each by one answer`)
  const rssMiB = rig.workerPeakRssMib()
  await rig.stopWorkers()
  await rig.db.pool.query('truncate job, job_done')
  const perSecond = Math.round((flows * racing) / answeredS)
  return {
    jobsPerSecond: flows / seconds,
    rssMiB,
    cpu,
    note: `${racing} answers to each, ${perSecond} a second; all over after ${seconds.toFixed(1)} s`,
  }
}

/** For each of them, some at a time; in their order. */
async function inTurn<Item, Result>(items: readonly Item[], work: (item: Item) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = []
  for (let from = 0; from < items.length; from += together) {
    results.push(...(await Promise.all(items.slice(from, from + together).map(work))))
  }
  return results
}
