package storage_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// scrubOptions make a pass over the sample take a third of a second.
func scrubOptions(fsys vfs.FS) storage.Options {
	o := repairOptions(fsys)
	o.ScrubBytesPerSecond, o.ScrubInterval = 64<<10, time.Hour
	return o
}

// elapse lets time pass in a test's bubble.
func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// untilScrub waits for a state of the scrub and returns how long that took.
func untilScrub(t testing.TB, s *storage.Storage, what func(storage.ScrubState) bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !what(s.ScrubState()) {
		require.Less(t, time.Since(began), 24*time.Hour)
		elapse(time.Millisecond)
	}
	return time.Since(began)
}

func scrubbed(st storage.ScrubState) bool { return !st.LastEnded.IsZero() && !st.Running }

// The background scrub begins when its interval has passed, reads at its rate, and
// finds and tells of damage that nobody has asked for.
func TestScrubInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWhole(t)
		damages[0].harm(t, w, w.fs)
		var told atomic.Int64
		o := scrubOptions(w.fs)
		o.Events.Damaged = func(*storage.DamagedError) { told.Add(1) }
		s := open(t, o)
		elapse(59 * time.Minute)
		st := s.ScrubState()
		require.False(t, st.Running)
		require.InDelta(t, time.Minute, st.LastRemaining, float64(time.Second))
		elapse(time.Minute)
		require.True(t, s.ScrubState().Running)
		took := untilScrub(t, s, scrubbed)
		st = s.ScrubState()
		rate := float64(len(w.want)) / took.Seconds()
		require.InDelta(t, 64<<10, rate, 24<<10, "bytes a second; what is damaged is not counted")
		require.Equal(t, 1, st.LastDamage)
		require.Positive(t, st.LastBytes)
		require.EqualValues(t, 1, told.Load())
		require.Len(t, s.Damage(), 1)
		_, err := s.Repair(context.Background(), storage.Repair{}, w.source(new(int)))
		require.NoError(t, err)
		elapse(time.Hour)
		untilScrub(t, s, func(st storage.ScrubState) bool { return scrubbed(st) && st.LastDamage == 0 })
		require.EqualValues(t, len(w.want), s.ScrubState().LastBytes)
		require.EqualValues(t, 2, s.Stats().ScrubPasses)
		require.EqualValues(t, 1, s.Stats().ScrubDamage)
		require.NoError(t, s.Close())
	})
}

// A process that is killed in the middle of a pass does not begin it again, and
// one that is restarted again and again does not put it off.
func TestScrubGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWhole(t)
		s := open(t, scrubOptions(w.fs))
		elapse(40 * time.Minute)
		left := w.fs.Clone()
		require.NoError(t, s.Close())
		s = open(t, scrubOptions(left))
		elapse(time.Second)
		require.Less(t, s.ScrubState().LastRemaining, 20*time.Minute)
		elapse(19*time.Minute + 59*time.Second)
		untilScrub(t, s, func(st storage.ScrubState) bool { return st.Next > 10 })
		half := s.ScrubState()
		left = left.Clone()
		require.NoError(t, s.Close())
		s = open(t, scrubOptions(left))
		synctest.Wait()
		require.GreaterOrEqual(t, s.ScrubState().Next, half.Next)
		untilScrub(t, s, scrubbed)
		require.EqualValues(t, len(w.want), s.ScrubState().LastBytes)
		require.Less(t, s.Stats().ScrubbedBytes, int64(len(w.want))-half.Bytes+1, "by this process")
		require.NoError(t, s.Close())

		f, err := left.Open(dataDir + "/scrub") // a damaged hint is none
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{1, 2, 3}, 20)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		s = open(t, scrubOptions(left))
		elapse(time.Second)
		require.True(t, s.ScrubState().LastEnded.IsZero())
		require.NoError(t, s.Close())
	})
}

// While the journal is busy the scrub goes at a sixteenth of its rate.
func TestScrubGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWhole(t)
		s := open(t, scrubOptions(w.fs))
		m := join(t, s, 0, 5)
		elapse(time.Hour)
		idle := untilScrub(t, s, scrubbed)
		ended := s.ScrubState().LastEnded
		elapse(time.Hour - time.Second)
		goOn := make(chan struct{})
		w.fs.SetSyncHook(func(op vfs.Op, name string) {
			if op == vfs.OpDatasync && strings.HasSuffix(name, ".journal") {
				<-goOn
			}
		})
		done := make(chan error, 1)
		require.NoError(t, s.Append(context.Background(), m.message(m.frame(1, 1)), func(_ session.Appended, err error) { done <- err }))
		elapse(time.Second)
		busy := untilScrub(t, s, func(st storage.ScrubState) bool { return scrubbed(st) && st.LastEnded.After(ended) })
		require.InDelta(t, 16, busy.Seconds()/idle.Seconds(), 3)
		w.fs.SetSyncHook(nil)
		close(goOn)
		require.NoError(t, <-done)
		require.NoError(t, s.Close())
	})
}

// A negative rate turns the scrub off.
func TestNoScrub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := scrubOptions(vfs.NewMem())
		o.ScrubBytesPerSecond = -1
		s := open(t, o)
		elapse(1000 * time.Hour)
		require.Equal(t, storage.ScrubState{}, s.ScrubState())
		require.NoError(t, s.Close())
	})
}
