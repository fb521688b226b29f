-- m09_epochs_cover_losses: A job's epoch has grown at every claim and every loss.
-- $1 the first job id looked at.
select id::text as subject, format('is %s with epoch %s after %s losses', state, epoch, lost) as detail
  from job
 where id >= $1 and epoch < 2 * lost + case when state = 'running' then 1 else 0 end;
