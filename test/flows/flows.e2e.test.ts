// Every flow of the tables, on a shared worker and on dedicated ones: both come to what the table says.
import { beforeAll, describe, expect, test } from 'vitest'
import { testEngine, type Deployed, type Done, type Engine } from '../support/engine.ts'
import { keep } from '../support/kept.ts'
import { early, late, sendAnswers } from './answers.ts'
import { again, apart } from './apart.ts'
import { around } from './around.ts'
import { branches } from './branches.ts'
import type { FlowCase } from './cases.ts'
import { lookups } from './lookups.ts'
import { loops } from './loops.ts'
import { spreads } from './spread.ts'
import { subflows } from './subflows.ts'
import { waiting } from './waiting.ts'
import { workflows } from './workflows.ts'

const areas: Record<string, FlowCase[]> = {
  around,
  loops,
  branches,
  subflows,
  spreads,
  waiting,
  workflows,
  apart,
  again,
  lookups,
}
const kinds = ['shared', 'dedicated']
// Dedicated workers have a runner per version: so many flows at a time.
const together = 12

let engine: Engine

beforeAll(async () => {
  engine = await testEngine({ partItemsMax: 2, partsAtOnceMax: 2 })
})

async function deploy(one: FlowCase, path: string, dedicated: boolean): Promise<Deployed> {
  if (one.kept) await keep(engine.db, one.kept)
  for (const [name, what] of Object.entries(one.deploy ?? {})) {
    if ('script' in what) await engine.script(name, { content: what.script, language: what.language ?? 'bun', ...what.limits })
    else await engine.deploy(name, what.modules, what.value, false)
  }
  return engine.deploy(path, one.modules, one.value, dedicated)
}

/** The records of a job and of those that are parts of it. */
async function recordsOf(done: Done): Promise<Done['steps']> {
  if (!done.steps.some(({ k }) => k === 'spread')) return done.steps
  const { rows } = await engine.db.pool.query<{ steps: string }>(
    `with recursive tree as (
       select id, steps from job_done where id = $1
       union all
       select part.id, part.steps from job_done part join tree on part.parent_id = tree.id
     )
     select steps from tree`,
    [done.id],
  )
  return rows.flatMap(({ steps }) => JSON.parse(steps) as Done['steps'])
}

/** What of a finished job the table says something about. */
async function told(one: FlowCase, done: Done): Promise<object> {
  const ran: Record<string, number> = {}
  const records = one.ran ? await recordsOf(done) : []
  for (const id of Object.keys(one.ran ?? {})) {
    ran[id] = records.filter(({ k, s }) => s === id && (k === 'ok' || k === 'err')).length
  }
  return { status: done.status, result: done.result, ran }
}

describe.each(Object.entries(areas))('%s', (area, cases) => {
  for (let from = 0; from < cases.length; from += together) {
    const some = cases.slice(from, from + together)
    // What the other tables did on both needs no more than one worker that has its parts from several flows.
    describe.each(area === 'again' ? ['shared'] : kinds)(`on a %s worker, from ${from}`, (kind) => {
      const done: Done[] = []
      beforeAll(async () => {
        const dedicated = kind === 'dedicated'
        const flows: Deployed[] = []
        for (const [index, one] of some.entries()) flows.push(await deploy(one, `${area}/${kind}_${from + index}`, dedicated))
        const ids = await Promise.all(flows.map((flow, index) => engine.start(flow, some[index]!.args ?? {})))
        for (const [index, id] of ids.entries()) await sendAnswers(engine.db, id, early(some[index]!))
        const worker = await engine.work(dedicated ? flows : [])
        const sent = ids.map((id, index) => sendAnswers(engine.db, id, late(some[index]!)))
        done.push(...(await Promise.all(ids.map((id) => engine.done(id)))))
        await Promise.all(sent)
        await worker.stop()
      }, 60_000)
      test.each(some.map((one, index) => [one.name, index] as const))('%s', async (_name, index) => {
        const { status = 'success', result, ran = {} } = some[index]!
        expect(await told(some[index]!, done[index]!)).toMatchObject({ status, result, ran })
      })
    })
  }
})
