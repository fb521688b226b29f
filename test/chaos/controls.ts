// Controls: a guard of the engine is removed, and the run must go red. One that stays green would mean that chaos proves nothing.
// The edits are made in a copy of the package, which is built there by the usual build; nothing in the product knows of them.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { applyEdit, type Mutant } from '../support/mutants.ts'

const projectRoot = fileURLToPath(new URL('../..', import.meta.url))
const copied = ['src', 'runtimes', 'migrations', 'package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json']

export interface Control extends Mutant {
  /** The faults that the guard is there for. */
  faults: readonly string[]
  seconds: number
}

export const controls: readonly Control[] = [
  {
    name: 'epoch-check',
    text: 'a result is recorded whoever reports it, whatever its claim',
    faults: ['stop-worker', 'stop-worker-tree'],
    seconds: 25,
    edits: [
      {
        file: 'src/store/sql/finish_jobs.sql',
        find: "where job.id = any (array[done.id]) and job.worker_id = $1 and job.epoch = done.epoch and job.state = 'running'",
        replace: "where job.id = any (array[done.id]) and job.state = 'running' and $1::integer is not null",
      },
    ],
  },
  {
    name: 'reaper-lease',
    text: 'a worker is declared dead without looking at its lease',
    faults: ['kill-runner'],
    seconds: 10,
    edits: [
      {
        file: 'src/store/sql/declare_dead.sql',
        find: "< coalesce($1::timestamptz, clock_timestamp()) - lease_ms * interval '1 ms'",
        replace: '< coalesce($1::timestamptz, clock_timestamp())',
      },
    ],
  },
  {
    name: 'reaper-predicate',
    text: 'when a worker has died, the jobs of all are given back',
    faults: ['kill-worker'],
    seconds: 12,
    edits: [
      {
        file: 'src/store/sql/give_back_jobs.sql',
        find: "where job.worker_id = gone.id and job.state = 'running' and (job.lost < $1",
        replace: "where job.state = 'running' and (job.lost < $1",
      },
    ],
  },
  {
    name: 'claim-of-the-dead',
    text: 'a claim does not look whether its worker was declared dead',
    faults: ['stop-worker', 'stop-worker-tree'],
    seconds: 25,
    edits: [
      {
        file: 'src/store/sql/claim_jobs.sql',
        find: "where id = $1 and state = 'alive' and claim_round = $4 for share",
        replace: 'where id = $1 and claim_round = $4',
      },
    ],
  },
  {
    name: 'poll',
    text: 'a worker looks for jobs only when it is notified',
    faults: ['lose-notifications'],
    seconds: 10,
    edits: [{ file: 'src/core/limits.ts', find: '  pollMs: 2_000,', replace: '  pollMs: 1_000_000_000,' }],
  },
  {
    name: 'ack-after-commit',
    text: 'the server answers 2xx before the commit',
    faults: ['kill-postgres', 'kill-server'],
    seconds: 12,
    edits: [
      {
        file: 'src/store/enqueuer.ts',
        find: '      const tags = readyTags(batch)\n',
        replace: '      for (const waiting of batch) settle(waiting)\n      const tags = readyTags(batch)\n',
      },
      {
        file: 'src/store/enqueuer.ts',
        find: '!woken.includes(tag)) wakes.wake(tag)\n      for (const waiting of batch) settle(waiting)\n',
        replace: '!woken.includes(tag)) wakes.wake(tag)\n',
      },
    ],
  },
]

/** A copy of the package with the edits made, built. @throws where an edit does not fit, or the copy does not build */
export function buildCopy(mutant: Mutant): { root: string; remove(): void } {
  const root = mkdtempSync(join(tmpdir(), `millrace-control-`))
  const remove = (): void => rmSync(root, { recursive: true, force: true })
  process.on('exit', remove)
  try {
    for (const name of copied) cpSync(join(projectRoot, name), join(root, name), { recursive: true })
    symlinkSync(join(projectRoot, 'node_modules'), join(root, 'node_modules'))
    for (const edit of mutant.edits) {
      const file = join(root, edit.file)
      writeFileSync(file, applyEdit(readFileSync(file, 'utf8'), edit))
    }
    const built = spawnSync(process.execPath, [join(root, 'src', 'cli', 'setup.mjs'), 'build'], { encoding: 'utf8' })
    if (built.status !== 0) throw new Error(`${mutant.name}: the copy does not build:\n${built.stdout}${built.stderr}`)
    return { root, remove }
  } catch (error) {
    remove()
    throw error
  }
}
