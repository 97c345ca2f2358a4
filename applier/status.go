package applier

import (
	"fmt"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// State is what a partition of a view is doing.
type State int

// The states.
const (
	StateIdle       State = iota // Run does not run
	StateStarting                // reading the mark, asking the log
	StateApplying                // following the log
	StateStandingBy              // another instance has the lease
	StateRetrying                // the database has trouble that passes
	StateStopped                 // Run returned why
)

var stateNames = [...]string{"idle", "starting", "applying", "standing by", "retrying", "stopped"}

// String returns the name as it stands in logs and in the database.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// PartitionStatus is the state of one partition of a view, as this instance
// knows it.
type PartitionStatus struct {
	Partition     waltz.Partition
	State         State
	Since         time.Time // when the state began
	Fault         Fault     // why it is retrying or stopped
	Err           error     // why it is retrying or stopped; may hold values of rows
	HighWaterMark waltz.ID  // the view's
	LogMark       waltz.ID  // the log's, as last heard; never below HighWaterMark
	Oldest        time.Time // when the oldest transaction that is here and not applied was committed; zero if none
	Epoch         int64
	Owner         string // instance that applied last, or has the lease, as last read

	Dead            int      // letters that are open: dead, asked for, or held
	Held            int      // those of them that are held behind another
	IncompleteSince waltz.ID // the first of them; -1: the view is complete
	Skipped         int64    // transactions that [Skip] has passed, ever

	Applied uint64 // transactions with effects, since Open
	Batches uint64 // SQL transactions, since Open
	Already uint64 // transactions that another instance had applied already
	Lost    uint64 // compare-and-sets lost
	Retries uint64 // SQL transactions tried again
	Retried uint64 // letters applied after all
}

// NeedsSomebody reports whether the partition waits for somebody to do something:
// it has stopped, or the disk is full, or the like.
func (s PartitionStatus) NeedsSomebody() bool {
	return s.State == StateStopped || s.State == StateRetrying && s.Fault.Class == ClassPage
}

// Lag is how far a partition of a view is behind the log.
type Lag struct {
	Transactions int64         // log's end minus mark
	Age          time.Duration // of the oldest transaction that is here and not applied
}

// Lag computes the lag at a time.
func (s PartitionStatus) Lag(now time.Time) Lag {
	l := Lag{Transactions: int64(s.LogMark - s.HighWaterMark)}
	if !s.Oldest.IsZero() {
		l.Age = max(0, now.Sub(s.Oldest))
	}
	return l
}

// Status returns the state of all partitions, by number.
func (a *Applier[Tx, S]) Status() []PartitionStatus {
	out := make([]PartitionStatus, len(a.partitions))
	for i, p := range a.partitions {
		out[i] = p.snapshotStatus()
	}
	return out
}

// Lag returns how far a partition is behind the log as this instance last heard
// of it. A view that is stuck has a growing one.
func (a *Applier[Tx, S]) Lag(p waltz.Partition) (Lag, error) {
	part, err := a.partition(p)
	if err != nil {
		return Lag{}, err
	}
	return part.snapshotStatus().Lag(time.Now()), nil
}
