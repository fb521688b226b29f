-- end_claim_round: worker $1 does not know what became of a claim. From here on its round is $2, and claims of earlier ones match
-- nothing, also one that is still on its way; what was claimed before is seen by the next statement (give_back_unknown).
-- The worker counts its rounds: a request for one that was long on its way ends no later one. No row: it was declared dead.
update worker set claim_round = $2 where id = $1 and state = 'alive' and claim_round < $2 returning claim_round as "round"
