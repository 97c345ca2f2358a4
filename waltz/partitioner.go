package waltz

import "github.com/zeebo/xxh3"

// Partitioner maps a key to one of a log's partitions, 0 to partitions-1. It is
// called concurrently and must always give the same answer: what is locked
// together has to live together, for as long as the log exists.
type Partitioner func(key string, partitions int) Partition

// HashPartitioner spreads keys evenly: XXH3-64 of the key, scaled down by
// the remainder.
func HashPartitioner(key string, partitions int) Partition {
	return Partition(xxh3.HashString(key) % uint64(partitions))
}
