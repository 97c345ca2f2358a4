// Package embedded is a whole Waltz in one process: the same storage engine,
// sequencer and gRPC handlers as in a cluster, with metadata in a local file and
// one replica. It is durable, crash-safe and fast, and serves the client in the
// same process over connections in memory, so that there is one code path.
//
// A folder holds everything:
//
//	LOCK       taken while a process has the folder
//	metadata/  the cluster's identity and the state of each partition's session
//	storage/   journal and segments
//
// The metadata's cluster entry is written last when a log is created, and the
// storage's folder only after it, so that a crash in between leaves an empty
// folder as far as the next Open can tell. A storage without metadata is never
// adopted: its files carry a cluster key that nobody knows any more.
//
// Applications write waltz.Dial(ctx, "file:///dir", waltz.WithSchemes(embedded.Scheme)).
package embedded
