// Package migrations brings the framework's own tables in an application's
// database up to date, beside the application's own migrations and without
// touching them: an own version table (waltz_schema_version), an own lock
// (waltz_schema_lock), an own goose Provider, nothing registered globally.
//
// There are three ways to run them: when an applier opens (applier.MigrateAuto),
// by "waltz migrate up", or by the application's own tool from what
// [Migrator.SQL] writes.
//
// The lock is a row with a lease in all three databases, taken before goose looks
// at anything: a session lock would not pass a pooler in transaction mode, and
// SQLite has none. On MySQL and MariaDB every DDL statement commits by itself, so
// there a file is one statement that may be run again after a crash between it
// and its version row.
//
// The framework never downgrades a schema. One that is newer than this module
// knows is refused: it may mean something else by the same tables.
package migrations
