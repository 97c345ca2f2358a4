// Package session is PROTOCOL.md as code: the agreement between the server that
// owns a partition and the storages that keep its replicas. It is pure: no
// I/O, no clock, no goroutine, no randomness. Both halves stand side by side so
// that they can be read, and simulated, together.
//
//   - [ReplicaState] is a storage's half: what a replica must have on its disk
//     and the rules by which it takes or refuses a message.
//   - [Leader] is a server's half: one attempt to open one session, and the
//     counting of answers once it is open. Events go in, outputs come out in the
//     order in which they must be carried out.
//   - [PartitionState] is M, the partition's entry in the cluster's metadata.
//   - [Map] summarises a log by who wrote which part of it.
//
// Who is authoritative: M says which session is the latest and who its members
// are; the majority of members says what is committed. A leader believes
// neither itself nor one replica.
package session
