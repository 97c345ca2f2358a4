// Package migrations brings the framework's own tables in an application's
// database up to date, beside the application's own migrations and without
// touching them: an own version table (waltz_schema_version), an own lock
// (waltz_schema_lock), an own goose Provider, nothing registered globally.
//
// There are three ways to run them: when an applier opens (applier.MigrateAuto),
// by "waltz migrate up", or by the application's own tool from what
// [Migrator.SQL] writes. Choose one for a database, and run it before the
// application's own migrations.
//
// # Several at once, and crashes
//
// The lock is a row with a lease in all three databases, taken before goose looks
// at anything: a session lock would not pass a pooler in transaction mode, and
// SQLite has none. Its owner extends the lease while it lives, and stops when it
// finds that another instance has it.
//
// On PostgreSQL and SQLite a migration and its version row are one transaction. On
// MySQL and MariaDB every DDL statement commits by itself, so there a file is one
// statement that may be run again after a crash between it and its version row.
//
// # What the tables start with
//
// Nothing. The applier inserts the rows of a view before it applies to it: a
// compare-and-set of a row that is not there protects nothing.
//
// # Rights
//
// Up needs a user with the right to create tables, and the rights of the applier on
// them. The applier itself (applier.MigrateCheck, or MigrateAuto on a schema that is
// up to date), [Migrator.Check] and [Migrator.Status] need none to DDL. On
// PostgreSQL:
//
//	GRANT USAGE ON SCHEMA public TO applier;
//	GRANT SELECT, INSERT, UPDATE, DELETE ON waltz_high_water_marks, waltz_keys, waltz_dead_letters TO applier;
//	GRANT SELECT ON waltz_schema_version TO applier;
//
// and on MySQL and MariaDB, where a user without DDL rights can't commit a
// half-applied batch by way of a DDL statement, either:
//
//	GRANT SELECT, INSERT, UPDATE, DELETE ON app.* TO applier;
//
// # Where the tables are
//
// On PostgreSQL they are in the first schema of search_path that exists, as the
// address (?search_path=app), the user or the database sets it; it has to be the same for
// all who use them. On MySQL and MariaDB they are in the address's database.
//
// # Versions
//
// The framework never downgrades a schema. One that is newer than this module
// knows is refused: it may mean something else by the same tables.
package migrations
