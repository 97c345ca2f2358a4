package waltz

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/proto/clientpb"
)

func collect(t testing.TB, c *Client, p Partition, first, last ID) (all []Committed, err error) {
	for tx, e := range c.Read(testContext(t), p, first, last) {
		if e != nil {
			return all, e
		}
		all = append(all, tx)
	}
	return all, nil
}

func TestRead(t *testing.T) {
	log := newFakeLog(2)
	log.fill(1, 95, 20)
	c := dial(t, log.start(t).addr)
	for _, test := range []struct{ first, last, end ID }{
		{0, 94, 94}, {3, 3, 3}, {90, 1000, 94}, {95, 100, 94}, {5, 4, 4},
	} {
		all, err := collect(t, c, 1, test.first, test.last)
		require.NoError(t, err)
		requireDense(t, test.first, max(test.end, test.first-1), all)
	}
	_, err := collect(t, c, 1, -1, 3)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = collect(t, c, 2, 0, 3)
	require.ErrorIs(t, err, ErrNoPartition)
	n := 0
	for _, err := range c.Read(testContext(t), 1, 0, 94) {
		require.NoError(t, err)
		if n++; n == 15 {
			break
		}
	}
	require.Equal(t, 15, n)
}

func TestReadAndFetchGoOnAfterTrouble(t *testing.T) {
	for name, lie := range map[string]func(*clientpb.ReadResponse){
		"garbage":    func(r *clientpb.ReadResponse) { r.Frame = []byte("garbage") },
		"gap":        func(r *clientpb.ReadResponse) { r.Frame = r.Frame[84:] },
		"nothing":    func(r *clientpb.ReadResponse) { r.Frame = nil },
		"wrong crc":  func(r *clientpb.ReadResponse) { r.Frame[70]++ },
		"wrong size": func(r *clientpb.ReadResponse) { r.Frame[0]++ },
	} {
		t.Run(name, func(t *testing.T) {
			log := newFakeLog(1)
			log.fill(0, 50, 20)
			f := log.start(t)
			n := 0
			f.set(func(f *fake) {
				f.onRead = func(r *clientpb.ReadResponse) {
					if n++; n == 3 {
						lie(r)
					}
				}
			})
			c := dial(t, f.addr)
			all, err := collect(t, c, 0, 0, 49)
			require.NoError(t, err)
			requireDense(t, 0, 49, all)
		})
	}
}

func TestFetch(t *testing.T) {
	log := newFakeLog(1)
	log.fill(0, 9000, 4)
	f := log.start(t)
	c := dial(t, f.addr)
	var ids []ID
	for id := ID(0); id < 9000; id += 2 {
		ids = append(ids, id)
	}
	all, err := c.Fetch(testContext(t), 0, ids)
	require.NoError(t, err)
	require.Len(t, all, len(ids))
	for i, tx := range all {
		require.Equal(t, ids[i], tx.ID)
	}
	all, err = c.Fetch(testContext(t), 0, nil)
	require.NoError(t, err)
	require.Empty(t, all)
	for _, bad := range [][]ID{{3, 3}, {4, 3}, {-1}, {9000}} {
		_, err := c.Fetch(testContext(t), 0, bad)
		require.ErrorIs(t, err, ErrInvalid, "%v", bad)
	}
	f.set(func(f *fake) { f.onRead = func(r *clientpb.ReadResponse) { r.Frame = log.parts[0].frames[7] } })
	_, err = c.Fetch(testContext(t), 0, []ID{5})
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestQueries(t *testing.T) {
	log := newFakeLog(2)
	log.fill(0, 10, 4)
	f := log.start(t)
	c := dial(t, f.addr)
	ctx := testContext(t)
	mark, err := c.HighWaterMark(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, ID(9), mark)
	require.Equal(t, int64(9), c.known[0].Load(), "what is known to be committed is remembered")
	mark, err = c.HighWaterMark(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, None, mark)
	at := time.UnixMicro(1e15 + 4)
	for _, test := range []struct {
		t    time.Time
		want ID
	}{{at, 4}, {at.Add(time.Nanosecond), 5}, {at.Add(-time.Nanosecond), 4}, {at.Add(time.Hour), 10}, {time.Time{}, 0}} {
		id, err := c.At(ctx, 0, test.t)
		require.NoError(t, err)
		require.Equal(t, test.want, id)
	}
	require.Equal(t, "cluster-1", c.LogID())
	require.Equal(t, "fake", c.Name())
	require.Equal(t, 2, c.Partitions())
	require.Equal(t, 64, c.Limits().LocksMax)
	f.srv.Stop()
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = c.HighWaterMark(short, 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, ErrUnavailable)
}
