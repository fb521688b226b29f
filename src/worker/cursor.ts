// Where in a tag's queue a claim begins. Ready jobs are found by an index in the order they were accepted. While something holds back
// vacuum (a long transaction, a standby), the entries of jobs already claimed stay at its head, and every claim would walk over all of them:
// 10 minutes at 7,000 jobs/s made 4 million. So a claim begins shortly before where the last one found something.
//   P1. A claim from the start finds every ready job; one from the cursor those accepted after it, whatever their priority.
//   P2. From the start: when polling; when jobs accepted earlier have become ready (given back, their time come); and when one from the
//       cursor came back short, unless the last one from the start had left nothing behind. So nothing waits longer than a poll,
//       but for P3.
//   P3. Claims from the start take a small share of the time, however much there is to walk over; but one that was slow once (an
//       answer stuck on its way) says nothing about how much that is, and nothing waits longer for the next than restMaxMs.
import { acceptedAtMs, firstIdAt } from '../core/job/ids.ts'

const start = '00000000-0000-0000-0000-000000000000'
/** Jobs are stored a little after their ids were made, by servers whose clocks differ a little. Later ones are found by the poll. */
const behindMs = 2_000
/** A claim from the start is followed by none for so many times as long as it took: the walk, which grows from one to the next a little only. */
const restFactor = 20
const walkGrowsMs = 50
const restMaxMs = 10_000

export class Cursor {
  #after = start
  #wantsStart = true
  #fromStart = true
  /** The last claim from the start found less than it asked for. */
  #sawAll = false
  #beganMs = 0
  #walkMs = 0
  #restUntilMs = -Infinity

  /** Jobs accepted earlier may have become ready. */
  again(): void {
    this.#wantsStart = true
  }

  /** The id after which the next claim looks. */
  begin(nowMs: number): string {
    this.#beganMs = nowMs
    this.#fromStart = this.#startsNow(nowMs)
    if (this.#fromStart) this.#wantsStart = false
    return this.#fromStart ? start : this.#after
  }

  /** What it found; `full`: as many as it asked for. True: there may be more. */
  found(jobs: readonly { id: string }[], full: boolean, nowMs: number): boolean {
    let oldest = jobs[0]?.id
    if (oldest !== undefined) {
      for (const { id } of jobs) if (id < oldest) oldest = id
      this.#after = firstIdAt(Math.max(0, acceptedAtMs(oldest) - behindMs))
    }
    if (this.#fromStart) {
      this.#sawAll = !full
      const tookMs = nowMs - this.#beganMs
      this.#restUntilMs = nowMs + Math.min(restMaxMs, restFactor * Math.min(tookMs, 2 * this.#walkMs + walkGrowsMs))
      this.#walkMs = tookMs
    } else if (!full && !this.#sawAll) this.#wantsStart = true
    return full || this.#startsNow(nowMs)
  }

  #startsNow(nowMs: number): boolean {
    return this.#wantsStart && nowMs >= this.#restUntilMs
  }
}
