// Tokens of running jobs (WM_TOKEN): signed, not stored, so issuing one costs no round trip.
//   T1. `jt_<payload>_<hmac>`: payload is base64url of [job id, workspace, account, expiry in ms]; hmac is hex HMAC-SHA256.
//   T2. The key is made once per installation; every server and worker of it reads the same.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Database } from './db.ts'
import { settingOrMade } from './settings.ts'

export interface JobToken {
  jobId: string
  workspaceId: string
  /** The email or username the job runs as. */
  email: string
  expiresAtMs: number
}

export interface JobTokens {
  /** HOT. */
  issue(what: { jobId: string; workspaceId: string; email: string; ttlMs: number }): string
  /** null if it is no job token, not ours, or over. */
  verify(token: string): JobToken | null
}

const mark = 'jt_'

export async function createJobTokens(db: Database): Promise<JobTokens> {
  const key = await signingKey(db)
  const sign = (payload: string): string => createHmac('sha256', key).update(payload).digest('hex')
  return {
    issue({ jobId, workspaceId, email, ttlMs }) {
      const payload = Buffer.from(JSON.stringify([jobId, workspaceId, email, Date.now() + ttlMs])).toString('base64url')
      return `${mark}${payload}_${sign(payload)}`
    },
    verify(token) {
      const cut = token.lastIndexOf('_')
      if (!token.startsWith(mark) || cut <= mark.length) return null
      const payload = token.slice(mark.length, cut)
      const given = Buffer.from(token.slice(cut + 1))
      const right = Buffer.from(sign(payload))
      if (given.length !== right.length || !timingSafeEqual(given, right)) return null
      const fields = JSON.parse(Buffer.from(payload, 'base64url').toString()) as [string, string, string, number]
      const [jobId, workspaceId, email, expiresAtMs] = fields
      return expiresAtMs > Date.now() ? { jobId, workspaceId, email, expiresAtMs } : null
    },
  }
}

async function signingKey(db: Database): Promise<Buffer> {
  const key = await settingOrMade(db.pool, 'job_token_key', randomBytes(32).toString('hex'))
  return Buffer.from(key as string, 'hex')
}
