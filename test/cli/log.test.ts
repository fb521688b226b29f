import { expect, test } from 'vitest'
import { createLog, createScreen } from '../../src/cli/log.ts'

/** What is written to a terminal, or to a file. */
function screenOf(isTTY: boolean): { screen: ReturnType<typeof createScreen>; written: () => string } {
  let written = ''
  const stream = { isTTY, columns: 80, write: (text: string) => void (written += text) }
  return { screen: createScreen(stream as unknown as NodeJS.WriteStream), written: () => written }
}

const hostile = 'one\r\n\x1b[2J\x9b31m\u202etwo\u2028three'

test('a program that reads the log gets one JSON object per line, with the text as it is', () => {
  const { screen, written } = screenOf(false)
  createLog('info', screen).warn({ job: 'id', err: new Error(hostile) }, 'it broke')
  expect(written().trimEnd().split('\n')).toHaveLength(1)
  expect(JSON.parse(written())).toMatchObject({ level: 40, job: 'id', msg: 'it broke', err: { message: hostile } })
})

test('a person reads words, and what users wrote can neither move the cursor nor pass for another line', () => {
  const { screen, written } = screenOf(true)
  createLog('info', screen)
    .child({ part: 'worker' })
    .warn({ job: 'id', tag: hostile, err: new Error(hostile) }, `it broke: ${hostile}`)
  screen.line(`what a child printed: ${hostile}`)
  const [first, second, ...rest] = written()
    .replaceAll('\r\x1b[K', '') // ours: the line begins anew
    // oxlint-disable-next-line no-control-regex
    .replaceAll(/\x1b\[\d+m/g, '') // ours: colours
    .split('\n')
  expect(rest).toEqual([''])
  expect(first).toMatch(
    /^\d\d:\d\d:\d\d warn {2}worker: it broke: one\\u000d\\n\\u001b\[2J\\u009b31m\\u202etwo\\u2028three {2}job=id tag=one/,
  )
  // oxlint-disable-next-line no-control-regex
  expect(`${first}${second}`).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e\u2028]/)
})
