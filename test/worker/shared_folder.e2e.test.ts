// The folder that the steps of a same_worker job share: seen from every language, by no other job, and gone at the end.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import type { FlowModule, FlowValue } from '../../src/core/flow/definition.ts'
import { defaultLimits } from '../../src/core/limits.ts'
import { createRunnerPool } from '../../src/runner/pool.ts'
import { cancelJob } from '../../src/store/jobs.ts'
import { sendSignal } from '../../src/store/signals.ts'
import { all, choose, each, flow, script } from '../flows/cases.ts'
import { code, testEngine, ts, type Deployed, type Engine } from '../support/engine.ts'

let engine: Engine
beforeAll(async () => {
  engine = await testEngine()
  await engine.work()
})

const sharing = (path: string, modules: FlowModule[], more: Partial<FlowValue> = {}): Promise<Deployed> =>
  engine.deploy(path, modules, { same_worker: true, ...more }, false)

/** Adds a line to ./shared/lines. */
const add = (id: string, line: string, more: Partial<FlowModule> = {}) =>
  ts(
    id,
    `import { appendFileSync } from 'node:fs'
export function main(line: string) { appendFileSync('./shared/lines', line + '\\n') }`,
    { line },
    more,
  )
const read = (id: string) =>
  ts(
    id,
    `import { readdirSync, readFileSync } from 'node:fs'
export function main() {
  return readdirSync('./shared').includes('lines') ? readFileSync('./shared/lines', 'utf8').trim().split('\\n') : []
}`,
  )

/** Folders of this job that are there. */
const foldersOf = (id: string) => readdirSync(tmpdir()).filter((name) => name.startsWith('millrace-shared-') && name.includes(id))

async function gone(id: string): Promise<void> {
  while (foldersOf(id).length > 0) await new Promise((resolve) => setTimeout(resolve, 5))
}

test('steps in every language see the same files', async () => {
  const made = await sharing('shared/languages', [
    add('a', '"bun"'),
    code('b', 'python3', 'def main():\n    with open("./shared/lines", "a") as f:\n        f.write("python\\n")'),
    code('c', 'bash', 'echo bash >> ./shared/lines\necho null'),
    code(
      'd',
      'deno',
      `import { appendFileSync } from 'node:fs'\nexport const main = () => appendFileSync('./shared/lines', 'deno\\n')`,
    ),
    code(
      'e',
      'nativets',
      `import { appendFileSync } from 'node:fs'\nexport const main = () => appendFileSync('./shared/lines', 'native\\n')`,
    ),
    read('z'),
  ])
  const done = await engine.run(made)
  expect(done).toMatchObject({ status: 'success', result: ['bun', 'python', 'bash', 'deno', 'native'] })
  await gone(done.id)
}, 60_000)

test('so do iterations, branches, sub-flows and scripts', async () => {
  await engine.script(
    'shared/script',
    `import { appendFileSync } from 'node:fs'\nexport const main = (line: string) => appendFileSync('./shared/lines', line + '\\n')`,
  )
  await engine.deploy('shared/inner', [add('i', 'flow_input.line')], {}, false)
  const made = await sharing('shared/nested', [
    each('l', '[1, 2]', [add('x', 'flow_input.iter.value')]),
    choose('o', { true: [add('y', '"one"')] }),
    all('p', [[flow('f', 'shared/inner', { line: '"flow"' })], [script('s', 'shared/script', { line: '"script"' })]]),
    read('z'),
  ])
  expect((await engine.run(made)).result).toEqual(['1', '2', 'one', 'flow', 'script'])
}, 60_000)

test('a sub-flow that shares a folder has one where its caller has none', async () => {
  await sharing('shared/own', [add('i', '"in"'), read('r')])
  const made = await engine.deploy('shared/calls', [flow('f', 'shared/own'), read('z')], {}, false)
  const done = await engine.run(made)
  expect(done).toMatchObject({ status: 'failure', result: { error: { step_id: 'z' } } }) // there is no ./shared
  expect(done.steps.find(({ s }) => s === 'r')).toMatchObject({ v: ['in'] })
}, 60_000)

test('jobs at the same time do not see the files of each other', async () => {
  const slow = ts(
    'b',
    `import { appendFileSync } from 'node:fs'
export async function main(line: string) {
  await new Promise((resolve) => setTimeout(resolve, Math.random() * 10))
  appendFileSync('./shared/lines', line + '\\n')
}`,
    { line: 'flow_input.n' },
  )
  const made = await sharing('shared/together', [
    add('a', 'flow_input.n'),
    slow,
    code('c', 'bash', 'cat ./shared/lines >> ./shared/more\necho null'),
    read('z'),
  ])
  const ids = await Promise.all(Array.from({ length: 60 }, (_, n) => engine.start(made, { n })))
  const done = await Promise.all(ids.map((id) => engine.done(id)))
  expect(done.map(({ result }) => result)).toEqual(ids.map((_, n) => [String(n), String(n)]))
  for (const id of ids) await gone(id)
}, 60_000)

test('what user code leaves in place of ./shared is not the next job’s', async () => {
  const rude = ts(
    'a',
    `import { mkdirSync, rmSync, readdirSync, writeFileSync } from 'node:fs'
export function main() {
  const before = readdirSync('./shared')
  rmSync('./shared')
  mkdirSync('./shared')
  writeFileSync('./shared/left', '')
  return before
}`,
  )
  const made = await sharing('shared/rude', [rude])
  for (let i = 0; i < 3; i++) expect((await engine.run(made)).result).toEqual([])
}, 60_000)

test('it is gone after a failure, and after a cancel', async () => {
  const fails = await sharing('shared/fails', [add('a', '1'), ts('b', 'export function main() { throw new Error("no") }')])
  const failed = await engine.run(fails)
  expect(failed.status).toBe('failure')
  await gone(failed.id)
  const waits = await sharing('shared/waits', [add('a', '1', { sleep: { type: 'static', value: 600 } }), read('b')])
  const id = await engine.start(waits)
  while (!foldersOf(id).some((name) => existsSync(join(tmpdir(), name, 'lines'))))
    await new Promise((resolve) => setTimeout(resolve, 5))
  expect(await cancelJob(engine.db.pool, { workspaceId: 'main', id, by: 'me', reason: 'enough' })).toBe('asked')
  expect((await engine.done(id)).status).toBe('canceled')
  await gone(id)
}, 60_000)

test('it is still there after an answer was waited for', async () => {
  const made = await sharing('shared/asks', [add('a', '1', { suspend: { required_events: 1 } }), read('b')])
  const id = await engine.start(made)
  while (!foldersOf(id).some((name) => existsSync(join(tmpdir(), name, 'lines'))))
    await new Promise((resolve) => setTimeout(resolve, 5))
  const answer = {
    workspaceId: 'main',
    jobId: id,
    step: 0,
    resumeId: 1,
    approver: null,
    account: null,
    approved: true,
    payload: '{}',
  }
  await sendSignal(engine.db.pool, answer)
  expect((await engine.done(id)).result).toEqual(['1'])
}, 60_000)

test('what a killed engine leaves is swept when the next one starts', async () => {
  const { pid } = spawnSync('true') // a process that is no more
  const left = join(tmpdir(), `millrace-shared-${pid}-0199-1`)
  const made = mkdtempSync(join(tmpdir(), 'millrace-left-')) // whole when it has the name: other engines sweep too
  writeFileSync(join(made, 'lines'), '')
  renameSync(made, left)
  const artifacts = { load: () => Promise.reject(new Error('none')) }
  await createRunnerPool({ limits: defaultLimits, home: engine.home, policy: 'shared', artifacts }).close()
  expect(existsSync(left)).toBe(false)
})

test('a loop of such a flow stays in its job, and one that is to be spread is refused', async () => {
  const engine = await testEngine({ spreadItemsMin: 2 })
  await engine.work()
  const long = await engine.deploy(
    'shared/long',
    [each('l', '[1, 2, 3, 4]', [add('x', 'flow_input.iter.value')]), read('z')],
    { same_worker: true },
    false,
  )
  const done = await engine.run(long)
  expect(done.result).toEqual(['1', '2', '3', '4'])
  expect(done.steps.some(({ k }) => k === 'spread')).toBe(false)
  await expect(
    engine.deploy('shared/spread', [each('l', '[1]', [read('x')], { spread: true })], { same_worker: true }, false),
  ).rejects.toMatchObject({ code: 'E_FLOW_INVALID', details: { at: '$.value.modules[0].value.spread' } })
}, 60_000)
