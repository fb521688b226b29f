-- m19_turns_in_bounds: Of one key, no more jobs have their turn than its limit allows.
select key as subject, format('%s have their turn, and the limit is %s', held, most) as detail
  from (select key, count(*) as held, max(jobs_max) as most, bool_or(jobs_max is null) as free
          from turn
         where held and (free_at is null or free_at > clock_timestamp())
         group by key) turns
 where held > most and not free;
