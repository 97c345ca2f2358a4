package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/waltz-log/waltz/internal/e2e/cluster"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/waltz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 60 * time.Second

// sized returns the short form's number, or the soak's with WALTZ_SOAK=1.
func sized(test, soak int) int {
	if os.Getenv("WALTZ_SOAK") == "1" {
		return soak
	}
	return test
}

// start starts a cluster under load.
func start(t *testing.T, o cluster.Options) (*cluster.Cluster, *cluster.Model) {
	t.Helper()
	o.Storage = cluster.Small
	if os.Getenv("WALTZ_TEST_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	c := cluster.New(t, o)
	c.StartServer()
	m := c.Load(8, 200)
	c.Whole(patience)
	m.Progress(200, patience)
	return c, m
}

const wiped = "disk is wiped"

// faults are what can happen to a cluster of three. Each is undone when it returns.
var faults = map[string]func(*testing.T, *cluster.Cluster, *cluster.Model, *rand.Rand){
	"storage loses what was not synced": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Crash(r.Uint64())
		m.Progress(100, patience)
		s.Start()
	},
	"all storages crash": func(_ *testing.T, c *cluster.Cluster, _ *cluster.Model, r *rand.Rand) {
		for _, s := range c.Storages {
			s.Crash(r.Uint64())
		}
		for _, s := range c.Storages {
			s.Start()
		}
	},
	"storage is killed": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Kill()
		m.Progress(100, patience)
		s.Start()
	},
	"storage is stopped": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Stop()
		m.Progress(100, patience)
		s.Start()
	},
	"storage is restarted at once": func(_ *testing.T, c *cluster.Cluster, _ *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Crash(r.Uint64())
		s.Start()
	},
	"link breaks": func(_ *testing.T, c *cluster.Cluster, _ *cluster.Model, r *rand.Rand) {
		for _, l := range anyStorage(c, r).Links() {
			l.Break()
		}
	},
	"link is cut": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Cut()
		m.Progress(100, patience)
		s.Mend()
	},
	"link is held up": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Hold()
		m.Progress(100, patience)
		s.Mend()
	},
	"disk is slow": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Slow(50 * time.Millisecond)
		m.Progress(300, patience)
		s.Slow(0)
	},
	wiped: func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Stop()
		s.Wipe()
		m.Progress(50, patience)
		s.Start()
	},
	"disk is full": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Fill()
		m.Progress(600, patience)
		s.Empty()
	},
	"majority is down": func(_ *testing.T, c *cluster.Cluster, _ *cluster.Model, r *rand.Rand) {
		down := r.IntN(3)
		for i, s := range c.Storages {
			if i != down {
				s.Crash(r.Uint64())
			}
		}
		<-time.After(time.Duration(r.IntN(50)) * time.Millisecond) // of no importance but variety
		for i, s := range c.Storages {
			if i != down {
				s.Start()
			}
		}
	},
	"server is killed": func(_ *testing.T, c *cluster.Cluster, _ *cluster.Model, _ *rand.Rand) {
		c.Front().Kill()
		c.StartServer()
	},
	"rival takes over": func(t *testing.T, c *cluster.Cluster, m *cluster.Model, _ *rand.Rand) {
		rival(t, c, m)
	},
	"rival takes over with a storage down": func(t *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Crash(r.Uint64())
		rival(t, c, m)
		s.Start()
	},
	"server is cut off and replaced": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, _ *rand.Rand) {
		old := c.Front()
		for _, s := range c.Storages {
			s.Links()[len(s.Links())-1].Hold()
		}
		c.StartServer()
		old.Clients.Break()
		m.Progress(50, patience)
		old.Kill()
	},
}

func anyStorage(c *cluster.Cluster, r *rand.Rand) *cluster.Storage {
	return c.Storages[r.IntN(len(c.Storages))]
}

// rival starts a server that takes over from one that runs, and asks the old one
// for the high-water mark all the while: it may not know, but it may not say less
// than was acknowledged before it was asked (I8).
func rival(t *testing.T, c *cluster.Cluster, m *cluster.Model) {
	old := c.Front()
	conn, err := grpc.NewClient("passthrough:///old", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(old.Clients.Dial))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	stale := clientpb.NewWaltzClient(conn)
	c.StartServer()
	asking := time.Now()
	for i := 0; time.Since(asking) < 100*time.Millisecond; i++ {
		if i == 3 {
			old.Clients.Break() // clients go to the rival
		}
		before := m.High(0)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		answer, err := stale.HighWaterMark(ctx, &clientpb.HighWaterMarkRequest{})
		cancel()
		require.True(t, err != nil || txn.ID(answer.GetHighWaterMark()) >= before, "%d was acknowledged, a stale server says %v", before, answer)
	}
	old.Kill()
}

// Every fault alone: clients see nothing of it but time, and in the end all
// replicas are equal.
func TestFault(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, m := start(t, cluster.Options{})
			r := rand.New(rand.NewPCG(1, uint64(len(name))))
			for range sized(1, 20) {
				fault(t, c, m, r)
				m.Progress(100, patience)
				c.Whole(patience)
			}
			m.Judge(patience)
		})
	}
}

// Faults one upon the other, of which the one before has not healed, as a seed
// draws them.
func TestFaults(t *testing.T) {
	names := slices.Sorted(maps.Keys(faults))
	for seed := range uint64(sized(2, 100)) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			c, m := start(t, cluster.Options{Partitions: 3})
			r := rand.New(rand.NewPCG(seed, 4))
			for range sized(5, 40) {
				name := names[r.IntN(len(names))]
				t.Log(name)
				faults[name](t, c, m, r)
				m.Progress(20, patience)
				if name == wiped || r.IntN(3) == 0 { // a wiped disk is one lost until it is filled
					c.Whole(patience)
				}
			}
			m.Progress(100, patience)
			m.Judge(patience)
		})
	}
}

// All disks full: appends wait, reads go on; with room all goes on by itself.
func TestAllDisksFull(t *testing.T) {
	t.Parallel()
	c, m := start(t, cluster.Options{})
	for _, s := range c.Storages {
		s.Fill()
	}
	require.Eventually(t, func() bool { return c.Front().Stats().Partitions[0].Stalled }, patience, time.Millisecond)
	client := c.Dial()
	high, err := client.HighWaterMark(t.Context(), 0)
	require.NoError(t, err)
	_, err = client.Fetch(t.Context(), 0, []waltz.ID{0, high})
	require.NoError(t, err)
	for _, s := range c.Storages {
		s.Empty()
	}
	m.Progress(100, patience)
	m.Judge(patience)
}

// A range that is damaged on one storage is read, and copied, from another.
func TestDamagedRange(t *testing.T) {
	t.Parallel()
	c, m := start(t, cluster.Options{})
	m.Progress(1000, patience)
	require.Eventually(t, func() bool { return c.Storages[0].Damage(0) }, patience, time.Millisecond)
	client := c.Dial()
	high, err := client.HighWaterMark(t.Context(), 0)
	require.NoError(t, err)
	for range 4 {
		n := txn.ID(0)
		for r, err := range client.Read(t.Context(), 0, 0, high) {
			require.NoError(t, err)
			require.Equal(t, n, r.ID)
			n++
		}
	}
	c.Storages[2].Stop()
	c.Storages[2].Wipe()
	c.Storages[2].Start()
	c.Whole(patience)
	m.Progress(50, patience)
	m.Halt()
	high = m.High(0)
	good, err := c.Storages[1].Records(t.Context(), 0, high)
	require.NoError(t, err)
	require.Eventually(t, func() bool { l, err := c.Storages[2].Last(0); return err == nil && l >= high }, patience, time.Millisecond)
	filled, err := c.Storages[2].Records(t.Context(), 0, high)
	require.NoError(t, err)
	require.True(t, string(good) == string(filled))
	_, err = c.Storages[0].Records(t.Context(), 0, high)
	require.Error(t, err, "nothing was damaged")
}
