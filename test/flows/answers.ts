// Sends the answers that a flow of the tables waits for.
import { setTimeout as pause } from 'node:timers/promises'
import type { Database } from '../../src/store/db.ts'
import { readWaiting, sendSignal } from '../../src/store/signals.ts'
import type { FlowAnswer, FlowCase } from './cases.ts'

export const early = ({ answers = [] }: FlowCase): FlowAnswer[] => answers.filter((one) => one.early)
export const late = ({ answers = [] }: FlowCase): FlowAnswer[] => answers.filter((one) => !one.early)

/** One after another, each once what it is for waits. */
export async function sendAnswers(db: Database, jobId: string, answers: readonly FlowAnswer[]): Promise<void> {
  for (const [index, one] of answers.entries()) {
    const { approver = null, account = null, groups = [], approved = true, payload = null } = one
    const { id: resumeId = index + (one.early ? 100 : 0) } = one
    const step = await stepOf(db, jobId, one)
    const who = { workspaceId: 'main', jobId, step, resumeId, approver, account, groups }
    await sendSignal(db.pool, { ...who, approved, payload: JSON.stringify(payload) })
  }
}

/** The step it is for: known, or found once it waits. */
async function stepOf(db: Database, jobId: string, { to, once, nth = 0, early }: FlowAnswer): Promise<number> {
  if (typeof to === 'number') return to
  if (early) return 0
  for (;;) {
    const job = await readWaiting(db.pool, 'main', jobId)
    if (!job) throw new Error(`job ${jobId} is over, and was to wait for ${once ?? to ?? 'an answer'}`)
    const stepsOf = (module = '') =>
      job.waits.filter(({ moduleId }) => module === '' || moduleId === module).map(({ step }) => step)
    const steps = stepsOf(to).sort((a, b) => a - b)
    if (stepsOf(once).length > 0 && steps.length > nth) return to === undefined ? 0 : steps[nth]!
    await pause(5)
  }
}
