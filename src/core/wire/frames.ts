// Frames: a 4-byte little-endian length, then a body that a codec turns into an array of messages.
//   F1. HOT. Per read: no copy unless a frame spans reads. Per frame: one decode.
//   F2. What breaks the protocol (a length of 0 or beyond frameBytesMax, a body that is no list) is thrown as a ProtocolFault;
//       the runner that sent it is replaced.
import { unpack, pack } from 'msgpackr'

export const frameBytesMax = 256 << 20

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
  #rest: Buffer[] = []
  #restBytes = 0

  push(chunk: Buffer, onBody: (body: Buffer) => void): void {
    if (this.#restBytes > 0) {
      this.#rest.push(chunk)
      this.#restBytes += chunk.length
      if (this.#restBytes < this.#needed()) return
      chunk = this.#rest.length === 1 ? this.#rest[0]! : Buffer.concat(this.#rest, this.#restBytes)
      this.#rest = []
      this.#restBytes = 0
    }
    let at = 0
    while (chunk.length - at >= 4) {
      const length = frameLength(chunk, at)
      if (chunk.length - at - 4 < length) break
      onBody(chunk.subarray(at + 4, at + 4 + length))
      at += 4 + length
    }
    if (at < chunk.length) {
      this.#rest.push(at === 0 ? chunk : chunk.subarray(at))
      this.#restBytes = chunk.length - at
    }
  }

  /** Bytes needed before the frame at the head of the rest is whole (a large frame is concatenated once, not per read). */
  #needed(): number {
    const head = this.#rest[0]!
    if (head.length >= 4) return 4 + frameLength(head, 0)
    return this.#restBytes >= 4 ? 4 + frameLength(Buffer.concat(this.#rest), 0) : 4
  }
}

function frameLength(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32LE(at)
  if (length === 0 || length > frameBytesMax) throw new ProtocolFault(`frame of ${length} bytes (1 to ${frameBytesMax} allowed)`)
  return length
}
