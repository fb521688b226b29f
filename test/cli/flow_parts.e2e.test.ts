// Parts of flows, trees of jobs, restarts and error handlers, as a user of the command line has them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { command, stateFolder, start } from '../e2e/up_support.ts'

const home = stateFolder()
const files = mkdtempSync(join(tmpdir(), 'millrace-parts-'))

const document = `summary: Orders
value:
  modules:
    - id: orders
      value: { type: identity }
    - id: each
      value:
        type: forloopflow
        iterator: { type: javascript, expr: flow_input.orders }
        modules:
          - id: price
            value:
              type: rawscript
              language: bun
              content: 'export function main(n: number, limit: number) { if (n > limit) throw new RangeError("too many"); return n * 10 }'
              input_transforms:
                n: { type: javascript, expr: flow_input.iter.value }
                limit: { type: javascript, expr: flow_input.limit }
    - id: sum
      value:
        type: rawscript
        language: bun
        content: 'export const main = (prices: number[]) => prices.reduce((sum, price) => sum + price, 0)'
        input_transforms:
          prices: { type: javascript, expr: results.each }
`

beforeAll(async () => {
  await start(home, ['up']).says(/Millrace is up/)
  writeFileSync(join(files, 'flow.yaml'), document)
  expect(command(home, ['flow', 'push', join(files, 'flow.yaml'), 'f/orders'])).toMatchObject({ exitCode: 0 })
}, 60_000)

afterAll(() => rmSync(files, { recursive: true, force: true }))

const run = (...options: string[]) =>
  command(home, ['flow', 'run', 'f/orders', '-d', '{"orders": [1, 2, 3], "limit": 5}', '--wait', ...options])

test('`flow run --until` stops after a step, `--only` runs one', () => {
  expect(run()).toMatchObject({ exitCode: 0, out: '60\n' })
  expect(run('--until', 'each')).toMatchObject({ exitCode: 0, out: '[10,20,30]\n' })
  writeFileSync(join(files, 'results.json'), '{"each": [1, 2]}')
  expect(run('--only', 'sum', '--results', join(files, 'results.json'))).toMatchObject({ exitCode: 0, out: '3\n' })
  expect(run('--only', 'sum', '--results', '{"each": [4]}')).toMatchObject({ exitCode: 0, out: '4\n' })
  const { exitCode, err } = run('--until', 'nowhere')
  expect(exitCode).toBe(1)
  expect(err).toContain('the flow has no step "nowhere"; its steps are orders, each, price, sum')
})

test('`job show` prints what is inside, `job restart` goes on from there', () => {
  const failed = command(home, ['flow', 'run', 'f/orders', '-d', '{"orders": [1, 2, 3], "limit": 2}', '--wait'])
  expect(failed.exitCode).toBe(1)
  const id = failed.err.split('\n')[0]!
  const { out } = command(home, ['job', 'show', id])
  expect(out).toMatch(/^each +Failure \(RangeError: too many\) +\d+ ms +[0-9a-f-]{36}$/m)
  expect(out).toMatch(/^ {2}#1 +Success/m)
  expect(out).toMatch(/^ {4}price +Failure \(RangeError: too many\)/m)
  const { steps } = JSON.parse(command(home, ['job', 'show', id, '--json']).out) as { steps: { inside?: { job: string }[] }[] }
  expect(steps[1]!.inside).toHaveLength(3)
  expect(command(home, ['job', 'show', steps[1]!.inside![2]!.job]).out).toMatch(/^price +Failure/m)

  const again = command(home, ['job', 'restart', id, '--from', 'each', '--iteration', '1', '--wait'])
  expect(again.exitCode).toBe(1)
  expect(again.err).toContain('RangeError: too many')
  const fresh = again.err.split('\n')[0]!
  const shown = command(home, ['job', 'show', fresh]).out
  expect(shown).toMatch(new RegExp(`^replays +${id}$`, 'm'))
  expect(shown).toMatch(/^from +each 1$/m)
  const wrong = command(home, ['job', 'restart', id, '--from', 'sum'])
  expect(wrong).toMatchObject({ exitCode: 1 })
  expect(wrong.err).toContain('the job did not come to step sum: it came to orders, each')
})

test('`workspace error-handler` sets, shows and clears what is started when jobs fail', () => {
  const handler = (...options: string[]) => command(home, ['workspace', 'error-handler', ...options])
  expect(handler()).toMatchObject({ exitCode: 0, out: '', err: expect.stringContaining('no error handler') })
  const told = 'flow/f/ops/tell, with {"channel":"#alerts"}, not for canceled jobs\n'
  const set = handler('--set', 'flow/f/ops/tell', '--args', '{"channel": "#alerts"}', '--muted-on-cancel')
  expect(set).toMatchObject({ exitCode: 0, out: told })
  expect(handler()).toMatchObject({ exitCode: 0, out: told })
  expect(JSON.parse(handler('--json').out)).toMatchObject({ path: 'flow/f/ops/tell', muted_on_user_path: false })
  expect(handler('--set', 'f/ops/tell')).toMatchObject({ exitCode: 1, err: expect.stringContaining('names no handler') })
  expect(handler('--clear', '--json')).toMatchObject({ exitCode: 0, out: 'null\n' })
})

test('`job logs` has what steps inside of loops print', async () => {
  writeFileSync(join(files, 'flow.yaml'), document.replace('if (n > limit)', 'console.log("pricing", n); if (n > limit)'))
  command(home, ['flow', 'push', join(files, 'flow.yaml'), 'f/orders'])
  const id = run().err.split('\n')[0]!
  await expect.poll(() => command(home, ['job', 'logs', id]).out).toBe('pricing 1\npricing 2\npricing 3\n')
})
