// Package storageclient is a server's way to one storage process: it makes the
// messages of package session gRPC calls, and the answers and refusals what they
// were. A [Client] is a replica as package store of the server wants it, for all
// partitions of the server at once.
//
// # Appends
//
// All partitions share one stream. What waits goes out as one message, whose
// records are sent from where the sequencer encoded them; there is no timer and no
// copy. When nothing is on the way the goroutine that appends sends itself: one
// append alone passes no queue and wakes nobody, and can't come to wait there.
// Otherwise the sender goroutine takes all that has come while it was busy.
//
// A storage answers with the last append of each partition that is on its disk,
// which answers all before it too.
//
// # Bounds
//
// QueueBytes is what may wait to be sent or answered. Beyond it Append returns
// [session.ErrBusy] and nothing is queued: a slow storage slows nobody, and catches
// up from others.
//
// # When the connection breaks
//
// Whatever is unanswered fails, since nobody can know what came of it: the session
// opens those replicas anew, and learns. So there is nothing to send again here.
// Messages are bound to the start of the storage's process that promised (rule 3),
// so an answer of another one never counts.
//
// Reads and copies go over a connection of their own, so that records in bulk stand
// in no append's way.
package storageclient
