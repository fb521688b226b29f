// The way to the primary: to which of the servers of DATABASE_URL this process connects, and which it refuses.
//   R1. Never a server in recovery (a standby): it cannot be written, and what it shows may be old.
//   R2. Never another database than the first one (its system identifier), nor an older primary than the newest one seen (its
//       timeline): connections to that one are cut when a newer one shows itself.
//   R3. With several servers, the one to use is looked for at the first connection and again after every failure, at all of
//       them at once: of those that take writes, the one of the highest timeline.
//   R4. Every attempt passes the gate.
// What is remembered dies with the process; what a role may not read (R2) or a pooler hides is not checked.
import { Client } from 'pg'
import { EngineError, messageOf } from '../core/errors.ts'
import type { Queryable } from './db.ts'
import { createGate } from './gate.ts'
import { parseHosts, type Host } from './hosts.ts'
import { run } from './statements.ts'

export interface ServerIdentity {
  inRecovery: boolean
  readOnly: boolean
  /** null: this role may not know, or it is a standby (timeline). */
  systemId: string | null
  timeline: number | null
}

export interface Route {
  readonly hosts: readonly Host[]
  /** Makes a connection to the primary by `attempt`. @throws EngineError E_DATABASE, or what `attempt` throws */
  open<T>(attempt: (to: Host) => Promise<T>): Promise<T>
  /** Asks a new connection where it leads. @throws EngineError E_DATABASE for a server that is refused */
  admit(client: Queryable, to: Host): Promise<void>
  /** A connection broke: with several servers, look again. */
  lost(): void
  /** A connection that is to be cut when a newer primary shows itself. Gives what ends that. */
  watch(cut: () => void): () => void
}

const lookMs = 2_000 // how long a server may take to say what it is
const insufficientPrivilege = '42501'

export function createRoute(url: string, report: (text: string) => void = () => {}): Route {
  const hosts = parseHosts(url)
  const gate = createGate()
  let chosen: Host | null = hosts.length === 1 ? hosts[0]! : null
  let looking: Promise<Host> | null = null
  let mayKnow = true
  let seen: { systemId: string; timeline: number } | null = null
  let watched = new Set<() => void>()

  async function identityOf(client: Queryable): Promise<ServerIdentity> {
    if (mayKnow) {
      try {
        return (await run<ServerIdentity>(client, 'server_identity', []))[0]!
      } catch (error) {
        if ((error as { code?: string }).code !== insufficientPrivilege) throw error
        mayKnow = false
      }
    }
    return (await run<ServerIdentity>(client, 'server_recovery', []))[0]!
  }

  /** Why this server is none to work with; undefined if it is. */
  function faultOf(identity: ServerIdentity): string | undefined {
    if (identity.inRecovery) return 'is a standby (in recovery), which cannot be written'
    if (seen === null || identity.systemId === null) return undefined
    if (identity.systemId !== seen.systemId) {
      return `is another database (system identifier ${identity.systemId}, not ${seen.systemId}); restart to use it`
    }
    if (identity.timeline! < seen.timeline) {
      return `is an old primary: its timeline is ${identity.timeline}, and the primary is at ${seen.timeline}`
    }
    return undefined
  }

  function remember({ systemId, timeline }: ServerIdentity, to: Host): void {
    if (systemId === null || timeline === null || (seen !== null && timeline <= seen.timeline)) return
    const moved = seen !== null
    seen = { systemId, timeline }
    if (!moved) return
    report(`the primary is ${nameOf(to)} now, at timeline ${timeline}`)
    const old = watched
    watched = new Set()
    for (const cut of old) cut()
  }

  function lost(): void {
    if (hosts.length > 1) chosen = null
  }

  async function look(): Promise<Host> {
    const found = await Promise.all(hosts.map(async (host) => ({ host, ...(await ask(host)) })))
    // All first, so that the highest timeline is known when the others are judged.
    for (const { host, identity } of found) if (identity && faultOf(identity) === undefined) remember(identity, host)
    const best = found.find(({ identity }) => identity && faultOf(identity) === undefined && !identity.readOnly)
    if (best) return best.host
    const faults = found.map(({ host, identity, error }) => {
      const fault = identity ? (faultOf(identity) ?? 'allows reading only') : `does not answer (${error})`
      return `${nameOf(host)} ${fault}`
    })
    throw refusal(`there is no primary: ${faults.join('; ')}`)
  }

  async function ask(host: Host): Promise<{ identity?: ServerIdentity; error?: string }> {
    const client = new Client({ connectionString: host.url, connectionTimeoutMillis: lookMs, query_timeout: lookMs })
    client.on('error', () => {}) // told by what is awaited
    try {
      await client.connect()
      return { identity: await identityOf(client) }
    } catch (error) {
      return { error: messageOf(error) || 'refused' }
    } finally {
      void client.end().catch(() => {})
    }
  }

  return {
    hosts,
    open: (attempt) =>
      gate.pass(async () => {
        const to = chosen ?? (await (looking ??= look().finally(() => (looking = null))))
        try {
          const made = await attempt(to)
          chosen = to
          return made
        } catch (error) {
          lost()
          throw error
        }
      }),
    async admit(client, to) {
      const identity = await identityOf(client)
      const fault = faultOf(identity)
      if (fault !== undefined) throw refusal(`${nameOf(to)} ${fault}`)
      remember(identity, to)
    },
    lost,
    watch(cut) {
      watched.add(cut)
      return () => void watched.delete(cut)
    },
  }
}

function nameOf({ host, port }: Host): string {
  return `${host}:${port}`
}

function refusal(text: string): EngineError {
  return new EngineError('E_DATABASE', text, { retryAfterS: 1, at: 'DATABASE_URL' })
}
