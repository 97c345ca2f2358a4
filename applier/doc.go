// Package applier turns committed transactions into an exact SQL view (I7): it
// applies them in order, many in one SQL transaction, together with the
// high-water mark that says how far it is.
//
// It knows no database. A database is an implementation of [Database] in a
// package of its own (applier/sqlite, and so on), so that an application imports
// only its own driver. What is here works the same on all of them, and package
// appliertest proves it.
//
// # Who is authoritative
//
// The log is. The view's row in waltz_high_water_marks says which transactions
// the view contains; nothing in memory does. A batch h+1..n is one SQL
// transaction whose first statement sets the mark from h to n, where mark and
// epoch are still what this instance believes. If that matches no row, somebody
// else was faster, and nothing else of the batch happens. So any number of
// instances may run on one database, and a process that was stopped for an
// hour does no harm when it wakes up. A lease only decides who tries.
//
// # Life of a partition
//
//	            +--- standing by <---+
//	            v                    | lost the compare-and-set, or the lease
//	starting -> applying ------------+
//	            |   ^
//	            v   | any answer of the database
//	          retrying                      stopped: Run returns why
//
// One goroutine reads and decodes what the feed brings while another one has a
// batch in the database. There is no timer: a batch is what arrived while the
// last one was being committed, so an idle log is applied at once, and a backlog
// in large batches (I9 bounds both).
//
// # Failure
//
// Errors have a [Class]. Trouble that passes (locked, disk full, connection
// lost) is retried for ever, with a state that shows since when; it never costs a
// transaction. An error that is due to the data makes the batch fall apart into
// halves until the transaction that fails stands alone; then [Policy] decides.
// A lost answer to COMMIT is resolved by reading the mark.
//
// What is over at once, such as a deadlock, is tried again at once with jitter; other
// trouble with pauses that grow; and what only somebody can end, such as a full
// disk, is logged as an error ([PartitionStatus.NeedsSomebody]). A transaction that
// fails alone is tried once more, alone, before it is called wrong. Passing it is
// refused where not the data looks wrong: ten in a row with one code, more than
// DeadMax within an hour, or the first since Options.Meaning changed.
//
// # Dead letters
//
// A transaction that [DeadLetter] or [QuarantineKey] passes goes into a table in the
// SQL transaction that moves the mark. From there somebody retries or discards it,
// with [Applier.Retry] and [Applier.Discard], or with "waltz dead".
//
//	     +------ asked for <------+
//	     v                        |
//	(applied, gone)          dead | held behind one that is dead
//	                              v
//	                          discarded
//
// Only the application knows how to apply one, so a tool without handlers can only
// ask. It writes that down in the table, which outlives it, whoever runs and whoever
// does not. Nothing else is sent: the ask raises the epoch of the mark's row, in the
// same SQL transaction. A busy applier finds out by its next compare-and-set, which
// fails; an idle one looks at the row now and then while letters are open; one that
// starts looks anyway. All three then do the same: one pass over the open letters
// in order, in which a letter stays if it is dead or changes what a letter that stays
// does, and every other is applied, in an SQL transaction that deletes it and
// raises the epoch. So there is one rule for a retry, a discard and what is held
// behind either; a crash at any point leaves something that the next pass goes on
// from; and whoever acts on an old idea of the letters is fenced like one who acts on
// an old mark. That also keeps quarantine exact with several instances: what is in
// it grows only when the mark moves, and shrinks only when the epoch rises, and each
// step compares both. Memory holds one hash for each key in quarantine, bounded by
// Options.QuarantineMax (I9).
//
// With DeadLetter a retried transaction is applied after those that came later. Use it
// where that does not matter, and QuarantineKey where it does.
//
// # Handlers
//
// Handlers get a handle that can neither commit nor swallow an error: after the
// first one it refuses everything, and the SQL transaction is rolled back whatever
// the handler returns. MariaDB would otherwise commit the mark without the data in
// four ways.
package applier
