package store_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/server/internal/store"
)

// stalls waits until the session is stalled, or is not any more.
func stalls(t *testing.T, s *store.Session, stalled bool) {
	t.Helper()
	for (s.Stalled() != nil) != stalled {
		select {
		case <-s.Stalls():
		case <-time.After(10 * time.Second):
			require.FailNow(t, "in vain", "stalled: %t", stalled)
		}
	}
}

// A full disk stops appends and nothing else: the session stays, reads go on, and
// when there is room all that waited is committed, in order, once (I1, I2).
func TestFullStorageStallsTheSession(t *testing.T) {
	c := newCluster(t, 1)
	c.config.RetryFull = time.Millisecond
	disk := c.storages["s1"]
	disk.fullAt = 2
	s := c.open()
	c.append(s, 0, 1)
	c.waitCommitted(1)
	require.NoError(t, s.Stalled())
	for id := txn.ID(2); id < 40; id += 2 {
		c.append(s, id, id+1)
	}
	stalls(t, s, true)
	require.ErrorIs(t, s.Stalled(), session.ErrFull)
	require.ErrorContains(t, s.Stalled(), "s1")
	require.Eventually(t, func() (again bool) {
		disk.set(func() { again = disk.refused > 5 })
		return again
	}, 10*time.Second, time.Millisecond)
	f, err := s.Read(t.Context(), 0, 50, 1<<20)
	require.NoError(t, err)
	span, err := f.Check()
	require.NoError(t, err)
	require.Equal(t, txn.ID(1), span.Last, "what waits is not read")
	id, err := s.At(t.Context(), 1001)
	require.NoError(t, err)
	require.Equal(t, txn.ID(1), id)

	disk.set(func() { disk.fullAt = 0 })
	c.waitCommitted(39)
	stalls(t, s, false)
	require.NoError(t, s.Err())
	c.append(s, 40, 40)
	c.waitCommitted(40)
	require.Equal(t, []byte(frame(s, 0, 40)), disk.bytes())
}

// Every so often there is room for a few more, while appends keep coming.
func TestRoomForAFewMore(t *testing.T) {
	c := newCluster(t, 3)
	c.config.RetryFull = 100 * time.Microsecond
	for i, name := range []string{"s1", "s2", "s3"} {
		c.storages[name].fullAt = 1 + i
	}
	s := c.open()
	const last = txn.ID(299)
	for id := txn.None; id < last; {
		next := min(id+1+(id+1)%3, last)
		c.append(s, id+1, next)
		id = next
		for _, disk := range c.storages {
			disk.set(func() { disk.fullAt += int(id) % 2 })
		}
	}
	for _, disk := range c.storages {
		disk.set(func() { disk.fullAt = 0 })
	}
	c.waitCommitted(last)
	for _, disk := range c.storages {
		require.Eventually(t, func() bool { return disk.last() == last }, 10*time.Second, time.Millisecond)
		require.Equal(t, []byte(frame(s, 0, last)), disk.bytes())
	}
	stalls(t, s, false)
	require.NoError(t, s.Err())
}

// A full minority keeps nobody waiting, and gets what it missed when it has room.
func TestFullMinority(t *testing.T) {
	c := newCluster(t, 3)
	c.config.RetryFull = time.Millisecond
	lines := &counter{}
	c.config.Logger = slog.New(lines)
	full := c.storages["s2"]
	full.fullAt = 3
	s := c.open()
	c.count(s) // so that it is sent what it has no room for
	for id := range txn.ID(50) {
		c.append(s, id, id)
		c.waitCommitted(id)
	}
	require.NoError(t, s.Stalled())
	require.Eventually(t, func() (again bool) {
		full.set(func() { again = full.refused > 20 })
		return again
	}, 10*time.Second, time.Millisecond)
	require.LessOrEqual(t, lines.of("replica catches up")+lines.of("replica has caught up"), int64(2), "no line for each try")
	c.storages["s3"].set(func() { c.storages["s3"].fullAt = 50 })
	c.append(s, 50, 50)
	stalls(t, s, true)
	full.set(func() { full.fullAt = 0 })
	c.waitCommitted(50)
	stalls(t, s, false)
	require.Eventually(t, func() bool { return full.last() == 50 }, 10*time.Second, time.Millisecond)
	require.Equal(t, c.storages["s1"].bytes(), full.bytes())
	require.NoError(t, s.Err())
}

// What a storage has taken may wait for room as well, with nobody appending: it
// is asked.
func TestTakenAppendsThatWaitForRoom(t *testing.T) {
	c := newCluster(t, 1)
	c.config.RetryFull = time.Millisecond
	disk := c.storages["s1"]
	disk.held, disk.stuck = true, errFull
	s := c.open()
	c.append(s, 0, 3)
	stalls(t, s, true)
	disk.set(func() { disk.stuck = nil })
	disk.release()
	c.waitCommitted(3)
	stalls(t, s, false)
	c.append(s, 4, 4)
	c.waitCommitted(4)
}

// A stalled session can be closed: nothing is waited for that may take days.
func TestCloseWhileStalled(t *testing.T) {
	c := newCluster(t, 1)
	disk := c.storages["s1"]
	disk.fullAt = 1
	s := c.open()
	c.append(s, 0, 0)
	c.append(s, 1, 1)
	require.ErrorIs(t, s.Close(context.Background()), session.ErrFull)
	require.ErrorIs(t, s.Err(), store.ErrClosed)
	disk.set(func() { disk.fullAt = 0 })
	s = c.open()
	require.Equal(t, txn.ID(0), s.High())
	c.append(s, 1, 1)
	c.waitCommitted(1)
}

// A full storage that fails for another reason is failed, and one that comes back
// begins again with what it has.
func TestFullStorageThatIsRestarted(t *testing.T) {
	c := newCluster(t, 3)
	c.config.RetryFull, c.config.LostMax = time.Millisecond, time.Hour
	for _, name := range []string{"s1", "s2"} {
		c.storages[name].fullAt = 5
	}
	s := c.open()
	c.append(s, 0, 4)
	c.append(s, 5, 9)
	stalls(t, s, true)
	c.storages["s1"].set(func() { c.storages["s1"].fullAt = 0 })
	c.storages["s1"].restart()
	c.waitCommitted(9)
	stalls(t, s, false)
	require.NoError(t, s.Err())
}
