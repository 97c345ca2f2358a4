// Package waltz is the client of a Waltz log: a distributed, replicated
// write-ahead log that refuses transactions which were computed from stale state,
// so that what is in it is serializable.
//
// An application [Dial]s a log, describes a change as a [Transaction] with the
// locks that it depends on, and appends it. Its database is a view: package applier
// feeds it from a [Subscription], and package txcontext runs the loop of reading
// the view, appending, and doing it again after a lock conflict. This package is
// the level below both, for those who need it.
//
// # What is guaranteed
//
//   - A committed ID is for ever: a partition's IDs have no gaps, and an ID
//     maps to the same bytes for every reader (I2).
//   - An append commits at most once, through any number of broken connections,
//     resends and moves of its partition (I4).
//   - A transaction with high-water mark h commits only if no transaction above h
//     took any of its read or write locks for write or append (I5). Locks guard
//     their own partition only.
//   - A subscriber above h gets h+1, h+2, … of what it asked for: none missing,
//     none twice, none uncommitted (I6). The client verifies checksums and
//     sequence itself, and asks again rather than believe a feed with a gap.
//   - Every append ends with the truth: committed as an ID, refused with a typed
//     reason, or an [*UnknownError] if the caller's context ended first, which
//     [Client.Resolve] settles (I8).
//   - Nothing grows with the load: appends without an answer, and what a
//     subscription has buffered, are bounded; beyond the bounds callers wait, and
//     servers are held back (I9).
//
// # Contexts and trouble
//
// Broken connections, partitions that move or have no owner, storages without
// space: all calls wait these out, with back-off, until their context ends, so give
// every call a deadline. What kept a call waiting is the last cause in its error,
// in the log ([WithLogger]) and in the [Hooks].
//
// # Concurrency and cost
//
// A [Client] serves any number of goroutines over one connection per server. A
// single append is sent by the goroutine that calls; when many are under way, what
// waits goes into one message, without a timer. Throughput comes from goroutines
// that append at the same time: each waits for its own transaction to be durable,
// and many share one flush of the disks.
package waltz
