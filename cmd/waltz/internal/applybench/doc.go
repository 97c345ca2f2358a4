// Package applybench measures appliers beside hand-written SQL: the same transfers,
// read from the same log by the same client and decoded in the same way, into the
// same tables with the same keys and the same durability, the mark in the same SQL
// transaction, on the same server in the same run.
//
// The tables are the ledger's of examples/ledger without what only transfers across
// partitions need. They are a copy: a tool of operators does not rest on an example,
// and the ledger has no handlers for single records.
//
// By hand is as somebody would write it who needs no more than these tables: no epoch,
// no lease, no dead letters, no guard, and no business key that comes twice. Batches are
// as large as the applier's, and a batch's business keys are stored with few statements
// also where the rest goes row by row, since the applier does. So what is left in the
// ratio is the price of the framework.
//
// Runs take turns, and of each kind the fastest counts: whatever else a machine does
// makes a run slower, never faster. After each run the tables are summed up, since a
// figure of work that came out wrong is none.
//
// Every run has a place of its own: a schema on PostgreSQL, a database on MySQL and
// MariaDB, a file in a new folder on SQLite. Its name begins with waltz_bench_, and it
// is dropped after the run; nothing else is touched.
package applybench
