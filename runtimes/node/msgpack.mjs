// Frames of msgpack, each made where the one before was: by the time the next is made, it has been written (P1 of pipe.mjs). Buffers of
// their own would be garbage that gets old, and V8 lets that lie: half a MiB a minute at 10,000 calls a second.
import { Packr, RESERVE_START_SPACE, RESET_BUFFER_MODE, unpack } from 'msgpackr'
import { headBytes } from './pipe.mjs'

const placeBytes = 64 << 10
/** What a large frame leaves behind is not kept. */
const placeBytesMax = 1 << 20
const mode = RESET_BUFFER_MODE | RESERVE_START_SPACE | headBytes

/** @returns {{ encode(m: unknown[]): Buffer, decode(b: Buffer): unknown[] }} */
export function createMsgpackCodec() {
  const packr = new Packr({ useRecords: false })
  packr.useBuffer(Buffer.allocUnsafeSlow(placeBytes))
  return {
    encode(messages) {
      const frame = packr.pack(messages, mode)
      if (frame.buffer.byteLength > placeBytesMax) packr.useBuffer(Buffer.allocUnsafeSlow(placeBytes))
      return frame
    },
    decode: unpack,
  }
}
