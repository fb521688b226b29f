-- give_back_unknown: jobs that worker $1 holds without knowing (all but $2 uuid[]) become ready again. Their claim's answer
-- was lost, so nothing of them has run. Returns them.
update job
   set state = 'ready', worker_id = null, epoch = job.epoch + 1
 where worker_id = $1 and state = 'running' and id <> all ($2::uuid[])
returning id, tag
