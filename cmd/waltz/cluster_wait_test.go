package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/txn"
)

// waiting is an operator whose change never ends by itself.
type waiting struct {
	admin.Operator
	states []admin.PartitionState // of one look after the other; the last one stays
}

func (w *waiting) Rebalance(context.Context, admin.Rebalance) (admin.Plan, error) {
	return admin.Plan{UnderWay: 1}, nil
}

func (w *waiting) Status(context.Context, []txn.Partition) (admin.Status, error) {
	s := admin.Status{States: w.states[:1]}
	w.states = w.states[min(1, len(w.states)-1):]
	return s, nil
}

// Who waits for a change hears of a replica that is in its way for good.
func TestWaitingEnds(t *testing.T) {
	kept := admin.Replica{Storage: "s1", Role: admin.RoleMember}
	target := []string{"s1", "s2"}
	copied := admin.PartitionState{Partition: 3, Target: target, Replicas: []admin.Replica{kept, {Storage: "s2", Role: admin.RoleNewcomer, Problem: "is down"}}}
	unfit := admin.PartitionState{Partition: 3, Target: target, Replicas: []admin.Replica{kept, {Storage: "s2", Role: admin.RoleNewcomer, Unfit: true, Problem: "reset it"}}}
	arrived := admin.PartitionState{Partition: 3, Target: target, Replicas: []admin.Replica{kept, {Storage: "s2", Role: admin.RoleMember}}}
	const want = "partition 3 can't have a replica on storage s2: reset it"
	ctx := t.Context()
	require.EqualError(t, goOn(ctx, &waiting{states: []admin.PartitionState{unfit}}, admin.Rebalance{}), want)
	require.EqualError(t, arrive(ctx, &waiting{states: []admin.PartitionState{copied, unfit}}, 3), want)
	require.NoError(t, arrive(ctx, &waiting{states: []admin.PartitionState{copied, arrived}}, 3))
	late, cancel := context.WithCancel(ctx)
	cancel()
	const waits = "waits for storage s2 (is down); to give that up: waltz cluster move --partition 3 --to s1"
	err := arrive(late, &waiting{states: []admin.PartitionState{copied}}, 3)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, waits)
	soon, cancel := context.WithTimeout(ctx, rebalancePoll*(stuckPolls+2))
	defer cancel()
	err = goOn(soon, &waiting{states: []admin.PartitionState{copied}}, admin.Rebalance{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "1 partitions are under way")
	require.ErrorContains(t, err, "partition 3 "+waits)
}
