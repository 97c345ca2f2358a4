// Package admin is what an operator can ask of a cluster and do to it: found it, see
// its state, add, drain and remove storages, move partitions, and recover one whose
// majority is lost for good.
//
// All of it is changes of the metadata by compare-and-set. No process is told: the
// server that owns a partition watches M, storages are asked for their state only.
// So it does not matter where the code runs. With ZooKeeper that is the command
// line itself; local metadata belongs to one process, so a server that runs carries
// the same [Cluster] and serves it (package adminrpc), and without one the command
// line opens the folder.
//
// What a change of replicas costs is said at server/internal/store: newcomers are
// copied to beside the appends, and the members change in a pause of milliseconds. So
// this package never waits for anything: it says what should be, and Status tells how
// far that has come.
package admin
