// Package cluster runs a whole cluster in one process for tests: storages on file
// systems that can crash, servers that may be rivals, and clients, with real gRPC
// between them over connections in memory that a test can cut, hold up and mend.
// Metadata is the local store, in memory, and never fails.
//
// What can be done to a storage: [Storage.Crash] loses what was not synced,
// [Storage.Stop] loses nothing, [Storage.Wipe] everything; [Link.Cut] and
// [Link.Hold] are the network's faults, [Storage.Slow], [Storage.Fill] and
// [Storage.Damage] the disk's. To a server: [Server.Kill]; [Cluster.StartServer]
// starts a rival, to which the partitions are then assigned, whether or not the
// one before has heard of it.
//
// [Model] is the load and the judge: it remembers what clients were told, and
// compares it in the end with the log, the feeds and every replica.
package cluster
