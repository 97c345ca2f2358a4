// Command cluster3 measures a cluster on this machine: one server and three
// storages as processes on loopback, with local metadata, and waltz bench append on
// it. It prints for each case the rate beside its bound, the disk's fdatasync in the
// same run, and the CPU of a transaction in each process. With -kill it also kills
// a storage under load and brings it back.
//
//	make cluster3
//	make cluster3 BENCHFLAGS='-duration 10s -dir /mnt/disk'
package main
