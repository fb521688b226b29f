// Signed URLs: who has one may answer a waiting step without a token.
//   G1. hex(HMAC-SHA256(the workspace's key, 16 bytes of the id, the resume id as u32 big-endian, the approver if there is one)),
//       as Windmill signs them, so that what makes or checks such URLs elsewhere goes on working.
//       What answers one approval of a workflow is signed with the approval's key as well, so it answers nothing else.
//   G2. A workspace's key is made when it is first needed, and only for workspaces that exist.
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Database } from '../store/db.ts'
import { settingOrMade } from '../store/settings.ts'
import type { Identities } from './identities.ts'

export interface Signed {
  workspaceId: string
  /** Of a step, or of a job: then whatever waits next is answered. */
  id: string
  resumeId: number
  approver: string | undefined
  /** Of a workflow's approval. */
  stepKey?: string | undefined
}

export interface Signatures {
  sign(what: Signed): Promise<string>
  verify(what: Signed, signature: string): Promise<boolean>
}

/** An approval of a workflow is answered once, by whichever of its URLs. */
export function resumeIdOfKey(stepKey: string): number {
  return createHash('sha256').update(stepKey).digest().readUInt32BE()
}

export function createSignatures({ db, identities }: { db: Database; identities: Identities }): Signatures {
  const keys = new Map<string, string>()

  async function keyOf(workspaceId: string): Promise<string> {
    const known = keys.get(workspaceId)
    if (known !== undefined) return known
    const key = (await settingOrMade(db.pool, `workspace_key:${workspaceId}`, randomBytes(32).toString('hex'))) as string
    keys.set(workspaceId, key)
    return key
  }

  async function sign({ workspaceId, id, resumeId, approver, stepKey }: Signed): Promise<string> {
    const number = Buffer.alloc(4)
    number.writeUInt32BE(resumeId)
    const hmac = createHmac('sha256', await keyOf(workspaceId))
    hmac.update(Buffer.from(id.replaceAll('-', ''), 'hex')).update(number)
    if (approver !== undefined) hmac.update(approver)
    if (stepKey !== undefined) hmac.update('\0').update(stepKey)
    return hmac.digest('hex')
  }

  return {
    sign,
    async verify(what, signature) {
      const { workspaceId } = what
      if (!identities.workspaceKnown(workspaceId) && !(await identities.workspaceExists(workspaceId))) return false
      const right = Buffer.from(await sign(what))
      const given = Buffer.from(signature)
      return right.length === given.length && timingSafeEqual(right, given)
    },
  }
}
