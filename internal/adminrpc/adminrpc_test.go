package adminrpc_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/adminrpc"
	"github.com/waltz-log/waltz/internal/memnet"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// operator answers with what the test wants and remembers what it was asked.
type operator struct {
	status admin.Status
	change admin.Change
	plan   admin.Plan
	report admin.Report
	err    error
	asked  []any
}

func (o *operator) Status(_ context.Context, p []txn.Partition) (admin.Status, error) {
	o.asked = append(o.asked, p)
	return o.status, o.err
}

func (o *operator) PutStorage(_ context.Context, s metadata.Storage, update bool) error {
	o.asked = append(o.asked, s, update)
	return o.err
}

func (o *operator) DrainStorage(_ context.Context, name string, undo bool) (int, error) {
	o.asked = append(o.asked, name, undo)
	return 7, o.err
}

func (o *operator) RemoveStorage(_ context.Context, name string) error {
	o.asked = append(o.asked, name)
	return o.err
}

func (o *operator) Move(_ context.Context, p txn.Partition, to []string) (admin.Change, []string, error) {
	o.asked = append(o.asked, p, to)
	return o.change, []string{"careful"}, o.err
}

func (o *operator) Rebalance(_ context.Context, r admin.Rebalance) (admin.Plan, error) {
	o.asked = append(o.asked, r)
	return o.plan, o.err
}

func (o *operator) ForceRecover(_ context.Context, p txn.Partition, r admin.Recover) (admin.Report, error) {
	o.asked = append(o.asked, p, r)
	return o.report, o.err
}

// serve returns the operator as it is at the other end of a connection.
func serve(t *testing.T, o admin.Operator) admin.Operator {
	l, s := memnet.Listen("admin"), grpc.NewServer()
	adminrpc.Register(s, o)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///admin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.Dial(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		s.Stop()
		require.NoError(t, <-done)
	})
	return adminrpc.NewClient(conn)
}

// Everything arrives as it was said, in both directions.
func TestNothingIsLostOnTheWay(t *testing.T) {
	replica := admin.Replica{
		Storage: "s1", Role: admin.RoleMember, Recorded: 3, Problem: "p", Known: true, Incarnation: 1<<64 - 1,
		Promised: 5, Installed: 4, Last: -1, LastStamp: 2, Committed: -1, Lag: 9, Unfit: true,
	}
	recovery := session.Recovery{At: 1, Session: 2, Kept: "s1", Last: 3, LastStamp: 4, Installed: 5, Opened: 6, Gone: []string{"s2"}}
	o := &operator{
		status: admin.Status{
			ClusterKey: "k", ClusterName: "n", Partitions: 2, Replicas: 3,
			Storages: []admin.StorageStatus{{Storage: metadata.Storage{Name: "s1", Address: "a:1", Group: "g", State: metadata.Draining}, Replicas: 4, Problem: "x"}},
			States: []admin.PartitionState{{
				Partition: 1, Generation: 2, Session: 3, Opened: 4, Target: []string{"s1"}, Replicas: []admin.Replica{replica},
				Leader: &admin.Leader{Open: true, Session: 3, HighWaterMark: -1, Problem: "l"}, Health: admin.Degraded, Recoveries: []session.Recovery{recovery},
			}, {Replicas: []admin.Replica{}}},
		},
		change: admin.Change{Partition: 1, From: []string{"a"}, To: []string{"b"}, Next: []string{"a", "b"}, State: admin.Begun},
		plan:   admin.Plan{Changes: []admin.Change{{Partition: 1, State: admin.Waiting}}, UnderWay: 5},
		report: admin.Report{Partition: 1, Done: true, Recovery: recovery, Replicas: []admin.Replica{replica}, Losses: []string{"all"}},
	}
	c, ctx := serve(t, o), t.Context()
	status, err := c.Status(ctx, []txn.Partition{1, 2})
	require.NoError(t, err)
	require.Equal(t, o.status, status)
	require.NoError(t, c.PutStorage(ctx, metadata.Storage{Name: "s", Address: "a", Group: "g"}, true))
	n, err := c.DrainStorage(ctx, "s", true)
	require.NoError(t, err)
	require.Equal(t, 7, n)
	require.NoError(t, c.RemoveStorage(ctx, "s"))
	change, warnings, err := c.Move(ctx, 1, []string{"b"})
	require.NoError(t, err)
	require.Equal(t, o.change, change)
	require.Equal(t, []string{"careful"}, warnings)
	plan, err := c.Rebalance(ctx, admin.Rebalance{DryRun: true, Replicas: 3, AtOnce: 2})
	require.NoError(t, err)
	require.Equal(t, o.plan, plan)
	report, err := c.ForceRecover(ctx, 1, admin.Recover{Accept: true, Keep: "s1", Lost: []string{"s2"}})
	require.NoError(t, err)
	require.Equal(t, o.report, report)
	require.Equal(t, []any{
		[]txn.Partition{1, 2},
		metadata.Storage{Name: "s", Address: "a", Group: "g"},
		true, "s", true, "s", txn.Partition(1),
		[]string{"b"},
		admin.Rebalance{DryRun: true, Replicas: 3, AtOnce: 2},
		txn.Partition(1),
		admin.Recover{Accept: true, Keep: "s1", Lost: []string{"s2"}},
	}, o.asked)
}

// What an operator refuses is refused at the other end, in its words.
func TestErrorsKeepTheirKind(t *testing.T) {
	for _, kind := range []error{admin.ErrRefused, admin.ErrInvalid} {
		o := &operator{err: errors.Join(kind)}
		_, err := serve(t, o).Rebalance(t.Context(), admin.Rebalance{})
		require.ErrorIs(t, err, kind)
		require.Equal(t, o.err.Error(), err.Error())
	}
	_, err := serve(t, &operator{err: errors.New("disk on fire")}).Status(t.Context(), nil)
	require.EqualError(t, err, "disk on fire")
}

// What would be lost is told though it is refused.
func TestRefusedRecoveryTellsWhatItWouldDo(t *testing.T) {
	o := &operator{report: admin.Report{Partition: 1, Recovery: session.Recovery{Kept: "s1"}, Replicas: []admin.Replica{}}, err: admin.ErrRefused}
	report, err := serve(t, o).ForceRecover(t.Context(), 1, admin.Recover{})
	require.ErrorIs(t, err, admin.ErrRefused)
	require.Equal(t, "s1", report.Recovery.Kept)
}
