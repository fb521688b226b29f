-- Old workers can run beside this: their claims name no round, and round 0 is what a worker begins with.

-- A claim whose answer was lost may have been applied, now or later: its worker ends the round, so that nothing of it can
-- come any more, and gives back what it holds without knowing.
alter table worker add column claim_round integer not null default 0;
