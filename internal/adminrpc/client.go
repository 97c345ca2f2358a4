package adminrpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/proto/adminpb"
)

// Client is an operator that asks a server.
type Client struct{ api adminpb.AdminClient }

var _ admin.Operator = (*Client)(nil)

// NewClient returns the operator at the other end of a connection, which stays the
// caller's.
func NewClient(c grpc.ClientConnInterface) *Client { return &Client{api: adminpb.NewAdminClient(c)} }

// Status implements [admin.Operator].
func (c *Client) Status(ctx context.Context, partitions []txn.Partition) (admin.Status, error) {
	r, err := c.api.Status(ctx, &adminpb.StatusRequest{Partitions: partitionsTo(partitions)})
	return statusFrom(r), fromStatus(err)
}

// PutStorage implements [admin.Operator].
func (c *Client) PutStorage(ctx context.Context, s metadata.Storage, update bool) error {
	_, err := c.api.PutStorage(ctx, &adminpb.PutStorageRequest{Name: s.Name, Address: s.Address, Group: s.Group, Update: update})
	return fromStatus(err)
}

// DrainStorage implements [admin.Operator].
func (c *Client) DrainStorage(ctx context.Context, name string, undo bool) (int, error) {
	r, err := c.api.DrainStorage(ctx, &adminpb.DrainStorageRequest{Name: name, Undo: undo})
	return int(r.GetReplicas()), fromStatus(err)
}

// RemoveStorage implements [admin.Operator].
func (c *Client) RemoveStorage(ctx context.Context, name string) error {
	_, err := c.api.RemoveStorage(ctx, &adminpb.RemoveStorageRequest{Name: name})
	return fromStatus(err)
}

// Move implements [admin.Operator].
func (c *Client) Move(ctx context.Context, p txn.Partition, to []string) (admin.Change, []string, error) {
	r, err := c.api.Move(ctx, &adminpb.MoveRequest{Partition: int32(p), To: to})
	return changeFrom(r.GetChange()), r.GetWarnings(), fromStatus(err)
}

// Rebalance implements [admin.Operator].
func (c *Client) Rebalance(ctx context.Context, r admin.Rebalance) (admin.Plan, error) {
	plan, err := c.api.Rebalance(ctx, &adminpb.RebalanceRequest{DryRun: r.DryRun, Replicas: int32(r.Replicas), AtOnce: int32(r.AtOnce)})
	return admin.Plan{Changes: each(plan.GetChanges(), changeFrom), UnderWay: int(plan.GetUnderWay())}, fromStatus(err)
}

// ForceRecover implements [admin.Operator].
func (c *Client) ForceRecover(ctx context.Context, p txn.Partition, how admin.Recover) (admin.Report, error) {
	r, err := c.api.ForceRecover(ctx, &adminpb.ForceRecoverRequest{Partition: int32(p), AcceptDataLoss: how.Accept, Keep: how.Keep, Lost: how.Lost})
	if err != nil {
		return admin.Report{}, fromStatus(err)
	}
	report := reportFrom(r)
	if !report.Done {
		return report, fmt.Errorf("%w: nothing was changed: see what would be lost, and accept it", admin.ErrRefused)
	}
	return report, nil
}
