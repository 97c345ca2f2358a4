// Package mysql keeps a view in MariaDB (10.6 and up) or MySQL 8, by way of
// database/sql and github.com/go-sql-driver/mysql.
//
// # Connections
//
// There are two bounded pools: one that writes, at READ COMMITTED, and one that
// reads snapshots, at REPEATABLE READ. Each connection sets what it relies on and
// reads it back before it is used. What can't be had is refused with a
// [*SettingError] that says what to change.
//
// Arguments are written into the statement's text by the driver
// (interpolateParams): the server then needs one round trip instead of three, and
// is twice as fast. So there are no prepared statements here. A text is one
// statement (multiStatements is off).
//
// # Addresses
//
// mysql://user:password@host:port/database names a database, which must exist.
// What an address may say behind its question mark:
//
//	tls                       true, false, skip-verify or preferred
//	timeout                   of connecting, such as 10s, which is the default
//	readTimeout, writeTimeout of a network operation; default: none
//	socket                    a path, instead of host and port
//	collation                 of the connection, one of utf8mb4's
//	allowCleartextPasswords, allowNativePasswords, serverPubKey,
//	connectionAttributes, compress: as the driver has them
//	sql_mode                  a strict one; without NO_BACKSLASH_ESCAPES
//	innodb_lock_wait_timeout  in seconds; default 10
//	idle_timeout              in seconds: how long an SQL transaction may be silent
//	                          before the server ends it, and frees its locks;
//	                          default: what the lease lasts; 30 without leases
//
// The following have one value, and may be given with that only:
// clientFoundRows=true, interpolateParams=true, multiStatements=false,
// parseTime=true, loc=UTC, time_zone='+00:00', rejectReadOnly=true, autocommit=true,
// charset=utf8mb4, maxAllowedPacket=0, transaction_isolation='READ-COMMITTED'.
//
// Every other is refused.
//
// # One step
//
//	START TRANSACTION
//	UPDATE waltz_high_water_marks ... WHERE mark and epoch are still the same
//	SAVEPOINT waltz_step
//	  what the handlers do, keys, a dead letter
//	RELEASE SAVEPOINT waltz_step
//	COMMIT
//
// The mark comes first, so that whoever is late waits for its row or leaves before it
// has touched anything, and all other row locks are behind that one. Under READ
// COMMITTED whoever waited finds no row, which is an answer and not an error.
//
// # Why the savepoint
//
// InnoDB forgives too much. Each of these would let COMMIT keep the mark without
// the data (I7), if a handler swallowed the error or ended the transaction:
//
//   - a duplicate key (1062) undoes one statement, and the transaction goes on;
//   - so does a lock wait that timed out (1205);
//   - a deadlock (1213) takes back the whole transaction, and what follows is
//     committed statement by statement;
//   - DDL commits what is there so far, even if it is then denied.
//
// The handle refuses everything after the first error, and the transaction is
// rolled back with a ROLLBACK of our own whatever the server has done by itself: a
// connection that went back with one open would commit it with the next START
// TRANSACTION. If anything has ended the transaction behind our back, the
// savepoint is gone, RELEASE fails with 1305, and the view stops with
// [applier.ErrImplicitCommit]: after an error, too, since a ROLLBACK would do nothing.
//
// Give the applier a user without the rights for DDL, and migrate with another one
// (MigrateCheck):
//
//	GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO applier@'%';
//
// # Set-based SQL
//
// One statement for many rows is an order of magnitude faster than one for each.
// [Insert], [Upsert], [Update] and [Delete] write them from a [Set]: sorted by key,
// so that partitions which share rows lock them in one order; folded, so that a hot
// row is written once; split where a text would be larger than the server takes.
//
// # What has been run
//
// All tests run on MariaDB 10.11. For MySQL 8 the suite of appliers and the
// tests of sets run where WALTZ_TEST_MYSQL_URL names a server; what differs between
// the two is in dialect.go, and its SQL is tested to the letter without a server.
package mysql
