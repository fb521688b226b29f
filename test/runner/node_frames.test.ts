// What the Node runtime sends: frames that the engine reads, in memory that does not grow with them.
import { expect, test } from 'vitest'
import { decodeFrame, msgpackCodec } from '../../src/core/wire/frames.ts'

// Runtimes have no types.
const runtime = '../../runtimes/node/'
const { createMsgpackCodec } = (await import(`${runtime}msgpack.mjs`)) as {
  createMsgpackCodec(): { encode(messages: unknown[]): Buffer }
}
const { headBytes } = (await import(`${runtime}pipe.mjs`)) as { headBytes: number }

const decoded = (frame: Buffer) => decodeFrame(msgpackCodec, frame.subarray(headBytes))

test('frames of any size come out as they went in', () => {
  const { encode } = createMsgpackCodec()
  for (const size of [0, 1, 100, 2_000, 8_200, 60_000, 100, 0]) {
    const messages = [
      ['ok', size, 'ü🦀'.repeat(size), 0.5],
      ['log', 2, 'x'],
    ]
    expect(decoded(encode(messages))).toEqual(messages)
  }
})

test('they are made in the same memory, one after another', () => {
  const { encode } = createMsgpackCodec()
  const memory = new Set<ArrayBufferLike>()
  for (let n = 0; n < 10_000; n++) memory.add(encode([['ok', n, '{"n":1}', 1]]).buffer)
  expect(memory.size).toBe(1)
})

test('the memory of a large frame is not kept', () => {
  const { encode } = createMsgpackCodec()
  const large = encode([['ok', 1, 'x'.repeat(16 << 20), 1]])
  const small = encode([['ok', 2, 'y', 1]])
  expect(small.buffer.byteLength).toBeLessThan(1 << 20)
  expect(decoded(large)).toEqual([['ok', 1, 'x'.repeat(16 << 20), 1]])
  expect(decoded(small)).toEqual([['ok', 2, 'y', 1]])
})
