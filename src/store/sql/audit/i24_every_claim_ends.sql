-- i24_every_claim_ends: No claim is without an end after its worker's.
-- needs: recording, settle
-- $1 the first job id looked at. While no worker lives nobody takes over.
with open_claim as (
  select distinct on (job_id) job_id, cause, to_epoch, to_worker
    from audit_transition
   where job_id >= $1 and cause <> 'cancel_asked'
   order by job_id, n desc
), living as materialized (
  select id from worker where state = 'alive' and heartbeat_at > clock_timestamp() - lease_ms * interval '1 ms'
)
select c.job_id::text as subject, format('epoch %s of worker %s has no end', c.to_epoch, c.to_worker) as detail
  from open_claim c
 where c.cause = 'claimed' and not exists (select from living where living.id = c.to_worker)
   and exists (select from living) and exists (select from audit_recording where ended_at is null);
