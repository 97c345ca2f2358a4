package storage_test

import (
	"context"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// infoOf describes a replica that must be there.
func infoOf(t testing.TB, s *storage.Storage, p txn.Partition) storage.Description {
	t.Helper()
	d, err := s.Describe(context.Background(), p)
	require.NoError(t, err)
	return d
}

// refill does what a server does with a replica that counts as absent: promise,
// copy what is missing, install, append.
func refill(t testing.TB, s *storage.Storage, p txn.Partition, number txn.SessionID, want record.Frame) record.Frame {
	t.Helper()
	ctx := context.Background()
	pr, err := s.Open(ctx, session.Open{Partition: p, Session: number})
	require.NoError(t, err)
	rest := want[len(cutAbove(want, pr.Last)):]
	stamp := session.Map(pr.Map).StampAt(pr.Last)
	last := pr.Last
	for len(rest) > 0 {
		f := rest[:rest.TrustedLen()]
		require.NoError(t, s.Copy(ctx, session.Copy{Partition: p, Session: number, Replica: pr.Replica, PrevID: last, PrevStamp: stamp, Records: f}))
		span, err := f.Check()
		require.NoError(t, err)
		last, stamp, rest = span.Last, span.LastStamp, rest[len(f):]
	}
	require.NoError(t, s.Install(ctx, session.Install{Partition: p, Session: number, Replica: pr.Replica, Last: last}))
	m := &member{t: t, s: s, p: p, self: pr.Replica, session: number, last: last, stamp: stamp, commit: last}
	all := append(want[:len(want):len(want)], m.append(2, 300)...)
	require.Equal(t, string(all), string(readAll(t, s, p, 3000)))
	return all
}

// A reset replica is another one that has installed nothing and knows nothing as
// committed; it keeps its promise and, if wanted, the start of its log below the
// first damage. It is filled again, and that outlives a restart.
func TestReset(t *testing.T) {
	w := newWhole(t)
	nothing := func(testing.TB, whole, *vfs.Mem) {}
	for _, c := range []struct {
		name string
		harm func(testing.TB, whole, *vfs.Mem)
		keep bool
		last func(*storage.Storage) txn.ID
	}{
		{"undamaged", nothing, true, func(*storage.Storage) txn.ID { return w.last }},
		{"undamaged, nothing kept", nothing, false, func(*storage.Storage) txn.ID { return txn.None }},
		{"damaged", damages[0].harm, true, func(s *storage.Storage) txn.ID { return s.Damage()[0].First - 1 }},
		{"damaged, nothing kept", damages[0].harm, false, func(*storage.Storage) txn.ID { return txn.None }},
		{"a file is missing", damages[7].harm, true, func(s *storage.Storage) txn.ID { return s.Damage()[0].First - 1 }},
		{"all files are missing", damages[10].harm, true, func(*storage.Storage) txn.ID { return txn.None }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			fsys := w.fs.Clone()
			c.harm(t, w, fsys)
			s := open(t, repairOptions(fsys))
			m := join(t, s, 0, 5)
			_, err := s.Scrub(ctx)
			require.NoError(t, err)
			before := infoOf(t, s, 0).Promise
			last := c.last(s)
			done, err := s.Reset(ctx, storage.Reset{Partition: 0, Incarnation: before.Replica.Incarnation, Keep: c.keep})
			require.NoError(t, err)
			require.Equal(t, last, done.Last)
			require.NotEqual(t, before.Replica.Incarnation, done.Replica.Incarnation)
			want := session.Promise{Replica: done.Replica, Promised: 5, Last: last, Committed: txn.None, Map: session.Map(before.Map).Cut(last)}
			after := infoOf(t, s, 0)
			require.Equal(t, fmt.Sprint(want), fmt.Sprint(after.Promise))
			require.Empty(t, after.Damage)
			_, err = s.Reset(ctx, storage.Reset{Partition: 0, Incarnation: before.Replica.Incarnation, Keep: c.keep})
			require.ErrorIs(t, err, storage.ErrOtherIncarnation, "a repeated call")
			why, refused := session.Refused(m.try(m.frame(1, 1)))
			require.True(t, refused)
			require.Equal(t, session.Replaced, why, "the session of the one that was")
			_, err = s.Open(ctx, session.Open{Session: 4})
			why, _ = session.Refused(err)
			require.Equal(t, session.Fenced, why, "I3")
			require.NoError(t, s.Close())
			s = open(t, repairOptions(fsys))
			want.Replica.Start = infoOf(t, s, 0).Promise.Replica.Start
			require.Equal(t, fmt.Sprint(want), fmt.Sprint(infoOf(t, s, 0).Promise))
			all := refill(t, s, 0, 6, w.want)
			require.NoError(t, s.Close())
			s = open(t, repairOptions(fsys))
			require.Equal(t, string(all), string(readAll(t, s, 0, 3000)))
			require.Empty(t, s.Damage())
			require.NoError(t, s.Close())
		})
	}
}

// A replica that was reset while it has records in memory and appends on their way
// forgets those, and all memory that they took.
func TestResetWithAppendsUnderWay(t *testing.T) {
	s := open(t, repairOptions(vfs.NewMem()))
	m := join(t, s, 0, 1)
	want := m.append(3, 100)
	for i := range 20 {
		f := m.frame(1, 300)
		require.NoError(t, s.Append(context.Background(), m.message(f), func(session.Appended, error) {}))
		m.last, m.stamp = m.last+1, 1
		want = append(want, f...)
		if i == 10 {
			_, err := s.Reset(context.Background(), storage.Reset{Keep: true})
			require.NoError(t, err)
			break
		}
	}
	kept := infoOf(t, s, 0).Promise.Last
	refill(t, s, 0, 2, cutAbove(want, kept))
	require.NoError(t, s.SetAvailable(context.Background(), 0, false))
	_, err := s.Reset(context.Background(), storage.Reset{})
	require.NoError(t, err)
	require.Zero(t, s.Stats().BacklogBytes)
	require.Equal(t, storage.OutOfService, infoOf(t, s, 0).Service, "a reset is no reason to serve again")
	require.NoError(t, s.Close())
}

// Wherever the journal is damaged so that a replica is closed, it is reset, with
// what is true of its log, and filled again. While it is closed it can't be
// repaired.
func TestResetOfADamagedJournal(t *testing.T) {
	x := newSample(t)
	closed, kept := 0, 0
	for _, name := range allFiles(t, x.fs, dataDir+"/journal") {
		b, err := x.fs.Bytes(name)
		require.NoError(t, err)
		for off := 3; off < usedBytes(name, b); off += 53 {
			fsys := x.fs.Clone()
			require.NoError(t, fsys.Flip(name, int64(off), 1<<(off%8)))
			s := open(t, x.options(fsys))
			for p, want := range x.want {
				if infoOf(t, s, p).Closed == nil {
					continue
				}
				closed++
				_, err := s.Repair(context.Background(), storage.Repair{Partition: p}, nil)
				require.ErrorIs(t, err, storage.ErrNeedsReset)
				done, err := s.Reset(context.Background(), storage.Reset{Partition: p, Keep: off%2 == 0})
				require.NoError(t, err)
				require.Equal(t, string(cutAbove(want, done.Last)), string(readAll(t, s, p, 3000)), "%s at %d", name, off)
				kept += int(done.Last + 1)
				refill(t, s, p, 9, want)
			}
			require.NoError(t, s.Close())
			s = open(t, x.options(fsys))
			for p := range x.want {
				require.Nil(t, infoOf(t, s, p).Closed)
			}
			require.NoError(t, s.Close())
		}
	}
	t.Logf("%d closed replicas, %d records kept", closed, kept)
	require.Positive(t, closed)
	require.Positive(t, kept)
}

// adminStep is something that is done to the sample, and how it may be found
// afterwards if it was interrupted.
type adminStep struct {
	name  string
	harm  func(testing.TB, whole, *vfs.Mem)
	do    func(context.Context, *storage.Storage) error
	check func(t testing.TB, s *storage.Storage, w whole, ended bool, name string)
}

func adminSteps() []adminStep {
	reset := func(keep bool) adminStep {
		return adminStep{
			name: fmt.Sprintf("reset, keep %v", keep), harm: damages[0].harm,
			do: func(ctx context.Context, s *storage.Storage) error {
				if _, err := s.Scrub(ctx); err != nil {
					return err
				}
				_, err := s.Reset(ctx, storage.Reset{Keep: keep})
				return err
			},
			check: func(t testing.TB, s *storage.Storage, w whole, ended bool, name string) {
				t.Helper()
				d := infoOf(t, s, 0)
				if d.Promise.Installed == 3 { // the one that was
					require.False(t, ended, name)
					require.Equal(t, w.last, d.Promise.Last, name)
					return
				}
				require.Equal(t, keep, d.Promise.Last >= 0, name)
				require.Empty(t, d.Damage, name)
				refill(t, s, 0, 9, w.want)
			},
		}
	}
	remove := func(keep bool) adminStep {
		return adminStep{
			name: fmt.Sprintf("remove, keep %v", keep), harm: func(testing.TB, whole, *vfs.Mem) {},
			do: func(ctx context.Context, s *storage.Storage) error {
				return s.RemoveReplica(ctx, storage.Remove{Keep: keep})
			},
			check: func(t testing.TB, s *storage.Storage, w whole, ended bool, name string) {
				t.Helper()
				if _, err := s.State(0); err == nil {
					require.False(t, ended, name)
					requireServed(t, s, w)
					return
				}
				self, err := s.CreateReplica(context.Background(), 0)
				require.NoError(t, err, name)
				require.NotZero(t, self.Incarnation, name)
				d := infoOf(t, s, 0)
				require.Equal(t, keep, d.Promise.Last == w.last, name)
				require.Equal(t, !keep, d.Promise.Last == txn.None, name)
				refill(t, s, 0, 9, w.want)
			},
		}
	}
	available := adminStep{
		name: "out of service", harm: func(testing.TB, whole, *vfs.Mem) {},
		do: func(ctx context.Context, s *storage.Storage) error { return s.SetAvailable(ctx, 0, false) },
		check: func(t testing.TB, s *storage.Storage, w whole, ended bool, name string) {
			t.Helper()
			d := infoOf(t, s, 0)
			require.True(t, !ended || d.Service == storage.OutOfService, name)
			require.EqualValues(t, 3, d.Promise.Promised, name)
			require.NoError(t, s.SetAvailable(context.Background(), 0, true))
			requireServed(t, s, w)
		},
	}
	return []adminStep{reset(true), reset(false), remove(true), remove(false), available}
}

// The machine stops, or the process is killed, before every call that changes the
// disk while a replica is reset, removed or taken out of service. It is found as it
// was, or as it should be; the latter always once the call has returned. It is
// never taken for a damaged one, and goes on from there.
func TestAdminCrashedAtEveryStep(t *testing.T) {
	w := newWhole(t)
	for _, c := range adminSteps() {
		t.Run(c.name, func(t *testing.T) {
			fsys := w.fs.Clone()
			c.harm(t, w, fsys)

			var images []*vfs.Mem
			disk := &stepFS{Mem: fsys}
			s := open(t, repairOptions(disk))
			disk.watch(func(vfs.Op, string) {
				seed := uint64(len(images))
				images = append(images, disk.Clone(), disk.CrashClone(seed), disk.CrashClone(seed+1))
			})
			require.NoError(t, c.do(context.Background(), s))
			disk.mu.Lock()
			ended := len(images)
			disk.mu.Unlock()
			require.NoError(t, s.Close())
			disk.watch(nil)
			images = append(images, disk.CrashClone(1))
			t.Logf("%d images, %d of them after the call", len(images), len(images)-ended)
			for i, image := range images {
				name := fmt.Sprintf("image %d", i)
				s := open(t, repairOptions(image))
				if d, err := s.Describe(context.Background(), 0); err == nil {
					require.Nil(t, d.Closed, name)
				}
				c.check(t, s, w, i >= ended, name)
				require.NoError(t, s.Close(), name)
				s = open(t, repairOptions(image))
				require.Nil(t, infoOf(t, s, 0).Closed, name)
				require.NoError(t, s.Close(), name)
			}
		})
	}
}

// A removed replica is not there for anybody; what was kept of it is listed, is
// used again by the next one, or is deleted.
func TestRemoveReplica(t *testing.T) {
	ctx := context.Background()
	w := newWhole(t)
	s := open(t, repairOptions(w.fs))
	old := infoOf(t, s, 0).Promise.Replica
	require.ErrorIs(t, s.RemoveReplica(ctx, storage.Remove{Partition: 7}), storage.ErrNoReplica)
	require.ErrorIs(t, s.RemoveReplica(ctx, storage.Remove{Incarnation: old.Incarnation + 1}), storage.ErrOtherIncarnation)
	require.NoError(t, s.RemoveReplica(ctx, storage.Remove{Incarnation: old.Incarnation, Keep: true}))
	for range 2 {
		_, err := s.Open(ctx, session.Open{Session: 9})
		require.ErrorIs(t, err, storage.ErrNoReplica)
		_, err = s.Read(ctx, 0, 0, 0, 1)
		require.ErrorIs(t, err, storage.ErrNoReplica)
		_, err = s.At(ctx, 0, 0)
		require.ErrorIs(t, err, storage.ErrNoReplica)
		require.ErrorIs(t, s.SetAvailable(ctx, 0, true), storage.ErrNoReplica)
		_, err = s.Reset(ctx, storage.Reset{})
		require.ErrorIs(t, err, storage.ErrNoReplica)
		require.Empty(t, s.Replicas())
		require.Zero(t, s.Stats().Replicas)
		all, err := s.List(ctx)
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, storage.Unassigned, all[0].Service)
		require.NoError(t, s.Close())
		s = open(t, repairOptions(w.fs))
	}
	self, err := s.CreateReplica(ctx, 0)
	require.NoError(t, err)
	require.NotEqual(t, old.Incarnation, self.Incarnation)
	require.Equal(t, w.last, infoOf(t, s, 0).Promise.Last)
	requireServed(t, s, w)
	require.NoError(t, s.RemoveReplica(ctx, storage.Remove{Keep: true}))
	require.NoError(t, s.RemoveReplica(ctx, storage.Remove{}), "what was kept")
	_, err = s.Describe(ctx, 0)
	require.ErrorIs(t, err, storage.ErrNoReplica)
	names, err := w.fs.List(path.Dir(path.Dir(segmentDir)))
	require.NoError(t, err)
	require.Empty(t, names)
	again, err := s.CreateReplica(ctx, 0)
	require.NoError(t, err)
	require.NotEqual(t, self.Incarnation, again.Incarnation)
	require.Equal(t, txn.None, infoOf(t, s, 0).Promise.Last)
	require.NoError(t, s.Close())
}

// Out of service a replica takes nothing and serves nothing; what it promised
// holds, and it is described, compared and repaired all the same.
func TestOutOfService(t *testing.T) {
	ctx := context.Background()
	w := newWhole(t)
	fsys := w.fs
	s := open(t, repairOptions(fsys))
	m := join(t, s, 0, 5)
	require.NoError(t, s.SetAvailable(ctx, 0, false))
	require.NoError(t, s.SetAvailable(ctx, 0, false), "twice")
	for range 2 {
		require.ErrorIs(t, m.try(m.frame(1, 1)), storage.ErrOutOfService)
		_, err := s.Open(ctx, session.Open{Session: 9})
		require.ErrorIs(t, err, storage.ErrOutOfService)
		require.ErrorIs(t, s.Confirm(ctx, session.Confirm{Session: 5, Replica: m.self}), storage.ErrOutOfService)
		_, err = s.Read(ctx, 0, 0, 0, 1)
		require.ErrorIs(t, err, storage.ErrOutOfService)
		_, err = s.At(ctx, 0, 0)
		require.ErrorIs(t, err, storage.ErrOutOfService)
		_, err = s.Checksum(ctx, 0, 0, w.last)
		require.NoError(t, err)
		d := infoOf(t, s, 0)
		require.Equal(t, storage.OutOfService, d.Service)
		require.Equal(t, timeOf(0), d.Oldest)
		require.Equal(t, timeOf(w.last), d.Newest)
		_, err = s.Repair(ctx, storage.Repair{}, nil)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		s = open(t, repairOptions(fsys))
		m.s = s
	}
	require.NoError(t, s.SetAvailable(ctx, 0, true))
	_, err := s.Open(ctx, session.Open{Session: 4})
	why, _ := session.Refused(err)
	require.Equal(t, session.Fenced, why)
	requireServed(t, s, w)
	require.NoError(t, s.Close())
}

// Two replicas have the same checksum exactly if they have the same records,
// however these lie in files and messages.
func TestChecksum(t *testing.T) {
	ctx := context.Background()
	w := newWhole(t)
	a := open(t, repairOptions(w.fs))
	o := repairOptions(vfs.NewMem())
	o.SegmentBytes = 9 << 10
	b := open(t, o)
	_, err := b.CreateReplica(ctx, 0)
	require.NoError(t, err)
	all := refill(t, b, 0, 9, w.want)
	for _, r := range [][2]txn.ID{{0, w.last}, {3, 3}, {7, 30}} {
		one, err := a.Checksum(ctx, 0, r[0], r[1])
		require.NoError(t, err)
		other, err := b.Checksum(ctx, 0, r[0], r[1])
		require.NoError(t, err)
		require.Equal(t, one, other)
		require.EqualValues(t, r[1]-r[0]+1, one.Records)
		next, err := a.Checksum(ctx, 0, r[0], r[1]-1)
		require.NoError(t, err)
		require.NotEqual(t, one.Sum, next.Sum)
	}
	d, err := b.Checksum(ctx, 0, 0, w.last+2)
	require.NoError(t, err)
	require.EqualValues(t, len(all), d.Bytes)
	_, err = a.Checksum(ctx, 0, 0, w.last+1)
	require.ErrorIs(t, err, storage.ErrOutOfRange)
	require.NoError(t, w.fs.Flip(w.segments(t, w.fs)[2], 1000, 4))
	_, err = a.Checksum(ctx, 0, 0, w.last)
	var damaged *storage.DamagedError
	require.ErrorAs(t, err, &damaged)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	require.NotContains(t, strings.Join(allFiles(t, w.fs, dataDir), " "), ".repair")
}
