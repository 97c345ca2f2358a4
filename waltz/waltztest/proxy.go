package waltztest

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/proto/clientpb"
)

// proxy is a server between client and node that passes everything on, but for
// what the faults say.
type proxy struct {
	clientpb.UnimplementedWaltzServer
	node   clientpb.WaltzClient
	faults *faults
}

// startProxy serves the way with the faults, in memory too.
func (l *Log) startProxy(node *embedded.Waltz) {
	conn, err := grpc.NewClient("passthrough:///node",
		grpc.WithContextDialer(node.Dial), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageMax), grpc.MaxCallSendMsgSize(messageMax)))
	if err != nil {
		l.t.Fatalf("waltztest: %v", err)
	}
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(messageMax), grpc.MaxSendMsgSize(messageMax))
	clientpb.RegisterWaltzServer(srv, &proxy{node: clientpb.NewWaltzClient(conn), faults: l.faults})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l.memory) }()
	l.t.Cleanup(func() {
		srv.Stop()
		l.check(<-served)
		l.faults.tasks.Wait()
		l.check(conn.Close())
	})
}

// messageMax is no limit; the node has its own.
const messageMax = 1 << 30

func (p *proxy) Describe(ctx context.Context, r *clientpb.DescribeRequest) (*clientpb.DescribeResponse, error) {
	d, err := p.node.Describe(ctx, r)
	if err == nil {
		d.Owners = nil // whoever names itself, the way leads through here
	}
	return d, err
}

func (p *proxy) HighWaterMark(ctx context.Context, r *clientpb.HighWaterMarkRequest) (*clientpb.HighWaterMarkResponse, error) {
	return p.node.HighWaterMark(ctx, r)
}

func (p *proxy) At(ctx context.Context, r *clientpb.AtRequest) (*clientpb.AtResponse, error) {
	return p.node.At(ctx, r)
}

func (p *proxy) Read(r *clientpb.ReadRequest, to grpc.ServerStreamingServer[clientpb.ReadResponse]) error {
	from, err := p.node.Read(to.Context(), r)
	if err != nil {
		return err
	}
	for {
		m, err := from.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := to.Send(m); err != nil {
			return err
		}
	}
}

func (p *proxy) Subscribe(r *clientpb.SubscribeRequest, to grpc.ServerStreamingServer[clientpb.SubscribeResponse]) error {
	from, err := p.node.Subscribe(to.Context(), r)
	if err != nil {
		return err
	}
	for {
		m, err := from.Recv()
		if err != nil {
			return err
		}
		if err := p.faults.waitForFeed(to.Context()); err != nil {
			return err
		}
		if err := to.Send(m); err != nil {
			return err
		}
	}
}

// relay is one append stream: what the client sends goes up to the node, answers
// come down. Each transaction goes up in a message of its own, since its number
// there is another where faults left some out.
type relay struct {
	p    *proxy
	down grpc.BidiStreamingServer[clientpb.AppendRequest, clientpb.AppendResponse]
	up   grpc.BidiStreamingClient[clientpb.AppendRequest, clientpb.AppendResponse]
	came chan arrival                  // from the client, not looked at yet
	sent chan flight                   // went up, in order; what the node owes an answer
	out  chan *clientpb.AppendResponse // to the client; one goroutine sends
}

// flight is a transaction on its way through the node.
type flight struct {
	upSeq, downSeq uint64
	fault          fault
}

// inFlightMax bounds what one client has under way; a test that needs more waits.
const inFlightMax = 1 << 16

// errCut is how a connection ends that a fault cuts.
func errCut() error { return status.Error(codes.Unavailable, "waltztest: connection cut") }

func (p *proxy) Append(down grpc.BidiStreamingServer[clientpb.AppendRequest, clientpb.AppendResponse]) error {
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	up, err := p.node.Append(ctx)
	if err != nil {
		return err
	}
	r := &relay{p: p, down: down, up: up, sent: make(chan flight, inFlightMax), out: make(chan *clientpb.AppendResponse, 64)}
	r.came = make(chan arrival, inFlightMax)
	ended := make(chan error, 3)
	p.faults.tasks.Go(func() { ended <- r.receive(ctx) })
	p.faults.tasks.Go(func() { ended <- r.send(ctx) })
	p.faults.tasks.Go(func() { ended <- r.answer(ctx) })
	for {
		select {
		case m := <-r.out:
			if err := down.Send(m); err != nil {
				return err
			}
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// arrival is a client's group and when it came, so that a delay holds up each
// group, not one after the other.
type arrival struct {
	group *clientpb.AppendRequest
	at    time.Time
}

// receive takes the client's groups.
func (r *relay) receive(ctx context.Context) error {
	for {
		group, err := r.down.Recv()
		if err != nil {
			return err
		}
		select {
		case r.came <- arrival{group, time.Now()}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send passes groups on until a fault cuts the connection.
func (r *relay) send(ctx context.Context) error {
	seq := uint64(0)
	for {
		var a arrival
		select {
		case a = <-r.came:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.p.faults.wait(ctx, a.at); err != nil {
			return err
		}
		for i, tx := range a.group.GetTransactions() {
			passed, err := r.one(ctx, flight{upSeq: seq, downSeq: a.group.GetFirstSeq() + uint64(i)}, a.group.GetClusterKey(), tx)
			if err != nil {
				return err
			}
			if passed {
				seq++
			}
		}
	}
}

// one does to a transaction what its fault says, and reports whether it went up.
func (r *relay) one(ctx context.Context, f flight, key string, tx *clientpb.Transaction) (bool, error) {
	f.fault = r.p.faults.next(tx.GetResend())
	switch f.fault.kind {
	case requestLost:
		return false, errCut()
	case refused:
		return false, r.refuse(ctx, f.downSeq, tx, f.fault)
	}
	return true, r.pass(ctx, f, key, tx)
}

func (r *relay) pass(ctx context.Context, f flight, key string, tx *clientpb.Transaction) error {
	select {
	case r.sent <- f:
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.up.Send(&clientpb.AppendRequest{FirstSeq: f.upSeq, ClusterKey: key, Transactions: []*clientpb.Transaction{tx}})
}

// refuse answers in the node's place. A conflict names what the node has last
// committed, unless the test said which.
func (r *relay) refuse(ctx context.Context, seq uint64, tx *clientpb.Transaction, f fault) error {
	id := int64(f.id)
	if !f.named {
		mark, err := r.p.node.HighWaterMark(ctx, &clientpb.HighWaterMarkRequest{Partition: tx.GetPartition()})
		if err != nil {
			return err
		}
		id = mark.GetHighWaterMark()
	}
	return r.give(ctx, &clientpb.AppendResponse{Refused: []*clientpb.Refused{{
		Seq: seq, Reason: clientpb.Reason(f.reason), TransactionId: id, Message: "as the test asked for",
	}}})
}

func (r *relay) give(ctx context.Context, m *clientpb.AppendResponse) error {
	select {
	case r.out <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer takes the node's answers, which come in any order, and gives each its
// number at the client.
func (r *relay) answer(ctx context.Context) error {
	flights := map[uint64]flight{}
	for {
		m, err := r.up.Recv()
		if err != nil {
			return err
		}
		out := &clientpb.AppendResponse{}
		for _, c := range m.GetCommitted() {
			for i := range uint64(c.GetCount()) {
				f := r.take(flights, c.GetFirstSeq()+i)
				if f.fault.kind == answerLost {
					return errCut()
				}
				out.Committed = append(out.Committed, &clientpb.Committed{
					FirstSeq: f.downSeq, Count: 1, Partition: c.GetPartition(), FirstId: c.GetFirstId() + int64(i),
				})
			}
		}
		for _, c := range m.GetRefused() {
			f := r.take(flights, c.GetSeq())
			if f.fault.kind == answerLost {
				return errCut()
			}
			c.Seq = f.downSeq
			out.Refused = append(out.Refused, c)
		}
		if err := r.give(ctx, out); err != nil {
			return err
		}
	}
}

// take finds what a number at the node stands for: it went up before its answer.
func (r *relay) take(flights map[uint64]flight, seq uint64) flight {
	for {
		if f, ok := flights[seq]; ok {
			delete(flights, seq)
			return f
		}
		f := <-r.sent
		flights[f.upSeq] = f
	}
}
