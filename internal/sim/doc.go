// Package sim runs PROTOCOL.md through schedules of trouble. A schedule is one
// partition with 3 to 7 storages, 1 to 3 servers that all want it, a metadata
// register, and clients that append and subscribe; the simulator decides which
// message arrives next, which disk syncs, and what breaks. It drives the real
// [session.Leader] and [session.ReplicaState], the real lock table and request
// window; the calls, goroutines and files around them are modelled here.
//
// What can happen, at any moment:
//
//   - a message is lost, delayed, overtaken or repeated; appends to one storage
//     go in order, as on a stream, and the stream breaks and is made anew;
//   - a storage crashes and keeps what it had synced, and perhaps some more; its
//     disk is wiped, or an older copy of it put back;
//   - a server crashes, is cut off or is merely slow while another claims;
//   - a compare-and-set takes effect and its answer is lost;
//   - the operator wants another set of replicas, or assigns another server. The
//     newcomers are copied to beside the appends, and meanwhile crash, are wiped or
//     put back, lose and repeat messages; the change is given up, or another made on
//     top; a session opens on them while they are behind.
//
// Some schedules are of a kind of their own: in some most happens to newcomers; in
// some two storages' names lead to one process; in some majorities are lost or said
// to be, and the operator recovers by force. Then what the report of that admits is
// all that may be gone, and from there on everything must hold anew.
//
// After every step the parts of P1 to P6 and I1 to I6 that the step could have
// broken are checked, against what every server ever held for committed. In the
// end everything is mended and progress demanded (P5).
//
// A seed says it all: the actions are drawn from it, and an action is a number
// that is read against the state it meets ("deliver the 7th message under way"),
// so any list of actions is a schedule. That makes shrinking simple: leave actions
// out for as long as the rest still fails.
//
// How many disks may be lost? Any number, at any time: a wiped disk has another
// incarnation and one put back is behind what M says, so both count as absent
// until they hold again what they must. What can be lost that way is progress,
// never a record. Out of bounds is only to put back an older moment of the same
// session, which nobody can see from outside; schedules of the kind disaster do
// it all the same and check what must hold even then: no replica drops what it
// knows to be committed.
package sim
