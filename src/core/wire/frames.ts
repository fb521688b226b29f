// Frames: a 4-byte little-endian length, then a body that a codec turns into an array of messages.
//   F1. HOT. Per read: no copy unless a frame spans reads. Per frame: one decode.
//   F2. What breaks the protocol (a length of 0 or beyond what is allowed, a body that is no list) is thrown as a ProtocolFault;
//       the runner that sent it is replaced. A length that is too large is refused before any of its body is kept.
//   F3. A frame that spans reads is held once: its bytes are copied where they will be decoded.
import { unpack, pack } from 'msgpackr'

export const frameBytesMax = 256 << 20

/**
 * The largest frame a runtime has to send: one result, printed as a string inside JSON (each of its quotes escaped), and
 * smaller messages beside it.
 */
export function frameBytesMaxOf(resultBytesMax: number): number {
  return 2 * resultBytesMax + (4 << 20)
}

export class ProtocolFault extends Error {}

export interface Codec {
  readonly name: 'msgpack' | 'json'
  encode(messages: readonly unknown[]): Uint8Array
  decode(body: Buffer): unknown[]
}

export const jsonCodec: Codec = {
  name: 'json',
  encode: (messages) => Buffer.from(JSON.stringify(messages)),
  decode: (body) => JSON.parse(body.toString('utf8')) as unknown[],
}

export const msgpackCodec: Codec = {
  name: 'msgpack',
  encode: (messages) => pack(messages),
  decode: (body) => unpack(body) as unknown[],
}

export function encodeFrame(codec: Codec, messages: readonly unknown[]): Buffer {
  const body = codec.encode(messages)
  const frame = Buffer.allocUnsafe(body.length + 4)
  frame.writeUInt32LE(body.length, 0)
  frame.set(body, 4)
  return frame
}

export function decodeFrame(codec: Codec, body: Buffer): unknown[] {
  let messages: unknown
  try {
    messages = codec.decode(body)
  } catch {
    throw new ProtocolFault(`frame of ${body.length} bytes that is not ${codec.name}`)
  }
  if (!Array.isArray(messages)) throw new ProtocolFault('frame that is not a list of messages')
  return messages
}

/** Cuts a byte stream into frame bodies. The bodies are views: decode them before the next push. */
export class FrameReader {
  readonly #bytesMax: number
  /** The start of a length that spans reads. */
  #head: Buffer | null = null
  /** The body of a frame that spans reads, and how much of it is there. */
  #body: Buffer | null = null
  #filled = 0

  constructor(bytesMax = frameBytesMax) {
    this.#bytesMax = bytesMax
  }

  push(chunk: Buffer, onBody: (body: Buffer) => void): void {
    let at = 0
    if (this.#body !== null) {
      at = this.#fill(this.#body, chunk, 0)
      if (this.#filled < this.#body.length) return
      const body = this.#body
      this.#body = null
      onBody(body)
    } else if (this.#head !== null) {
      chunk = Buffer.concat([this.#head, chunk])
      this.#head = null
    }
    while (chunk.length - at >= 4) {
      const length = frameLength(chunk, at, this.#bytesMax)
      at += 4
      if (chunk.length - at < length) {
        this.#body = Buffer.allocUnsafeSlow(length)
        this.#filled = 0
        this.#fill(this.#body, chunk, at)
        return
      }
      onBody(chunk.subarray(at, at + length))
      at += length
    }
    if (at < chunk.length) this.#head = Buffer.from(chunk.subarray(at))
  }

  /** Copies what belongs to the body; gives where that ends in the chunk. */
  #fill(body: Buffer, chunk: Buffer, from: number): number {
    const end = Math.min(chunk.length, from + body.length - this.#filled)
    chunk.copy(body, this.#filled, from, end)
    this.#filled += end - from
    return end
  }
}

function frameLength(bytes: Buffer, at: number, bytesMax: number): number {
  const length = bytes.readUInt32LE(at)
  if (length === 0 || length > bytesMax) throw new ProtocolFault(`frame of ${length} bytes (1 to ${bytesMax} allowed)`)
  return length
}
