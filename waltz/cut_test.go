package waltz

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
)

// proxy stands between client and server and cuts connections after some
// bytes, in the middle of whatever is under way.
type proxy struct {
	lis   net.Listener
	to    string
	tasks sync.WaitGroup

	mu    sync.Mutex
	rng   *rand.Rand
	cutAt int // connections are cut after up to that many bytes; 0: never
	conns map[net.Conn]bool
	cuts  int
}

func startProxy(t testing.TB, to string, cutAt int) *proxy {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{lis: lis, to: to, rng: rand.New(rand.NewPCG(1, 2)), cutAt: cutAt, conns: map[net.Conn]bool{}}
	p.tasks.Go(p.accept)
	t.Cleanup(func() {
		_ = lis.Close()
		p.cut()
		p.tasks.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.lis.Addr().String() }

func (p *proxy) accept() {
	for {
		in, err := p.lis.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = true, true
		limit := int64(1 << 60)
		if p.cutAt > 0 {
			limit = 200 + p.rng.Int64N(int64(p.cutAt))
		}
		p.mu.Unlock()
		forward := func(to, from net.Conn, limit int64) {
			_, err := io.CopyN(to, from, limit)
			p.mu.Lock()
			defer p.mu.Unlock()
			if err == nil {
				p.cuts++
			}
			_, _ = to.Close(), from.Close()
			delete(p.conns, to)
			delete(p.conns, from)
		}
		p.tasks.Go(func() { forward(out, in, limit) })
		p.tasks.Go(func() { forward(in, out, limit/8+100) })
	}
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) cutCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// I2, I4, I8: connections break all the time, some callers give up and resolve
// later; every append ends with the truth, and is there once.
func TestAppendsOverBreakingConnections(t *testing.T) {
	log := newFakeLog(3)
	p := startProxy(t, log.start(t).addr, 40_000)
	c := dial(t, p.addr())
	const goroutines, each = 16, 60
	type answer struct {
		p  Partition
		id ID
		n  uint64
	}
	answers := make(chan answer, goroutines*each)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				n := uint64(g*each + i)
				part := Partition(n % 3)
				data := binary.LittleEndian.AppendUint64(make([]byte, 0, 300), n)
				id, err := appendImpatiently(t, c, part, Transaction{Data: data[:300], HighWaterMark: None}, time.Duration(i%4)*time.Millisecond)
				if err != nil {
					t.Errorf("append %d: %v", n, err)
					return
				}
				answers <- answer{part, id, n}
			}
		})
	}
	wg.Wait()
	close(answers)
	count := 0
	for a := range answers {
		count++
		r, _, err := record.Decode(log.parts[a.p].frames[a.id])
		require.NoError(t, err)
		require.Equal(t, a.n, binary.LittleEndian.Uint64(r.Data), "partition %d transaction %d", a.p, a.id)
	}
	require.Equal(t, goroutines*each, count)
	require.Equal(t, count, log.len(0)+log.len(1)+log.len(2), "nothing is there twice")
	require.Positive(t, p.cutCount(), "nothing was tested")
}

// appendImpatiently gives up after a while and resolves, if it can't know.
func appendImpatiently(t testing.TB, c *Client, p Partition, tx Transaction, patience time.Duration) (ID, error) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond+patience)
		id, err := c.Append(ctx, p, tx)
		cancel()
		var unknown *UnknownError
		if errors.As(err, &unknown) {
			return c.Resolve(testContext(t), unknown)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return id, err
		}
	}
}

// I6 over breaking connections.
func TestFeedOverBreakingConnections(t *testing.T) {
	log := newFakeLog(1)
	log.fill(0, 10000, 200)
	p := startProxy(t, log.start(t).addr, 8_000_000)
	c := dial(t, p.addr())
	all := follow(t, subscribe(t, c, SubscribeOptions{HighWaterMark: None, BufferBytes: 1 << 16}), 9999, 700)
	requireDense(t, 0, 9999, all)
	all, err := collect(t, c, 0, 0, 9999)
	require.NoError(t, err)
	requireDense(t, 0, 9999, all)
	require.Positive(t, p.cutCount(), "nothing was tested")
}

// What goes missing without a sign is noticed: the connection is given up by
// the next sign of life that doesn't come, here the proxy's end.
func TestIdleSubscriptionFollowsACutConnection(t *testing.T) {
	log := newFakeLog(1)
	log.fill(0, 1, 8)
	p := startProxy(t, log.start(t).addr, 0)
	c := dial(t, p.addr())
	s := subscribe(t, c, SubscribeOptions{HighWaterMark: None})
	for want := range ID(5) {
		b, err := s.Next(testContext(t), 0)
		require.NoError(t, err)
		require.Equal(t, want, b.HighWaterMark)
		p.cut()
		id, err := c.Append(testContext(t), 0, Transaction{HighWaterMark: None})
		require.NoError(t, err)
		require.Equal(t, want+1, id)
	}
}
