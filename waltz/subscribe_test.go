package waltz

import (
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
)

// follow calls Next until a mark is reached and returns what came.
func follow(t testing.TB, s *Subscription, to ID, max int) []Committed {
	var all []Committed
	mark := s.o.HighWaterMark
	for mark < to {
		b, err := s.Next(testContext(t), max)
		require.NoError(t, err)
		require.Greater(t, b.HighWaterMark, mark)
		require.GreaterOrEqual(t, b.Committed, b.HighWaterMark)
		if max > 0 {
			require.LessOrEqual(t, len(b.Transactions), max)
		}
		if n := len(b.Transactions); n > 0 {
			require.Greater(t, b.Transactions[0].ID, mark)
			require.LessOrEqual(t, b.Transactions[n-1].ID, b.HighWaterMark)
		}
		mark = b.HighWaterMark
		all = append(all, b.Transactions...)
	}
	return all
}

func subscribe(t testing.TB, c *Client, o SubscribeOptions) *Subscription {
	s, err := c.Subscribe(context.Background(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func requireDense(t testing.TB, from, to ID, all []Committed) {
	require.Len(t, all, int(to-from)+1)
	for i, tx := range all {
		require.Equal(t, from+ID(i), tx.ID)
	}
}

func TestSubscribeModes(t *testing.T) {
	log := newFakeLog(2)
	log.fill(1, 1000, 100)
	c := dial(t, log.start(t).addr)

	all := follow(t, subscribe(t, c, SubscribeOptions{Partition: 1, HighWaterMark: 9}), 999, 0)
	requireDense(t, 10, 999, all)
	for _, tx := range all {
		require.Equal(t, Partition(1), tx.Partition)
		require.Equal(t, uint64(tx.ID), binary.LittleEndian.Uint64(tx.Data))
		require.Equal(t, 100, tx.DataLen)
		require.Equal(t, Header(tx.ID%3), tx.Header)
		require.False(t, tx.Skipped)
		require.Equal(t, len(tx.Data), cap(tx.Data), "appending to data must not touch the neighbour")
		require.Equal(t, time.UTC, tx.Time.Location())
	}

	headers := follow(t, subscribe(t, c, SubscribeOptions{Partition: 1, HighWaterMark: None, HeadersOnly: true}), 999, 7)
	requireDense(t, 0, 999, headers)
	for _, tx := range headers {
		require.True(t, tx.Skipped)
		require.Empty(t, tx.Data)
		require.Equal(t, 100, tx.DataLen)
	}

	some := follow(t, subscribe(t, c, SubscribeOptions{Partition: 1, HighWaterMark: None, Headers: []Header{2, 2}}), 999, 0)
	for _, tx := range some {
		require.Equal(t, tx.Header != 2, tx.Skipped)
	}
	bodies, err := c.Fetch(testContext(t), 1, []ID{3, 4, 998})
	require.NoError(t, err)
	require.Equal(t, []ID{3, 4, 998}, []ID{bodies[0].ID, bodies[1].ID, bodies[2].ID})
}

// Next takes what there is, and waits for more.
func TestSubscribeIsLive(t *testing.T) {
	log := newFakeLog(1)
	c := dial(t, log.start(t).addr)
	s := subscribe(t, c, SubscribeOptions{HighWaterMark: None})
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := s.Next(ctx, 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	for i := range ID(20) {
		_, err := c.Append(testContext(t), 0, Transaction{HighWaterMark: None})
		require.NoError(t, err)
		b, err := s.Next(testContext(t), 0)
		require.NoError(t, err)
		require.Equal(t, i, b.HighWaterMark)
		require.Len(t, b.Transactions, 1)
	}
}

// I6, over feeds that break and lie. The mutant subscription-skips-gap-check
// loses transactions.
func TestSubscribeSurvivesAHostileFeed(t *testing.T) {
	lies := map[string]func(*clientpb.SubscribeResponse){
		"leaves out the first": func(r *clientpb.SubscribeResponse) { r.Frame = r.Frame[164:] },
		"leaves out one inside": func(r *clientpb.SubscribeResponse) {
			if len(r.Frame) > 3*164 {
				r.Frame = append(r.Frame[:164:164], r.Frame[2*164:]...)
			}
		},
		"repeats":          func(r *clientpb.SubscribeResponse) { r.Frame = append(r.Frame[:164:164], r.Frame...) },
		"mark too high":    func(r *clientpb.SubscribeResponse) { r.HighWaterMark++; r.Committed++ },
		"mark too low":     func(r *clientpb.SubscribeResponse) { r.HighWaterMark-- },
		"mark back":        func(r *clientpb.SubscribeResponse) { r.HighWaterMark = -1; r.Frame = nil },
		"uncommitted":      func(r *clientpb.SubscribeResponse) { r.Committed = r.HighWaterMark - 1 },
		"flipped bit":      func(r *clientpb.SubscribeResponse) { r.Frame[100] ^= 4 },
		"cut off":          func(r *clientpb.SubscribeResponse) { r.Frame = r.Frame[:len(r.Frame)-1] },
		"garbage":          func(r *clientpb.SubscribeResponse) { r.Frame = []byte("garbage") },
		"nothing but mark": func(r *clientpb.SubscribeResponse) { r.Frame = nil },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			log := newFakeLog(1)
			log.fill(0, 1500, 100)
			f := log.start(t)
			n := 0
			f.set(func(f *fake) {
				f.onFeed = func(r *clientpb.SubscribeResponse) {
					if n++; n == 2 {
						lie(r)
					}
				}
			})
			var broken atomic.Int32
			c := dial(t, f.addr, WithHooks(Hooks{FeedBroken: func(Partition, ID, error) { broken.Add(1) }}))
			all := follow(t, subscribe(t, c, SubscribeOptions{HighWaterMark: None}), 1499, 0)
			requireDense(t, 0, 1499, all)
			require.Equal(t, int32(1), broken.Load())
		})
	}
}

func TestSubscribeOtherPartitionsFrame(t *testing.T) {
	log := newFakeLog(2)
	log.fill(0, 5, 8)
	log.fill(1, 5, 8)
	f := log.start(t)
	bent := false
	f.set(func(f *fake) {
		f.onFeed = func(r *clientpb.SubscribeResponse) {
			if !bent {
				bent = true
				r.Frame = log.parts[1].frames[0]
			}
		}
	})
	c := dial(t, f.addr)
	for _, tx := range follow(t, subscribe(t, c, SubscribeOptions{HighWaterMark: None}), 4, 0) {
		require.Equal(t, Partition(0), tx.Partition)
	}
}

func TestSubscribeEndsForGood(t *testing.T) {
	for _, test := range []struct {
		reason wire.Reason
		want   error
	}{{wire.Corrupt, ErrCorrupt}, {wire.OutOfRange, ErrOutOfRange}, {wire.OtherCluster, ErrOtherCluster}} {
		log := newFakeLog(1)
		log.fill(0, 3, 8)
		f := log.start(t)
		f.set(func(f *fake) { f.feedErr = wire.Status(wire.Refuse(test.reason, "so it is")) })
		s := subscribe(t, dial(t, f.addr), SubscribeOptions{HighWaterMark: 0})
		_, err := s.Next(testContext(t), 0)
		require.ErrorIs(t, err, test.want)
		require.ErrorContains(t, err, "so it is")
	}
}

func TestSubscribeResumes(t *testing.T) {
	log := newFakeLog(1)
	log.fill(0, 100, 8)
	f := log.start(t)
	f.set(func(f *fake) { f.feedErr = status.Error(codes.Unavailable, "not yet") })
	c := dial(t, f.addr)
	s := subscribe(t, c, SubscribeOptions{HighWaterMark: None})
	requireDense(t, 0, 99, follow(t, s, 99, 0))
	other := log.start(t) // the partition moves, and its old owner dies
	for _, f := range []*fake{f, other} {
		f.set(func(f *fake) { f.owners = []string{other.addr} })
	}
	f.srv.Stop()
	_, refused := log.sequence(&clientpb.Transaction{RequestIdHi: 99})
	require.Nil(t, refused)
	// Only the old owner is known, and nobody answers there.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	_, err := s.Next(ctx, 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	log.serve(t, listen(t, f.addr)) // it is started again
	b, err := s.Next(testContext(t), 0)
	require.NoError(t, err)
	require.Equal(t, ID(100), b.HighWaterMark)
}

// listen takes an address again that was just given up.
func listen(t testing.TB, addr string) (lis net.Listener) {
	require.Eventually(t, func() bool {
		var err error
		lis, err = net.Listen("tcp", addr)
		return err == nil
	}, 10*time.Second, time.Millisecond)
	return lis
}

func TestSubscribeBackPressure(t *testing.T) {
	log := newFakeLog(1)
	log.fill(0, 20000, 1000) // 20 MB
	f := log.start(t)
	var sent atomic.Int64
	f.set(func(f *fake) { f.onFeed = func(r *clientpb.SubscribeResponse) { sent.Store(r.HighWaterMark) } })
	c := dial(t, f.addr)
	s := subscribe(t, c, SubscribeOptions{HighWaterMark: None, BufferBytes: 1 << 20})
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.bytes >= 1<<20
	}, 10*time.Second, time.Millisecond)
	require.Never(t, func() bool { return sent.Load() > 8000 }, 100*time.Millisecond, 5*time.Millisecond,
		"the server is held back by the windows")
	all := follow(t, s, 19999, 333)
	requireDense(t, 0, 19999, all)
}

func TestSubscribeClose(t *testing.T) {
	log := newFakeLog(1)
	c := dial(t, log.start(t).addr)
	s := subscribe(t, c, SubscribeOptions{HighWaterMark: None})
	waits := make(chan error)
	go func() {
		_, err := s.Next(context.Background(), 0)
		waits <- err
	}()
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-waits, ErrClosed)
	_, err := s.Next(context.Background(), 0)
	require.ErrorIs(t, err, ErrClosed)
	_, err = c.Subscribe(context.Background(), SubscribeOptions{Partition: 1})
	require.ErrorIs(t, err, ErrNoPartition)
	_, err = c.Subscribe(context.Background(), SubscribeOptions{HighWaterMark: -2})
	require.ErrorIs(t, err, ErrInvalid)
}

func TestBatchesOfAnySizeAreComplete(t *testing.T) {
	log := newFakeLog(1)
	log.fill(0, 3000, 50)
	c := dial(t, log.start(t).addr)
	rapid.Check(t, func(rt *rapid.T) {
		from := ID(rapid.IntRange(-1, 2990).Draw(rt, "from"))
		o := SubscribeOptions{HighWaterMark: from, BufferBytes: rapid.IntRange(1, 1<<18).Draw(rt, "buffer")}
		s, err := c.Subscribe(context.Background(), o)
		require.NoError(rt, err)
		defer func() { _ = s.Close() }()
		mark := from
		for mark < 2999 {
			b, err := s.Next(context.Background(), rapid.IntRange(0, 500).Draw(rt, "max"))
			require.NoError(rt, err)
			for _, tx := range b.Transactions {
				mark++
				require.Equal(rt, mark, tx.ID)
			}
			require.Equal(rt, mark, b.HighWaterMark)
		}
	})
}
