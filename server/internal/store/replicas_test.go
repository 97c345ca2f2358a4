package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/server/internal/store"
)

const patience = 10 * time.Second

func replica(s *store.Session, name string) store.ReplicaStats {
	for _, r := range s.Stats().Replicas {
		if r.Storage == name {
			return r
		}
	}
	return store.ReplicaStats{Last: txn.None}
}

// equal waits until all storages hold everything, and compares them (P2).
func (c *cluster) equal(last txn.ID, names ...string) {
	c.t.Helper()
	for _, name := range names {
		require.Eventually(c.t, func() bool { return c.storages[name].last() == last }, patience, time.Millisecond, name)
		require.Equal(c.t, c.storages[names[0]].bytes(), c.storages[name].bytes(), name)
	}
}

// count waits until every storage counts.
func (c *cluster) count(s *store.Session) {
	c.t.Helper()
	for name := range c.storages {
		require.Eventually(c.t, func() bool { r := replica(s, name); return r.Counts && r.Current }, patience, time.Millisecond)
	}
}

// A slow third replica neither keeps appends waiting nor holds memory beyond the
// bound; when it is quick again it has everything soon (I9).
func TestSlowReplicaIsNotWaitedFor(t *testing.T) {
	c := newCluster(t, 3)
	c.config.LinkMax, c.config.CopyMax = 4<<10, 2<<10
	s := c.open()
	slow := c.storages["s3"]
	slow.set(func() { slow.held = true })
	const last = txn.ID(999)
	for id := range last + 1 {
		c.append(s, id, id)
		if id%50 == 0 {
			c.waitCommitted(id)
		}
	}
	c.waitCommitted(last)
	st := s.Stats()
	require.Zero(t, st.QueueBytes)
	require.LessOrEqual(t, st.KeptBytes, 4<<10)
	require.LessOrEqual(t, replica(s, "s3").Unacked, 6<<10)
	require.False(t, replica(s, "s3").Current)
	slow.release()
	c.equal(last, "s1", "s2", "s3")
	require.Eventually(t, func() bool { return replica(s, "s3").Current }, patience, time.Millisecond)
	slow.set(func() { require.LessOrEqual(t, slow.largest, 3<<10) })
	require.NoError(t, s.Err())
}

// So it goes with a storage that has no room in its queue, be it one of several
// or the only one.
func TestBusyStorage(t *testing.T) {
	for _, storages := range []int{1, 3} {
		t.Run(fmt.Sprintf("storages=%d", storages), func(t *testing.T) {
			c := newCluster(t, storages)
			s := c.open()
			busy := c.storages["s1"]
			for id := range txn.ID(100) {
				busy.set(func() { busy.busy = id%10 == 3 })
				c.append(s, id, id)
			}
			c.waitCommitted(99)
			c.equal(99, "s1")
			require.NoError(t, s.Err())
		})
	}
}

// A replica that comes back reaches the others while they go on: it becomes
// current though there is always something new.
func TestReplicaCatchesUpWithRunningAppends(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.count(s)
	away := c.storages["s3"]
	away.set(func() { away.down = errBroke })
	for id := range txn.ID(2000) {
		c.append(s, id, id)
	}
	c.waitCommitted(1999)
	for _, name := range []string{"s1", "s2"} { // reads take longer than commits
		c.storages[name].set(func() { c.storages[name].delay = time.Millisecond })
	}
	away.restart()
	next := txn.ID(2000)
	require.Eventually(t, func() bool {
		for range 20 {
			c.append(s, next, next)
			c.waitCommitted(next)
			next++
		}
		r := replica(s, "s3")
		return r.Current && r.Counts
	}, patience, time.Microsecond)
	c.equal(next-1, "s1", "s2", "s3")
}

// A storage that answers nothing is failed after a while: one costs nothing, two
// end the session.
func TestStorageThatDoesNotAnswer(t *testing.T) {
	c := newCluster(t, 3)
	c.config.AnswerMax, c.config.RetryFull = 50*time.Millisecond, 5*time.Millisecond
	c.config.ReadMax = 10 * time.Millisecond
	s := c.open()
	c.count(s)
	c.append(s, 0, 0)
	c.waitCommitted(0)
	hang := func(name string) {
		hung := make(chan struct{})
		c.storages[name].set(func() { c.storages[name].hung, c.storages[name].held = hung, true })
		t.Cleanup(func() { close(hung) })
	}
	hang("s3")
	for id := txn.ID(1); id < 50; id++ {
		c.append(s, id, id)
		c.waitCommitted(id)
		f, err := s.Read(t.Context(), id, id, 1)
		require.NoError(t, err)
		require.NotEmpty(t, f)
	}
	require.Eventually(t, func() bool { return len(s.Stats().Away) == 1 }, patience, time.Millisecond)
	require.NoError(t, s.Err())
	hang("s2")
	c.append(s, 50, 50)
	err := ended(t, s)
	require.ErrorIs(t, err, store.ErrNoMajority)
	require.ErrorIs(t, err, store.ErrNoAnswer)
}

// Refusals for want of room may come as answers, as they do over a network, and
// with them those of all that was sent meanwhile.
func TestFullStorageThatSaysSoLate(t *testing.T) {
	c := newCluster(t, 3)
	c.config.RetryFull = time.Millisecond
	for _, s := range c.storages {
		s.late, s.fullAt = true, 20
	}
	s := c.open()
	for id := range txn.ID(100) {
		c.append(s, id, id)
	}
	stalls(t, s, true)
	for _, s := range c.storages {
		s.set(func() { s.fullAt = 60 })
	}
	c.waitCommitted(59)
	for _, s := range c.storages {
		s.set(func() { s.fullAt = 0 })
	}
	c.waitCommitted(99)
	c.equal(99, "s1", "s2", "s3")
	stalls(t, s, false)
	require.NoError(t, s.Err())
}

// What one replica can't read for damage is copied from another, and the damaged
// one stays a member.
func TestCopyPassesDamage(t *testing.T) {
	c := newCluster(t, 3)
	c.config.CopyMax = 200
	s := c.open()
	c.count(s)
	c.append(s, 0, 99)
	c.waitCommitted(99)
	require.NoError(t, s.Close(t.Context()))
	c.storages["s1"].damaged = [2]txn.ID{30, 40}
	c.storages["s2"].damaged = [2]txn.ID{60, 70}
	c.storages["s3"].wipe(777)
	s = c.open()
	c.append(s, 100, 149)
	c.waitCommitted(149)
	require.Eventually(t, func() bool { return replica(s, "s3").Counts }, patience, time.Millisecond)
	c.equal(149, "s1", "s2", "s3")
	require.NoError(t, s.Err())
	require.True(t, replica(s, "s1").Counts)

	c.storages["s3"].set(func() { c.storages["s3"].down = errBroke })
	c.append(s, 150, 199)
	c.waitCommitted(199)
	c.storages["s1"].set(func() { c.storages["s1"].damaged = [2]txn.ID{160, 170} })
	c.storages["s2"].set(func() { c.storages["s2"].damaged = [2]txn.ID{180, 185} })
	c.storages["s3"].restart()
	c.equal(199, "s1", "s2", "s3")
	require.NoError(t, s.Err())
}

// Damage that all share keeps a replica from catching up, and nothing else.
func TestNobodyToCatchUpFrom(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.count(s)
	away := c.storages["s3"]
	away.set(func() { away.down = errBroke })
	c.append(s, 0, 49)
	c.waitCommitted(49)
	for _, name := range []string{"s1", "s2"} {
		c.storages[name].set(func() { c.storages[name].damaged = [2]txn.ID{20, 21} })
	}
	away.restart()
	for id := txn.ID(50); id < 80; id++ {
		c.append(s, id, id)
		c.waitCommitted(id)
	}
	require.Eventually(t, func() bool { return away.last() == 19 }, patience, time.Millisecond)
	c.storages["s2"].set(func() { c.storages["s2"].damaged = [2]txn.ID{} })
	c.equal(79, "s1", "s2", "s3")
	require.NoError(t, s.Err())
}

// Reads go where they are quick, and elsewhere on errors and damage.
func TestReadsAreRouted(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.append(s, 0, 99)
	c.waitCommitted(99)
	c.equal(99, "s1", "s2", "s3")
	read := func(first txn.ID) record.Frame {
		f, err := s.Read(t.Context(), first, 99, 1<<20)
		require.NoError(t, err)
		return f
	}
	for _, name := range []string{"s1", "s3"} {
		c.storages[name].set(func() { c.storages[name].delay = 5 * time.Millisecond })
	}
	for range 100 {
		read(0)
	}
	quick := c.storages["s2"]
	quick.set(func() { require.Greater(t, quick.reads, 80) })
	quick.set(func() { quick.damaged = [2]txn.ID{5, 5} })
	require.Equal(t, txn.ID(5), read(5).TrustedID())
	require.Equal(t, txn.ID(6), read(6).TrustedID())
	before := 0
	quick.set(func() { quick.down, before = errBroke, quick.reads })
	for range 10 {
		read(0)
	}
	quick.set(func() { require.LessOrEqual(t, quick.reads, before+2, "it failed a moment ago") })
}

// A replica that is behind says nothing about times: its end is not the log's.
func TestAtAsksAReplicaThatHasEverything(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.append(s, 0, 9)
	c.waitCommitted(9)
	c.equal(9, "s1", "s2", "s3")
	behind := c.storages["s1"]
	behind.set(func() { behind.down = errBroke })
	c.append(s, 10, 19)
	c.waitCommitted(19)
	for range 2 * 32 {
		id, err := s.At(t.Context(), 1015)
		require.NoError(t, err)
		require.Equal(t, txn.ID(15), id)
	}
}

// After a graceful end the next session finds nothing to cut or copy.
func TestHandOverLeavesNothingToCopy(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.count(s)
	slow := c.storages["s3"]
	slow.set(func() { slow.held = true })
	c.append(s, 0, 99)
	c.waitCommitted(99)
	closed := make(chan error)
	go func() { closed <- s.Close(context.Background()) }()
	slow.release()
	require.NoError(t, <-closed)
	for _, st := range c.storages {
		st.set(func() { st.cuts, st.copies = 0, 0 })
	}
	s = c.open()
	require.Equal(t, txn.ID(99), s.High())
	require.Eventually(t, func() bool { return replica(s, "s3").Counts }, patience, time.Millisecond)
	for name, st := range c.storages {
		st.set(func() { require.Zero(t, st.cuts+st.copies, name) })
	}
}

// A hand-over does not wait for long for a replica that hangs.
func TestHandOverIsBounded(t *testing.T) {
	c := newCluster(t, 3)
	c.config.HandOverMax = 20 * time.Millisecond
	s := c.open()
	c.count(s)
	c.storages["s3"].set(func() { c.storages["s3"].held = true })
	c.append(s, 0, 9)
	c.waitCommitted(9)
	require.NoError(t, s.Close(t.Context()))
}

// A replica in trouble is one line in the log, however often it is tried.
func TestTroubleIsSaidOnce(t *testing.T) {
	c := newCluster(t, 3)
	lines := &counter{}
	c.config.Logger = slog.New(lines)
	s := c.open()
	c.count(s)
	c.storages["s2"].set(func() { c.storages["s2"].down = errBroke })
	c.append(s, 0, 0)
	tries := func() (n int) {
		c.storages["s2"].set(func() { n = c.storages["s2"].opens })
		return n
	}
	require.Eventually(t, func() bool { return tries() > 6 }, patience, time.Millisecond)
	require.Equal(t, int64(1), lines.warnings.Load())
}

// Metadata that can be read and not written does not make the session spin: a full
// disk is such a one.
func TestMetadataThatCanNotBeWritten(t *testing.T) {
	c := newCluster(t, 3)
	meta := &readOnly{Store: c.meta}
	c.config.Metadata = meta
	c.config.Backoff = 20 * time.Millisecond
	s := c.open()
	c.count(s)
	meta.refuse.Store(true)
	c.storages["s2"].set(func() { c.storages["s2"].down = errBroke })
	c.append(s, 0, 0)
	c.waitCommitted(0)
	c.storages["s2"].restart()
	require.Eventually(t, func() bool { return meta.refused.Load() > 0 }, patience, time.Millisecond)
	before := meta.refused.Load()
	<-time.After(100 * time.Millisecond) // how often it tries is what is looked at
	require.Less(t, meta.refused.Load()-before, int64(10))
	meta.refuse.Store(false)
	require.Eventually(t, func() bool { return replica(s, "s2").Counts }, patience, time.Millisecond)
}

// A disk that was put back has a tail that was never committed. Nobody is shown
// it, though the storage answers as if nothing had happened (I2, I6).
func TestPutBackDiskIsNotReadFrom(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.append(s, 0, 9)
	c.waitCommitted(9)
	c.equal(9, "s1", "s2", "s3")
	old := c.storages["s2"]
	old.set(func() {
		var f record.Frame
		f = record.Append(f, &record.Record{ID: 9, Stamp: s.ID() + 7, Data: []byte("never committed")}, nil)
		old.log[9] = f
	})
	for range 100 {
		f, err := s.Read(t.Context(), 9, 9, 1<<20)
		require.NoError(t, err)
		end, ok := f.End()
		require.True(t, ok)
		require.Equal(t, s.ID(), end.Stamp)
	}
}
