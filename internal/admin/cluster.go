package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

var (
	// ErrRefused: what was asked for would do harm, or can't be done as things are.
	ErrRefused = errors.New("refused")
	// ErrInvalid: what was asked for makes no sense.
	ErrInvalid = errors.New("invalid")
)

func refusef(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// Operator is what can be done to a cluster: by [Cluster], or by a server that
// carries one. All methods may be called concurrently. Errors wrap [ErrRefused] or
// [ErrInvalid] where that is the cause.
type Operator interface {
	// Status describes the cluster and, of all partitions or some, the state.
	Status(ctx context.Context, partitions []txn.Partition) (Status, error)
	// PutStorage adds a storage or, if update is set, changes address and group of
	// one that is there.
	PutStorage(ctx context.Context, s metadata.Storage, update bool) error
	// DrainStorage says that a storage's replicas are to leave, or may stay after all,
	// and returns how many it has. It moves none: that is Rebalance's.
	DrainStorage(ctx context.Context, name string, undo bool) (replicas int, err error)
	// RemoveStorage forgets a storage that no partition has.
	RemoveStorage(ctx context.Context, name string) error
	// Move says which storages should have a partition. Any set may replace any set;
	// what is unwise is done, and warned of.
	Move(ctx context.Context, p txn.Partition, to []string) (Change, []string, error)
	// Rebalance plans which storages should have which partition, and begins with the
	// first changes unless it is a dry run. Call it again until nothing is left.
	Rebalance(ctx context.Context, r Rebalance) (Plan, error)
	// ForceRecover gives up the members of a partition that are lost for good. Unless
	// that is accepted it changes nothing, and the report says what it would do.
	ForceRecover(ctx context.Context, p txn.Partition, r Recover) (Report, error)
}

// Leaders is what a server knows of the partitions that it owns.
type Leaders interface {
	Leader(p txn.Partition) (Leader, bool)
}

// Leader is the server's side of a partition.
type Leader struct {
	Open          bool          `json:"open"`
	Session       txn.SessionID `json:"session"`
	HighWaterMark txn.ID        `json:"high_water_mark"`   // last committed; of the last session if it is not open
	Problem       string        `json:"problem,omitempty"` // why it is not open, or can't append now
	// Unfit are the replicas that take no part until somebody does something about
	// them, by storage, and why. A [Replica] tells it to others.
	Unfit map[string]string `json:"-"`
}

// Cluster implements [Operator] on the metadata. The zero value of a field that is
// not required works.
type Cluster struct {
	Metadata metadata.Store           // required
	Storages *storageclient.Directory // required, but for what asks no storage
	Leaders  Leaders                  // of the server that carries it; nil: none does
	Now      func() time.Time         // default: time.Now
	Logger   *slog.Logger             // default: none
	AskMax   time.Duration            // how long a storage may take to answer; default 3 s
}

var _ Operator = (*Cluster)(nil)

const (
	askDefault = 3 * time.Second
	casMax     = 100 // attempts at one change; each that failed, another's succeeded
)

func (c *Cluster) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c *Cluster) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// change changes M by compare-and-set. Change is called anew with what is there until
// it succeeds; its error ends that, and so does nothing to change.
func (c *Cluster) change(ctx context.Context, p txn.Partition, change func(m *metadata.PartitionState) error) error {
	for range casMax {
		m, version, err := metadata.LoadPartition(ctx, c.Metadata, p)
		if err != nil {
			return partitionError(p, err)
		}
		if err := change(&m); err != nil {
			return err
		}
		if _, err = metadata.SavePartition(ctx, c.Metadata, p, m, version); !errors.Is(err, metadata.ErrVersion) {
			return partitionError(p, err)
		}
	}
	return fmt.Errorf("state of partition %d is changed by others all the time: %w", p, metadata.ErrVersion)
}

func partitionError(p txn.Partition, err error) error {
	switch {
	case errors.Is(err, metadata.ErrNotFound):
		return invalidf("partition %d: there is none in the metadata: %w", p, err)
	case err != nil:
		return fmt.Errorf("partition %d: %w", p, err)
	}
	return nil
}

// sameSet reports whether two lists name the same storages.
func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

func memberNames(m metadata.PartitionState) (names []string) {
	for _, r := range m.Members {
		names = append(names, r.Storage)
	}
	return names
}

// states reads the state of all partitions.
func (c *Cluster) states(ctx context.Context) (metadata.Cluster, []metadata.PartitionState, error) {
	cluster, err := metadata.LoadCluster(ctx, c.Metadata)
	if err != nil {
		return cluster, nil, err
	}
	states := make([]metadata.PartitionState, cluster.Partitions)
	for p := range states {
		if states[p], _, err = metadata.LoadPartition(ctx, c.Metadata, txn.Partition(p)); err != nil {
			return cluster, nil, partitionError(txn.Partition(p), err)
		}
	}
	return cluster, states, nil
}
