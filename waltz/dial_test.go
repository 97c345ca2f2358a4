package waltz

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

func TestAddresses(t *testing.T) {
	open := Scheme{Name: "zk", Open: func(_ context.Context, u *url.URL) (Transport, error) {
		if u.Path == "/none" {
			return Transport{}, nil
		}
		return Transport{Addresses: []string{u.Host + u.Path}}, nil
	}}
	for addr, want := range map[string]string{
		"waltz://a:1":                "a:1",
		"WALTZ://a:1,[::1]:65535":    "a:1 [::1]:65535",
		"zk://h1:2181,h2:2181/waltz": "h1:2181,h2:2181/waltz",
		"zk://h1:2181/waltz":         "h1:2181/waltz",
	} {
		tr, err := openTransport(context.Background(), addr, []Scheme{open})
		require.NoError(t, err)
		require.Equal(t, want, strings.Join(tr.Addresses, " "))
	}
	for addr, want := range map[string]string{
		"localhost:1":       "no scheme: want waltz://, zk://",
		"wlatz://a:1":       "unknown scheme: want waltz://, zk://",
		"file:///x":         "unknown scheme: want waltz://, zk://",
		"waltz:/a:1":        "write waltz://a:1",
		"waltz:a:1":         "write waltz://a:1",
		"waltz":             "no scheme",
		"zk":                "no scheme",
		"waltz://":          `server "" is not host:port`,
		"waltz://a":         `server "a" is not host:port`,
		"waltz://a:1,":      `server "" is not host:port`,
		"waltz://a:x":       `port "x", want 1 to 65535`,
		"waltz://a:70000":   `port "70000", want 1 to 65535`,
		"waltz://a:1/b":     `nothing may follow the servers, found "/b"`,
		"waltz://u@a:1":     "not host:port",
		"waltz:// a:1":      "not host:port",
		"zk://h1:2181/none": "names no server",
		"zk://h:%zz/":       "invalid",
	} {
		_, err := openTransport(context.Background(), addr, []Scheme{open})
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, addr, "the error names the address")
		require.Equal(t, addr != "zk://h1:2181/none", errors.Is(err, ErrAddress), addr)
	}
}

func FuzzAddress(f *testing.F) {
	f.Add("waltz://a:1,b:2")
	f.Add("zk://h1:2181,h2:2181/p?q#f")
	f.Add("://")
	zk := Scheme{Name: "zk", Open: func(_ context.Context, u *url.URL) (Transport, error) {
		return Transport{Addresses: strings.Split(u.Host, ",")}, nil
	}}
	f.Fuzz(func(t *testing.T, addr string) {
		tr, err := openTransport(context.Background(), addr, []Scheme{zk})
		if err == nil {
			require.NotEmpty(t, tr.Addresses)
		}
		if err == nil && strings.HasPrefix(strings.ToLower(addr), "waltz") {
			for _, s := range tr.Addresses {
				_, _, err := net.SplitHostPort(s)
				require.NoError(t, err)
			}
		}
	})
}

func TestDialMistakes(t *testing.T) {
	ctx := testContext(t)
	_, err := Dial(ctx, "waltz://a:1", WithUnansweredMax(-1, 0), WithLogger(nil), WithSchemes(Scheme{}))
	for _, want := range []string{"WithUnansweredMax(-1, 0)", "WithLogger", "WithSchemes"} {
		require.ErrorContains(t, err, want)
	}
	f := newFakeLog(1).start(t)
	_, err = Dial(ctx, "waltz://"+f.addr, WithClusterKey("mine"))
	require.ErrorIs(t, err, ErrOtherCluster)
	require.ErrorContains(t, err, "want mine, found cluster-1")
	dial(t, f.addr, WithClusterKey("cluster-1"))
	short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	_, err = Dial(short, "waltz://127.0.0.1:1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, ErrUnavailable)
}

// A server that is something else is found out at once, not waited for.
func TestDialSomethingElse(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := grpc.NewServer()
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }()
	defer func() { srv.Stop(); <-done }()
	_, err = Dial(testContext(t), "waltz://"+lis.Addr().String())
	require.ErrorContains(t, err, "not a Waltz server")
}

func TestSchemeBringsItsOwnNetwork(t *testing.T) {
	f := newFakeLog(1).start(t)
	closed := 0
	mem := Scheme{Name: "mem", Open: func(context.Context, *url.URL) (Transport, error) {
		return Transport{
			Addresses: []string{"anything"},
			Dial: func(ctx context.Context, addr string) (net.Conn, error) {
				if addr != "anything" {
					return nil, errors.New("unexpected address " + addr)
				}
				return new(net.Dialer).DialContext(ctx, "tcp", f.addr)
			},
			Close: func() error { closed++; return errors.New("closing failed") },
		}, nil
	}}
	c, err := Dial(testContext(t), "mem://x/y", WithSchemes(mem))
	require.NoError(t, err)
	_, err = c.Append(testContext(t), 0, Transaction{HighWaterMark: None})
	require.NoError(t, err)
	require.EqualError(t, c.Close(), "closing failed")
	require.NoError(t, c.Close())
	require.Equal(t, 1, closed)
	_, err = Dial(testContext(t), "mem://x/y", WithSchemes(mem), WithClusterKey("other"))
	require.ErrorIs(t, err, ErrOtherCluster)
	require.Equal(t, 2, closed)
}

func TestPartitioner(t *testing.T) {
	f := newFakeLog(7).start(t)
	c := dial(t, f.addr)
	require.Equal(t, HashPartitioner("key", 7), c.PartitionFor("key"))
	counts := make([]int, 7)
	for i := range 7000 {
		counts[HashPartitioner(strings.Repeat("k", i%50)+string(rune(i)), 7)]++
	}
	for _, n := range counts {
		require.InDelta(t, 1000, n, 200)
	}
	own := dial(t, f.addr, WithPartitioner(func(string, int) Partition { return 3 }))
	require.Equal(t, Partition(3), own.PartitionFor("key"))
}
