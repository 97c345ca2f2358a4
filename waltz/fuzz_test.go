package waltz

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/waltz/internal/codec"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// I6: whatever comes, what a subscription accepts continues its mark without a
// gap.
func FuzzFeed(f *testing.F) {
	log := newFakeLog(1)
	log.fill(0, 3, 10)
	frame := append(append([]byte{}, log.parts[0].frames[1]...), log.parts[0].frames[2]...)
	f.Add(frame, int64(2), int64(2))
	f.Add(frame[:80], int64(1), int64(5))
	f.Fuzz(func(t *testing.T, frame []byte, mark, committed int64) {
		s := newSubscription(&Client{}, SubscribeOptions{HighWaterMark: 0})
		all, err := s.decode(&codec.Chunk{Frame: record.Frame(frame), HighWaterMark: ID(mark), Committed: ID(committed)})
		if err != nil {
			return
		}
		require.Len(t, all, int(mark))
		for i, tx := range all {
			require.Equal(t, ID(i+1), tx.ID)
			require.Equal(t, Partition(0), tx.Partition)
			require.False(t, tx.Skipped)
		}
		require.LessOrEqual(t, mark, committed)
	})
}

// Whatever a server answers, the books stay in order: an attempt is answered
// once, or not at all.
func FuzzServerAnswers(f *testing.F) {
	b, _ := proto.Marshal(&clientpb.AppendResponse{
		Committed: []*clientpb.Committed{{FirstSeq: 1, Count: 2, FirstId: 4}},
		Refused:   []*clientpb.Refused{{Seq: 0, Reason: 8}, {Seq: 3, Reason: 1, TransactionId: 3}},
	})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var in codec.Answers
		if (codec.Codec{Pool: codec.NewPool()}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, &in) != nil {
			return
		}
		c := &Client{opts: options{appendsMax: 10, bytesMax: 1 << 20}, ailing: map[Partition]monitor.Reason{}}
		c.router = newRouter(c)
		c.adopt(&clientpb.DescribeResponse{Partitions: 1})
		l := &link{c: c, lane: c.monitor.NewLane()}
		c.monitor.Route([]*monitor.Lane{l.lane})
		l.lane.Open()
		for range 5 {
			a := newAttempt()
			a.SentMark = txn.None
			c.monitor.Add(&a.Attempt)
		}
		l.lane.Next(1 << 20)
		intake := intake{in: in}
		err := l.take(&intake)
		n, _ := c.monitor.Unanswered()
		require.Equal(t, 5, n+len(intake.woken))
		if err != nil {
			var violation *monitor.ProtocolError
			require.ErrorAs(t, err, &violation)
		}
		for _, a := range intake.woken {
			require.Equal(t, monitor.Answered, a.State)
			if id, err := outcome(0, a.Outcome); err == nil {
				require.GreaterOrEqual(t, id, ID(0))
			}
		}
	})
}
