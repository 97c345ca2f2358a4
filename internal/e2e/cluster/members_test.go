package cluster_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/e2e/cluster"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/waltz"
)

// settled waits until a partition's members are its target, in an open session.
func settled(t *testing.T, c *cluster.Cluster, p txn.Partition, want ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var members []string
		for _, m := range c.M(p).Members {
			members = append(members, m.Storage)
		}
		slices.Sort(members)
		return slices.Equal(members, want)
	}, patience, time.Millisecond, "members become %v", want)
	c.Whole(patience)
}

// Replicas are added, removed and replaced under load, by every kind of set: no
// acknowledged append is lost, and nobody waits for a copy.
func TestReplicasChangeUnderLoad(t *testing.T) {
	c, m := start(t, cluster.Options{Storages: 6, Target: 3})
	o := c.Operate()
	m.Slowest()
	for _, to := range [][]string{
		{"s1", "s2", "s4"},             // one replaced
		{"s1", "s2", "s3", "s4", "s5"}, // two added, one of which was one before
		{"s3", "s6"},                   // all but one replaced, fewer
		{"s1", "s2", "s4"},             // all replaced
		{"s4"},                         // all but one removed
		{"s1", "s5", "s6"},
	} {
		_, _, err := o.Move(t.Context(), 0, to)
		require.NoError(t, err)
		settled(t, c, 0, to...)
		m.Progress(200, patience)
		t.Logf("to %v: the slowest append took %v", to, m.Slowest())
	}
	m.Judge(patience)
}

// A storage that is lost for good is replaced while the others go on.
func TestDeadStorageIsReplaced(t *testing.T) {
	c, m := start(t, cluster.Options{Storages: 4, Target: 3})
	o := c.Operate()
	c.Storages[1].Kill()
	m.Progress(200, patience)
	st, err := o.Status(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, admin.Degraded, st.States[0].Health)
	_, err = o.DrainStorage(t.Context(), "s2", false)
	require.NoError(t, err)
	require.ErrorIs(t, o.RemoveStorage(t.Context(), "s2"), admin.ErrRefused)
	plan, err := o.Rebalance(t.Context(), admin.Rebalance{})
	require.NoError(t, err)
	require.Len(t, plan.Changes, 1)
	require.Equal(t, []string{"s4"}, minus(plan.Changes[0].To, plan.Changes[0].From))
	settled(t, c, 0, "s1", "s3", "s4")
	plan, err = o.Rebalance(t.Context(), admin.Rebalance{})
	require.NoError(t, err)
	require.True(t, plan.Done())
	require.NoError(t, o.RemoveStorage(t.Context(), "s2"))
	st, err = o.Status(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, admin.OK, st.States[0].Health, "%+v", st.States[0])
	require.Len(t, st.Storages, 3)
	m.Judge(patience)
}

func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// A server dies while newcomers are copied to: the next one serves at once from the
// members, and goes on with the change.
func TestServerDiesWhileReplicasChange(t *testing.T) {
	c, m := start(t, cluster.Options{Storages: 6, Target: 3})
	o := c.Operate()
	for i, to := range [][]string{{"s4", "s5", "s6"}, {"s1", "s2", "s3"}, {"s1", "s4", "s5"}} {
		for _, s := range c.Storages {
			if slices.Contains(to, s.Name) {
				s.Slow(time.Duration(i+1) * time.Millisecond)
			}
		}
		_, _, err := o.Move(t.Context(), 0, to)
		require.NoError(t, err)
		c.Front().Kill()
		c.StartServer()
		m.Progress(50, patience)
		settled(t, c, 0, to...)
	}
	m.Judge(patience)
}

// Newcomers that don't answer, be it all of them, keep nobody waiting: appends go on, a
// server that takes over serves on the members, and the change can be given up, or is
// finished when they are there.
func TestNewcomerThatDoesNotAnswer(t *testing.T) {
	c, m := start(t, cluster.Options{Storages: 6, Target: 3})
	o := c.Operate()
	o.AskMax = 300 * time.Millisecond
	for i, silence := range []struct{ begin, end func(*cluster.Storage) }{
		{(*cluster.Storage).Hold, (*cluster.Storage).Mend},
		{(*cluster.Storage).Kill, (*cluster.Storage).Start},
	} {
		for _, to := range [][]string{{"s1", "s2", "s4"}, {"s4", "s5", "s6"}} {
			for _, s := range c.Storages[3:] {
				silence.begin(s)
			}
			_, _, err := o.Move(t.Context(), 0, to)
			require.NoError(t, err)
			m.Progress(100, patience)
			require.Eventually(t, func() bool { // a busy member may be late for an answer, too
				st, err := o.Status(t.Context(), nil)
				require.NoError(t, err)
				is := st.States[0]
				return is.Health == admin.Changing && is.Replicas[len(is.Replicas)-1].Problem != ""
			}, patience, time.Millisecond)
			if i == 0 {
				c.Front().Kill()
				c.StartServer()
				for _, s := range c.Storages[3:] {
					silence.begin(s) // the new server's link too
				}
			}
			m.Progress(100, patience)
			_, _, err = o.Move(t.Context(), 0, []string{"s1", "s2", "s3"})
			require.NoError(t, err)
			settled(t, c, 0, "s1", "s2", "s3")
			_, _, err = o.Move(t.Context(), 0, to)
			require.NoError(t, err)
			m.Progress(100, patience)
			for _, s := range c.Storages[3:] {
				silence.end(s)
			}
			settled(t, c, 0, to...)
			_, _, err = o.Move(t.Context(), 0, []string{"s1", "s2", "s3"})
			require.NoError(t, err)
			settled(t, c, 0, "s1", "s2", "s3")
		}
	}
	m.Judge(patience)
}

// Two of three storages are destroyed: the operator gives them up, and the log goes on
// with all that the third one had. Rivals that know of nothing are fenced.
func TestForcedRecovery(t *testing.T) {
	c, m := start(t, cluster.Options{Storages: 5, Target: 3})
	o := c.Operate()
	_, err := o.ForceRecover(t.Context(), 0, admin.Recover{Accept: true})
	require.ErrorIs(t, err, admin.ErrRefused, "the majority answers")
	m.Halt()
	c.Whole(patience)
	client := c.Dial()
	high, err := client.HighWaterMark(t.Context(), 0)
	require.NoError(t, err)
	c.Equal(0, high, patience) // so nothing that was acknowledged is gone
	before := c.M(0)
	for _, i := range []int{0, 2} {
		c.Storages[i].Stop()
		c.Storages[i].Wipe()
	}
	c.Storages[2].Start() // one comes back, empty: no vote
	require.Eventually(t, func() bool { l, ok := c.Front().Leader(0); return ok && !l.Open }, patience, time.Millisecond)

	report, err := o.ForceRecover(t.Context(), 0, admin.Recover{})
	require.ErrorIs(t, err, admin.ErrRefused)
	require.Equal(t, "s2", report.Recovery.Kept)
	require.Equal(t, high, report.Recovery.Last)
	require.Equal(t, []string{"s1", "s3"}, report.Recovery.Gone)
	require.NotEmpty(t, report.Losses)
	require.Empty(t, c.M(0).Recoveries, "nothing was changed")

	report, err = o.ForceRecover(t.Context(), 0, admin.Recover{Accept: true})
	require.NoError(t, err)
	require.True(t, report.Done)
	is := c.M(0)
	require.Equal(t, "s2", is.Recoveries[0].Kept)
	require.Greater(t, is.Session, before.Session)
	require.NoError(t, c.Front().Ready(t.Context()))
	id, err := client.Append(t.Context(), 0, waltz.Transaction{Data: []byte("after"), HighWaterMark: waltz.None})
	require.NoError(t, err)
	require.Equal(t, high+1, id, "the log goes on where it was")
	n := 0
	for r, err := range client.Read(t.Context(), 0, 0, high) {
		require.NoError(t, err)
		require.Equal(t, waltz.ID(n), r.ID)
		n++
	}
	require.Equal(t, int(high)+1, n)
	require.GreaterOrEqual(t, n, m.Acked())

	// Then the cluster is made whole again, without the one that stays away. A
	// storage that was wiped is a newcomer like any other.
	_, err = o.DrainStorage(t.Context(), "s1", false)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		plan, err := o.Rebalance(t.Context(), admin.Rebalance{Replicas: 3})
		return err == nil && plan.Done()
	}, patience, time.Millisecond, "the rebalance goes on to its end")
	c.Whole(patience)
	require.Len(t, c.M(0).Members, 3)
	require.Len(t, c.M(0).Recoveries, 1, "it is remembered")
}
