// What metrics and `millrace top` show of the queue. Counting reads every active job, so it is done for a small share of the
// time only; ages are read anew each time.
import { countByTag, type ActiveState } from '../store/job_reads.ts'
import type { Queryable } from '../store/db.ts'
import { queueAges } from '../store/watch.ts'

export interface TagCounts {
  tag: string
  counts: Record<ActiveState, number>
  /** Seconds that its oldest ready job has been waiting; null if none is ready. */
  oldestReadyS: number | null
}

export interface QueueWatch {
  /** Tags with active jobs, and for how many seconds their counts have been known. */
  read(): Promise<{ tags: TagCounts[]; countedS: number }>
}

// A count that took 20 ms is used for a second: 2 % of the time of one connection.
const countShare = 50

export function createQueueWatch({ reads }: { reads: Queryable }): QueueWatch {
  let counted = new Map<string, Record<ActiveState, number>>()
  let countedAtMs = -Infinity
  let tookMs = 0
  let counting: Promise<void> | null = null

  async function count(): Promise<void> {
    const beganMs = performance.now()
    const rows = await countByTag(reads)
    counted = new Map()
    for (const { tag, state, jobs } of rows) {
      const counts = counted.get(tag) ?? { ready: 0, running: 0, parked: 0, waiting: 0 }
      counts[state] = jobs
      counted.set(tag, counts)
    }
    countedAtMs = beganMs
    tookMs = performance.now() - beganMs
  }

  return {
    async read() {
      if (performance.now() - countedAtMs >= tookMs * countShare) {
        await (counting ??= count().finally(() => {
          counting = null
        }))
      }
      const ages = new Map((await queueAges(reads)).map((row) => [row.tag, row.oldestReadyS]))
      const none = { ready: 0, running: 0, parked: 0, waiting: 0 }
      const tags = [...new Set([...counted.keys(), ...ages.keys()])].sort()
      return {
        tags: tags.map((tag) => ({ tag, counts: counted.get(tag) ?? none, oldestReadyS: ages.get(tag) ?? null })),
        countedS: (performance.now() - countedAtMs) / 1_000,
      }
    },
  }
}
