// A TCP proxy in front of Postgres that does what networks do: cut, freeze, delay, refuse; and what hardly any test does:
// let a statement through to its commit, and cut before the reply gets back.
//   P1. Bytes are neither lost nor changed while a connection lives, but for notifications that it was told to lose.
//   P2. In a partition neither side hears of the other, not even of its end, until thaw(). What is merely frozen still ends.
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { connect, createServer } from 'node:net'
import { applicationOf, asksForReady, MessageScanner, MessageSplitter, statementOf } from './pg_wire.ts'

export type Direction = 'both' | 'to server' | 'to client'

export interface Slowness {
  delayMs: number
  jitterMs?: number
  bytesPerSecond?: number
}

export interface ReplyCut {
  /** A prepared statement's name, or the first word of a plain query (`commit`). */
  statement: string
  /** How many replies. */
  times: number
}

/** A connection as the proxy sees it. */
export interface Session {
  application: string
  /** Statements sent and not yet answered, oldest first. */
  inFlight: readonly string[]
  /** Its `client_port` in pg_stat_activity. */
  port: number | undefined
}

export interface Proxy {
  /** The given database URL, by way of the proxy. */
  url: string
  /** Connections that are open now. */
  connections(): number
  /** Connections ever asked for, the refused ones too. */
  attempts(): number
  sessions(): Session[]
  /** Called with the name of every statement the moment it is sent. Gives what ends it. */
  onStatement(told: (statement: string) => void): () => void
  /** Holds back all bytes of the connections there are, until thaw(); new ones are not affected. */
  freeze(): void
  /** The same for new ones too, and in one direction only if asked for: the network is gone. */
  partition(direction: Direction): void
  thaw(): void
  /** Every chunk takes so long, in order. Null: none does. */
  slow(slowness: Slowness | null): void
  /** Closes every connection, or those of an application name. Gives how many. */
  cut(application?: string): number
  /** The next replies of this statement do not arrive: the server has committed, the connection is reset. */
  cutReplies(cut: ReplyCut | null): void
  /** Replies cut so far. */
  repliesCut(): number
  /** Notifications do not arrive, and nothing else shows. */
  loseNotifications(lose: boolean): void
  notificationsLost(): number
  /** Refuses new connections, until `admit`. */
  refuse(): void
  admit(): void
  close(): Promise<void>
}

interface Rules {
  refuses: boolean
  partition: Direction | null
  slowness: Slowness | null
  replyCut: ReplyCut | null
  repliesCut: number
  losesNotifications: boolean
  notificationsLost: number
  listeners: Set<(statement: string) => void>
}

export async function startProxy(databaseUrl: string): Promise<Proxy> {
  const target = new URL(databaseUrl)
  const links = new Set<Link>()
  const rules: Rules = {
    refuses: false,
    partition: null,
    slowness: null,
    replyCut: null,
    repliesCut: 0,
    losesNotifications: false,
    notificationsLost: 0,
    listeners: new Set(),
  }
  let attempts = 0
  const server = createServer({ noDelay: true }, (near) => {
    attempts += 1
    near.on('error', () => {}) // its close follows
    if (rules.refuses) {
      near.destroy()
      return
    }
    const far = connect({ host: target.hostname, port: Number(target.port || 5432), noDelay: true })
    const link = new Link({ near, far, rules, ended: () => links.delete(link) })
    links.add(link)
    if (rules.partition) link.freeze(rules.partition)
  })
  server.listen({ port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  const url = new URL(databaseUrl)
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port)

  function cut(application?: string): number {
    const chosen = [...links].filter((link) => application === undefined || link.application === application)
    for (const link of chosen) link.cut()
    return chosen.length
  }
  return {
    url: url.href,
    connections: () => [...links].filter((link) => link.isOpen()).length,
    attempts: () => attempts,
    sessions: () => [...links].map(({ application, inFlight, port }) => ({ application, inFlight, port })),
    onStatement(told) {
      rules.listeners.add(told)
      return () => void rules.listeners.delete(told)
    },
    freeze() {
      for (const link of links) link.freeze('both')
    },
    partition(direction) {
      rules.partition = direction
      for (const link of links) link.freeze(direction)
    },
    thaw() {
      rules.partition = null
      for (const link of links) link.thaw()
    },
    slow: (slowness) => void (rules.slowness = slowness),
    cut,
    cutReplies: (replyCut) => void (rules.replyCut = replyCut && { ...replyCut }),
    repliesCut: () => rules.repliesCut,
    loseNotifications: (lose) => void (rules.losesNotifications = lose),
    notificationsLost: () => rules.notificationsLost,
    refuse: () => void (rules.refuses = true),
    admit: () => void (rules.refuses = false),
    async close() {
      rules.refuses = true
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}

/** One connection: two sockets, two pipes, and what is known of the conversation. */
class Link {
  application = ''
  readonly inFlight: string[] = []
  readonly #near: Socket
  readonly #far: Socket
  readonly #rules: Rules
  readonly #ended: () => void
  readonly #toServer: Pipe
  readonly #toClient: Pipe
  readonly #splitter = new MessageSplitter()
  #statement = ''
  /** ReadyForQuery messages until the reply that is to be lost; 0: none is. */
  #cutAfterReady = 0

  constructor(parts: { near: Socket; far: Socket; rules: Rules; ended: () => void }) {
    const { near, far, rules } = parts
    this.#near = near
    this.#far = far
    this.#rules = rules
    this.#ended = parts.ended
    this.#toServer = new Pipe(near, far, rules)
    this.#toClient = new Pipe(far, near, rules)
    const asked = new MessageScanner({ startup: true, told: (type, head) => this.#asked(type, head) })
    const answered = new MessageScanner({ startup: false, told: (type) => this.#answered(type) })
    near.on('data', (chunk) => {
      asked.read(chunk)
      this.#toServer.pass(chunk)
    })
    far.on('data', (chunk) => {
      const withheld = this.#cutAfterReady > 0
      answered.read(chunk)
      if (withheld) return
      this.#toClient.pass(this.application === 'millrace listen' ? this.#filtered(chunk) : chunk)
    })
    far.on('error', () => {})
    near.on('close', () => this.#closed())
    far.on('close', () => this.#closed())
  }

  get port(): number | undefined {
    return this.#far.localPort
  }

  isOpen(): boolean {
    return !this.#near.destroyed
  }

  freeze(direction: Direction): void {
    if (direction !== 'to client') this.#toServer.freeze()
    if (direction !== 'to server') this.#toClient.freeze()
  }

  thaw(): void {
    this.#toServer.thaw()
    this.#toClient.thaw()
    if (this.#near.destroyed || this.#far.destroyed) this.cut()
  }

  cut(): void {
    this.#near.destroy()
    this.#far.destroy()
    this.#ended()
  }

  #closed(): void {
    if (this.#rules.partition !== null) return // the other side learns of it when it heals
    this.cut()
  }

  #asked(type: string, head: Buffer): void {
    if (type === 'startup') {
      this.application = applicationOf(head)
      return
    }
    const statement = statementOf(type, head)
    if (statement !== null) {
      this.#statement = statement
      const { replyCut } = this.#rules
      if (replyCut && replyCut.times > 0 && replyCut.statement === statement && this.#cutAfterReady === 0) {
        replyCut.times -= 1
        this.#cutAfterReady = this.inFlight.length + 1
      }
    }
    if (!asksForReady(type)) return
    this.inFlight.push(this.#statement)
    for (const told of this.#rules.listeners) told(this.#statement)
  }

  #answered(type: string): void {
    if (type !== 'Z') return
    this.inFlight.shift()
    if (this.#cutAfterReady === 0 || --this.#cutAfterReady > 0) return
    this.#rules.repliesCut += 1
    this.#near.resetAndDestroy()
    this.#far.destroy()
  }

  #filtered(chunk: Buffer): Buffer {
    if (!this.#rules.losesNotifications) return this.#splitter.take(chunk, null)
    const whole = this.#splitter.take(chunk, null)
    const kept = new MessageSplitter().take(whole, 'A')
    if (kept.length < whole.length) this.#rules.notificationsLost += 1
    return kept
  }
}

/** One direction: passes on what comes, at once or late, or holds it. */
class Pipe {
  frozen = false
  readonly #from: Socket
  readonly #to: Socket
  readonly #rules: Rules
  #waiting: { chunk: Buffer; dueMs: number }[] = []
  #timer: NodeJS.Timeout | null = null
  #lastDueMs = 0

  constructor(from: Socket, to: Socket, rules: Rules) {
    this.#from = from
    this.#to = to
    this.#rules = rules
    to.on('drain', () => from.resume())
  }

  pass(chunk: Buffer): void {
    if (chunk.length === 0) return
    const { slowness } = this.#rules
    if (!this.frozen && this.#waiting.length === 0 && slowness === null) {
      this.#write(chunk)
      return
    }
    const late = slowness === null ? 0 : slowness.delayMs + Math.random() * (slowness.jitterMs ?? 0)
    const onTheWire = slowness?.bytesPerSecond === undefined ? 0 : (chunk.length / slowness.bytesPerSecond) * 1000
    const nowMs = performance.now()
    this.#lastDueMs = Math.max(nowMs + late, this.#lastDueMs) + onTheWire
    this.#waiting.push({ chunk, dueMs: this.#lastDueMs })
    this.#schedule()
  }

  freeze(): void {
    this.frozen = true
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
  }

  thaw(): void {
    this.frozen = false
    this.#schedule()
  }

  #schedule(): void {
    if (this.frozen || this.#timer || this.#waiting.length === 0) return
    this.#timer = setTimeout(
      () => {
        this.#timer = null
        const nowMs = performance.now()
        while (this.#waiting.length > 0 && this.#waiting[0]!.dueMs <= nowMs) this.#write(this.#waiting.shift()!.chunk)
        this.#schedule()
      },
      Math.max(0, this.#waiting[0]!.dueMs - performance.now()),
    )
  }

  #write(chunk: Buffer): void {
    if (!this.#to.destroyed && !this.#to.write(chunk)) this.#from.pause()
  }
}
