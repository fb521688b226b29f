import { describe, expect, test } from 'vitest'
import {
  decodeFrame,
  encodeFrame,
  FrameReader,
  frameBytesMax,
  frameBytesMaxOf,
  jsonCodec,
  msgpackCodec,
  ProtocolFault,
} from '../../src/core/wire/frames.ts'

const messages = [['ok', 1, '{"a":"ü🦀"}', 0.5], ['log', 2, 'x'.repeat(300)], ['stop']]

describe.each([jsonCodec, msgpackCodec])('frames of $name', (codec) => {
  const stream = Buffer.concat([encodeFrame(codec, messages), encodeFrame(codec, [['begin', 7]]), encodeFrame(codec, messages)])

  test.each([1, 2, 3, 5, 64, 333, stream.length])('cut into reads of %i bytes come out whole', (size) => {
    const reader = new FrameReader()
    const seen: unknown[] = []
    for (let at = 0; at < stream.length; at += size) {
      reader.push(stream.subarray(at, at + size), (body) => seen.push(decodeFrame(codec, body)))
    }
    expect(seen).toEqual([messages, [['begin', 7]], messages])
  })

  test('a body that is none, or no list, is a fault of the protocol', () => {
    expect(() => decodeFrame(codec, Buffer.from([0xc1, 0xc1]))).toThrow(ProtocolFault)
    expect(() => decodeFrame(codec, encodeFrame(codec, { a: 1 } as never).subarray(4))).toThrow(ProtocolFault)
  })
})

test('a frame as large as allowed comes out whole, and one byte more is refused before any of it is kept', () => {
  const reader = new FrameReader(1_000)
  const frame = encodeFrame(msgpackCodec, ['x'.repeat(996)])
  expect(frame.length).toBe(4 + 1_000)
  const seen: number[] = []
  reader.push(frame.subarray(0, 500), (body) => seen.push(body.length))
  reader.push(frame.subarray(500), (body) => seen.push(body.length))
  expect(seen).toEqual([1_000])
  const larger = encodeFrame(msgpackCodec, ['x'.repeat(997)])
  expect(() => reader.push(larger.subarray(0, 4), () => {})).toThrow('frame of 1001 bytes (1 to 1000 allowed)')
})

test('there is room in a frame for one result of the largest size, whatever has to be escaped in it', () => {
  const bytesMax = 100_000
  const value = JSON.stringify(['"'.repeat(49_998)])
  expect(value.length).toBeLessThanOrEqual(bytesMax)
  for (const codec of [jsonCodec, msgpackCodec]) {
    expect(encodeFrame(codec, [['ok', 1, value, 1]]).length).toBeLessThanOrEqual(frameBytesMaxOf(bytesMax))
  }
})

test.each([0, frameBytesMax + 1, 0x80000000, 0xffffffff])(
  'a frame that claims %i bytes is refused before it is read',
  (length) => {
    const head = Buffer.alloc(8)
    head.writeUInt32LE(length)
    expect(() => new FrameReader().push(head, () => {})).toThrow(ProtocolFault)
  },
)
