package waltz

import (
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/waltz/internal/codec"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// sendFunc is a stream of which only SendMsg is called.
type sendFunc struct {
	grpc.ClientStream
	send func() error
}

func (s sendFunc) SendMsg(any) error { return s.send() }

// TestSendFailsAfterTheNextStreamOpened: a message is being sent while its stream
// breaks and the next one opens. What came back must be sent on that one, though
// no other append comes to wake the sender.
func TestSendFailsAfterTheNextStreamOpened(t *testing.T) {
	c := &Client{
		log: slog.New(slog.DiscardHandler), pool: codec.NewPool(), known: make([]atomic.Int64, 1), cluster: cluster{partitions: 1},
		monitor: monitor.New(1, monitor.Limits{Attempts: 10, Bytes: 1 << 20}),
	}
	l := &link{c: c, lane: c.monitor.NewLane(), demand: make(chan struct{}, 1), work: make(chan struct{}, 1)}
	c.links, c.routes = map[string]*link{"": l}, []*link{l}
	c.monitor.Route([]*monitor.Lane{l.lane})
	l.opened(sendFunc{send: func() error {
		l.broken(io.EOF)
		l.opened(sendFunc{send: func() error { return nil }})
		return io.EOF
	}})

	a := newAttempt()
	require.NoError(t, c.encode(a, 0, &Transaction{HighWaterMark: None}))
	require.NoError(t, c.submit(a))
	require.Equal(t, 1, l.lane.Waiting())
	require.Len(t, l.work, 1, "the sender is wanted")
	require.True(t, l.claimLocked())
	require.False(t, l.pump())
	require.Equal(t, monitor.Sent, a.State)
	require.True(t, a.Unsure)
}
