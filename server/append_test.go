package server

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
)

func TestAppendAnswersRanges(t *testing.T) {
	b := start(t, 3, nil).ready()
	s := b.stream()
	var group []*clientpb.Transaction
	for n := range uint64(30) {
		group = append(group, tx(int32(n%3), n+1))
	}
	s.send(group...)
	s.await(30)
	require.Empty(t, s.not)
	for seq := range uint64(30) {
		require.Equal(t, txn.ID(seq/3), s.ids[seq], "each partition keeps the order in which it was sent to")
	}
	for p, log := range b.logs {
		all, err := log.Records()
		require.NoError(t, err)
		require.Len(t, all, 10)
		for i, r := range all {
			want := group[i*3+p]
			require.Equal(t, txn.Header(want.GetHeader()), r.Header)
			require.Equal(t, want.GetData(), r.Data)
		}
	}
	require.NoError(t, s.grpc.CloseSend())
	_, err := s.grpc.Recv()
	require.ErrorContains(t, err, "EOF")
}

func TestAppendRefusesEachForItsOwnReason(t *testing.T) {
	b := start(t, 1, func(o *Options) { o.DataBytesMax, o.LocksMax = 100, 3 }).ready()
	s := b.stream()
	_, no := s.append(tx(0, 1))
	require.Nil(t, no)
	for _, c := range []struct {
		name   string
		change func(*clientpb.Transaction)
		want   clientpb.Reason
		limit  int64
		says   string
	}{
		{"too large", func(x *clientpb.Transaction) { x.Data = make([]byte, 101) }, clientpb.Reason_REASON_TOO_LARGE, 100, "101 bytes"},
		{"too many locks", func(x *clientpb.Transaction) {
			x.ReadLocks, x.WriteLocks, x.AppendLocks = []uint64{1}, []uint64{2, 3}, []uint64{4}
		}, clientpb.Reason_REASON_TOO_MANY_LOCKS, 3, "4 locks"},
		{"key too long", func(x *clientpb.Transaction) { x.Key = strings.Repeat("k", 256) }, clientpb.Reason_REASON_INVALID, 255, "business key"},
		{"no request ID", func(x *clientpb.Transaction) { x.RequestIdHi, x.RequestIdLo = 0, 0 }, clientpb.Reason_REASON_INVALID, 0, "request ID"},
		{"mark below -1", func(x *clientpb.Transaction) { x.ClientHighWaterMark = -2 }, clientpb.Reason_REASON_INVALID, 0, "below"},
		{"mark beyond the log", func(x *clientpb.Transaction) { x.ClientHighWaterMark = 1 }, clientpb.Reason_REASON_INVALID, 0, "beyond"},
		{"partition too high", func(x *clientpb.Transaction) { x.Partition = 1 }, clientpb.Reason_REASON_NO_PARTITION, 0, "0 to 0"},
		{"partition negative", func(x *clientpb.Transaction) { x.Partition = -1 }, clientpb.Reason_REASON_NO_PARTITION, 0, "0 to 0"},
		{"lock conflict", func(x *clientpb.Transaction) { x.WriteLocks = []uint64{9} }, clientpb.Reason_REASON_UNSPECIFIED, 0, ""},
		{"lock conflict", func(x *clientpb.Transaction) { x.ReadLocks = []uint64{9} }, clientpb.Reason_REASON_LOCK_CONFLICT, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := tx(0, s.seq+100)
			c.change(x)
			_, no := s.append(x)
			require.Equal(t, c.want, no.GetReason())
			require.Equal(t, c.limit, no.GetLimit())
			require.Contains(t, no.GetMessage(), c.says)
			if c.want == clientpb.Reason_REASON_LOCK_CONFLICT {
				require.Equal(t, int64(1), no.GetTransactionId())
			}
		})
	}
	hwm, err := b.client.HighWaterMark(b.ctx, &clientpb.HighWaterMarkRequest{})
	require.NoError(t, err)
	require.Equal(t, int64(1), hwm.GetHighWaterMark())
}

func TestAppendOfAnotherCluster(t *testing.T) {
	b := start(t, 1, nil).ready()
	g, err := b.client.Append(b.ctx)
	require.NoError(t, err)
	require.NoError(t, g.Send(&clientpb.AppendRequest{ClusterKey: "another", Transactions: []*clientpb.Transaction{tx(0, 1)}}))
	_, err = g.Recv()
	requireReason(t, err, wire.OtherCluster)
	require.ErrorContains(t, err, `"another"`)
}

func TestGroupAboveTheLimitEndsTheStream(t *testing.T) {
	b := start(t, 1, func(o *Options) { o.DataBytesMax, o.GroupBytesMax = 1000, 70_000 }).ready()
	g, err := b.client.Append(b.ctx)
	require.NoError(t, err)
	x := tx(0, 1)
	x.Data = bytes.Repeat([]byte{1}, 80_000)
	require.NoError(t, g.Send(&clientpb.AppendRequest{Transactions: []*clientpb.Transaction{x}}))
	_, err = g.Recv()
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
}

// TestUnansweredAreBounded: a client that sends and sends while nothing is
// committed is held up; nothing is lost, and all is answered when it goes on (I9).
func TestUnansweredAreBounded(t *testing.T) {
	b := start(t, 1, func(o *Options) { o.StreamInFlightMax = 10 }).ready()
	b.logs[0].Hold(true)
	s := b.stream()
	for n := range uint64(50) {
		s.send(tx(0, n+1))
	}
	require.Eventually(t, func() bool { return b.Stats().Partitions[0].InFlight == 10 }, waitMax, tick)
	require.Never(t, func() bool { return b.Stats().Partitions[0].Sequenced > 10 }, 20*tick, tick)
	b.logs[0].Hold(false)
	s.await(50)
	require.Empty(t, s.not)
}

// TestStopAnswersWhatIsInFlight: a graceful stop refuses the new, answers the
// old, then ends the streams.
func TestStopAnswersWhatIsInFlight(t *testing.T) {
	b := start(t, 1, nil).ready()
	b.logs[0].Hold(true)
	s := b.stream()
	s.send(tx(0, 1))
	require.Eventually(t, func() bool { return b.logs[0].InFlight() == 1 }, waitMax, tick)
	stopped := make(chan error, 1)
	go func() { stopped <- b.Stop(b.ctx) }()
	require.Eventually(t, func() bool { return b.notReady() != nil }, waitMax, tick)
	seq := s.send(tx(0, 2))
	require.Eventually(t, func() bool { s.await(1); return s.not[seq] != nil }, waitMax, tick)
	require.Equal(t, clientpb.Reason_REASON_SHUTTING_DOWN, s.not[seq].GetReason())
	b.logs[0].Hold(false)
	s.await(2)
	require.Equal(t, txn.ID(0), s.ids[0])
	require.NoError(t, <-stopped)
	_, err := s.grpc.Recv()
	requireReason(t, err, wire.ShuttingDown)
	require.NoError(t, b.Stop(b.ctx), "stopping twice is harmless")
}

// TestStopTakesNoNewStreams: a client that comes back while the server is being
// stopped is told so at once. Its receiver could else start between the end of
// the last one and the end of Stop's wait for them, at which a WaitGroup panics.
func TestStopTakesNoNewStreams(t *testing.T) {
	b := start(t, 1, nil).ready()
	b.logs[0].Hold(true)
	s := b.stream()
	s.send(tx(0, 1))
	require.Eventually(t, func() bool { return b.logs[0].InFlight() == 1 }, waitMax, tick)
	stopped := make(chan error, 1)
	go func() { stopped <- b.Stop(b.ctx) }()
	require.Eventually(t, func() bool { return b.notReady() != nil }, waitMax, tick)
	_, err := b.stream().grpc.Recv()
	requireReason(t, err, wire.ShuttingDown)
	b.logs[0].Hold(false)
	s.await(1)
	require.NoError(t, <-stopped)
}

// TestStopGivesUpInTime: what can't be committed stays unanswered; it is neither
// refused nor committed (I8).
func TestStopGivesUpInTime(t *testing.T) {
	b := start(t, 1, nil).ready()
	b.logs[0].Hold(true)
	s := b.stream()
	s.send(tx(0, 1))
	require.Eventually(t, func() bool { return b.logs[0].InFlight() == 1 }, waitMax, tick)
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	require.ErrorContains(t, b.Stop(ctx), "unanswered")
	m, err := s.grpc.Recv()
	require.Nil(t, m)
	requireReason(t, err, wire.ShuttingDown)
}

// TestStopDespiteAStuckClient: one that sends and never takes an answer holds up
// neither the others nor a stop.
func TestStopDespiteAStuckClient(t *testing.T) {
	b := start(t, 1, func(o *Options) { o.StreamInFlightMax = 1 << 20 }).ready()
	stuck, err := b.client.Append(b.ctx)
	require.NoError(t, err)
	go func() {
		for seq := uint64(0); ; seq++ {
			x := tx(0, seq+1)
			x.ClientHighWaterMark = -2 // refused, with a long message
			if stuck.Send(&clientpb.AppendRequest{FirstSeq: seq, Transactions: []*clientpb.Transaction{x}}) != nil {
				return
			}
		}
	}()
	s := b.stream()
	for n := range uint64(20) {
		_, no := s.append(tx(0, 1000+n))
		require.Nil(t, no)
	}
	require.Eventually(t, func() bool { return b.Stats().Partitions[0].Refused[wire.Invalid] > 20_000 }, waitMax, tick)
	require.NoError(t, b.Stop(b.ctx))
}

func requireReason(t *testing.T, err error, want wire.Reason) {
	t.Helper()
	got, ok := wire.ReasonOf(wire.FromStatus(err))
	require.True(t, ok, "%v", err)
	require.Equal(t, want, got)
}
