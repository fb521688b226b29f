// Every bound in the system, in one list. Each pushes back on whoever fills it.
//   L1. A limit named in `settings` can be set by its environment variable; the rest are consequences of the design.

export interface Limits {
  /** An HTTP body, in bytes. More is answered 413. */
  bodyBytesMax: number
  /** One step's result, arguments or stream, in bytes. More fails the step (a stream is cut). */
  resultBytesMax: number
  /** Nesting of any JSON that enters. Deeper is answered 400 (Postgres and most parsers give up near 1,000+). */
  jsonDepthMax: number
  /** Active jobs of one tag. Beyond it, enqueueing is answered 429. */
  queueJobsMax: number
  /** Requests that a server answers at a time, and the bytes of their bodies. Beyond them 503, before a body is read. */
  requestsMax: number
  requestBytesMax: number
  /** Bytes of jobs accepted and not yet stored, beyond which a server answers 429. */
  pendingBytesMax: number
  /** Inserts that a server has under way at a time, and the bytes of one. */
  insertsInFlightMax: number
  insertBytesMax: number
  /** Callers of one server that wait for a result, and event streams it keeps open. */
  waitersMax: number
  streamsMax: number
  /** Connections of a server for reading jobs, statements that wait for one, and how long one may take. */
  readConnectionsMax: number
  readsWaitingMax: number
  readMs: number
  /** Jobs in one run_batch request. */
  batchJobsMax: number
  /** Rows of one page of a list. */
  pageRowsMax: number
  /** Modules of one flow, nested ones included. */
  flowModulesMax: number
  /** Steps one job may start, iterations and branches included: its step ids have 16 bits. */
  stepsMax: number
  /** Flows inside of flows. */
  flowDepthMax: number
  /** Iterations of one loop under way at a time. */
  loopWidthMax: number
  /** A loop with more items, or that would start more steps, is spread over jobs; so is one asked to. See flow/spread.ts. */
  spreadItemsMin: number
  spreadStepsMin: number
  /** Items of one of those jobs, and how many of them are ready at a time. */
  partItemsMax: number
  partsAtOnceMax: number
  /** Bytes of the arguments of all of them. */
  partsBytesMax: number
  /** Jobs one worker holds at a time, claimed and not yet committed. */
  workerJobsMax: number
  /** Bytes of the jobs one worker holds, by what jobs weighed so far; always one job. */
  heldBytesMax: number
  /** Jobs taken by one claim. */
  claimJobsMax: number
  /** Finished jobs in one commit, and commits under way at a time. */
  commitRowsMax: number
  commitBytesMax: number
  commitsInFlightMax: number
  /** Bytes waiting for a commit above which a worker stops claiming. */
  commitBacklogBytesMax: number
  /** Bytes of log that wait to be stored. From half of it on a worker stops claiming; beyond it the log has a gap, and says so. */
  logBacklogBytesMax: number
  /** A result that is kept (cache_ttl), in bytes, and those on their way to be. Beyond it nothing is kept. */
  cachedBytesMax: number
  cacheBacklogBytesMax: number
  /** Announcements to servers under way at a time. What is beyond is found by their poll. */
  answersInFlightMax: number
  /** A job unfinished for so long has its records journaled (pipelined mode). */
  journalAfterMs: number
  /** A retry that waits longer gives its worker slot back. */
  parkAfterMs: number
  /** A job that waits for its parts stays with its worker so long per record that it has, before it is given back. */
  lingerRecordMs: number
  /** The longest wait of a job: a year and a day. */
  waitMsMax: number
  leaseMs: number
  heartbeatMs: number
  /** A connection without an answer for so long is dead: cut, and made again. Heartbeats know sooner, well inside a lease. */
  databaseAnswerMs: number
  heartbeatAnswerMs: number
  /** A worker whose connection is gone and whose last heartbeat is older than this is dead before its lease ends. */
  hintAfterMs: number
  reapMs: number
  /** How often a worker looks for what is to be done after the end of jobs: worker/afterwards.ts. */
  afterwardsMs: number
  pollMs: number
  /** The same through a transaction pooler, where no notification is heard. */
  pooledPollMs: number
  /** A job lost (its worker died) more often than this fails as poison. */
  lostMax: number
  /** A job lost so often is run alone, so that it takes no others with it, and none takes it; and for how long alone. */
  suspectAfter: number
  suspectMs: number
  /** A call during which the runner died so often, without a known culprit, fails. */
  crashesMax: number
  /** Default time-out of one step, and of the grace between asking a call to stop and killing its runner. */
  stepTimeoutMs: number
  cancelGraceMs: number
  runnerStartMs: number
  /** Arguments under way to one runner, in bytes, beyond which it gets no further call. */
  runnerArgsBytesMax: number
  /** A runner that has calls, runs none and begins none for so long hangs, and is replaced. */
  runnerStuckMs: number
  /** Memory of one runner, in MiB. */
  runnerMemoryMib: number
  /** Bytes of log kept per step. The rest is cut, and the log says so. */
  logBytesMax: number
  expressionMs: number
  expressionMemoryBytes: number
  /** Warm runners of a shared worker; the least recently used goes first. */
  sharedRunnersMax: number
  /** How long run_wait_result waits. */
  waitResultMs: number
  /** A stopping worker starts no step after the first, and leaves steps behind after the second. */
  drainStepsMs: number
  drainMs: number
  retentionDays: number
  /** How long a commit may have to wait while a day's partition is made or dropped. */
  partitionLockMs: number
}

const MiB = 1 << 20

export const defaultLimits: Limits = {
  bodyBytesMax: 10 * MiB,
  resultBytesMax: 16 * MiB,
  jsonDepthMax: 256,
  queueJobsMax: 5_000_000,
  requestsMax: 2_000,
  requestBytesMax: 64 * MiB,
  pendingBytesMax: 64 * MiB,
  // A second insert is parsed while the first one's commit is flushed. Past some thousand rows one gets no cheaper per row,
  // and holds up those behind it.
  insertsInFlightMax: 2,
  insertBytesMax: 4 * MiB,
  waitersMax: 20_000,
  streamsMax: 200,
  readConnectionsMax: 4,
  readsWaitingMax: 200,
  readMs: 10_000,
  batchJobsMax: 50_000,
  pageRowsMax: 1_000,
  flowModulesMax: 2_000,
  stepsMax: 65_535,
  flowDepthMax: 50,
  loopWidthMax: 1_000,
  spreadItemsMin: 10_000,
  spreadStepsMin: 30_000,
  partItemsMax: 1_000,
  partsAtOnceMax: 10,
  partsBytesMax: 64 * MiB,
  workerJobsMax: 3_000,
  heldBytesMax: 128 * MiB,
  claimJobsMax: 500,
  commitRowsMax: 1_000,
  commitBytesMax: 8 * MiB,
  commitsInFlightMax: 2,
  commitBacklogBytesMax: 64 * MiB,
  logBacklogBytesMax: 16 * MiB,
  cachedBytesMax: 1 * MiB,
  cacheBacklogBytesMax: 16 * MiB,
  answersInFlightMax: 200,
  journalAfterMs: 200,
  parkAfterMs: 1_000,
  // Twenty times what it takes to read and fold a record again.
  lingerRecordMs: 0.2,
  waitMsMax: 366 * 86_400_000,
  leaseMs: 15_000,
  heartbeatMs: 400,
  databaseAnswerMs: 30_000,
  heartbeatAnswerMs: 3_000,
  hintAfterMs: 650,
  reapMs: 250,
  afterwardsMs: 1_000,
  pollMs: 2_000,
  pooledPollMs: 200,
  lostMax: 3,
  suspectAfter: 2,
  suspectMs: 1_000,
  crashesMax: 3,
  stepTimeoutMs: 900_000,
  cancelGraceMs: 1_000,
  runnerStartMs: 20_000,
  runnerArgsBytesMax: 8 * MiB,
  runnerStuckMs: 10_000,
  runnerMemoryMib: 512,
  logBytesMax: 1 * MiB,
  expressionMs: 1_000,
  expressionMemoryBytes: 16 * MiB,
  sharedRunnersMax: 8,
  waitResultMs: 600_000,
  drainStepsMs: 5_000,
  drainMs: 30_000,
  retentionDays: 30,
  partitionLockMs: 25,
}

/** Limits that the environment may set: variable → limit. Listed in docs/operations.md. */
export const limitSettings = {
  MILLRACE_BODY_BYTES_MAX: 'bodyBytesMax',
  MILLRACE_RESULT_BYTES_MAX: 'resultBytesMax',
  MILLRACE_QUEUE_JOBS_MAX: 'queueJobsMax',
  MILLRACE_BATCH_JOBS_MAX: 'batchJobsMax',
  MILLRACE_WORKER_JOBS_MAX: 'workerJobsMax',
  MILLRACE_COMMITS_IN_FLIGHT_MAX: 'commitsInFlightMax',
  MILLRACE_JOURNAL_AFTER_MS: 'journalAfterMs',
  MILLRACE_LEASE_MS: 'leaseMs',
  MILLRACE_DATABASE_ANSWER_MS: 'databaseAnswerMs',
  MILLRACE_POLL_MS: 'pollMs',
  MILLRACE_LOST_MAX: 'lostMax',
  MILLRACE_STEP_TIMEOUT_MS: 'stepTimeoutMs',
  MILLRACE_RUNNER_MEMORY_MIB: 'runnerMemoryMib',
  MILLRACE_LOG_BYTES_MAX: 'logBytesMax',
  MILLRACE_SHARED_RUNNERS_MAX: 'sharedRunnersMax',
  MILLRACE_WAIT_RESULT_MS: 'waitResultMs',
  MILLRACE_RETENTION_DAYS: 'retentionDays',
} as const satisfies Record<string, keyof Limits>
