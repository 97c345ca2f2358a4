package metadata

import (
	"errors"
	"fmt"
	"strings"

	"github.com/waltz-log/waltz/internal/txn"
)

// ErrKey: the key is not one or more non-empty names with slashes between.
var ErrKey = errors.New("metadata key is malformed")

// Keys of what a cluster remembers.
const (
	clusterKey     = "cluster"
	partitionsKey  = "partitions"
	replicationKey = "replication"
	// StoragesKey is the key below which the storages stand, one each.
	StoragesKey = "storages"
)

// StorageKey returns the key under which a storage stands.
func StorageKey(name string) string { return StoragesKey + "/" + name }

// PartitionKey returns the key under which a partition's state stands.
func PartitionKey(p txn.Partition) string { return partitionsKey + "/" + p.String() }

// CheckKey reports a malformed key with [ErrKey]; every Store checks with it.
func CheckKey(key string) error {
	for name := range strings.SplitSeq(key, "/") {
		if name == "" || name == "." || name == ".." {
			return fmt.Errorf("%w: %q", ErrKey, key)
		}
	}
	return nil
}
