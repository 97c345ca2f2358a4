package admin

import (
	"context"
	"fmt"
	"slices"

	"github.com/waltz-log/waltz/internal/placement"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

// Rebalance says how to.
type Rebalance struct {
	DryRun   bool // plan only
	Replicas int  // of each partition from now on; 0: as it is
	AtOnce   int  // partitions that change at a time, so that copying leaves the disks to appends; default 4
}

const atOnceDefault = 4

// Plan is what a rebalance does, and what it leaves for later calls.
type Plan struct {
	Changes  []Change `json:"changes"`
	UnderWay int      `json:"under_way"` // partitions whose members are not their target, those just begun included
}

// Done reports whether there is nothing left to do or to wait for.
func (p Plan) Done() bool { return len(p.Changes) == 0 && p.UnderWay == 0 }

// Rebalance implements [Operator]. A change that keeps no majority of a partition's
// replicas is made in steps that do; each call takes the next one, when the one
// before is finished.
func (c *Cluster) Rebalance(ctx context.Context, r Rebalance) (Plan, error) {
	if r.AtOnce == 0 {
		r.AtOnce = atOnceDefault
	}
	if r.AtOnce < 0 || r.Replicas < 0 || r.Replicas > metadata.ReplicasMax {
		return Plan{}, invalidf("%d at once, %d replicas; want at least 1, and at most %d", r.AtOnce, r.Replicas, metadata.ReplicasMax)
	}
	storages, err := metadata.ListStorages(ctx, c.Metadata)
	if err != nil {
		return Plan{}, err
	}
	if len(storages) == 0 {
		return Plan{}, refusef("the metadata names no storage")
	}
	replicas, err := c.replication(ctx, r)
	if err != nil {
		return Plan{}, err
	}
	_, states, err := c.states(ctx)
	if err != nil {
		return Plan{}, err
	}
	var targets [][]string
	for _, m := range states {
		targets = append(targets, m.Target)
	}
	moves, err := placement.Plan(places(storages), replicas, targets)
	if err != nil {
		return Plan{}, refusef("%w", err)
	}
	return c.begin(ctx, r, states, moves)
}

// replication returns how many replicas there should be, and stores it if that is new.
func (c *Cluster) replication(ctx context.Context, r Rebalance) (int, error) {
	is, version, err := metadata.LoadReplication(ctx, c.Metadata)
	if err != nil || r.Replicas == 0 || r.Replicas == is.Replicas {
		return is.Replicas, err
	}
	if !r.DryRun {
		_, err = metadata.SaveReplication(ctx, c.Metadata, metadata.Replication{Replicas: r.Replicas}, version)
	}
	return r.Replicas, err
}

// begin makes the first steps of a plan, as many as may be under way at once.
func (c *Cluster) begin(ctx context.Context, r Rebalance, states []metadata.PartitionState, moves []placement.Move) (Plan, error) {
	plan := Plan{Changes: []Change{}}
	for _, m := range states {
		if changing(m) {
			plan.UnderWay++
		}
	}
	for _, move := range moves {
		change := Change{
			Partition: txn.Partition(move.Partition), From: move.From, To: move.To,
			Next: placement.Step(move.From, move.To), State: Planned,
		}
		if !r.DryRun {
			change.State = Waiting
			if plan.UnderWay < r.AtOnce && !changing(states[move.Partition]) {
				if err := c.step(ctx, change); err != nil {
					return plan, err
				}
				change.State = Begun
				plan.UnderWay++
			}
		}
		plan.Changes = append(plan.Changes, change)
	}
	return plan, nil
}

// changing reports whether a partition's members are not its target. One that has
// never been opened has none to change.
func changing(m metadata.PartitionState) bool {
	return len(m.Members) > 0 && !sameSet(memberNames(m), m.Target)
}

func (c *Cluster) step(ctx context.Context, change Change) error {
	err := c.change(ctx, change.Partition, func(m *metadata.PartitionState) error {
		if !sameSet(m.Target, change.From) {
			return refusef("partition %d was changed by somebody else meanwhile", change.Partition)
		}
		if _, err := c.mayHave(ctx, *m, change.Next); err != nil {
			return fmt.Errorf("plan of partition %d: %w", change.Partition, err)
		}
		m.Target = slices.Clone(change.Next)
		return nil
	})
	if err == nil {
		c.logger().Info("target changed", "partition", change.Partition, "from", change.From, "to", change.Next, "goal", change.To)
	}
	return err
}
