package waltz

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/proto/clientpb"
)

// cutOnce makes the fake break the stream in place of its first answer.
func cutOnce(f *fake) {
	f.onGroup = func(*clientpb.AppendRequest, *clientpb.AppendResponse) bool {
		f.set(func(f *fake) { f.onGroup = nil })
		return false
	}
}

// I4: the mutant resend-with-new-request-id commits twice.
func TestResendCommitsOnce(t *testing.T) {
	log := newFakeLog(1)
	f := log.start(t)
	f.set(cutOnce)
	var lost atomic.Int32
	c := dial(t, f.addr, WithHooks(Hooks{Disconnected: func(_ string, unanswered int, err error) { lost.Add(int32(unanswered)) }}))
	id, err := c.Append(testContext(t), 0, Transaction{Data: []byte("x"), HighWaterMark: None})
	require.NoError(t, err)
	require.Equal(t, ID(0), id)
	require.Equal(t, 1, log.len(0))
	in := f.seen()
	require.Len(t, in, 2)
	require.True(t, in[1].Transactions[0].Resend)
	require.Equal(t, int64(-1), in[1].Transactions[0].SentHighWaterMark)
	require.Equal(t, log.key, in[1].ClusterKey)
	require.Equal(t, uint64(0), in[1].FirstSeq)
	require.Equal(t, int32(1), lost.Load())
}

func TestUnknownAndResolve(t *testing.T) {
	log := newFakeLog(1)
	f := log.start(t)
	release := make(chan struct{})
	f.set(func(f *fake) {
		f.onGroup = func(*clientpb.AppendRequest, *clientpb.AppendResponse) bool { <-release; return true }
	})
	c := dial(t, f.addr)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Append(ctx, 0, Transaction{HighWaterMark: None})
	var unknown *UnknownError
	require.ErrorAs(t, err, &unknown)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotZero(t, unknown.RequestID)

	canceled, stop := context.WithCancel(context.Background())
	stop()
	_, err = c.Resolve(canceled, unknown)
	require.ErrorAs(t, err, &unknown)
	require.ErrorIs(t, err, context.Canceled)
	close(release)
	for range 3 {
		id, err := c.Resolve(testContext(t), unknown)
		require.NoError(t, err)
		require.Equal(t, ID(0), id)
	}
	require.Equal(t, 1, log.len(0))
	require.Len(t, f.seen(), 1, "the answer was only late")
	_, err = c.Resolve(testContext(t), &UnknownError{})
	require.ErrorIs(t, err, ErrInvalid)
}

func TestResolveSendsAgainAfterABreak(t *testing.T) {
	log := newFakeLog(1)
	f := log.start(t)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	broken := make(chan struct{}, 1)
	f.set(func(f *fake) {
		f.onGroup = func(*clientpb.AppendRequest, *clientpb.AppendResponse) bool {
			arrived <- struct{}{}
			<-release
			return false
		}
	})
	c := dial(t, f.addr, WithHooks(Hooks{Disconnected: func(string, int, error) { broken <- struct{}{} }}))
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-arrived; cancel() }()
	_, err := c.Append(ctx, 0, Transaction{HighWaterMark: None})
	var unknown *UnknownError
	require.ErrorAs(t, err, &unknown)
	close(release)
	<-broken
	require.Len(t, f.seen(), 1, "nobody waits, so nothing is sent again")
	f.set(func(f *fake) { f.onGroup = nil })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			id, err := c.Resolve(testContext(t), unknown)
			if err != nil || id != 0 {
				t.Errorf("resolved as %d, %v", id, err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, log.len(0))
	require.True(t, f.seen()[1].Transactions[0].Resend)
}

// A log that is damaged where a resend may have been committed does not say that
// it was not (I8). Of a first sending it does.
func TestDamageLeavesAResendUnknown(t *testing.T) {
	for _, before := range []int{0, 1} {
		log := newFakeLog(1)
		f := log.start(t)
		left := before
		f.set(func(f *fake) {
			f.onAppend = func(*clientpb.Transaction) *clientpb.Refused {
				if left--; left >= 0 {
					return &clientpb.Refused{Reason: clientpb.Reason_REASON_UNAVAILABLE}
				}
				return &clientpb.Refused{Reason: clientpb.Reason_REASON_CORRUPT}
			}
		})
		c := dial(t, f.addr)
		_, err := c.Append(testContext(t), 0, Transaction{HighWaterMark: None})
		require.ErrorIs(t, err, ErrCorrupt)
		var unknown *UnknownError
		require.Equal(t, before > 0, errors.As(err, &unknown))
		if before > 0 {
			_, err = c.Resolve(testContext(t), unknown)
			require.ErrorAs(t, err, &unknown)
			require.ErrorIs(t, err, ErrCorrupt)
		}
	}
}

func TestRefusalsForNowAreWaitedOut(t *testing.T) {
	for _, reason := range []clientpb.Reason{
		clientpb.Reason_REASON_NOT_OWNER, clientpb.Reason_REASON_UNAVAILABLE,
		clientpb.Reason_REASON_STORAGE_FULL, clientpb.Reason_REASON_SHUTTING_DOWN,
	} {
		t.Run(reason.String(), func(t *testing.T) {
			log := newFakeLog(1)
			f := log.start(t)
			left := 3
			f.set(func(f *fake) {
				f.onAppend = func(*clientpb.Transaction) *clientpb.Refused {
					if left--; left < 0 {
						return nil
					}
					return &clientpb.Refused{Reason: reason}
				}
			})
			var refused []error
			c := dial(t, f.addr, WithHooks(Hooks{Refused: func(p Partition, err error) { refused = append(refused, err) }}))
			_, err := c.Append(testContext(t), 0, Transaction{HighWaterMark: None})
			require.NoError(t, err)
			require.Len(t, refused, 1, "one call per change, not per refusal")
			last := f.seen()[3].Transactions[0]
			require.Equal(t, reason == clientpb.Reason_REASON_UNAVAILABLE, last.Resend, "only a lost majority leaves a doubt")
		})
	}
}

func TestStorageFullIsTheCause(t *testing.T) {
	f := newFakeLog(1).start(t)
	f.set(func(f *fake) {
		f.onAppend = func(*clientpb.Transaction) *clientpb.Refused {
			return &clientpb.Refused{Reason: clientpb.Reason_REASON_STORAGE_FULL, Message: "free some"}
		}
	})
	ctx, cancel := context.WithCancel(testContext(t))
	c := dial(t, f.addr, WithHooks(Hooks{Refused: func(Partition, error) { cancel() }}))
	_, err := c.Append(ctx, 0, Transaction{HighWaterMark: None})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, ErrStorageFull)
	require.ErrorContains(t, err, "free some")
}

// What was never sent is known not to be committed (I8).
func TestNothingCommittedIsNotUnknown(t *testing.T) {
	log := newFakeLog(1)
	f := log.start(t)
	c := dial(t, f.addr)
	f.srv.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Append(ctx, 0, Transaction{HighWaterMark: None})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var unknown *UnknownError
	require.False(t, errors.As(err, &unknown), "%v", err)
	require.ErrorContains(t, err, "nothing was committed")
}

func TestPartitionMoves(t *testing.T) {
	log := newFakeLog(2)
	a, b := log.start(t), log.start(t)
	owners := func(first, second string) {
		for _, f := range []*fake{a, b} {
			f.set(func(f *fake) { f.owners = []string{first, second} })
		}
	}
	notOwner := func(owned func() int32) func(*clientpb.Transaction) *clientpb.Refused {
		return func(t *clientpb.Transaction) *clientpb.Refused {
			if t.Partition == owned() {
				return nil
			}
			return &clientpb.Refused{Reason: clientpb.Reason_REASON_NOT_OWNER}
		}
	}
	var moved atomic.Bool
	a.set(func(f *fake) {
		f.onAppend = notOwner(func() int32 {
			if moved.Load() {
				return -1
			}
			return 0
		})
	})
	owners(a.addr, b.addr)
	c := dial(t, a.addr)
	ctx := testContext(t)
	for p := range Partition(2) {
		_, err := c.Append(ctx, p, Transaction{HighWaterMark: None})
		require.NoError(t, err)
	}
	require.Len(t, a.seen(), 1)
	require.Len(t, b.seen(), 1)
	moved.Store(true)
	owners(b.addr, b.addr)
	id, err := c.Append(ctx, 0, Transaction{HighWaterMark: None})
	require.NoError(t, err)
	require.Equal(t, ID(1), id)

	// And back, by the death of the owner.
	moved.Store(false)
	a.set(func(f *fake) { f.onAppend = nil })
	owners(a.addr, a.addr)
	b.srv.Stop()
	id, err = c.Append(ctx, 0, Transaction{HighWaterMark: None})
	require.NoError(t, err)
	require.Equal(t, ID(2), id)
}

func TestNoOwnerForAWhile(t *testing.T) {
	log := newFakeLog(1)
	f := log.start(t)
	f.set(func(f *fake) { f.owners = []string{""} })
	asked := make(chan struct{}, 16)
	c := dial(t, f.addr, WithHooks(Hooks{Routed: func(owned, _ int) {
		if owned == 0 {
			select {
			case asked <- struct{}{}:
			default:
			}
		}
	}}))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Append(ctx, 0, Transaction{HighWaterMark: None})
	require.ErrorIs(t, err, ErrUnavailable)
	go func() {
		<-asked
		<-asked
		f.set(func(f *fake) { f.owners = nil })
	}()
	_, err = c.Append(testContext(t), 0, Transaction{HighWaterMark: None})
	require.NoError(t, err)
}

func TestUnansweredIsBounded(t *testing.T) {
	log := newFakeLog(1)
	f := log.start(t)
	gate := make(chan struct{})
	f.set(func(f *fake) {
		f.onGroup = func(*clientpb.AppendRequest, *clientpb.AppendResponse) bool { <-gate; return true }
	})
	c := dial(t, f.addr, WithUnansweredMax(3, 0))
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if _, err := c.Append(testContext(t), 0, Transaction{HighWaterMark: None, Data: fmt.Append(nil, i)}); err != nil {
				t.Error(err)
			}
		})
	}
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.monitor.Held() == 7
	}, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := c.Append(ctx, 0, Transaction{HighWaterMark: None})
	require.ErrorContains(t, err, "nothing was committed", "waiting for room honours the context")
	close(gate)
	wg.Wait()
	require.Equal(t, 10, log.len(0))
}

func TestCloseEndsWhatWaits(t *testing.T) {
	f := newFakeLog(1).start(t)
	gate := make(chan struct{})
	arrived := make(chan struct{})
	f.set(func(f *fake) {
		f.onGroup = func(*clientpb.AppendRequest, *clientpb.AppendResponse) bool { close(arrived); <-gate; return true }
	})
	defer close(gate)
	c := dial(t, f.addr)
	result := make(chan error)
	go func() {
		_, err := c.Append(context.Background(), 0, Transaction{HighWaterMark: None})
		result <- err
	}()
	<-arrived
	require.NoError(t, c.Close())
	err := <-result
	var unknown *UnknownError
	require.ErrorAs(t, err, &unknown)
	require.ErrorIs(t, err, ErrClosed)
	_, err = c.Append(context.Background(), 0, Transaction{HighWaterMark: None})
	require.ErrorIs(t, err, ErrClosed)
	_, err = c.Resolve(context.Background(), unknown)
	require.ErrorIs(t, err, ErrClosed)
	_, err = c.HighWaterMark(context.Background(), 0)
	require.ErrorIs(t, err, ErrClosed)
	_, err = c.Subscribe(context.Background(), SubscribeOptions{})
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, c.Close())
}

// A fresh client's first append to a long log: the server asks for a mark that
// it can judge, and nothing counts as a resend.
func TestMarkTooOldIsSentAgain(t *testing.T) {
	log := newFakeLog(1)
	log.fill(0, 500, 4)
	f := log.start(t)
	f.set(func(f *fake) {
		f.onAppend = func(t *clientpb.Transaction) *clientpb.Refused {
			if t.SentHighWaterMark >= 400 {
				return nil
			}
			return &clientpb.Refused{Reason: clientpb.Reason_REASON_MARK_TOO_OLD, TransactionId: 499}
		}
	})
	c := dial(t, f.addr)
	for want := range ID(2) {
		id, err := c.Append(testContext(t), 0, Transaction{HighWaterMark: None})
		require.NoError(t, err)
		require.Equal(t, 500+want, id)
	}
	require.Len(t, f.seen(), 3, "the second append knew the mark")
	require.False(t, f.seen()[1].Transactions[0].Resend)
}

// Answers that no correct server gives end the stream, and the appends are sent
// again.
func TestHostileAnswers(t *testing.T) {
	for name, lie := range map[string]func(*clientpb.AppendResponse){
		"number not sent": func(r *clientpb.AppendResponse) { r.Committed[0].FirstSeq = 7 },
		"count too high":  func(r *clientpb.AppendResponse) { r.Committed[0].Count = 1 << 31 },
		"other partition": func(r *clientpb.AppendResponse) { r.Committed[0].Partition = 1 },
		"negative ID":     func(r *clientpb.AppendResponse) { r.Committed[0].FirstId = -1 },
		"ID taken before": func(r *clientpb.AppendResponse) { r.Committed[0].FirstId = 0 },
		"refused for nothing": func(r *clientpb.AppendResponse) {
			r.Committed, r.Refused = nil, []*clientpb.Refused{{}}
		},
		"refused, not sent": func(r *clientpb.AppendResponse) {
			r.Refused = []*clientpb.Refused{{Seq: 9, Reason: clientpb.Reason_REASON_INVALID}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := newFakeLog(2)
			log.fill(0, 3, 4)
			f := log.start(t)
			c := dial(t, f.addr)
			_, err := c.HighWaterMark(testContext(t), 0)
			require.NoError(t, err)
			f.set(func(f *fake) {
				f.onGroup = func(_ *clientpb.AppendRequest, r *clientpb.AppendResponse) bool {
					f.set(func(f *fake) { f.onGroup = nil })
					lie(r)
					return true
				}
			})
			id, err := c.Append(testContext(t), 0, Transaction{HighWaterMark: None})
			require.NoError(t, err)
			require.Equal(t, ID(3), id)
			require.Equal(t, 4, log.len(0))
		})
	}
}
