-- end_claim_round: worker $1 does not know what became of a claim. From here on claims of the round it was made in match
-- nothing, also one that is still on its way; what was claimed before is seen by the next statement (give_back_unknown).
-- No row: it was declared dead.
update worker set claim_round = claim_round + 1 where id = $1 and state = 'alive' returning claim_round as "round"
