package storageclient

import (
	"context"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// Open makes the promise of a session durable and answers with the state.
func (c *Client) Open(ctx context.Context, m session.Open) (session.Promise, error) {
	r, err := c.api.Open(c.calling(ctx), &storagepb.OpenRequest{Partition: int32(m.Partition), Session: int64(m.Session), Create: c.o.CreateReplicas})
	if err != nil {
		return session.Promise{}, c.problem(err)
	}
	return session.Promise{
		Replica:  session.Replica{Incarnation: session.Incarnation(r.GetIncarnation()), Start: session.Start(r.GetStart())},
		Promised: txn.SessionID(r.GetPromised()), Installed: txn.SessionID(r.GetInstalled()),
		Last: txn.ID(r.GetLast()), Committed: txn.ID(r.GetCommitted()), Map: mapOf(r.GetMap()),
	}, nil
}

// Truncate drops records that are not in the chosen log; durable on return.
func (c *Client) Truncate(ctx context.Context, m session.Truncate) error {
	_, err := c.api.Truncate(c.calling(ctx), &storagepb.TruncateRequest{
		Partition: int32(m.Partition), Session: int64(m.Session), Incarnation: uint64(m.Replica.Incarnation), Start: uint64(m.Replica.Start), Last: int64(m.Last),
	})
	return c.problem(err)
}

// Copy adds records of the chosen log; durable on return.
func (c *Client) Copy(ctx context.Context, m session.Copy) error {
	message := wire.StorageCopy(m)
	return c.problem(c.bulk.Invoke(c.calling(ctx), storagepb.Storage_Copy_FullMethodName, &message, &storagepb.CopyResponse{}))
}

// Install makes the replica one of the session; durable on return.
func (c *Client) Install(ctx context.Context, m session.Install) error {
	_, err := c.api.Install(c.calling(ctx), &storagepb.InstallRequest{
		Partition: int32(m.Partition), Session: int64(m.Session), Incarnation: uint64(m.Replica.Incarnation), Start: uint64(m.Replica.Start), Last: int64(m.Last),
	})
	return c.problem(err)
}

// Confirm returns nil if the replica has installed the session and promised no
// higher one.
func (c *Client) Confirm(ctx context.Context, m session.Confirm) error {
	_, err := c.api.Confirm(c.calling(ctx), &storagepb.ConfirmRequest{
		Partition: int32(m.Partition), Session: int64(m.Session), Incarnation: uint64(m.Replica.Incarnation), Start: uint64(m.Replica.Start),
	})
	return c.problem(err)
}

// Read returns whole records from first on, at most to last, at least one and as
// many more as the storage has at hand and fit into bytesMax. The frame is the
// caller's, and is not verified.
func (c *Client) Read(ctx context.Context, p txn.Partition, first, last txn.ID, bytesMax int) (record.Frame, error) {
	var frame wire.StorageFrame
	err := c.bulk.Invoke(c.calling(ctx), storagepb.Storage_Read_FullMethodName, &storagepb.ReadRequest{
		Partition: int32(p), First: int64(first), Last: int64(last), BytesMax: int64(bytesMax),
	}, &frame)
	return frame.Records, c.problem(err)
}

// At returns the ID of the first record with at least the timestamp, the last ID +
// 1 if there is none.
func (c *Client) At(ctx context.Context, p txn.Partition, t txn.Timestamp) (txn.ID, error) {
	r, err := storagepb.NewStorageClient(c.bulk).At(c.calling(ctx), &storagepb.AtRequest{Partition: int32(p), TimeUs: int64(t)})
	if err != nil {
		return txn.None, c.problem(err)
	}
	return txn.ID(r.GetTransactionId()), nil
}

func mapOf(starts []*storagepb.StampStart) (m []session.StampStart) {
	for _, e := range starts {
		m = append(m, session.StampStart{Stamp: txn.SessionID(e.GetStamp()), First: txn.ID(e.GetFirst())})
	}
	return m
}
