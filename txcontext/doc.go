// Package txcontext runs transaction contexts: application code that reads its
// materialized view, decides, and builds a transaction for the log. The runner
// executes one as often as it takes until the log has committed it, it declined,
// its time or attempts were used up, or it failed.
//
// # What one attempt does
//
//	snapshot ──► key known? ──yes──► already done (ID)
//	   │             no
//	   │          Execute ──declines──► *DeclinedError
//	   ▼             │
//	 mark ──────► append ──committed──► Result (ID)
//	                 ├──lock conflict (ID)──► wait until the view shows ID ─┐
//	                 ├──stale (floor)───────► wait until it shows floor ────┤
//	                 ├──unknown─────────────► resolve while ctx lives       │
//	                 └──rejected────────────► failed                        │
//	   ▲                                                                    │
//	   └────────────────────── execute again, on a new snapshot ────────────┘
//
// Execute and the look-up of the business key read through one read-only snapshot
// of the view, and the mark of that snapshot is the client high-water mark of the
// append. So what commits was computed from a state that nothing has changed
// since (I5), and a decline was decided on one state of the view, not on a
// mixture. The snapshot is closed before the append begins: a slow log holds no
// transaction of the database open.
//
// After a lost lock the first useful moment to try again is when the view shows
// the transaction that won, so the runner waits for exactly that and executes at
// once; only if it loses again does it pause, with jitter, so that contenders for
// a hot lock spread out. A stale mark is nobody's conflict and is not counted as
// an attempt.
//
// # What locks guard
//
// Locks guard only their own partition. Execute may read the view's data of other
// partitions, but nothing protects it: that data may be of another moment, and may
// change before the append commits. A change across partitions is several
// transactions; examples/ledger shows one way.
//
// The package keeps no state of its own: the log is the authority, the view tells
// what it says, and a business key holds through both for ever.
package txcontext
