// Package adminpb is the contract between operators' tools and servers: the state of
// a cluster, and changes of its storages and replicas. See admin.proto.
package adminpb
