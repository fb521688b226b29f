import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { startProgram } from '../support/processes.ts'

test('the benchmark of calls through the pool runs', async () => {
  const bench = fileURLToPath(new URL('../../bench/micro/runner.ts', import.meta.url))
  const program = startProgram([process.execPath, '--import', 'tsx', bench, '800'])
  const ended = await program.ended
  expect(program.errors()).toBe('')
  expect(ended).toBe(0)
})
