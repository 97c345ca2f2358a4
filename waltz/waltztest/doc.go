// Package waltztest gives a test a whole Waltz in memory: the real storage
// engine, sequencer and gRPC handlers of package embedded, on a file system and
// metadata in memory, so that an application's tests meet the log's real rules. A
// proxy between client and node brings what goes wrong in production: lock
// conflicts, lost requests and answers, full storages, slow answers, a feed that
// stands still.
//
// Each [New] is a log of its own; tests may run in parallel.
package waltztest
