package sim

// Mutant is a bug that is planted behind package mutant, and that some schedule
// must show.
type Mutant struct {
	Name string
	What string // what is wrong
}

// Mutants are the bugs that the simulator has to catch, most of them in
// internal/session itself.
func Mutants() []Mutant {
	return []Mutant{
		{"promise-not-synced", "a storage answers Open before its promise is on the disk"},
		{"ack-before-fsync", "a storage answers Append before the records are on the disk"},
		{"wiped-replica-counted", "a wiped or rolled-back disk votes (step 3)"},
		{"majority-of-target", "the choice waits for a majority of target, not of members (step 3)"},
		{"half-is-a-majority", "half of an even number decides"},
		{"longest-log-wins", "the choice looks at the last ID only (step 3)"},
		{"members-of-stale-m", "the choice uses members of an M that was read before (rule 1)"},
		{"cas-on-session-number", "M is changed by comparing its session, not its version (rule 1)"},
		{"lost-claim-taken-for-won", "a claim whose answer was lost is taken for made (step 1)"},
		{"lost-record-taken-for-won", "a Record whose answer was lost is taken for made (step 5)"},
		{"record-cas-skipped", "a session opens without Record (step 5)"},
		{"two-choices-per-session", "when the chosen log is lost another is chosen under the same number (rule 2)"},
		{"answers-not-bound-to-start", "answers from before a restart count (rule 3)"},
		{"messages-not-bound-to-start", "a restarted replica takes messages that were meant for it before (rule 3)"},
		{"late-replica-without-floor", "a late replica is installed up to h only (rule 4)"},
		{"late-replica-counted-early", "a late replica counts before M records it (rule 5)"},
		{"truncate-after-install", "a Truncate is taken after Install (rule 6)"},
		{"truncate-below-agreement", "more is truncated than disagrees (step 4)"},
		{"truncate-below-committed", "a replica drops what it knows to be committed (step 4)"},
		{"install-skipped", "replicas are taken for installed without being told (step 4)"},
		{"install-end-unchecked", "a replica installs a session wherever its log ends (step 4)"},
		{"append-ignores-promise", "a replica takes appends of a session below the one it has promised"},
		{"prev-check-dropped", "a replica takes records that do not follow its last one"},
		{"reads-from-another-log", "what a restarted storage gives to be copied or read is not compared with the session's log (rule 3)"},
		{"learner-votes", "a newcomer's promise is a vote in the choice (step 3)"},
		{"learner-counted", "a newcomer takes appends and is counted before M records it"},
		{"learner-installed-behind", "a newcomer is installed where its copy ends (step 4)"},
		{"one-disk-counted-twice", "two storages' names lead to one replica, which counts under both (I1)"},
		{"recovery-without-claim", "a forced recovery claims no session, so one that is open goes on"},
		{"feed-before-commit", "subscribers are fed what no majority has"},
		{"uncounted-replica-confirms", "a replica that M does not record has a word in a read index"},
		{"request-window-lost-after-open", "a takeover forgets the requests"},
		{"locktable-empty-after-open", "a takeover forgets the locks"},
		{"conflict-answered-before-commit", "a conflict is answered before its cause is committed"},
		{"append-mode-does-not-mark", "locks taken for append are not remembered"},
	}
}
