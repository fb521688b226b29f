// Secrets: values sealed before they are stored. AES-256-GCM, with a key for each workspace that is made when it is first needed.
//   K1. `v1.` and base64url of nonce, tag and what is sealed. A nonce is random, and used once.
//   K2. The workspace and the path are sealed in with the value: a row that is copied elsewhere does not open.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { EngineError } from '../core/errors.ts'
import type { Queryable } from './db.ts'
import { settingOrMade } from './settings.ts'

export interface SecretPlace {
  workspaceId: string
  path: string
}

export interface Secrets {
  seal(place: SecretPlace, value: string): Promise<string>
  /** @throws EngineError E_INVALID if this was not sealed here, for this place. */
  open(place: SecretPlace, sealed: string): Promise<string>
}

const mark = 'v1.'
const nonceBytes = 12
const tagBytes = 16

export function createSecrets(on: Queryable): Secrets {
  const keys = new Map<string, Buffer>()

  async function keyOf(workspaceId: string): Promise<Buffer> {
    let key = keys.get(workspaceId)
    if (!key) {
      const made = randomBytes(32).toString('hex')
      key = Buffer.from((await settingOrMade(on, `secret_key:${workspaceId}`, made)) as string, 'hex')
      keys.set(workspaceId, key)
    }
    return key
  }

  return {
    async seal(place, value) {
      const nonce = randomBytes(nonceBytes)
      const cipher = createCipheriv('aes-256-gcm', await keyOf(place.workspaceId), nonce).setAAD(placeText(place))
      const sealed = Buffer.concat([cipher.update(value, 'utf8'), cipher.final()])
      return mark + Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64url')
    },
    async open(place, sealed) {
      const bytes = Buffer.from(sealed.slice(mark.length), 'base64url')
      const text = bytes.subarray(nonceBytes + tagBytes)
      try {
        const decipher = createDecipheriv('aes-256-gcm', await keyOf(place.workspaceId), bytes.subarray(0, nonceBytes), {
          authTagLength: tagBytes,
        }).setAAD(placeText(place))
        decipher.setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes))
        return Buffer.concat([decipher.update(text), decipher.final()]).toString('utf8')
      } catch (cause) {
        throw new EngineError('E_INVALID', `the secret ${place.path} does not open: it was not sealed here, for this path`, {
          cause,
        })
      }
    },
  }
}

/** A workspace's id has no line break. */
function placeText({ workspaceId, path }: SecretPlace): Buffer {
  return Buffer.from(`${workspaceId}\n${path}`)
}
