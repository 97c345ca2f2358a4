package server

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/server/internal/partition"
	"github.com/waltz-log/waltz/server/internal/store"
)

// Replica is a storage as the server reaches it, in the same process or over
// the network.
type Replica = store.Replica

// FindFunc finds a storage by its name in the metadata; false: it is not known. It
// may be called concurrently and must not block.
type FindFunc = store.FindFunc

// windowTransactions is how many transactions a partition remembers request IDs
// and locks of. A constant, since clients' correctness rests on its being large.
const windowTransactions = 1 << 17

// Options of a server. Zero means the default, except where a field is required.
type Options struct {
	ClusterKey  string // of the log, never changes; required
	ClusterName string // for people; default "waltz"
	Partitions  int    // of the log; required, 1 to 65,536

	Metadata metadata.Store     // required; the server does not close it
	Replicas map[string]Replica // storages by their name in the metadata; required unless Find is set
	Find     FindFunc           // storages that are not in Replicas, say because they come later; default: there are none
	// Generation of the assignment of the partitions to this server; default 0.
	Generation int64

	DataBytesMax  int // data of one transaction; default 1 MiB, 1 to 64 MiB
	LocksMax      int // locks of one transaction; default 256, 1 to 65,534
	GroupBytesMax int // one message of an append stream; default 4 MiB, at least DataBytesMax + 64 KiB

	StreamInFlightMax int // transactions of one append stream that wait for an answer; the stream waits beyond it; default 65,536
	InboxBytesMax     int // groups of one partition that wait to be sequenced; streams wait beyond it; default 4 MiB, from 64 KiB
	InFlightBytesMax  int // records of one partition that wait to be committed; the inbox waits beyond it; default 16 MiB, from 64 KiB
	FrameBytesMax     int // one frame handed to the storages, unless a single record is larger; default 1 MiB, from 4 KiB
	LockMarksMax      int // locks of one partition that are remembered; with more than 4 a transaction the floor rises sooner; default 524,288, from 1,024
	CacheBytesMax     int // committed records kept for subscribers, all partitions; default 32 MiB, from 0
	ReadIDsMax        int // transactions asked for by ID in one Read; default 10,000
	SubscribersMax    int // subscriptions at one time; default 10,000

	ReopenFirst, ReopenMax time.Duration // back-off between attempts to open a store session; default 20 ms and 2 s

	// HealEvery is how often the replicas are asked for records that they can't read,
	// which those of the others then replace; default 1 min, negative: never.
	HealEvery time.Duration

	Logger *slog.Logger     // default: none
	Now    func() time.Time // default: time.Now

	open partition.OpenFunc // default: package store; tests replace it
}

func (o Options) withDefaults() (Options, error) {
	var errs []error
	o.require(&errs)
	if o.ClusterName == "" {
		o.ClusterName = "waltz"
	}
	limit(&errs, "DataBytesMax", &o.DataBytesMax, 1<<20, 1, 64<<20)
	limit(&errs, "LocksMax", &o.LocksMax, 256, 1, record.LocksMax-1) // the business key takes one, too
	limit(&errs, "GroupBytesMax", &o.GroupBytesMax, max(4<<20, o.DataBytesMax+groupOverhead), o.DataBytesMax+groupOverhead, 256<<20)
	limit(&errs, "StreamInFlightMax", &o.StreamInFlightMax, 1<<16, 1, 1<<20)
	limit(&errs, "InboxBytesMax", &o.InboxBytesMax, 4<<20, 64<<10, 1<<30)
	limit(&errs, "InFlightBytesMax", &o.InFlightBytesMax, 16<<20, 64<<10, 1<<30)
	limit(&errs, "FrameBytesMax", &o.FrameBytesMax, 1<<20, 4<<10, 64<<20)
	limit(&errs, "LockMarksMax", &o.LockMarksMax, 4*windowTransactions, 1<<10, 1<<28)
	limit(&errs, "CacheBytesMax", &o.CacheBytesMax, 32<<20, 0, 1<<40)
	limit(&errs, "ReadIDsMax", &o.ReadIDsMax, 10_000, 1, 1<<20)
	limit(&errs, "SubscribersMax", &o.SubscribersMax, 10_000, 1, 1<<20)
	limit(&errs, "ReopenFirst", &o.ReopenFirst, 20*time.Millisecond, time.Millisecond, time.Minute)
	limit(&errs, "ReopenMax", &o.ReopenMax, max(2*time.Second, o.ReopenFirst), o.ReopenFirst, time.Hour)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := errors.Join(errs...); err != nil {
		return o, fmt.Errorf("server options: %w", err)
	}
	return o, nil
}

// groupOverhead is room for what an append message holds besides data: locks,
// keys, numbers.
const groupOverhead = 64 << 10

func (o *Options) require(errs *[]error) {
	if o.ClusterKey == "" {
		*errs = append(*errs, errors.New("ClusterKey is empty"))
	}
	if o.Partitions < 1 || o.Partitions > 1<<16 {
		*errs = append(*errs, fmt.Errorf("Partitions is %d, must be from 1 to %d", o.Partitions, 1<<16))
	}
	if o.open != nil {
		return
	}
	if o.Metadata == nil {
		*errs = append(*errs, errors.New("Metadata is not set"))
	}
	if len(o.Replicas) == 0 && o.Find == nil {
		*errs = append(*errs, errors.New("Replicas is empty, and Find is not set"))
	}
}

// limit fills in a default and checks the range.
func limit[T int | time.Duration](errs *[]error, name string, v *T, def, lowest, highest T) {
	if *v == 0 {
		*v = def
	}
	if *v < lowest || *v > highest {
		*errs = append(*errs, fmt.Errorf("%s is %v, must be from %v to %v", name, *v, lowest, highest))
	}
}
