// Just enough of the Postgres wire protocol to know, from the bytes of a connection, what is being asked and when it is answered.
//   W1. Chunks may end anywhere: a message is told once its first bytes (enough for a statement's name) are there.
//   W2. Nothing is copied but headers and those first bytes.

const headBytes = 96

/** Splits one direction of a connection into messages. `told(type, head)` gets the start of each body. */
export class MessageScanner {
  readonly #told: (type: string, head: Buffer) => void
  /** The client's first message has no type byte. */
  #startup: boolean
  #head: Buffer = Buffer.alloc(0)
  /** Bytes of the current message that are still to come and of no interest. */
  #skip = 0

  constructor(options: { startup: boolean; told: (type: string, head: Buffer) => void }) {
    this.#startup = options.startup
    this.#told = options.told
  }

  read(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - at)
        this.#skip -= skipped
        at += skipped
        continue
      }
      const typeBytes = this.#startup ? 0 : 1
      const wanted = this.#wanted(typeBytes)
      const taken = chunk.subarray(at, at + wanted - this.#head.length)
      this.#head = this.#head.length === 0 ? taken : Buffer.concat([this.#head, taken])
      at += taken.length
      if (this.#head.length < 4 + typeBytes || this.#head.length < this.#wanted(typeBytes)) continue
      const length = this.#head.readInt32BE(typeBytes)
      const body = this.#head.subarray(4 + typeBytes)
      const type = this.#startup ? 'startup' : String.fromCharCode(this.#head[0]!)
      this.#skip = length - 4 - body.length
      this.#head = Buffer.alloc(0)
      this.#startup = false
      this.#told(type, body)
    }
  }

  /** How many bytes of the message at hand must be there before it is told. */
  #wanted(typeBytes: number): number {
    if (this.#head.length < 4 + typeBytes) return 4 + typeBytes
    const length = this.#head.readInt32BE(typeBytes)
    // The startup message is short and wanted whole.
    return typeBytes + Math.min(length, typeBytes === 0 ? 4_096 : headBytes)
  }
}

/** `application_name` of a startup message. */
export function applicationOf(startup: Buffer): string {
  const fields = startup.subarray(4).toString('utf8').split('\0')
  const at = fields.findIndex((field, index) => index % 2 === 0 && field === 'application_name')
  return at === -1 ? '' : (fields[at + 1] ?? '')
}

/** What a client's message asks for: the prepared statement's name, or the first word of a plain query. Null: nothing new. */
export function statementOf(type: string, head: Buffer): string | null {
  if (type === 'B') {
    const portalEnds = head.indexOf(0)
    return head.toString('utf8', portalEnds + 1, head.indexOf(0, portalEnds + 1))
  }
  if (type === 'Q')
    return head
      .toString('utf8')
      .split(/[\s;\0]/)[0]!
      .toLowerCase()
  return null
}

/** Does this client message make the server answer with ReadyForQuery? */
export function asksForReady(type: string): boolean {
  return type === 'S' || type === 'Q'
}

/** Splits a stream into whole messages, for a direction where single ones are to be left out. */
export class MessageSplitter {
  #held: Buffer = Buffer.alloc(0)

  /** The bytes of the whole messages so far, without those of `dropped` types. */
  take(chunk: Buffer, dropped: string | null): Buffer {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    const kept: Buffer[] = []
    let at = 0
    while (this.#held.length - at >= 5) {
      const end = at + 1 + this.#held.readInt32BE(at + 1)
      if (end > this.#held.length) break
      if (String.fromCharCode(this.#held[at]!) !== dropped) kept.push(this.#held.subarray(at, end))
      at = end
    }
    this.#held = this.#held.subarray(at)
    return Buffer.concat(kept)
  }
}
