// Package view keeps the ledger's tables: what the applier writes into them, what
// the ledger and its readers ask of them, and the migrations that make them.
//
// Everything here is derived from the log and can be dropped and rebuilt. A batch
// of entries is folded in memory, one change for each account and transfer, and
// written with prepared statements in the order of the keys; on SQLite that is as
// fast as statements of many rows, which were tried.
package view
