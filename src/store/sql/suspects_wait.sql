-- suspects_wait: is there a job of tags $1, ready to run, that was lost $2 times or more?
select exists (select from job where tag = any ($1::text[]) and state = 'ready' and lost > 0 and lost >= $2) as "there"
