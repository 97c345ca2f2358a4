// Package cluster runs a whole cluster in one process for tests: storages on file
// systems that can crash, servers that may be rivals, and clients, with real gRPC
// between them over connections in memory that a test can cut, hold up and mend.
// Metadata is the local store, in memory, to which each server has a way of its own.
//
// What can be done to a storage: [Storage.Crash] loses what was not synced,
// [Storage.Stop] loses nothing, [Storage.Wipe] everything; [Link.Cut] and
// [Link.Hold] are the network's faults, [Storage.Slow], [Storage.Fill],
// [Storage.FailSync], [Storage.Damage] and [Storage.DamageJournal] the disk's. To a
// server: [Server.Kill], [Server.Hold]; [Cluster.StartServer] starts a rival, to which
// the partitions are then assigned, whether or not the one before has heard of it. To
// the metadata: [Cluster.Suffer] and [Metadata.Suffer] have calls fail or hang, or
// changes take effect without an answer. [Storage.Repair] is what an operator does
// about damage.
//
// [Model] is the load and the judge: it remembers what clients asked for and were told,
// and compares it in the end with the log, the feeds and every replica (I1, I2, I4, I5,
// I6), and looks for forks in stamps and in the metadata's changes (I3, P4).
package cluster
