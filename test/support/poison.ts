// Jobs whose worker has died, without a worker that dies.
import type { Database } from '../../src/store/db.ts'

/** A dead worker held the job, and it was lost too often before: the next to reap fails it as poison. */
export async function poison(db: Database, id: string): Promise<void> {
  // One statement: a worker of the test reaps at any moment, and a worker that is reaped already gives nothing back.
  await db.pool.query(
    `with dead as (
       insert into worker (name, tags, host, pid, version, lease_ms, state) values ('gone', '{}', 'here', 1, '0', 1, 'dead')
       returning id
     )
     update job set state = 'running', worker_id = dead.id, lost = 99, epoch = job.epoch + 1 from dead where job.id = $1`,
    [id],
  )
}
