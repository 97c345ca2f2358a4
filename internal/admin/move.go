package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/waltz-log/waltz/internal/placement"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

// Change is what is to become of one partition's replicas.
type Change struct {
	Partition txn.Partition `json:"partition"`
	From      []string      `json:"from"`
	To        []string      `json:"to"`
	Next      []string      `json:"next"`  // the step that is taken first: it keeps a majority of From, unless a Move was asked for
	State     string        `json:"state"` // planned, begun, waiting
}

// States of a [Change].
const (
	Planned = "planned" // nothing was done
	Begun   = "begun"   // Next is the target now
	Waiting = "waiting" // others have to be finished first
)

// Move implements [Operator].
func (c *Cluster) Move(ctx context.Context, p txn.Partition, to []string) (Change, []string, error) {
	var storages []metadata.Storage
	change := Change{Partition: p, To: to, Next: to, State: Begun}
	err := c.change(ctx, p, func(m *metadata.PartitionState) (err error) {
		if storages, err = c.mayHave(ctx, *m, to); err != nil {
			return err
		}
		change.From = slices.Clone(m.Target)
		m.Target = slices.Clone(to)
		return nil
	})
	if err != nil {
		return Change{}, nil, err
	}
	c.logger().Info("target changed", "partition", p, "from", change.From, "to", to)
	return change, warnings(storages, change), nil
}

// mayHave returns the storages, unless a partition's replicas may not be on a set of
// them. It is called for each attempt at a change: a storage may have been removed
// since the last one.
func (c *Cluster) mayHave(ctx context.Context, m metadata.PartitionState, set []string) ([]metadata.Storage, error) {
	storages, err := metadata.ListStorages(ctx, c.Metadata)
	if err != nil {
		return nil, err
	}
	if err := checkSet(storages, set); err != nil {
		return nil, err
	}
	for _, name := range set {
		if find(storages, name).State == metadata.Draining && !slices.Contains(m.Replicas(), name) {
			return nil, refusef("storage %s is draining: no replica may come there", name)
		}
	}
	return storages, nil
}

func checkSet(storages []metadata.Storage, set []string) error {
	if len(set) == 0 || len(set) > metadata.ReplicasMax {
		return invalidf("%d storages, want 1 to %d", len(set), metadata.ReplicasMax)
	}
	for i, name := range set {
		if find(storages, name).Name == "" {
			return invalidf("there is no storage %q; add it first", name)
		}
		if slices.Contains(set[:i], name) {
			return invalidf("storage %q is named twice", name)
		}
	}
	return nil
}

func find(storages []metadata.Storage, name string) metadata.Storage {
	if i := slices.IndexFunc(storages, func(s metadata.Storage) bool { return s.Name == name }); i >= 0 {
		return storages[i]
	}
	return metadata.Storage{}
}

// warnings says what is unwise about a change that an operator asks for.
func warnings(storages []metadata.Storage, change Change) (all []string) {
	groups := map[string][]string{}
	for _, name := range change.To {
		s := find(storages, name)
		groups[s.Group] = append(groups[s.Group], name)
		if s.State == metadata.Draining {
			all = append(all, fmt.Sprintf("storage %s is draining", name))
		}
	}
	for _, name := range change.To {
		group := find(storages, name).Group
		if together := groups[group]; len(together) > 1 && together[0] == name {
			all = append(all, fmt.Sprintf("storages %s are in one group, %s: they may fail together", strings.Join(together, ", "), group))
		}
	}
	if !sameSet(placement.Step(change.From, change.To), change.To) {
		all = append(all, "less than a majority of the replicas stays: if what the newcomers are copied turns out bad, the old ones are still there until you remove them")
	}
	if len(change.To)%2 == 0 {
		all = append(all, fmt.Sprintf("%d replicas survive the loss of no more than %d do", len(change.To), len(change.To)-1))
	}
	return all
}
