// Package postgres keeps a view in PostgreSQL, by way of pgx's own interface.
//
// # A step
//
// One connection, two round trips: BEGIN, the compare-and-set, what the handlers
// queued, the keys, and the letters go out in one pipeline; when all of it was
// answered, COMMIT. The isolation is READ COMMITTED, because the row of the mark
// already puts the appliers of a partition in line.
//
//	client  BEGIN  cas  q q q q q q  keys  Sync            COMMIT
//	server               └─ answers ──────────┘ status 'T'?        └─ outcome
//
// The server skips everything behind an error. So the compare-and-set does not
// answer with "no row" when it loses: it divides by zero, and nothing of what was
// sent behind it is even tried. A pipeline has no other way to stop in time, and
// without BEGIN it would commit what comes after a compare-and-set that changed
// nothing: its statements are one implicit transaction, and no row is no error.
//
// COMMIT is sent alone, although it could go out with the rest. It costs one round
// trip for each batch, about 15% of the time of a batch of one (BenchmarkRoundTrips),
// and buys that the state of the SQL transaction is seen before, and that a lost
// connection leaves only COMMIT itself unknown: the mark tells (I7).
//
// # Writing in a handler
//
// [Tx.Queue] sends a statement and does not wait: that is what a handler for
// single records wants. Its error arrives with a later call, or after the handler
// has returned; the applier finds the culprit. [Tx.Exec] waits, and is
// what a handler for batches wants, together with [Arrays] and unnest: statements
// whose text does not depend on the number of rows are prepared once.
//
// # Poolers
//
// Behind PgBouncer and its like in transaction mode, a connection is one to
// another server process for each transaction. It shows: the process that answers
// is not the one that the connection was greeted by. Then statements are prepared
// for one SQL transaction, and closed before its end; timeouts are set for one; and
// everything else uses unnamed statements. No session state is kept, no session lock
// taken.
//
// # Timeouts
//
// A statement may take 1 minute, wait for a lock 10 seconds, and an open
// transaction be idle for 10 seconds: that ends the transaction of an
// instance that was stopped with the mark's row locked. From PostgreSQL 17 on,
// an SQL transaction may take 5 minutes in all. Parameters of the URL with the names
// of the server's settings (statement_timeout, lock_timeout,
// idle_in_transaction_session_timeout, transaction_timeout) replace them.
package postgres
