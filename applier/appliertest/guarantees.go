package appliertest

func guarantees[Tx, S any]() []guarantee[Tx, S] {
	type s = *suite[Tx, S]
	return []guarantee[Tx, S]{
		// Order and batches.
		{"everything is applied in order, in all partitions", s.inOrder},
		{"batch handlers get runs of neighbours", s.runs},
		{"unordered handlers get a whole batch at its end", s.unordered},
		{"handlers of one header are called in turn", s.compose},
		{"a batch is what arrived during the last commit", s.naturalBatches},
		{"a batch is bounded in transactions and bytes", s.boundedBatches},
		{"unknown headers are passed, keys kept", s.skipUnknown},
		{"unknown headers stop the view if asked to", s.stopUnknown},
		{"a transaction of 20,000 statements is atomic (F27)", s.large},
		{"partitions share rows without losing one (F26)", s.sharedRows},

		// Exactly once.
		{"an instance that comes late changes nothing (F12)", s.comesLate},
		{"instances race, the view stays exact (F13)", s.race},
		{"instances with leases are fenced (F13)", s.fenced},
		{"a lease passes on when its owner ends", s.leasePasses},
		{"a mark that was set back begins again", s.setBack},
		{"an unknown commit outcome is read from the mark (F11)", s.unknownOutcome},
		{"a gap in the feed stops the view (F14)", s.gap},
		{"another log is refused, nothing is written (F15)", s.otherLog},
		{"a mark beyond the log's end is refused (F15)", s.ahead},
		{"a handler can't swallow an error (F16)", s.swallowed},
		{"a handler can't run DDL or end the transaction (F17, F18)", s.escapes},
		{"a handle is dead when its handler has returned (F18)", s.leaked},
		{"a handler that panics rolls back", s.panics},
		{"versions of a view are apart", s.versions},

		// Errors.
		{"one bad transaction in 5,000 stops just before it (F19)", s.poisonStops},
		{"one bad transaction in 5,000 is passed as cheaply", s.poisonIsPassed},
		{"blame is found without a hint, too (F19)", s.poisonWithoutBlame},
		{"a dead letter moves with the mark (F20)", s.deadLetter},
		{"a transaction that can't be decoded is data", s.undecodable},
		{"trouble is retried, and nothing becomes a dead letter (F22, F23)", s.retried},
		{"wrong configuration stops, whatever the policy", s.configuration},
		{"too many dead letters stop the view (F24)", s.tooManyDead},
		{"ten dead letters in a row are wrong configuration", s.tenInARow},
		{"skip passes what it must not, counts it and keeps nothing", s.skipped},
		{"ten skipped in a row are wrong configuration", s.skippedInARow},
		{"the first transaction after a change of meaning stops", s.meaning},
		{"row values are in dead letters, never in logs (F25)", s.noValuesInLogs},

		// Dead letters.
		{"letters tell what an operator needs", s.listed},
		{"a retry applies, and makes the view complete (F20)", s.retry},
		{"a retry without a handler leaves the letter dead", s.retryWithoutHandler},
		{"an applier hears that a retry was asked for", s.askedFor},
		{"a retry that was asked for waits until somebody runs", s.askedWhileNobodyRuns},
		{"a retry takes nobody's lease", s.askedUnderLease},
		{"an unknown outcome of a retry is read from the letters", s.retryUnknownOutcome},
		{"retries and appliers race, everything is applied once", s.retriesRace},
		{"a discarded letter stays, with its reason", s.discarded},
		{"a key in quarantine holds what changes it, a retry drains in order (F21)", s.quarantine},
		{"a retry of one letter leaves held what others hold", s.quarantineRetriedInPart},
		{"a discard lets through what is held behind it", s.quarantineDiscarded},
		{"quarantine is exact with several instances", s.quarantineRaces},
		{"an unknown outcome during which letters change", s.quarantineUnknownOutcome},
		{"an unknown outcome that was another instance's", s.quarantineOfAnother},
		{"quarantine is bounded", s.quarantineIsBounded},
		{"nothing passes a transaction of which nobody knows the keys", s.quarantineWithoutKeys},
		{"quarantine holds single transactions of runs", s.quarantineOfRuns},

		// View.
		{"a snapshot shows exactly its mark", s.snapshots},
		{"keys are found in snapshots, the first of each", s.keys},
		{"WaitFor sees what any instance applied (F29)", s.waits},
		{"WaitFor says how far the view is (F29)", s.waitEnds},
		{"status and lag tell the truth", s.status},
		{"Run ends with its context, Close waits for it", s.lifecycle},
	}
}
