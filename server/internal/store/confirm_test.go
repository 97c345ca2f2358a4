package store_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/metadata"
)

// counter counts warnings, and lines of whatever level by what they say.
type counter struct {
	warnings atomic.Int64
	said     sync.Map // of *atomic.Int64
}

func (c *counter) of(message string) int64 {
	n, _ := c.said.LoadOrStore(message, new(atomic.Int64))
	return n.(*atomic.Int64).Load()
}

func (c *counter) Enabled(context.Context, slog.Level) bool { return true }
func (c *counter) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *counter) WithGroup(string) slog.Handler            { return c }
func (c *counter) Handle(_ context.Context, r slog.Record) error {
	n, _ := c.said.LoadOrStore(r.Message, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	if r.Level >= slog.LevelWarn {
		c.warnings.Add(1)
	}
	return nil
}

// readOnly is metadata on a disk that may have no room.
type readOnly struct {
	metadata.Store
	refuse  atomic.Bool
	refused atomic.Int64
}

func (r *readOnly) Set(ctx context.Context, key string, value []byte, v metadata.Version) (metadata.Version, error) {
	if r.refuse.Load() {
		r.refused.Add(1)
		return 0, errors.New("no space left")
	}
	return r.Store.Set(ctx, key, value, v)
}

// A session that was fenced without hearing of it does not confirm, and ends.
func TestFencedSessionDoesNotConfirm(t *testing.T) {
	c := newCluster(t, 3)
	c.config.Metadata, c.config.ConfirmEvery = deaf{c.meta}, time.Hour
	old := c.open()
	c.append(old, 0, 0)
	c.waitCommitted(0)
	require.NoError(t, old.Confirm(t.Context()))
	s := c.open()
	c.append(s, 1, 5)
	require.ErrorIs(t, old.Confirm(t.Context()), session.ErrFenced)
	require.ErrorIs(t, ended(t, old), session.ErrFenced)
	require.NoError(t, s.Confirm(t.Context()))
}

// An idle one finds out by itself.
func TestFencedSessionEndsThoughIdle(t *testing.T) {
	c := newCluster(t, 3)
	c.config.Metadata, c.config.ConfirmEvery = deaf{c.meta}, 5*time.Millisecond
	old := c.open()
	c.open()
	require.ErrorIs(t, ended(t, old), session.ErrFenced)
}

// A replica that was restarted is brought back though nobody appends.
func TestIdleSessionBringsReplicasBack(t *testing.T) {
	c := newCluster(t, 3)
	c.config.ConfirmEvery = 5 * time.Millisecond
	s := c.open()
	c.count(s)
	c.append(s, 0, 0)
	c.waitCommitted(0)
	back := c.storages["s2"]
	before := 0
	back.set(func() { before = back.opens })
	back.restart()
	require.Eventually(t, func() (opened bool) {
		back.set(func() { opened = back.opens > before })
		return opened && replica(s, "s2").Counts
	}, patience, time.Millisecond)
}

// Who can't reach a majority confirms nothing, until it can.
func TestConfirmWaitsForAMajority(t *testing.T) {
	c := newCluster(t, 3)
	c.config.LostMax = time.Hour
	s := c.open()
	c.count(s)
	c.append(s, 0, 0)
	c.waitCommitted(0)
	for _, name := range []string{"s1", "s2"} {
		c.storages[name].set(func() { c.storages[name].down = errBroke })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Confirm(ctx), context.DeadlineExceeded)
	c.storages["s1"].restart()
	require.NoError(t, s.Confirm(t.Context()))
}

// A replica that M does not record counts for nothing: it may have forgotten
// whom it promised what (rule 5).
func TestOnlyWhoCountsConfirms(t *testing.T) {
	c := newCluster(t, 3)
	meta := &readOnly{Store: c.meta}
	c.config.Metadata, c.config.LostMax = meta, time.Hour
	s := c.open()
	c.count(s)
	c.append(s, 0, 0)
	c.waitCommitted(0)
	c.equal(0, "s1", "s2", "s3")
	require.Eventually(t, func() bool { return replica(s, "s3").Counts }, patience, time.Millisecond)
	meta.refuse.Store(true)
	c.storages["s2"].set(func() { c.storages["s2"].down = errBroke })
	c.append(s, 1, 1)
	c.waitCommitted(1)
	c.storages["s3"].wipe(777)
	c.append(s, 2, 2)
	require.Eventually(t, func() bool { return replica(s, "s3").Last >= 1 }, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Confirm(ctx), context.DeadlineExceeded)
	meta.refuse.Store(false)
	require.NoError(t, s.Confirm(t.Context()))
}

// Many callers share a round.
func TestConfirmIsShared(t *testing.T) {
	c := newCluster(t, 3)
	c.config.ConfirmEvery = time.Hour
	s := c.open()
	hung := make(chan struct{})
	for _, st := range c.storages {
		st.set(func() { st.hung = hung })
	}
	const callers = 100
	var done sync.WaitGroup
	for range callers {
		done.Go(func() { require.NoError(t, s.Confirm(context.Background())) })
	}
	<-time.After(10 * time.Millisecond) // so that most of them wait; it does not matter if not
	close(hung)
	done.Wait()
	for name, st := range c.storages {
		st.set(func() { require.Less(t, st.confirms, callers/2, name) })
	}
}

// A commit of what was appended after the call confirms, too; one of what was
// appended before it does not.
func TestCommitConfirms(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.count(s)
	hung := make(chan struct{})
	defer close(hung)
	for _, st := range c.storages {
		st.set(func() { st.hung, st.held = hung, true })
	}
	c.append(s, 0, 0)
	confirmed := make(chan error, 1)
	go func() { confirmed <- s.Confirm(context.Background()) }()
	require.Eventually(t, func() bool { return s.Stats().Confirming }, patience, time.Millisecond)
	for _, st := range c.storages {
		st.release()
	}
	c.waitCommitted(0)
	select {
	case <-confirmed:
		require.FailNow(t, "confirmed by what was sent before")
	case <-time.After(10 * time.Millisecond):
	}
	c.append(s, 1, 1)
	require.NoError(t, <-confirmed)
	require.NoError(t, s.Err())
}
