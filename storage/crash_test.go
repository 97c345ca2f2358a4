package storage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// soak reports whether the long form of the tests is wanted.
func soak() bool { return os.Getenv("WALTZ_SOAK") != "" }

// Random workloads on a file system that crashes at every single sync, before it
// takes effect. Each image is opened and compared with the model; then closed and
// opened again, which must change nothing. Some images crash again while they
// are recovered.
func TestCrashAtEverySyncPoint(t *testing.T) {
	atLeast := 300
	if soak() {
		atLeast = 12_000
	}
	workloads, points := 0, 0
	for seed := uint64(1); points < atLeast; seed++ {
		points += crashWorkload(t, seed)
		workloads++
	}
	t.Logf("workloads × sync points = %d × %.0f = %d", workloads, float64(points)/float64(workloads), points)
}

// image is a crashed file system and what the model knew at that moment.
type image struct {
	fs *vfs.Mem
	at cut
}

// camera takes an image at every sync.
type camera struct {
	mu     sync.Mutex
	m      *model
	seed   uint64
	images []image
}

func (c *camera) watch(fsys *vfs.Mem) {
	fsys.SetSyncHook(func(vfs.Op, string) { c.shoot(fsys) })
}

// shoot takes an image. What was answered before it must be in it, and nothing
// that was given only after it.
func (c *camera) shoot(fsys *vfs.Mem) {
	answered := c.m.countAnswered()
	c.mu.Lock()
	c.seed++
	seed := c.seed
	c.mu.Unlock()
	fs := fsys.CrashClone(seed)
	i := image{fs: fs, at: cut{answered: answered, given: c.m.countGiven()}}
	c.mu.Lock()
	c.images = append(c.images, i)
	c.mu.Unlock()
}

// crashWorkload runs one workload and checks all its images; it returns how many.
func crashWorkload(t *testing.T, seed uint64) int {
	d := newDriver(t, seed)
	cam := &camera{m: d.m, seed: seed << 20}
	d.cam = cam
	cam.watch(d.fs)
	d.open()
	for range 25 {
		d.step()
	}
	d.close()
	cam.shoot(d.fs)
	for i, img := range cam.images {
		checkImage(t, d.m, img, fmt.Sprintf("seed %d, sync point %d", seed, i), d.rnd.IntN(8) == 0)
	}
	return len(cam.images)
}

// checkImage opens an image and compares it with the model, twice.
func checkImage(t *testing.T, m *model, img image, name string, again bool) {
	t.Helper()
	o := tiny(img.fs)
	var nested []image
	if again {
		cam := &camera{m: m, seed: 99}
		cam.watch(img.fs)
		defer func() {
			for i, n := range nested {
				checkImage(t, m, n, fmt.Sprintf("%s, then sync point %d of the recovery", name, i), false)
			}
		}()
		defer func() {
			for _, n := range cam.images {
				nested = append(nested, image{fs: n.fs, at: img.at})
			}
		}()
	}
	s, err := storage.Open(context.Background(), o)
	require.NoError(t, err, name)
	require.Empty(t, s.Damage(), name)
	first := checkState(t, m, s, img.at, name)
	require.NoError(t, s.Close(), name)
	img.fs.SetSyncHook(nil)

	s, err = storage.Open(context.Background(), o)
	require.NoError(t, err, name)
	require.Equal(t, first, checkState(t, m, s, img.at, name+", opened again"), name)
	require.NoError(t, s.Close(), name)
}

// checkState finds the prefix of the model that the storage is at.
func checkState(t *testing.T, m *model, s *storage.Storage, at cut, name string) []int {
	t.Helper()
	var found []int
	for p := range m.partitions {
		promise, err := s.State(txn.Partition(p))
		if err != nil {
			require.ErrorIs(t, err, storage.ErrNoReplica, name)
			require.Zero(t, at.answered[p], "%s: partition %d is gone", name, p)
			found = append(found, 0)
			continue
		}
		if at.answered[p] > 0 {
			require.Equal(t, m.partitions[p].self, promise.Replica.Incarnation, name)
		}
		found = append(found, matching(t, m, p, at, promise, readAll(t, s, txn.Partition(p), 4096), name))
	}
	return found
}

func matching(t *testing.T, m *model, p int, at cut, promise session.Promise, log record.Frame, name string) int {
	t.Helper()
	var why string
	for k := at.given[p]; k >= max(at.answered[p], 1); k-- {
		diff := m.state(p, k).same(promise, log)
		if diff == "" {
			return k
		}
		why += fmt.Sprintf("\nafter %d steps: %s", k, diff)
	}
	require.Failf(t, "no prefix matches", "%s: partition %d, answered %d, given %d:%s", name, p, at.answered[p], at.given[p], why)
	return 0
}

func tiny(fsys vfs.FS) storage.Options {
	o := small(fsys)
	o.JournalFileBytes, o.SegmentBytes, o.FlushBytes = 24<<10, 4<<10, 4<<10
	return o
}

// driver gives random steps to a storage and to the model.
type driver struct {
	t       *testing.T
	rnd     *rand.Rand
	fs      *vfs.Mem
	cam     *camera
	m       *model
	s       *storage.Storage
	members []*member
	number  txn.SessionID
}

const crashPartitions = 3

func newDriver(t *testing.T, seed uint64) *driver {
	return &driver{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), fs: vfs.NewMem(), m: newModel(crashPartitions),
		members: make([]*member, crashPartitions),
	}
}

func (d *driver) open() {
	s, err := storage.Open(context.Background(), tiny(d.fs))
	require.NoError(d.t, err)
	require.Empty(d.t, s.Damage())
	d.s = s
	for p := range d.members {
		d.members[p] = nil
	}
}

func (d *driver) close() { require.NoError(d.t, d.s.Close()) }

func (d *driver) step() {
	p := d.rnd.IntN(crashPartitions)
	switch n := d.rnd.IntN(20); {
	case d.members[p] == nil || n == 0:
		d.join(p)
	case n == 1:
		d.restart()
	case n == 2:
		d.kill()
	default:
		d.appends()
	}
}

// join opens a new session: promise, perhaps truncate, perhaps copy, install.
func (d *driver) join(p int) {
	ctx := context.Background()
	part := txn.Partition(p)
	if len(d.m.partitions[p].steps) == 0 {
		d.m.given(p, stepCreate())
		self, err := d.s.CreateReplica(ctx, part)
		require.NoError(d.t, err)
		d.m.partitions[p].self = self.Incarnation
		d.m.answered(p)
	}
	d.number++
	d.m.given(p, stepPromise(d.number))
	pr, err := d.s.Open(ctx, session.Open{Partition: part, Session: d.number})
	require.NoError(d.t, err)
	d.m.answered(p)
	m := &member{t: d.t, s: d.s, p: part, self: pr.Replica, session: d.number, last: pr.Last, stamp: session.Map(pr.Map).StampAt(pr.Last), commit: pr.Committed}
	if pr.Last > pr.Committed && d.rnd.IntN(3) > 0 {
		m.last = pr.Committed + txn.ID(d.rnd.Int64N(int64(pr.Last-pr.Committed)))
		m.stamp = session.Map(pr.Map).StampAt(m.last)
		d.m.given(p, stepTruncate(m.last))
		require.NoError(d.t, d.s.Truncate(ctx, session.Truncate{Partition: part, Session: d.number, Replica: pr.Replica, Last: m.last}))
		d.m.answered(p)
	}
	if d.rnd.IntN(3) == 0 {
		f := m.frame(1+d.rnd.IntN(3), d.rnd.IntN(900))
		d.m.given(p, stepRecords(f, m.commit))
		require.NoError(d.t, d.s.Copy(ctx, session.Copy{Partition: part, Session: d.number, Replica: pr.Replica, PrevID: m.last, PrevStamp: m.stamp, Records: f}))
		d.m.answered(p)
		span, err := f.Check()
		require.NoError(d.t, err)
		m.last, m.stamp = span.Last, span.LastStamp
	}
	d.m.given(p, stepInstall(d.number))
	require.NoError(d.t, d.s.Install(ctx, session.Install{Partition: part, Session: d.number, Replica: pr.Replica, Last: m.last}))
	d.m.answered(p)
	d.members[p] = m
}

// appends gives a few frames to all partitions without waiting, then waits.
func (d *driver) appends() {
	var wg sync.WaitGroup
	for range 1 + d.rnd.IntN(6) {
		m := d.members[d.rnd.IntN(crashPartitions)]
		if m == nil {
			continue
		}
		f := m.frame(1+d.rnd.IntN(4), d.rnd.IntN(1200))
		if d.rnd.IntN(3) == 0 {
			m.commit += txn.ID(d.rnd.Int64N(int64(m.last-m.commit) + 1))
		}
		p := int(m.p)
		d.m.given(p, stepRecords(f, m.commit))
		wg.Add(1)
		err := d.s.Append(context.Background(), m.message(f), func(_ session.Appended, err error) {
			defer wg.Done()
			if err == nil {
				d.m.answered(p)
			} else if !errors.Is(err, storage.ErrClosed) {
				d.t.Error(err)
			}
		})
		require.NoError(d.t, err)
		for r := range f.Trusted() {
			m.last, m.stamp = r.ID, r.Stamp
		}
	}
	wg.Wait()
}

func (d *driver) restart() {
	d.close()
	d.open()
}

// kill leaves the storage as a killed process would: written but not synced.
func (d *driver) kill() {
	left := d.fs.Clone()
	d.fs.SetSyncHook(nil)
	d.close()
	d.fs = left
	d.cam.watch(left)
	d.open()
}
