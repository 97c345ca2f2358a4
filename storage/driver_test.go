package storage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// driver gives random steps to a storage and to the model. What it tries follows
// from the seed; how goroutines interleave does not.
type driver struct {
	t       *testing.T
	seed    uint64
	steps   uint64
	rnd     *rand.Rand // of the present step
	fs      *vfs.Mem
	cam     *camera
	m       *model
	s       *storage.Storage
	members []*member
	number  txn.SessionID
	pending sync.WaitGroup // appends without an answer
	fails   atomic.Bool    // calls may have failed: so may this storage, until it is opened anew
	seen    *events
}

const crashPartitions = 3

func newDriver(t *testing.T, seed uint64, seen *events) *driver {
	d := &driver{
		t: t, seed: seed, fs: vfs.NewMem(), m: newModel(crashPartitions),
		members: make([]*member, crashPartitions), seen: seen,
	}
	d.cam = &camera{m: d.m, seed: seed << 20}
	d.cam.watch(d.fs)
	d.draw()
	return d
}

// draw begins the randomness of a step, which does not depend on how much the
// ones before it needed.
func (d *driver) draw() {
	d.rnd = rand.New(rand.NewPCG(d.seed, d.steps))
	d.steps++
}

// open opens what is on the disk, perhaps after it was tried in vain, and makes
// the model go on from what is there.
func (d *driver) open() {
	if d.rnd.IntN(4) == 0 {
		d.m.note("%s", tryOpen(d.t, d.rnd, d.fs, d.seen))
	}
	s, err := storage.Open(context.Background(), someOptions(d.rnd, d.fs))
	require.NoError(d.t, err)
	d.s = s
	d.fails.Store(false)
	at := d.m.now()
	d.m.note("open")
	name := fmt.Sprintf("seed %d, opened; %s", d.seed, strings.Join(at.notes, "; "))
	requireUndamaged(d.t, s, name)
	for p, steps := range checkState(d.t, d.m, s, at, name) {
		var self session.Incarnation
		if steps > 0 {
			pr, err := s.State(txn.Partition(p))
			require.NoError(d.t, err)
			self = pr.Replica.Incarnation
		}
		d.m.found(p, steps, self)
		d.members[p] = nil
	}
}

// close ends the storage; whoever still waits is told.
func (d *driver) close() {
	if err := d.s.Close(); err != nil {
		d.expect(err)
	}
	d.pending.Wait()
	if d.s.Err() != nil {
		d.seen.failed++
	}
}

// expect accepts an error if there was reason for one.
func (d *driver) expect(err error) {
	failed := errors.Is(err, storage.ErrFailed) && d.fails.Load()
	if !failed && !errors.Is(err, storage.ErrClosed) {
		d.t.Errorf("seed %d, step %d: %v", d.seed, d.steps, err)
	}
}

func (d *driver) step() {
	d.draw()
	if d.s.Err() != nil {
		d.reopen()
	}
	switch n := d.rnd.IntN(24); {
	case n == 0:
		d.reopen()
	case n < 4:
		d.fillDisk()
	case n < 7:
		d.failCalls()
	default:
		d.work()
	}
	d.pending.Wait()
}

// work joins a partition or appends.
func (d *driver) work() {
	if p := d.rnd.IntN(crashPartitions); d.members[p] == nil || d.rnd.IntN(5) == 0 {
		d.join(p)
		return
	}
	d.appends()
}

// fillDisk works while there is little room or none. If a call waits for room it
// comes at last; or the storage ends before.
func (d *driver) fillDisk() {
	disk := d.fs
	space := d.rnd.Int64N(3) * d.rnd.Int64N(24<<10)
	d.m.note("room for %d", space)
	disk.SetSpace(disk.Used() + space)
	relief := time.AfterFunc(5*time.Millisecond, func() { disk.SetSpace(-1) })
	defer relief.Stop()
	for range 2 + d.rnd.IntN(6) {
		d.work()
	}
	if d.rnd.IntN(2) == 0 {
		d.reopen()
	}
	disk.SetSpace(-1)
}

// failCalls works while calls fail. Who hears of a failure, and when, is up to
// the storage; what it acknowledged must be there.
func (d *driver) failCalls() {
	d.fails.Store(true)
	rule := someFailure(d.rnd)
	d.m.note("fail %+v", rule)
	d.fs.Inject(rule)
	for range 1 + d.rnd.IntN(6) {
		if d.s.Err() != nil {
			break
		}
		d.work()
		if d.rnd.IntN(2) == 0 {
			d.pending.Wait()
		}
	}
	if d.s.Err() != nil || d.rnd.IntN(2) == 0 {
		d.reopen()
	}
	d.fs.ClearRules()
}

// reopen ends the storage in one of three ways and opens what is left.
func (d *driver) reopen() {
	switch d.rnd.IntN(3) {
	case 0:
		d.restart()
	case 1:
		d.seen.killed++
		d.m.note("kill")
		d.leave(d.fs.Clone)
	default:
		d.seen.crashed++
		d.m.note("crash")
		seed := d.rnd.Uint64()
		d.leave(func() *vfs.Mem { return d.fs.CrashClone(seed) })
	}
}

func (d *driver) restart() {
	d.seen.restarted++
	d.m.note("restart")
	d.close()
	d.fs.SetSpace(-1)
	d.fs.ClearRules()
	d.open()
}

// leave goes on with what the disk holds now: as a killed process would leave it,
// or a machine that stopped. What the storage still does is not seen.
func (d *driver) leave(disk func() *vfs.Mem) {
	d.m.mute()
	left := disk()
	d.fs.SetSyncHook(nil)
	d.close()
	d.fs = left
	d.cam.watch(left)
	d.open()
}

// do gives a step to the model and to the storage; false if it did not happen,
// as far as can be told.
func (d *driver) do(p int, c change, call func() error) bool {
	at := d.m.given(p, c)
	err := call()
	d.m.note("%d: %s: %v", p, c.name, err)
	switch {
	case err == nil:
		d.m.answered(at)
		return true
	case errors.Is(err, storage.ErrFull):
		d.seen.refused++
		d.m.refused(at)
	default:
		d.expect(err)
	}
	return false
}

// join opens a new session: promise, perhaps truncate, perhaps copy, install.
func (d *driver) join(p int) {
	ctx, part := context.Background(), txn.Partition(p)
	d.members[p] = nil
	if d.m.partitions[p].self == 0 && !d.create(p) {
		return
	}
	d.number++
	var pr session.Promise
	if !d.do(p, stepPromise(d.number), func() (err error) {
		pr, err = d.s.Open(ctx, session.Open{Partition: part, Session: d.number})
		return err
	}) {
		return
	}
	m := &member{t: d.t, s: d.s, p: part, self: pr.Replica, session: d.number, last: pr.Last, stamp: session.Map(pr.Map).StampAt(pr.Last), commit: pr.Committed}
	if pr.Last > pr.Committed && d.rnd.IntN(3) > 0 && !d.truncate(m, pr) {
		return
	}
	if d.rnd.IntN(3) == 0 && !d.copy(m) {
		return
	}
	if d.do(p, stepInstall(d.number), func() error {
		return d.s.Install(ctx, session.Install{Partition: part, Session: d.number, Replica: pr.Replica, Last: m.last})
	}) {
		d.members[p] = m
	}
}

func (d *driver) create(p int) bool {
	return d.do(p, stepCreate(), func() error {
		self, err := d.s.CreateReplica(context.Background(), txn.Partition(p))
		if err == nil {
			d.m.partitions[p].self = self.Incarnation
		}
		return err
	})
}

// truncate drops some of what is not committed.
func (d *driver) truncate(m *member, pr session.Promise) bool {
	last := pr.Committed + txn.ID(d.rnd.Int64N(int64(pr.Last-pr.Committed)))
	if !d.do(int(m.p), stepTruncate(last), func() error {
		return d.s.Truncate(context.Background(), session.Truncate{Partition: m.p, Session: m.session, Replica: m.self, Last: last})
	}) {
		return false
	}
	d.seen.truncated++
	m.last, m.stamp = last, session.Map(pr.Map).StampAt(last)
	return true
}

func (d *driver) copy(m *member) bool {
	f := m.frame(1+d.rnd.IntN(3), d.rnd.IntN(900))
	if !d.do(int(m.p), stepRecords(f, m.commit), func() error {
		return d.s.Copy(context.Background(), session.Copy{Partition: m.p, Session: m.session, Replica: m.self, PrevID: m.last, PrevStamp: m.stamp, Records: f})
	}) {
		return false
	}
	span, err := f.Check()
	require.NoError(d.t, err)
	m.last, m.stamp = span.Last, span.LastStamp
	return true
}

// appends gives a few frames to all partitions and does not wait for them.
func (d *driver) appends() {
	for range 1 + d.rnd.IntN(6) {
		if m := d.members[d.rnd.IntN(crashPartitions)]; m != nil {
			d.append(m)
		}
	}
}

func (d *driver) append(m *member) {
	f := m.frame(1+d.rnd.IntN(4), d.rnd.IntN(1200))
	if d.rnd.IntN(3) == 0 {
		m.commit += txn.ID(d.rnd.Int64N(int64(m.last-m.commit) + 1))
	}
	at := d.m.given(int(m.p), stepRecords(f, m.commit))
	d.pending.Add(1)
	err := d.s.Append(context.Background(), m.message(f), func(_ session.Appended, err error) {
		defer d.pending.Done()
		if err == nil {
			d.m.answered(at)
		} else {
			d.expect(err)
		}
	})
	d.m.note("%d: records from %d: %v", m.p, m.last+1, err)
	if err == nil {
		for r := range f.Trusted() {
			m.last, m.stamp = r.ID, r.Stamp
		}
		return
	}
	d.pending.Done() // it was not taken, whatever the reason
	d.m.refused(at)
	if errors.Is(err, storage.ErrFull) {
		d.seen.refused++
	} else {
		d.expect(err)
	}
}
