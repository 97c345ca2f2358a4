package waltz

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// link is the connection to one server and its append stream, shared by all
// partitions.
//
// Grouping needs no timer. When nothing is on the way, the goroutine that appends
// sends its transaction itself: one append alone passes no queue and wakes nobody.
// Otherwise the sender goroutine takes all that waits; before it looks, it lets
// every goroutine that can run come by (Gosched), since one answer wakes many
// callers and they append again in the same instant.
type link struct {
	c    *Client
	addr string
	conn *grpc.ClientConn
	api  clientpb.WaltzClient
	lane *monitor.Lane // guarded by Client.mu

	ctx    context.Context
	cancel context.CancelFunc
	demand chan struct{} // a stream is wanted
	work   chan struct{} // the sender is wanted

	// Guarded by Client.mu.
	stream  grpc.ClientStream // nil: none
	first   bool              // nothing was sent on it
	sending bool              // somebody is in pump
	trouble error             // why the last stream ended, or none was had
}

func (c *Client) addLink(addr string) error {
	conn, err := c.dialServer(addr)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	l := &link{
		c: c, addr: addr, conn: conn, api: clientpb.NewWaltzClient(conn),
		demand: make(chan struct{}, 1), work: make(chan struct{}, 1),
	}
	l.ctx, l.cancel = context.WithCancel(c.ctx)
	c.mu.Lock()
	l.lane = c.monitor.NewLane()
	c.links[addr] = l
	c.mu.Unlock()
	c.spawn(l.receive)
	c.spawn(l.send)
	return nil
}

// end closes a link that is not in use any more.
func (l *link) end() {
	l.cancel()
	_ = l.conn.Close() // nobody is there to tell
}

// openAppend opens a stream of appends.
func (l *link) openAppend(ctx context.Context) (grpc.ClientStream, error) {
	stream, err := l.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, clientpb.Waltz_Append_FullMethodName)
	if err != nil {
		return nil, callError(err)
	}
	return stream, nil
}

// subscribe opens a feed above a mark.
func (l *link) subscribe(ctx context.Context, o *SubscribeOptions, mark ID) (grpc.ClientStream, error) {
	r := &clientpb.SubscribeRequest{Partition: int32(o.Partition), HighWaterMark: int64(mark), ClusterKey: l.c.cluster.key}
	switch {
	case o.HeadersOnly:
		r.Data = clientpb.DataMode_DATA_MODE_NONE
	case o.Headers != nil:
		r.Data = clientpb.DataMode_DATA_MODE_FILTERED
		for _, h := range slices.Compact(slices.Sorted(slices.Values(o.Headers))) {
			r.Headers = append(r.Headers, int32(h))
		}
	}
	return l.openStream(ctx, clientpb.Waltz_Subscribe_FullMethodName, r)
}

// readRange opens a read of first..last.
func (l *link) readRange(ctx context.Context, p Partition, first, last ID) (grpc.ClientStream, error) {
	return l.openStream(ctx, clientpb.Waltz_Read_FullMethodName, &clientpb.ReadRequest{
		Partition: int32(p), ClusterKey: l.c.cluster.key, First: int64(first), Last: int64(last),
	})
}

// readIDs opens a read of single transactions.
func (l *link) readIDs(ctx context.Context, p Partition, ids []int64) (grpc.ClientStream, error) {
	return l.openStream(ctx, clientpb.Waltz_Read_FullMethodName, &clientpb.ReadRequest{
		Partition: int32(p), ClusterKey: l.c.cluster.key, Ids: ids,
	})
}

// openStream starts a call with one request and a stream of answers.
func (l *link) openStream(ctx context.Context, method string, request any) (grpc.ClientStream, error) {
	stream, err := l.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return nil, callError(err)
	}
	if err := stream.SendMsg(request); err != nil {
		return nil, callError(err)
	}
	if err := stream.CloseSend(); err != nil {
		return nil, callError(err)
	}
	return stream, nil
}

func (l *link) highWaterMark(ctx context.Context, p Partition) (ID, error) {
	r, err := l.api.HighWaterMark(ctx, &clientpb.HighWaterMarkRequest{Partition: int32(p), ClusterKey: l.c.cluster.key})
	if err != nil {
		return None, callError(err)
	}
	return ID(r.GetHighWaterMark()), nil
}

func (l *link) at(ctx context.Context, p Partition, t txn.Timestamp) (ID, error) {
	r, err := l.api.At(ctx, &clientpb.AtRequest{Partition: int32(p), ClusterKey: l.c.cluster.key, TimeUs: int64(t)})
	if err != nil {
		return None, callError(err)
	}
	return ID(r.GetTransactionId()), nil
}
