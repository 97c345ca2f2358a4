package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/server/internal/store"
)

// A choice that cannot be made now is no choice to wait for: of three members one
// was wiped, and one is away. Who opens hears of both, and tries anew.
func TestChoiceThatCannotBeMadeEnds(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.count(s)
	c.append(s, 0, 9)
	c.waitCommitted(9)
	c.equal(9, "s1", "s2", "s3")
	require.NoError(t, s.Close(t.Context()))
	c.storages["s2"].wipe(777)
	c.storages["s3"].set(func() { c.storages["s3"].down = errBroke })
	lines := &counter{}
	c.config.Logger = slog.New(lines)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := store.Open(ctx, c.config)
	require.NoError(t, ctx.Err(), "it ends by itself")
	require.ErrorIs(t, err, store.ErrNoMajority)
	require.Zero(t, lines.warnings.Load(), "the error says it all, and attempts may follow each other for days")
	if lines.of("replica failed") > 1 { // s2 may not have answered yet
		require.ErrorIs(t, err, session.ErrWiped)
		require.ErrorContains(t, err, "storage s2: ")
	}
	require.ErrorIs(t, err, errBroke)
	require.ErrorContains(t, err, "storage s3: ")
	c.storages["s3"].restart()
	s = c.open()
	require.Equal(t, txn.ID(9), s.High())
	c.equal(9, "s1", "s2", "s3")
}

// The same, when the one that is away has left time for the others to answer.
func TestChoiceThatCannotBeMadeNamesAll(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.append(s, 0, 9)
	c.waitCommitted(9)
	c.equal(9, "s1", "s2", "s3")
	require.NoError(t, s.Close(t.Context()))
	c.storages["s2"].wipe(777)
	c.config.AnswerMax = 100 * time.Millisecond
	hung := make(chan struct{})
	defer close(hung)
	c.storages["s3"].set(func() { c.storages["s3"].hung = hung })
	_, err := store.Open(t.Context(), c.config)
	require.ErrorIs(t, err, store.ErrNoMajority)
	require.ErrorIs(t, err, session.ErrWiped)
	require.ErrorIs(t, err, store.ErrNoAnswer)
	require.ErrorContains(t, err, "storage s2: ")
	require.ErrorContains(t, err, "storage s3: ")
	require.NotContains(t, err.Error(), "storage s1: ")
}

// forgetful is a storage that is not known any more once it has installed a
// session.
type forgetful struct {
	*storage
	gone atomic.Bool
}

func (f *forgetful) Install(ctx context.Context, m session.Install) error {
	err := f.storage.Install(ctx, m)
	f.gone.Store(true)
	return err
}

// A storage that the metadata gives up while it is being opened has no client to
// append with: it is one that failed, and nothing else.
func TestStorageThatIsGoneWhenItIsReady(t *testing.T) {
	c := newCluster(t, 3)
	leaving := &forgetful{storage: c.storages["s3"]}
	delete(c.config.Replicas, "s3")
	c.config.Find = func(storage string) (store.Replica, bool) {
		if storage != "s3" || leaving.gone.Load() {
			return (*forgetful)(nil), false
		}
		return leaving, true
	}
	s := c.open()
	c.append(s, 0, 9)
	c.waitCommitted(9)
	require.Eventually(t, func() bool { return len(s.Stats().Away) == 1 }, patience, time.Millisecond)
	require.NoError(t, s.Err())
	require.False(t, replica(s, "s3").Counts)
}

// A replica that catches up and has no room is sent the message that was read for
// it again, whether it says so at once or by its answer; nothing is read meanwhile
// but the one that follows. Then it reaches the others though they go on.
func TestBusyReplicaCatchesUpWithoutReadingAgain(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%t", late), func(t *testing.T) { busyCatchUp(t, late) })
	}
}

func busyCatchUp(t *testing.T, late bool) {
	c := newCluster(t, 3)
	c.config.CopyMax = 2 << 10
	s := c.open()
	c.count(s)
	away := c.storages["s3"]
	away.set(func() { away.down = errBroke })
	c.append(s, 0, 999)
	c.waitCommitted(999)
	reads := func() (n int) {
		for _, st := range c.storages {
			st.set(func() { n += st.reads })
		}
		return n
	}
	before := reads()
	away.set(func() { away.crowded, away.crowdLate = true, late })
	away.restart()
	crowds := func() (n int) {
		away.set(func() { n = away.crowds })
		return n
	}
	require.Eventually(t, func() bool { return crowds() > 20 }, patience, time.Millisecond)
	require.LessOrEqual(t, reads()-before, 2)
	require.Equal(t, txn.None, away.last())
	away.set(func() { away.crowded = false })
	for id := txn.ID(1000); id < 1100; id++ {
		away.set(func() { away.crowded = id%7 == 3 })
		c.append(s, id, id)
		c.waitCommitted(id)
	}
	away.set(func() { away.crowded = false })
	c.equal(1099, "s1", "s2", "s3")
	require.Eventually(t, func() bool { r := replica(s, "s3"); return r.Current && r.Counts }, patience, time.Millisecond)
	require.NoError(t, s.Err())
}

// Even the last replica to be asked has a limit: who reads asks again, whoever is
// there by then, until one answers or the context ends.
func TestReadsAskAgain(t *testing.T) {
	c := newCluster(t, 3)
	c.config.ReadMax = time.Millisecond
	s := c.open()
	c.append(s, 0, 9)
	c.waitCommitted(9)
	c.equal(9, "s1", "s2", "s3")
	for _, st := range c.storages {
		st.set(func() { st.mum = true })
	}
	read := make(chan error, 1)
	go func() {
		f, err := s.Read(t.Context(), 0, 9, 1<<20)
		if err == nil {
			_, err = f.Check()
		}
		read <- err
	}()
	s1 := c.storages["s1"]
	waited := func() (n int) {
		s1.set(func() { n = s1.waited })
		return n
	}
	require.Eventually(t, func() bool { return waited() > 2 }, patience, time.Millisecond)
	s1.set(func() { s1.mum = false })
	require.NoError(t, <-read)

	s1.set(func() { s1.mum = true })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.Read(ctx, 0, 9, 1<<20)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
