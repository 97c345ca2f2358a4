package storage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
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

// firstSeed is 1, or what WALTZ_SEED says: to see a failure again, or other ones.
func firstSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("WALTZ_SEED")
	if text == "" {
		return 1
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err)
	return seed
}

// Random workloads, with full disks, failing calls, kills and crashes on the way,
// on a file system that crashes at every single sync, before it takes effect. Each
// image is opened and compared with the model; then closed and opened again under
// other options, which must change nothing. Some images crash, fail or are full
// while they are recovered.
func TestCrashAtEverySyncPoint(t *testing.T) {
	atLeast, workloadsMin := 300, 4
	if soak() {
		atLeast, workloadsMin = 12_000, 50
	}
	workloads, points, seen := 0, 0, &events{}
	for seed := firstSeed(t); points < atLeast || workloads < workloadsMin; seed++ {
		points += crashWorkload(t, seed, seen)
		workloads++
	}
	t.Logf("workloads × sync points = %d × %.0f = %d; on the way %+v", workloads, float64(points)/float64(workloads), points, *seen)
	if soak() { // when goroutines get on decides what a few workloads come across
		seen.require(t)
	}
}

// events counts what workloads came across, so that a run shows what it tried.
type events struct {
	truncated, refused, failed, killed, crashed, restarted int
	fullOpens, failedOpens                                 int
}

func (e *events) require(t *testing.T) {
	t.Helper()
	for what, times := range map[string]int{
		"truncations": e.truncated, "refusals for want of space": e.refused, "failures": e.failed,
		"kills": e.killed, "crashes": e.crashed, "restarts": e.restarted,
		"opens on a full disk": e.fullOpens, "failed opens": e.failedOpens,
	} {
		require.Positive(t, times, what)
	}
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
	answered := c.m.now().answered
	c.mu.Lock()
	c.seed++
	seed := c.seed
	c.mu.Unlock()
	fs := fsys.CrashClone(seed)
	i := image{fs: fs, at: c.m.now()}
	i.at.answered = answered
	c.mu.Lock()
	c.images = append(c.images, i)
	c.mu.Unlock()
}

// crashWorkload runs one workload and checks all its images; it returns how many.
func crashWorkload(t *testing.T, seed uint64, seen *events) int {
	d := newDriver(t, seed, seen)
	d.open()
	for range 8 + 4*(seed%4) {
		d.step()
	}
	d.restart()
	d.close()
	d.cam.shoot(d.fs)
	for i, img := range d.cam.images {
		c := checker{t: t, m: d.m, rnd: rand.New(rand.NewPCG(seed, uint64(i))), seen: seen}
		c.check(img, fmt.Sprintf("seed %d, sync point %d", seed, i), true)
	}
	return len(d.cam.images)
}

// checker compares one image with the model.
type checker struct {
	t    *testing.T
	m    *model
	rnd  *rand.Rand
	seen *events
}

// check opens an image and compares it with the model, twice; some are recovered
// under bad conditions before.
func (c *checker) check(img image, name string, trouble bool) {
	c.t.Helper()
	if trouble {
		switch c.rnd.IntN(8) {
		case 0:
			c.crashAgain(img, name)
		case 1, 2:
			name += c.recoverInTrouble(&img)
		}
	}
	first := c.open(img, name)
	require.Equal(c.t, first, c.open(img, name+", opened again"), name)
}

// open opens an image and tells which prefix of the model it is at.
func (c *checker) open(img image, name string) []int {
	c.t.Helper()
	s, err := storage.Open(context.Background(), someOptions(c.rnd, img.fs))
	name += "; " + strings.Join(img.at.notes, "; ")
	require.NoError(c.t, err, name)
	requireUndamaged(c.t, s, name)
	found := checkState(c.t, c.m, s, img.at, name)
	require.NoError(c.t, s.Close(), name)
	return found
}

// requireUndamaged wants no damage. An index that could not be read is made anew,
// and that is told: where calls have failed it is no false alarm.
func requireUndamaged(t *testing.T, s *storage.Storage, name string) {
	t.Helper()
	for _, d := range s.Damage() {
		index := strings.HasSuffix(d.File, ".idx") && d.First > d.Last
		require.True(t, index && strings.Contains(name, "fail"), "%v: %s", d, name)
	}
}

// crashAgain crashes the image at every sync point of its recovery.
func (c *checker) crashAgain(img image, name string) {
	c.t.Helper()
	cam := &camera{m: c.m, seed: c.rnd.Uint64()}
	left := image{fs: img.fs.Clone(), at: img.at}
	cam.watch(left.fs)
	c.open(left, name)
	left.fs.SetSyncHook(nil)
	for i, n := range cam.images {
		c.check(image{fs: n.fs, at: img.at}, fmt.Sprintf("%s, then sync point %d of the recovery", name, i), false)
	}
}

// recoverInTrouble opens the image while the disk is full or calls fail. Perhaps
// the machine crashes once more behind it.
func (c *checker) recoverInTrouble(img *image) string {
	trouble := tryOpen(c.t, c.rnd, img.fs, c.seen)
	if c.rnd.IntN(2) == 0 {
		return trouble
	}
	img.fs = img.fs.CrashClone(c.rnd.Uint64())
	return trouble + ", then a crash"
}

// tryOpen opens and closes a storage on a disk that is full or fails. It must not
// succeed, but what it leaves behind must do no harm. It returns what was tried.
func tryOpen(t *testing.T, rnd *rand.Rand, fsys *vfs.Mem, seen *events) string {
	t.Helper()
	var trouble string
	full := rnd.IntN(2) == 0
	if full {
		space := rnd.Int64N(64 << 10)
		fsys.SetSpace(fsys.Used() + space)
		trouble = fmt.Sprintf(", opened with room for %d bytes", space)
	} else {
		rule := someFailure(rnd)
		fsys.Inject(rule)
		trouble = fmt.Sprintf(", opened with failures %+v", rule)
	}
	s, err := storage.Open(context.Background(), someOptions(rnd, fsys))
	if err == nil {
		err = s.Close()
	}
	switch {
	case err == nil:
	case full:
		require.ErrorIs(t, err, storage.ErrFull)
		seen.fullOpens++
	default:
		require.True(t, errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC), "%v", err)
		seen.failedOpens++
	}
	fsys.SetSpace(-1)
	fsys.ClearRules()
	return fmt.Sprintf("%s (%v)", trouble, err)
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
		found = append(found, matching(t, p, at, promise, readAll(t, s, txn.Partition(p), 4096), name))
	}
	return found
}

func matching(t *testing.T, p int, at cut, promise session.Promise, log record.Frame, name string) int {
	t.Helper()
	var why string
	for k := len(at.given[p]); k >= max(at.answered[p], 1); k-- {
		diff := after(at.given[p][:k]).same(promise, log)
		if diff == "" {
			return k
		}
		why += fmt.Sprintf("\nafter %d steps: %s", k, diff)
	}
	require.Failf(t, "no prefix matches", "%s: partition %d, answered %d, given %d:%s", name, p, at.answered[p], len(at.given[p]), why)
	return 0
}

func tiny(fsys vfs.FS) storage.Options {
	o := small(fsys)
	o.JournalFileBytes, o.SegmentBytes, o.FlushBytes = 24<<10, 4<<10, 4<<10
	return o
}

// someOptions are small sizes, each of which may change from start to start.
func someOptions(rnd *rand.Rand, fsys vfs.FS) storage.Options {
	pick := func(sizes ...int64) int64 { return sizes[rnd.IntN(len(sizes))] }
	o := tiny(fsys)
	o.JournalFileBytes = pick(16<<10, 24<<10, 24<<10, 40<<10, 64<<10)
	o.JournalFilesMax = int(pick(2, 3, 8))
	o.SegmentBytes = pick(4<<10, 4<<10, 9<<10, 64<<10)
	o.FlushBytes = int(pick(4<<10, 4<<10, 32<<10))
	o.BacklogBytes = int(pick(32<<10, 64<<20))
	return o
}

// someFailure is a call that will fail.
func someFailure(rnd *rand.Rand) vfs.Rule {
	calls := []vfs.Rule{
		{Op: vfs.OpWrite, Match: "*.journal"},
		{Op: vfs.OpDatasync, Match: "*.journal"},
		{Op: vfs.OpWrite, Match: "*.seg"},
		{Op: vfs.OpDatasync, Match: "*.seg"},
		{Op: vfs.OpTruncate, Match: "*.seg"},
		{Op: vfs.OpWrite, Match: "*.idx"},
		{Op: vfs.OpDatasync, Match: "*.idx"},
		{Op: vfs.OpCreate, Match: "*.idx"},
		{Op: vfs.OpWrite, Match: "fill.tmp"},
		{Op: vfs.OpSync, Match: "fill.tmp"},
		{Op: vfs.OpWrite, Match: "synced"},
		{Op: vfs.OpCreate},
		{Op: vfs.OpOpen},
		{Op: vfs.OpRename},
		{Op: vfs.OpRemove},
		{Op: vfs.OpMkdir},
		{Op: vfs.OpSyncDir},
		{}, // any
	}
	r := calls[rnd.IntN(len(calls))]
	r.Skip, r.Times, r.Err = rnd.IntN(3), 1+rnd.IntN(2), syscall.EIO
	if rnd.IntN(4) == 0 {
		r.Err = syscall.ENOSPC
	}
	return r
}
