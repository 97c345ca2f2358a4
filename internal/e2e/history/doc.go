// Package history judges what a log did by what its callers saw: a [History]
// is the record of every call that was made on the log by any process, every
// feed that was read, and the log itself as it was read at the end. [History.Check]
// holds it against the invariants of the design, rule by rule; [CheckLinear] asks
// porcupine the same of windows of it, with no knowledge of how the rules were
// derived.
//
// The package is pure: no clock, no network, no files. Times are whatever the
// recorder took them from, as long as one clock served all processes.
//
// What makes the rules simple is that a log tells its own order: the
// transaction ID. So a total order need not be searched for, only checked.
package history
