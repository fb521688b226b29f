// Who a token belongs to, kept a few seconds so that a request usually costs no query.
//   I1. A token taken back is refused here at once, by other servers within keepMs.
//   I2. Workspaces that exist are remembered for keepMs too; those that do not are looked up again.
import { identityOfName, identityOfToken, type Identity } from '../store/accounts.ts'
import type { Database } from '../store/db.ts'
import type { JobTokens } from '../store/job_tokens.ts'
import { workspaceExists } from '../store/workspaces.ts'

const keepMs = 4_000
const keptMax = 10_000

export interface Identities {
  /** What is known without asking the database. HOT. */
  cached(token: string): Identity | undefined
  /** null: no such token, or it is over. */
  find(token: string): Promise<Identity | null>
  workspaceKnown(id: string): boolean
  workspaceExists(id: string): Promise<boolean>
  /** After a token, an account or a membership changed. */
  forget(): void
}

export function createIdentities({ db, jobTokens }: { db: Database; jobTokens: JobTokens }): Identities {
  const kept = new Map<string, { identity: Identity; untilMs: number }>()
  const workspaces = new Map<string, number>()

  async function load(token: string): Promise<Identity | null> {
    const job = jobTokens.verify(token)
    if (!job) return identityOfToken(db.pool, token)
    return identityOfName(db.pool, { name: job.email, workspaceId: job.workspaceId, expiresAtMs: job.expiresAtMs })
  }

  return {
    cached(token) {
      const entry = kept.get(token)
      return entry !== undefined && entry.untilMs > Date.now() ? entry.identity : undefined
    },
    async find(token) {
      const identity = await load(token)
      if (!identity) return null
      if (kept.size >= keptMax) kept.clear()
      kept.set(token, { identity, untilMs: Math.min(Date.now() + keepMs, identity.expiresAtMs ?? Number.POSITIVE_INFINITY) })
      return identity
    },
    workspaceKnown: (id) => (workspaces.get(id) ?? 0) > Date.now(),
    async workspaceExists(id) {
      const exists = await workspaceExists(db.pool, id)
      if (workspaces.size >= keptMax) workspaces.clear()
      if (exists) workspaces.set(id, Date.now() + keepMs)
      return exists
    },
    forget() {
      kept.clear()
      workspaces.clear()
    },
  }
}
