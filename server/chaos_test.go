package server

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
)

// TestClientsSurviveLostSessions: clients on streams of their own, sending again
// what they are told to, while sessions end in the middle of everything and any
// part of what was in flight survives. What was acknowledged is there, as what it
// was said to be, and nothing is there twice (I1, I2, I4).
func TestClientsSurviveLostSessions(t *testing.T) {
	const clients, each = 8, 150
	b := start(t, 2, nil).ready()
	stop := make(chan struct{})
	var chaos, working sync.WaitGroup
	chaos.Go(func() {
		r := rand.New(rand.NewPCG(1, 2))
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.logs[r.IntN(2)].End(r.IntN(4)-1, nil)
			case <-stop:
				return
			}
		}
	})
	acked := make([][]txn.ID, clients)
	for c := range clients {
		s := b.stream()
		working.Go(func() {
			for n := range uint64(each) {
				acked[c] = append(acked[c], s.insist(tx(int32(n%2), uint64(c)*each+n+1)))
			}
		})
	}
	working.Wait()
	close(stop)
	chaos.Wait()
	seen := map[uint64]bool{}
	for p, log := range b.logs {
		all, err := log.Records()
		require.NoError(t, err)
		require.Len(t, all, clients*each/2)
		for i, r := range all {
			require.Equal(t, txn.ID(i), r.ID)
			n := binary.BigEndian.Uint64(r.Data)
			require.False(t, seen[n], "I4: once")
			seen[n] = true
			require.Equal(t, r.ID, acked[(n-1)/each][(n-1)%each], "partition %d", p)
		}
	}
}

// insist sends a transaction until it is committed.
func (s *stream) insist(x *clientpb.Transaction) txn.ID {
	for {
		id, no := s.append(x)
		switch wire.Reason(no.GetReason()) {
		case 0:
			return id
		case wire.Unavailable, wire.StorageFull:
			x.Resend = true
		case wire.MarkTooOld:
			x.SentHighWaterMark = no.GetTransactionId()
		default:
			require.Fail(s.t, "refused", "%v", no)
		}
	}
}
