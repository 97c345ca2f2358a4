// Package partition owns the sequencing of one partition: it gives transactions
// their IDs and timestamps, checks request IDs (I4) and locks (I5), hands
// frames to the store session, and answers and feeds what was committed.
//
// One goroutine, the owner, does all of it; others put groups of attempts into
// its bounded inbox, and the session reports the commit point through an atomic.
// The owner blocks on nothing but the session's bounded queue, so a group is
// what arrived while the last one was under way; there is no timer.
//
//		opening ──► open ──► lost ──► opening …
//		   │          │        │
//		   └──────────┴────────┴──► closed
//
//		open ⇄ stalled
//
//	  - opening: a store session is being opened, then the lock table and the
//	    request-ID window are rebuilt from the end of the log, above what of it is
//	    damaged. New attempts are refused as unavailable; as corrupt, like reads and
//	    feeds, from when a session could not be opened for damage. That is no state of
//	    its own: a session is tried for all the same, once in a while.
//	  - open: attempts are sequenced, several frames in flight at once. What is in
//	    flight counts as committed for the checks; an answer that depends on its
//	    fate (its own, a duplicate's, a conflict's) waits with its frame.
//	  - stalled: the session goes on, but a majority of storages is full. Reads, feeds
//	    and high-water marks go on; new attempts are refused as such at once, those
//	    in flight are answered as unavailable after StallMax, since they are not lost:
//	    the session commits them when there is room, and the partition is open again.
//	    A partition can't be opened, though, while there is no room for the session's
//	    claim in the metadata and its promise in the storages: it stays closed to
//	    reads too, and the reason is in every refusal.
//	  - lost: the session ended. What was in flight is not failed but kept, until
//	    the next session has chosen the log: then the rebuilt window says what of
//	    it was committed, and the rest is refused as unavailable, for good: the log
//	    has gone on without it, and a resend finds the truth either way (I4, I8).
//	  - closed: for good. Attempts that are still without an answer stay so; the
//	    clients send them again to the next owner.
//
// Who is authoritative: the log, as the session reads it. Everything here is
// derived from it and dies with the session.
package partition
