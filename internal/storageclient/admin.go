package storageclient

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// Service says whether a replica takes messages.
type Service int32

// The states of service.
const (
	InService    = Service(storagepb.ReplicaService_REPLICA_SERVICE_IN_SERVICE)
	OutOfService = Service(storagepb.ReplicaService_REPLICA_SERVICE_OUT_OF_SERVICE) // keeps its promises, takes nothing
	Unassigned   = Service(storagepb.ReplicaService_REPLICA_SERVICE_UNASSIGNED)     // removed, its files are kept
	Removing     = Service(storagepb.ReplicaService_REPLICA_SERVICE_REMOVING)       // removed, its files are being deleted
)

func (s Service) String() string {
	switch s {
	case InService:
		return "in service"
	case OutOfService:
		return "out of service"
	case Unassigned:
		return "unassigned"
	case Removing:
		return "being removed"
	}
	return "unknown"
}

// Replica describes one replica of a storage.
type Replica struct {
	Partition      txn.Partition
	Promise        session.Promise // its state; Start is that of the storage's process only if it was asked for a promise
	Service        Service
	Segments       int
	Bytes          int64         // of segments, their indexes, and what waits for them
	Oldest, Newest txn.Timestamp // 0: there is none, or damage hides it
	Damage         []wire.StorageDamage
	Closed         *wire.StorageDamage // why it takes no messages any more; nil: it does
}

// Storage describes a storage process.
type Storage struct {
	Name       string
	ClusterKey string // empty: it belongs to no cluster yet
	Start      session.Start
	Full       bool
	Failed     string // why it has stopped for good; empty: it has not
}

// Describe asks a storage who it is, of whichever cluster.
func (c *Client) Describe(ctx context.Context) (Storage, error) {
	r, err := c.api.Describe(c.calling(ctx), &storagepb.DescribeRequest{})
	if err != nil {
		return Storage{}, c.problem(err)
	}
	return Storage{
		Name: r.GetName(), ClusterKey: r.GetClusterKey(), Start: session.Start(r.GetStart()), Full: r.GetFull(), Failed: r.GetFailed(),
	}, nil
}

// Replicas describes a storage's replicas of some partitions, or of all, in the
// order of the partitions.
func (c *Client) Replicas(ctx context.Context, partitions ...txn.Partition) ([]Replica, error) {
	m := &storagepb.ListReplicasRequest{}
	for _, p := range partitions {
		m.Partitions = append(m.Partitions, int32(p))
	}
	r, err := c.admin().ListReplicas(c.calling(ctx), m)
	if err != nil {
		return nil, c.problem(err)
	}
	var all []Replica
	for _, one := range r.GetReplicas() {
		all = append(all, replicaOf(one))
	}
	return all, nil
}

func replicaOf(r *storagepb.Replica) Replica {
	d := Replica{
		Partition: txn.Partition(r.GetPartition()),
		Promise: session.Promise{
			Replica:  session.Replica{Incarnation: session.Incarnation(r.GetIncarnation())},
			Promised: txn.SessionID(r.GetPromised()), Installed: txn.SessionID(r.GetInstalled()),
			Last: txn.ID(r.GetLast()), Committed: txn.ID(r.GetCommitted()), Map: mapOf(r.GetMap()),
		},
		Service: Service(r.GetService()), Segments: int(r.GetSegments()), Bytes: r.GetBytes(),
		Oldest: txn.Timestamp(r.GetOldestUs()), Newest: txn.Timestamp(r.GetNewestUs()), Damage: damageOf(r.GetDamage()),
	}
	if r.GetClosed() != nil {
		d.Closed = wire.StorageDamageOf(r.GetClosed())
	}
	return d
}

func damageOf(all []*storagepb.Damage) (out []wire.StorageDamage) {
	for _, d := range all {
		out = append(out, *wire.StorageDamageOf(d))
	}
	return out
}

// CreateReplica makes an empty replica, or finds the one that is there.
func (c *Client) CreateReplica(ctx context.Context, p txn.Partition) (session.Incarnation, error) {
	r, err := c.admin().CreateReplica(c.calling(ctx), &storagepb.CreateReplicaRequest{Partition: int32(p)})
	return session.Incarnation(r.GetIncarnation()), c.problem(err)
}

// RemoveReplica gives up a replica, if it has the incarnation, or is whichever for
// 0. Its files are kept for a later CreateReplica, or deleted.
func (c *Client) RemoveReplica(ctx context.Context, p txn.Partition, is session.Incarnation, keep bool) error {
	_, err := c.admin().RemoveReplica(c.calling(ctx), &storagepb.RemoveReplicaRequest{Partition: int32(p), Incarnation: uint64(is), Keep: keep})
	return c.problem(err)
}

// SetAvailable takes a replica out of service, or back into it.
func (c *Client) SetAvailable(ctx context.Context, p txn.Partition, available bool) error {
	_, err := c.admin().SetAvailable(c.calling(ctx), &storagepb.SetAvailableRequest{Partition: int32(p), Available: available})
	return c.problem(err)
}

// ResetReplica gives a replica a new incarnation, if it has the one given, or is
// whichever for 0; keep keeps the verified start of its log, of which the last
// record is returned.
func (c *Client) ResetReplica(ctx context.Context, p txn.Partition, is session.Incarnation, keep bool) (session.Incarnation, txn.ID, error) {
	r, err := c.admin().ResetReplica(c.calling(ctx), &storagepb.ResetReplicaRequest{Partition: int32(p), Incarnation: uint64(is), Keep: keep})
	return session.Incarnation(r.GetIncarnation()), txn.ID(r.GetLast()), c.problem(err)
}

// Digest is the checksum of a range of records.
type Digest struct {
	First, Last txn.ID
	Records     int64
	Bytes       int64
	Sum         []byte // XXH3-128 of the records' bytes
}

// Checksum reads and verifies records, and returns the checksum that replicas with
// the same records have in common.
func (c *Client) Checksum(ctx context.Context, p txn.Partition, first, last txn.ID) (Digest, error) {
	r, err := c.admin().Checksum(c.calling(ctx), &storagepb.ChecksumRequest{Partition: int32(p), First: int64(first), Last: int64(last)})
	return Digest{First: txn.ID(r.GetFirst()), Last: txn.ID(r.GetLast()), Records: r.GetRecords(), Bytes: r.GetBytes(), Sum: r.GetSum()}, c.problem(err)
}

// Scrubbed is what a scrub found.
type Scrubbed struct {
	Records, Bytes int64
	Damage         []wire.StorageDamage // all that is known
}

// Scrub reads and verifies everything that the storage holds.
func (c *Client) Scrub(ctx context.Context) (Scrubbed, error) {
	r, err := c.admin().Scrub(c.calling(ctx), &storagepb.ScrubRequest{})
	return Scrubbed{Records: r.GetRecords(), Bytes: r.GetBytes(), Damage: damageOf(r.GetDamage())}, c.problem(err)
}

// ScrubState says how far the scrubbing in the background is.
type ScrubState struct {
	Running    bool
	Partition  txn.Partition // that it is at
	Next       txn.ID
	Bytes      int64     // read in this pass
	Began      time.Time // zero: none is under way
	LastEnded  time.Time // zero: there was none
	LastBytes  int64
	LastDamage int           // ranges found
	Remaining  time.Duration // until the next pass
}

// ScrubState returns how far the scrubbing in the background is.
func (c *Client) ScrubState(ctx context.Context) (ScrubState, error) {
	r, err := c.admin().ScrubState(c.calling(ctx), &storagepb.ScrubStateRequest{})
	s := ScrubState{
		Running: r.GetRunning(), Partition: txn.Partition(r.GetPartition()), Next: txn.ID(r.GetNext()), Bytes: r.GetBytes(),
		LastBytes: r.GetLastBytes(), LastDamage: int(r.GetLastDamage()), Remaining: time.Duration(r.GetRemainingUs()) * time.Microsecond,
	}
	if r.GetBeganUs() != 0 {
		s.Began = time.UnixMicro(r.GetBeganUs())
	}
	if r.GetLastEndedUs() != 0 {
		s.LastEnded = time.UnixMicro(r.GetLastEndedUs())
	}
	return s, c.problem(err)
}

// Repair says what to repair of a replica.
type Repair struct {
	Partition   txn.Partition
	First, Last txn.ID // Last below First: all that is known to be damaged
	Committed   txn.ID // what is known to be committed; 0 or less: what the replica knows
}

// Repaired says what a repair did.
type Repaired struct {
	Records, Bytes int64 // taken from the source
	Segments       int   // files replaced
	Left           []wire.StorageDamage
}

// Repair replaces damaged records by those that read returns: at least the first
// one, and as many more up to last as it likes, say another storage's Read.
func (c *Client) Repair(ctx context.Context, m Repair, read func(ctx context.Context, first, last txn.ID) (record.Frame, error)) (Repaired, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.admin().Repair(c.calling(ctx))
	if err != nil {
		return Repaired{}, c.problem(err)
	}
	next := &storagepb.RepairRequest{Partition: int32(m.Partition), First: int64(m.First), Last: int64(m.Last), Committed: int64(m.Committed)}
	for {
		// After io.EOF from Send the reason comes from Recv.
		if err := stream.Send(next); err != nil && !errors.Is(err, io.EOF) {
			return Repaired{}, c.problem(err)
		}
		r, err := stream.Recv()
		if err != nil {
			return Repaired{}, c.problem(err)
		}
		if r.GetDone() {
			return Repaired{Records: r.GetRecords(), Bytes: r.GetBytes(), Segments: int(r.GetSegments()), Left: damageOf(r.GetLeft())}, nil
		}
		next = &storagepb.RepairRequest{}
		if next.Frame, err = read(ctx, txn.ID(r.GetFirst()), txn.ID(r.GetLast())); err != nil {
			next.Failure = &storagepb.Failure{Message: err.Error()}
		}
	}
}

// Damaged reports whether a replica has lost records that Heal can give it: not if its
// journal is damaged, which a reset mends.
func (c *Client) Damaged(ctx context.Context, p txn.Partition) (bool, error) {
	all, err := c.Replicas(ctx, p)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(all, func(r Replica) bool {
		return r.Closed == nil && slices.ContainsFunc(r.Damage, wire.StorageDamage.LostRecords)
	}), nil
}

// Heal is Repair of all that is known to be damaged, as a server's session wants it.
func (c *Client) Heal(ctx context.Context, p txn.Partition, committed txn.ID, read func(ctx context.Context, first, last txn.ID) (record.Frame, error)) (records int64, left int, err error) {
	done, err := c.Repair(ctx, Repair{Partition: p, Last: txn.None, Committed: committed}, read)
	return done.Records, len(done.Left), err
}

func (c *Client) admin() storagepb.StorageAdminClient {
	return storagepb.NewStorageAdminClient(grpc.ClientConnInterface(c.bulk))
}

// Identify asks the storage at an address who it is, of whichever cluster. Of the
// options only Address is required.
func Identify(ctx context.Context, o Options) (s Storage, err error) {
	o.ClusterKey, o.Name = "any", ""
	c, err := New(o)
	if err != nil {
		return Storage{}, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return c.Describe(ctx)
}
