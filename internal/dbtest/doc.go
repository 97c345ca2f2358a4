// Package dbtest runs real database servers for tests: PostgreSQL, MariaDB and
// PgBouncer as processes of the tests' own, on free ports of 127.0.0.1, with their
// data in a temporary folder. Whatever else runs on the machine is left alone.
//
// Servers promise durability as they would in production (fsync and its
// relatives are on), because that is what is tested. Under root they run as an
// unprivileged user, since both databases refuse to be root.
//
// A server ends with its test, or, when it is shared by the tests of a process, with
// [Servers.Run]; if the process is killed instead, a watcher that holds the
// other end of a pipe ends the server and removes its folder.
//
// A program that is not installed fails the test; nothing is skipped.
package dbtest
