// Planted bugs: each takes one guard away, from the engine's own source or (where the guard is a predicate of a statement) from
// the in-memory store that mirrors it. The simulation must catch every one; docs/simulation.md has in how many seeds.
import type { Edit, Mutant } from '../support/mutants.ts'

const memory = 'test/sim/memory.ts'

function mutant(name: string, text: string, ...edits: Edit[]): Mutant {
  return { name, text, edits }
}

export const mutants: readonly Mutant[] = [
  mutant('finish-without-epoch', 'a finish matches any running job of the id', {
    file: memory,
    find: `    const job = held(store, workerId, item)
    if (!job) {
      rows.push({ id: item.id })
      continue
    }
    store.jobs.delete(job.id)`,
    replace: `    const job = store.jobs.get(item.id)
    if (!job || job.state !== 'running') {
      rows.push({ id: item.id })
      continue
    }
    store.jobs.delete(job.id)`,
  }),
  mutant('journal-without-epoch', 'records of a stale worker enter the journal', {
    file: memory,
    find: `      const job = held(store, workerId, item)
      if (!job) {
        strangers.add(item.id)
        continue
      }
      store.watch.changed?.(job, { workerId: workerId as number, epoch: item.epoch })
      job.journaled = true`,
    replace: `      const job = store.jobs.get(item.id)
      if (!job) {
        strangers.add(item.id)
        continue
      }
      store.watch.changed?.(job, { workerId: workerId as number, epoch: item.epoch })
      job.journaled = true`,
  }),
  mutant('release-without-epoch', 'a stale worker gives back a job that another one runs', {
    file: memory,
    find: `      const job = held(store, workerId, item)
      if (!job) continue`,
    replace: `      const job = store.jobs.get(item.id)
      if (!job) continue`,
  }),
  mutant(
    'epoch-stands-still',
    'neither a claim nor a take-over raises the epoch',
    {
      file: memory,
      find: `    job.worker_id = by.workerId as number
    job.epoch += 1
`,
      replace: `    job.worker_id = by.workerId as number
`,
    },
    {
      file: memory,
      find: `        job.epoch += 1
        job.lost += 1`,
      replace: `        job.lost += 1`,
    },
  ),
  mutant('epoch-starts-again', 'a job that is given back starts with epoch 0 again', {
    file: memory,
    find: `        job.worker_id = null
        job.epoch += 1
        job.lost += 1`,
    replace: `        job.worker_id = null
        job.epoch = 0
        job.lost += 1`,
  }),
  mutant('take-over-of-the-living', 'jobs of workers that live are given back too', {
    file: memory,
    find: `      if (job.state !== 'running' || !ids.has(job.worker_id)) continue
      if (job.lost`,
    replace: `      if (job.state !== 'running' || ids.size === 0) continue
      if (job.lost`,
  }),
  mutant('dead-workers-claim', 'a worker that was declared dead goes on claiming', {
    file: memory,
    find: `if (worker?.state !== 'alive' || worker.claim_round !== by.round) return []`,
    replace: `if (!worker || worker.claim_round !== by.round) return []`,
  }),
  mutant('nobody-is-dead', 'workers that missed their lease are not declared dead', {
    file: memory,
    find: `if (late || gone) worker.state = 'dead'`,
    replace: `if (gone) worker.state = 'dead'`,
  }),
  mutant(
    'dead-and-forgotten',
    'a crash between declaring dead and giving back leaves the jobs: only the newly dead are looked at',
    {
      file: memory,
      find: `      if (worker.state === 'dead') dead.push({ id: worker.id })`,
      replace: `      if (worker.state === 'dead' && worker.heartbeat_at > nowMs - 4_000) dead.push({ id: worker.id })`,
    },
  ),
  mutant('key-taken-twice', 'a key starts a second job', {
    file: memory,
    find: `      if (taken !== undefined) return { asked_id: item.id, job_id: taken }
`,
    replace: '',
  }),
  mutant('take-over-drops-the-journal', 'a job that was given back begins from nothing, its journal stays', {
    file: 'src/worker/worker.ts',
    find: 'else runs.start(job, plan, past)',
    replace: 'else runs.start(job, plan, null)',
  }),
  mutant('unknown-claims-forgotten', 'jobs of a claim whose answer was lost are not looked for', {
    file: 'src/worker/claims.ts',
    find: 'if (unsure) await settle(client)',
    replace: '',
  }),
  mutant('claim-round-not-ended', 'a claim still on its way takes jobs after its worker has settled', {
    file: memory,
    find: "worker?.state !== 'alive' || worker.claim_round !== by.round",
    replace: "worker?.state !== 'alive'",
  }),
  mutant('no-poll', 'a lost notification is never made up for', {
    file: 'src/worker/worker.ts',
    find: 'clock.every(limits.pollMs, () => living?.claims.wakeAll()),',
    replace: '',
  }),
  mutant('waiters-do-not-poll', 'a caller whose notification was lost waits for ever', {
    file: 'src/server/waiters.ts',
    find: 'const timer = clock.every(limits.pollMs, () => void poll())',
    replace: 'const timer = clock.every(3_600_000, () => void poll())',
  }),
  mutant('commit-not-sent-again', 'a commit whose outcome is unknown counts as done', {
    file: 'src/worker/committer.ts',
    find: '            counted.retries += 1\n            log[',
    replace: '            settle(batch, [], told)\n            return\n            log[',
  }),
  mutant('strict-does-not-wait', 'a strict flow starts the next step before the result is durable', {
    file: 'src/worker/runs.ts',
    find: '      run.held = run.held ? [...run.held, ...effects] : effects\n      journal(run, goOn)\n      return',
    replace: '      journal(run, null)',
  }),
  mutant('decisions-not-recorded', 'what an expression or a draw decided is not in the journal', {
    file: 'src/worker/runs.ts',
    find: '    run.records.push(deleteS',
    replace: "    if (record.k !== 'pick') run.records.push(deleteS",
  }),
  mutant('park-before-its-journal', 'a job is parked without its records', {
    file: 'src/worker/waits.ts',
    find: '    journal(run, parkStill)',
    replace: '    park(run)',
  }),
  mutant('woken-too-early', 'a parked job is due two seconds before its time', {
    file: memory,
    find: 'job.run_at !== null && job.run_at <= nowMs)',
    replace: 'job.run_at !== null && job.run_at - 2_000 <= nowMs)',
  }),
  mutant('parked-by-the-workers-clock', 'how long a job is parked is measured on the wall clock of a worker', {
    file: 'src/worker/releases.ts',
    find: 'parkUntilMs === null ? null : parkUntilMs - nowMs',
    replace: 'parkUntilMs === null ? null : parkUntilMs - nowMs + (clock.nowMs() % 86_400_000) / 1_000',
  }),
  mutant('wait-waited-again', 'a job whose parked wait is over waits once more', {
    file: 'src/worker/runs.ts',
    find: "if (run.job.waited && effect.e === 'sleep') effect.ms = 0",
    replace: "if (false && effect.e === 'sleep') effect.ms = 0",
  }),
  mutant('kept-waits-outlive-their-job', 'the end of a job with branches that waited beside others leaves their times', {
    file: 'src/worker/waits.ts',
    find: '    run.waited = true\n    run.journaling += 1\n',
    replace: '    run.journaling += 1\n',
  }),
  mutant('answer-wakes-nobody', 'a waiting job that has all its answers stays where it is', {
    file: memory,
    find: `    if (job.state === 'waiting' && job.signals_wanted !== null && (approved`,
    replace: `    if (job.state !== 'waiting' && job.signals_wanted !== null && (approved`,
  }),
  mutant('released-blind', 'a job is given back to wait though an answer came that its worker has not seen', {
    file: memory,
    find: 'const unseen = job.signals > item.seen',
    replace: 'const unseen = false',
  }),
  mutant('answer-counted-twice', 'an answer that is sent again counts again', {
    file: memory,
    find: '    if (signals.some((one) => one.n === n && one.resume_id === resumeId)) return []\n',
    replace: '',
  }),
  mutant('answers-not-looked-at', 'a job that was answered is parked again before its answers are taken', {
    file: 'src/worker/runs.ts',
    find: '    signal(past.signals)\n',
    replace: '',
  }),
  mutant('time-over-unseen', 'a job whose wait for answers has taken too long is not woken', {
    file: memory,
    find: "['parked', 'waiting'].flatMap",
    replace: "['parked'].flatMap",
  }),
  mutant('answered-before-the-commit', 'a request is answered before its job is stored', {
    file: 'src/store/enqueuer.ts',
    find: "      await insertJobs(db.pool, `[${batch.map((waiting) => waiting.text).join(',')}]`, woken)",
    replace: "      void insertJobs(db.pool, `[${batch.map((waiting) => waiting.text).join(',')}]`, woken).catch(() => {})",
  }),
  mutant('cancel-forgets-the-parked', 'a parked or ready job that is canceled stays where it is', {
    file: memory,
    find: "      bury(store, job, 'canceled', { name: 'Canceled', message: reason }, job.lost)\n",
    replace: '      store.jobs.delete(job.id)\n',
  }),
  mutant('stop-leaves-jobs', 'a stopping worker signs off without giving back what it did not finish', {
    file: 'src/worker/worker.ts',
    find: '    const clean = await drain(held, starting)',
    replace: '    const clean = true',
  }),
  mutant('turn-kept', 'the end of a job gives its turn to nobody', {
    file: 'src/worker/run.ts',
    find: ' || loaded === null || loaded.plan.turns !== null',
    replace: '',
  }),
  mutant('turn-taken-over', 'the turn of a job whose worker died is given to another one', {
    file: memory,
    find: `        job.lost += 1
      } else {`,
    replace: `        job.lost += 1
        store.turns.delete(job.id)
        for (const turn of store.turns.values()) for (const tag of grantTurns(store, [turn.key])) tags.add(tag)
      } else {`,
  }),
  mutant('turns-out-of-order', 'whoever came last is next', {
    file: memory,
    find: 'turn.due_at === null).sort((a, b) => a.n - b.n)',
    replace: 'turn.due_at === null).sort((a, b) => b.n - a.n)',
  }),
  mutant('window-not-kept', 'a turn is free as soon as its job is over', {
    file: memory,
    find: 'if (freeAt > store.now()) turn.free_at = freeAt',
    replace: 'if (freeAt === 1) turn.free_at = freeAt',
  }),
  mutant('windows-never-over', 'turns whose time has come are not passed on', {
    file: memory,
    find: 'const turns = dueTurns(store, nowMs, jobsMax as number)',
    replace: 'const turns: string[] = []',
  }),
  mutant('parts-made-again', 'the parts of a loop are made whether the journal has them or not', {
    file: memory,
    find: `      if (records.has(item.n)) continue
      records.set(item.n, text(item.record))
      if (!item.jobs) continue
      const`,
    replace: `      records.set(item.n, text(item.record))
      if (!item.jobs) continue
      for (const { id } of item.jobs) store.jobs.delete(id)
      const`,
  }),
  mutant('join-fires-early', 'a job is woken by the first of its parts', {
    file: memory,
    find: `owner.signals >= owner.signals_wanted!)) {
    owner.state = 'ready'`,
    replace: `owner.signals > 0)) {
    owner.state = 'ready'`,
  }),
  mutant('next-part-forgotten', 'the end of a part does not make the next one ready', {
    file: memory,
    find: `for (const one of ended) if (!over.has(one.part.parent_id)) freeNext(store, one)`,
    replace: `if (ended.length < 0) for (const one of ended) freeNext(store, one)`,
  }),
  mutant('parts-outlive-their-job', 'the parts of a job that is canceled are not asked to stop', {
    file: memory,
    find: `      callOff(store, (part) => part.parent_id === id)
`,
    replace: '',
  }),
]
