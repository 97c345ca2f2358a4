package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/waltz-log/waltz/internal/e2e/cluster"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/server"
	"github.com/waltz-log/waltz/storage"
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
	m := c.Contend(8, 200, 16)
	c.Whole(patience)
	m.Progress(200, patience)
	return c, m
}

// What makes a replica lost until it is filled again.
const (
	wiped  = "disk is wiped"
	closed = "journal is damaged while the storage is down"
)

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
		s.Restart(r.Uint64())
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
	"two disks are full": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		full := twoStorages(c, r)
		for _, s := range full {
			s.Fill()
		}
		idle(m)
		for _, s := range full {
			s.Empty()
		}
	},
	"two disks are full when server and storages are replaced": func(t *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		full := twoStorages(c, r)
		for _, s := range full {
			s.Fill()
		}
		idle(m)
		c.Front().Kill()
		for _, s := range full {
			if r.IntN(2) == 0 {
				s.Kill()
				s.Fill()
				startFull(t, s)
			}
		}
		c.StartServer()
		<-time.After(time.Duration(r.IntN(50)) * time.Millisecond) // of no importance but variety
		for _, s := range full {
			if s.Empty(); !s.Running() {
				s.Start()
			}
		}
	},
	"sync fails": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		failSync(s, r)
		s.StopsForGood(patience)
		m.Progress(50, patience)
		comeBack(s, m, r)
	},
	"sync fails on all disks": func(t *testing.T, c *cluster.Cluster, _ *cluster.Model, r *rand.Rand) {
		for _, s := range c.Storages {
			s.FailSync(vfs.OpDatasync, "*.journal", r.IntN(10))
		}
		require.Eventually(t, func() bool { // with two of them nothing goes on
			failed := slices.DeleteFunc(slices.Clone(c.Storages), func(s *cluster.Storage) bool { return s.Host().Err() == nil })
			return len(failed) >= 2
		}, patience, time.Millisecond)
		for _, s := range c.Storages {
			comeBack(s, nil, r)
		}
	},
	"segment is damaged while the storage is down": func(t *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Kill()
		s.Damage(0)
		m.Progress(50, patience)
		s.Start()
		repair(t, c, m, s)
	},
	closed: func(t *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		s := anyStorage(c, r)
		s.Kill()
		s.DamageJournal()
		m.Progress(50, patience)
		s.Start()
		repair(t, c, m, s)
	},
	"metadata fails": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		sound(c, m) // appends need the metadata to open a session only
		c.Suffer(anyOutage(r))
		m.Progress(100, patience)
		c.Suffer(cluster.NoOutage)
	},
	"metadata fails while a storage is away": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		sound(c, m)
		c.Suffer(anyOutage(r))
		s := anyStorage(c, r)
		s.Crash(r.Uint64())
		m.Progress(50, patience)
		s.Start() // it can't be recorded, and does not count
		m.Progress(50, patience)
		c.Suffer(cluster.NoOutage)
	},
	"metadata fails while the server is replaced": func(_ *testing.T, c *cluster.Cluster, _ *cluster.Model, r *rand.Rand) {
		c.Suffer(anyOutage(r))
		c.Front().Kill()
		c.StartServer()
		if r.IntN(2) == 0 {
			anyStorage(c, r).Restart(r.Uint64())
		}
		<-time.After(time.Duration(r.IntN(50)) * time.Millisecond) // of no importance but variety
		c.Suffer(cluster.NoOutage)
	},
	"server has lost the metadata and is replaced": func(_ *testing.T, c *cluster.Cluster, m *cluster.Model, r *rand.Rand) {
		old := c.Front()
		old.Metadata.Suffer(anyOutage(r))
		c.StartServer()                                            // of which the old one hears from storages only
		<-time.After(time.Duration(r.IntN(50)) * time.Millisecond) // of no importance but variety
		old.Clients.Break()
		m.Progress(50, patience)
		old.Metadata.Suffer(cluster.NoOutage)
		m.Progress(20, patience)
		old.Kill()
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
		old.Hold()
		c.StartServer()
		old.Clients.Break()
		m.Progress(50, patience)
		old.Kill()
	},
}

// sound waits until all storages are members that count, also one of which the server
// has not heard yet that it was restarted: what is appended from now on has to get
// there first.
func sound(c *cluster.Cluster, m *cluster.Model) {
	for p := range m.Partitions() {
		from := m.High(p)
		for m.High(p) == from {
			m.Progress(1, patience)
		}
		c.Equal(p, m.High(p), patience)
	}
	c.Whole(patience)
}

func anyOutage(r *rand.Rand) cluster.Outage {
	return []cluster.Outage{cluster.Failing, cluster.Hanging, cluster.Mute}[r.IntN(3)]
}

// failSync has a sync of one storage fail soon: the journal's, or one of those that
// free journal files.
func failSync(s *cluster.Storage, r *rand.Rand) {
	switch r.IntN(3) {
	case 0:
		s.FailSync(vfs.OpDatasync, "*.journal", r.IntN(50))
	case 1:
		s.FailSync(vfs.OpDatasync, "*.seg", 0)
		s.FailSync(vfs.OpSync, "*.seg", 0)
	case 2:
		s.FailSync(vfs.OpSyncDir, "", 0)
	}
}

// comeBack starts a storage whose sync failed from what is durable; or first only its
// process, on a machine that still shows what is not, and later the machine.
func comeBack(s *cluster.Storage, m *cluster.Model, r *rand.Rand) {
	if m != nil && r.IntN(2) == 0 {
		s.Kill()
		s.Start()
		m.Progress(50, patience)
	}
	s.Restart(r.Uint64())
}

// idle waits until nothing is appended for a while, or more than disks can take that
// are full.
func idle(m *cluster.Model) {
	for before, from := -1, m.Acked(); before != m.Acked() && m.Acked() < from+5000; {
		before = m.Acked()
		<-time.After(50 * time.Millisecond) // nothing depends on it
	}
}

// repair has a storage repaired.
func repair(t *testing.T, c *cluster.Cluster, m *cluster.Model, s *cluster.Storage) {
	t.Helper()
	began, err := time.Now(), s.Repair(c, m)
	for ; err != nil && time.Since(began) < patience; err = s.Repair(c, m) {
		<-time.After(10 * time.Millisecond) // the next try
	}
	require.NoError(t, err)
}

// startFull starts a storage on a full disk: it may need room for that, and then says
// what to do.
func startFull(t *testing.T, s *cluster.Storage) {
	if err := s.TryStart(); err != nil {
		require.ErrorIs(t, err, storage.ErrFull)
		require.ErrorContains(t, err, "make room and start it again")
	}
}

func twoStorages(c *cluster.Cluster, r *rand.Rand) []*cluster.Storage {
	not := r.IntN(len(c.Storages))
	return slices.Delete(slices.Clone(c.Storages), not, not+1)
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
				if name == wiped || name == closed || r.IntN(3) == 0 { // a wiped disk is one lost until it is filled
					sound(c, m)
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

// A range that is damaged on one storage is read, and copied, from another. Log and
// status name the command that repairs it.
func TestDamagedRange(t *testing.T) {
	t.Parallel()
	said := &remedies{}
	c, m := start(t, cluster.Options{Logger: slog.New(said)})
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

	_, err = c.Storages[0].Host().Storage().Scrub(t.Context())
	require.NoError(t, err)
	require.Contains(t, said.all(), "waltz storage repair --partition 0")
	require.Regexp(t, `^records \d+ to \d+ are damaged: waltz storage repair --storage s1:1 --partition 0 --source s2:1,s3:1$`, problem(t, c, 0))
	repair(t, c, m, c.Storages[0])
	require.Empty(t, problem(t, c, 0))
	m.Judge(patience)
}

// A damaged range is healed by the partition's server, from the others, beside running
// appends: nobody has to do anything (DESIGN: scrubbing in the background heals).
func TestDamageIsHealed(t *testing.T) {
	t.Parallel()
	c, m := start(t, cluster.Options{Server: func(o *server.Options) { o.HealEvery = 10 * time.Millisecond }})
	m.Progress(1000, patience)
	damaged := c.Storages[0]
	require.Eventually(t, func() bool { return damaged.Damage(0) }, patience, time.Millisecond)
	report, err := damaged.Host().Storage().Scrub(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, report.Damage)
	m.Progress(50, patience)
	require.Eventually(t, func() bool { return problem(t, c, 0) == "" }, patience, 10*time.Millisecond)
	report, err = damaged.Host().Storage().Scrub(t.Context())
	require.NoError(t, err)
	require.Empty(t, report.Damage)
	m.Judge(patience)
}

// So does a replica whose journal is damaged, which takes no part until it is reset.
func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	said := &remedies{}
	c, m := start(t, cluster.Options{Logger: slog.New(said)})
	m.Progress(500, patience)
	c.Storages[0].Kill()
	require.True(t, c.Storages[0].DamageJournal())
	c.Storages[0].Start()
	m.Progress(50, patience)
	require.Contains(t, said.all(), "waltz storage reset --partition 0 --keep")
	require.Equal(t, "its journal is damaged, it takes no messages: waltz storage reset --storage s1:1 --partition 0 --keep", problem(t, c, 0))
	repair(t, c, m, c.Storages[0])
	c.Whole(patience)
	require.Empty(t, problem(t, c, 0))
	m.Judge(patience)
}

// problem returns what the status says of one replica.
func problem(t *testing.T, c *cluster.Cluster, storage int) string {
	t.Helper()
	st, err := c.Operate().Status(t.Context(), nil)
	require.NoError(t, err)
	return st.States[0].Replicas[storage].Problem
}

// remedies is a log that keeps the remedies that it was told.
type remedies struct {
	mu   sync.Mutex
	said []string
}

func (r *remedies) Enabled(context.Context, slog.Level) bool { return true }
func (r *remedies) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *remedies) WithGroup(string) slog.Handler            { return r }
func (r *remedies) Handle(_ context.Context, rec slog.Record) error {
	rec.Attrs(func(a slog.Attr) bool {
		if a.Key == "remedy" {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.said = append(r.said, a.Value.String())
		}
		return true
	})
	return nil
}

func (r *remedies) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.said)
}
