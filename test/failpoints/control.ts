// Controls: a guard is taken out of a copy of the code, and the runs must see it. Red is what is wanted here.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { applyEdit, type Mutant } from '../support/mutants.ts'
import type { Enumeration } from './enumerate.ts'

interface Control extends Mutant {
  /** Which runs can see it. */
  args: string[]
  redMin: number
}

const root = fileURLToPath(new URL('../..', import.meta.url))
const sql = (name: string): string => `src/store/sql/${name}.sql`

export const controls: Record<string, Control> = {
  epoch: {
    name: 'epoch',
    text: 'a commit, a journal row and a release are taken from any worker, whether the job is its own or not',
    edits: [
      {
        file: sql('finish_jobs'),
        find: 'where job.id = any (array[done.id]) and job.worker_id = $1 and job.epoch = done.epoch and job.state',
        replace: 'where job.id = any (array[done.id]) and $1::integer is not null and job.state',
      },
      {
        file: sql('append_journal'),
        find: 'where job.worker_id = $1 and job.epoch = asked.epoch and job.state',
        replace: 'where $1::integer is not null and job.state',
      },
      {
        file: sql('release_jobs'),
        find: 'where job.id = any (array[back.id]) and job.worker_id = $1 and job.epoch = back.epoch and job.state',
        replace: 'where job.id = any (array[back.id]) and $1::integer is not null and job.state',
      },
    ],
    args: ['--part', 'worker', '--kind', 'stale'],
    redMin: 5,
  },
  acknowledge: {
    name: 'acknowledge',
    text: 'an event is answered 2xx before its commit',
    edits: [
      {
        file: 'src/store/enqueuer.ts',
        find: '      await insertJobs(db.pool,',
        replace:
          '      for (const waiting of batch) waiting.resolve(waiting.jobs.map((job) => job.id))\n      await insertJobs(db.pool,',
      },
    ],
    args: ['--part', 'server', '--only', '^enqueue_jobs:before$'],
    redMin: 1,
  },
}

/** 0 if the runs saw it. */
export async function runControl(name: string): Promise<number> {
  const control = controls[name]!
  const copy = mkdtempSync(join(tmpdir(), 'millrace-control-'))
  try {
    for (const part of ['src', 'test', 'runtimes', 'migrations', 'package.json', 'package-lock.json', 'tsconfig.json']) {
      cpSync(join(root, part), join(copy, part), { recursive: true })
    }
    cpSync(join(root, 'tsconfig.build.json'), join(copy, 'tsconfig.build.json'))
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
    for (const edit of control.edits) {
      const file = join(copy, edit.file)
      writeFileSync(file, applyEdit(readFileSync(file, 'utf8'), edit))
    }
    console.log(`With a guard removed: ${control.text}.`)
    const json = join(copy, 'result.json')
    const args = ['src/cli/setup.mjs', 'failpoints', ...control.args, '--json', json]
    spawnSync(process.execPath, args, { cwd: copy, stdio: 'inherit' })
    const { tried } = JSON.parse(readFileSync(json, 'utf8')) as Enumeration
    const red = tried.filter((one) => one.wrong.length > 0).length
    const enough = red >= control.redMin
    console.log(
      `Control ${name}: ${red} of ${tried.length} runs went wrong, at least ${control.redMin} must: ${enough ? 'seen' : 'NOT SEEN'}`,
    )
    return enough ? 0 : 1
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}
