package placement_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/placement"
)

// drawStorages draws storages s0, s1, … in groups.
func drawStorages(t *rapid.T, n, groups int) []placement.Storage {
	var all []placement.Storage
	for i := range n {
		all = append(all, placement.Storage{
			Name: fmt.Sprintf("s%02d", i), Group: fmt.Sprintf("g%d", rapid.IntRange(0, groups-1).Draw(t, "group")),
		})
	}
	return all
}

// apply returns the targets that a plan leads to.
func apply(targets [][]string, moves []placement.Move) [][]string {
	after := slices.Clone(targets)
	for _, m := range moves {
		after[m.Partition] = m.To
	}
	return after
}

// situation is a cluster that was planned once, and then changed.
type situation struct {
	storages []placement.Storage
	replicas int
	targets  [][]string
}

// drawSituation lets storages come, go and drain between plans, the last one of
// which is left to the caller.
func drawSituation(t *rapid.T) situation {
	c := situation{
		storages: drawStorages(t, rapid.IntRange(1, 9).Draw(t, "storages"), rapid.IntRange(1, 9).Draw(t, "groups")),
		replicas: rapid.IntRange(1, 5).Draw(t, "replicas"),
		targets:  make([][]string, rapid.IntRange(1, 40).Draw(t, "partitions")),
	}
	if rapid.Bool().Draw(t, "by hand") {
		for p := range c.targets {
			for _, s := range c.storages {
				if rapid.Bool().Draw(t, "has") {
					c.targets[p] = append(c.targets[p], s.Name)
				}
			}
		}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "changes") {
		moves, err := placement.Plan(c.storages, c.replicas, c.targets)
		if err != nil {
			break
		}
		c.targets = apply(c.targets, moves)
		c.change(t, i)
	}
	return c
}

func (c *situation) change(t *rapid.T, i int) {
	switch rapid.IntRange(0, 3).Draw(t, "change") {
	case 0:
		c.storages = append(c.storages, placement.Storage{Name: fmt.Sprintf("new%d", i), Group: fmt.Sprintf("g%d", rapid.IntRange(0, 9).Draw(t, "group"))})
	case 1:
		k := rapid.IntRange(0, len(c.storages)-1).Draw(t, "gone")
		c.storages = slices.Delete(slices.Clone(c.storages), k, k+1)
	case 2:
		c.storages = slices.Clone(c.storages)
		k := rapid.IntRange(0, len(c.storages)-1).Draw(t, "drain")
		c.storages[k].Draining = !c.storages[k].Draining
	case 3:
		c.replicas = rapid.IntRange(1, 5).Draw(t, "replicas")
	}
	if len(c.storages) == 0 {
		c.storages = drawStorages(t, 1, 1)
	}
}

func (c situation) able() (able []placement.Storage, groups map[string][]string) {
	groups = map[string][]string{}
	for _, s := range c.storages {
		if !s.Draining {
			able = append(able, s)
			groups[s.Group] = append(groups[s.Group], s.Name)
		}
	}
	return able, groups
}

// Rules 1 and 2: as many replicas as asked for, on storages that take them, never
// two in a group if there are as many groups, and as few as possible else.
func TestPlanPlacesReplicasApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawSituation(t)
		able, groups := c.able()
		moves, err := placement.Plan(c.storages, c.replicas, c.targets)
		if len(able) == 0 {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		for p, target := range apply(c.targets, moves) {
			require.Len(t, target, min(c.replicas, len(able)), "partition %d", p)
			require.Len(t, slices.Compact(slices.Sorted(slices.Values(target))), len(target))
			crowd := map[string]int{}
			for _, name := range target {
				i := slices.IndexFunc(able, func(s placement.Storage) bool { return s.Name == name })
				require.GreaterOrEqual(t, i, 0, "%s takes no replicas", name)
				crowd[able[i].Group]++
			}
			for group, n := range crowd {
				require.LessOrEqual(t, n, groupMax(groups, min(c.replicas, len(able))), "partition %d has %d in %s", p, n, group)
			}
		}
	})
}

// groupMax is the naive answer to how many replicas must share a group.
func groupMax(groups map[string][]string, replicas int) int {
	for limit := 1; ; limit++ {
		room := 0
		for _, storages := range groups {
			room += min(limit, len(storages))
		}
		if room >= replicas {
			return limit
		}
	}
}

func loads(able []placement.Storage, targets [][]string) map[string]int {
	loads := map[string]int{}
	for _, s := range able {
		loads[s.Name] = 0
	}
	for _, target := range targets {
		for _, name := range target {
			loads[name]++
		}
	}
	return loads
}

// spread returns the sum of the squares of all loads: the less the more even.
func spread(loads map[string]int) (sum int) {
	for _, n := range loads {
		sum += n * n
	}
	return sum
}

// Rule 3, where every storage is a group of its own: give or take one.
func TestPlanIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawSituation(t)
		for i := range c.storages {
			c.storages[i].Group = c.storages[i].Name
		}
		able, _ := c.able()
		if len(able) == 0 {
			return
		}
		moves, err := placement.Plan(c.storages, c.replicas, c.targets)
		require.NoError(t, err)
		low, high := len(c.targets)*c.replicas, 0
		for _, n := range loads(able, apply(c.targets, moves)) {
			low, high = min(low, n), max(high, n)
		}
		require.LessOrEqual(t, high-low, 1)
	})
}

// Rule 3, with groups as they come: no other placement of these few partitions is
// more even, as trying all of them shows.
func TestPlanIsAsEvenAsGroupsAllow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := situation{
			storages: drawStorages(t, rapid.IntRange(1, 5).Draw(t, "storages"), rapid.IntRange(1, 4).Draw(t, "groups")),
			replicas: rapid.IntRange(1, 3).Draw(t, "replicas"),
			targets:  make([][]string, rapid.IntRange(1, 5).Draw(t, "partitions")),
		}
		able, groups := c.able()
		moves, err := placement.Plan(c.storages, c.replicas, c.targets)
		require.NoError(t, err)
		got := spread(loads(able, apply(c.targets, moves)))
		sets := allowed(able, groups, min(c.replicas, len(able)))
		require.Equal(t, leastSpread(able, sets, len(c.targets)), got)
	})
}

// allowed returns every set of storages that one partition may have.
func allowed(able []placement.Storage, groups map[string][]string, replicas int) (sets [][]string) {
	most := groupMax(groups, replicas)
	for bits := range 1 << len(able) {
		var set []string
		crowd, ok := map[string]int{}, true
		for i, s := range able {
			if bits&(1<<i) != 0 {
				set = append(set, s.Name)
				crowd[s.Group]++
				ok = ok && crowd[s.Group] <= most
			}
		}
		if ok && len(set) == replicas {
			sets = append(sets, set)
		}
	}
	return sets
}

// leastSpread tries all combinations; what differs in order only is one.
func leastSpread(able []placement.Storage, sets [][]string, partitions int) int {
	states := map[string]map[string]int{"": loads(able, nil)}
	for range partitions {
		next := map[string]map[string]int{}
		for _, before := range states {
			for _, set := range sets {
				after := loads(able, [][]string{set})
				for name, n := range before {
					after[name] += n
				}
				next[fmt.Sprint(after)] = after
			}
		}
		states = next
	}
	least := -1
	for _, state := range states {
		if s := spread(state); least < 0 || s < least {
			least = s
		}
	}
	return least
}

// Rule 4: a plan that was carried out is followed by an empty one.
func TestPlanIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawSituation(t)
		if able, _ := c.able(); len(able) == 0 {
			return
		}
		moves, err := placement.Plan(c.storages, c.replicas, c.targets)
		require.NoError(t, err)
		again, err := placement.Plan(c.storages, c.replicas, c.targets)
		require.NoError(t, err)
		require.Equal(t, moves, again, "it is not deterministic")
		more, err := placement.Plan(c.storages, c.replicas, apply(c.targets, moves))
		require.NoError(t, err)
		require.Empty(t, more)
	})
}

// Rule 4: from a balanced cluster, one storage more or less moves the replicas that
// it has, after or before; now and then one or two more, to be even to the last.
func TestOneStorageMovesItsShareOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 9).Draw(t, "storages")
		storages := drawStorages(t, n, 1)
		for i := range storages {
			storages[i].Group = storages[i].Name
		}
		replicas := rapid.IntRange(1, min(5, n-1)).Draw(t, "replicas")
		targets, err := placement.Place(storages[1:], replicas, rapid.IntRange(1, 60).Draw(t, "partitions"))
		require.NoError(t, err)

		moves, err := placement.Plan(storages, replicas, targets)
		require.NoError(t, err)
		targets = apply(targets, moves)
		require.Equal(t, loads(storages, targets)["s00"], added(moves), "s00 comes")

		storages[0].Draining = rapid.Bool().Draw(t, "drain")
		left := storages
		if !storages[0].Draining {
			left = storages[1:]
		}
		share := loads(storages, targets)["s00"]
		moves, err = placement.Plan(left, replicas, targets)
		require.NoError(t, err)
		require.GreaterOrEqual(t, added(moves), share)
		require.LessOrEqual(t, added(moves), share+2, "s00 goes with %d", share)
	})
}

func added(moves []placement.Move) (n int) {
	for _, m := range moves {
		n += len(m.Add())
	}
	return n
}

// Every step keeps a majority of what was there, and they lead to the goal.
func TestStepsKeepAMajority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}), 1, 7, rapid.ID).Draw(t, label)
		}
		now, goal := draw("from"), draw("goal")
		for steps := 0; !same(now, goal); steps++ {
			require.Less(t, steps, 10)
			next := placement.Step(now, goal)
			kept := 0
			for _, s := range now {
				if slices.Contains(next, s) {
					kept++
				}
			}
			if len(now) != 2 || len(next) != 1 {
				require.Greater(t, 2*kept, len(now), "%v to %v", now, next)
			}
			require.Positive(t, kept)
			require.LessOrEqual(t, len(next), max(len(now), len(goal))+1)
			now = next
		}
	})
}

func same(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func TestPlanRefusesWhatItCannotPlace(t *testing.T) {
	_, err := placement.Plan([]placement.Storage{{Name: "a", Draining: true}}, 1, nil)
	require.ErrorContains(t, err, "no storage takes replicas")
	_, err = placement.Plan([]placement.Storage{{Name: "a"}}, 0, nil)
	require.ErrorContains(t, err, "want at least 1")
	_, err = placement.Plan([]placement.Storage{{Name: "a"}, {Name: "a"}}, 1, nil)
	require.ErrorContains(t, err, "twice")
}

func TestMoveKeepsTheOrderOfWhatStays(t *testing.T) {
	storages := []placement.Storage{{Name: "a", Group: "a"}, {Name: "b", Group: "b", Draining: true}, {Name: "c", Group: "c"}, {Name: "d", Group: "d"}}
	moves, err := placement.Plan(storages, 3, [][]string{{"c", "b", "a"}})
	require.NoError(t, err)
	require.Equal(t, []placement.Move{{Partition: 0, From: []string{"c", "b", "a"}, To: []string{"c", "a", "d"}}}, moves)
	require.Equal(t, []string{"d"}, moves[0].Add())
	require.Equal(t, []string{"b"}, moves[0].Remove())
}

func BenchmarkPlan(b *testing.B) {
	for _, partitions := range []int{64, 1024, 16384} {
		b.Run(fmt.Sprintf("partitions=%d", partitions), func(b *testing.B) {
			var storages []placement.Storage
			for i := range 30 {
				storages = append(storages, placement.Storage{Name: fmt.Sprintf("s%02d", i), Group: fmt.Sprintf("g%d", i%5)})
			}
			targets, err := placement.Place(storages[1:], 3, partitions)
			require.NoError(b, err)
			for b.Loop() {
				_, err := placement.Plan(storages, 3, targets)
				require.NoError(b, err)
			}
		})
	}
}
