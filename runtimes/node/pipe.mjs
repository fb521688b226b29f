// Frames over two descriptors: a 4-byte little-endian length, then a body that the codec turns into an array of messages.
//   P1. Writes are synchronous: what has been sent is in the pipe, whatever the process does next.
//   P2. The end of the input ends the process: nobody is left to answer to.
import { writeSync } from 'node:fs'
import { Socket } from 'node:net'

/** The length before the body. */
export const headBytes = 4
const frameBytesMax = 256 << 20
const sleeper = new Int32Array(new SharedArrayBuffer(4))

/**
 * `encode` leaves headBytes free before the body, and may use the memory of what it gave before.
 * @param {{ readFd: number, writeFd: number, codec: { encode(m: unknown[]): Buffer, decode(b: Buffer): unknown[] }, onMessages(m: unknown[]): void, onEnd(): void }} options
 */
export function openPipe({ readFd, writeFd, codec, onMessages, onEnd }) {
  let rest = []
  let restBytes = 0
  let neededBytes = headBytes

  function onData(chunk) {
    if (restBytes > 0) {
      rest.push(chunk)
      restBytes += chunk.length
      if (restBytes < neededBytes) return
      chunk = Buffer.concat(rest, restBytes)
      rest = []
      restBytes = 0
    }
    let at = 0
    neededBytes = headBytes
    while (chunk.length - at >= headBytes) {
      const length = chunk.readUInt32LE(at)
      if (length === 0 || length > frameBytesMax) throw new Error(`frame of ${length} bytes (1 to ${frameBytesMax} allowed)`)
      neededBytes = headBytes + length
      if (chunk.length - at < neededBytes) break
      onMessages(codec.decode(chunk.subarray(at + headBytes, at + neededBytes)))
      at += neededBytes
      neededBytes = headBytes
    }
    if (at < chunk.length) {
      rest.push(at === 0 ? chunk : chunk.subarray(at))
      restBytes = chunk.length - at
    }
  }

  function listen() {
    const input = new Socket({ fd: readFd, readable: true, writable: false })
    input.on('data', (chunk) => {
      try {
        onData(chunk)
      } catch (error) {
        writeSync(2, `broken frame from the engine: ${error?.stack ?? error}\n`)
        process.reallyExit(1)
      }
    })
    input.on('end', onEnd)
    input.on('error', onEnd)
  }

  function send(messages) {
    const frame = codec.encode(messages)
    frame.writeUInt32LE(frame.length - headBytes, 0)
    let at = 0
    while (at < frame.length) {
      try {
        at += writeSync(writeFd, frame, at)
      } catch (error) {
        if (error.code === 'EPIPE') process.reallyExit(0) // the engine has gone
        if (error.code !== 'EAGAIN') throw error
        Atomics.wait(sleeper, 0, 0, 1) // a full pipe that somebody made non-blocking
      }
    }
  }

  return { listen, send }
}
