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
// Handlers get a handle that can neither commit nor swallow an error: after the
// first one it refuses everything, and the SQL transaction is rolled back whatever
// the handler returns. MariaDB would otherwise commit the mark without the data in
// four ways.
package applier
