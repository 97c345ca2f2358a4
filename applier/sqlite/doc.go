// Package sqlite keeps a view in an SQLite file, by way of modernc.org/sqlite.
//
// There is one connection that writes, and a bounded number that read snapshots.
// Both are connections of the driver itself, without database/sql between: its
// pool, its locks and its conversions cost as much as a small statement does. Each
// is used by one goroutine at a time, and keeps its prepared statements.
//
// The file is in WAL mode, so that snapshots and the writer do not wait for each
// other, with synchronous=FULL, so that what was committed survives a loss of
// power together with its mark. BEGIN IMMEDIATE takes the one write lock of the
// file before anything is read: a deferred transaction could find out too late
// that it can't write.
//
// Partitions share the writer: those that have a batch ready while another one's
// is being applied join its SQL transaction (a group commit), each behind a
// savepoint, so that an error of one does not touch the others.
package sqlite
